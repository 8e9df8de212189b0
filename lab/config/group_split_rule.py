"""The rule by which whole groups are cut into sets and folds, which a run keeps for as long as it lives.

With another split a resumed run would be evaluated on its own training samples, and trials of one study on
different ones. So each checkpoint and each study records its rule, which holds when it is continued or
evaluated.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from enum import StrEnum
from typing import Any


class GroupRule(StrEnum):
    """A rule of the cut.

    `GREEDY` takes one group after another, and is that of all records that name none; `NEAREST` is as near
    to the fractions, and to equal folds, as whole groups allow.
    """

    GREEDY = "greedy"
    NEAREST = "nearest"


_KEY = "group_rule"
_current = ContextVar("group_rule", default=GroupRule.NEAREST)


def current() -> GroupRule:
    """The rule of a cut that is made now; that of new runs where no record is in force."""
    return _current.get()


@contextmanager
def applied(rule: GroupRule) -> Iterator[None]:
    """Cut by this rule within the context."""
    token = _current.set(rule)
    try:
        yield
    finally:
        _current.reset(token)


def as_record(rule: GroupRule) -> dict[str, str]:
    """The entry of a rule in a checkpoint, or among a study's attributes."""
    return {_KEY: rule.value}


def recorded(record: Mapping[str, Any]) -> GroupRule:
    """The rule in such a record."""
    return GroupRule(record.get(_KEY, GroupRule.GREEDY))
