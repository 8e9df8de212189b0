"""The attributes of a trial: everything that a study stores besides Optuna's own fields.

The fields' names are the stored names. They never change: studies outlive the program that created them.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

from lab.events import Outcome
from lab.store import file_io
from lab.store.definitions import recorded

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

Spans = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class TrialAttributes:
    """Attributes of a trial, read or to be stored; None for those that are absent.

    Reading never fails: other programs may add trials to a study, and a value that can't be parsed is None.

    Args:
        outcome: a string if it is not an `Outcome`.
        cause: of the outcome, for people.
        fault: what failed and where, the same for the same mistake; empty where nothing did.
        spans: intervals in which it ran, (start, end) as Unix times; the current one began at `since`, and
            had lasted `worked` seconds at its owner's last heartbeat.
        repeats: the value of each seed or fold; NaN where it has no finite value.
        definitions: of the metrics and losses that it logged.
        curve: its values by step, where Optuna takes no reports.
        quarantined: it killed its process repeatedly, and its point is not run again.
        deaths: how often its process died without progress, `progress` being the epochs done by then, and
            `saved` when it had last saved its state, in seconds since 1970.
        losses: how often its owner was silent without progress, and not proven to be dead.
        restarts: how often either happened at all.
        halvings: how often its batch was halved for lack of memory.
        forked_from: the study and the number that it was copied from.
        enqueued: the point of the study file that it was created from, as JSON.
    """

    outcome: Outcome | str | None = None
    cause: str | None = None
    fault: str | None = None
    seconds: float | None = None
    epochs: int | None = None
    epochs_planned: int | None = None
    best_epoch: int | None = None
    attempts: int | None = None
    spans: Spans | None = None
    since: float | None = None
    worked: float | None = None
    repeats: Mapping[str, float] | None = None
    definitions: Mapping[str, int] | None = None
    curve: Mapping[int, float] | None = None
    quarantined: bool | None = None
    deaths: int | None = None
    losses: int | None = None
    progress: int | None = None
    saved: float | None = None
    restarts: int | None = None
    halvings: int | None = None
    forked_from: str | None = None
    enqueued: str | None = None

    @classmethod
    def of(cls, trial: "FrozenTrial") -> "TrialAttributes":
        """The attributes that a trial has."""
        stored = trial.user_attrs
        return stored.parsed if isinstance(stored, FinalAttributes) else cls.parse(stored)

    @classmethod
    def parse(cls, stored: Mapping[str, Any]) -> "TrialAttributes":
        """The attributes among those that a trial has stored."""
        return cls(**{name: _READ[name](value) for name, value in stored.items() if name in _READ})

    def stored(self) -> dict[str, object]:
        """The attributes to store, as JSON can hold them."""
        given = {name: value for name, value in vars(self).items() if value is not None}
        if self.curve is not None:  # NaN and infinities stay in it: pruners read them
            given["curve"] = {str(step): value for step, value in self.curve.items()}
        return {
            name: value if name == "curve" else file_io.as_json_values(value) for name, value in given.items()
        }


class FinalAttributes(dict[str, Any]):
    """The user attributes of a finished trial: they never change, and are parsed once."""

    @cached_property
    def parsed(self) -> TrialAttributes:
        """Of this program."""
        return TrialAttributes.parse(self)


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _number(value: object) -> float | None:
    number = math.nan if isinstance(value, bool) else or_nan(value)
    return number if math.isfinite(number) else None


def _whole(value: object) -> int | None:
    number = _number(value)
    return None if number is None else int(number)


def _spans(value: object) -> Spans | None:
    try:
        spans = tuple((float(start), float(stop)) for start, stop in value)  # type: ignore[attr-defined]
    except (TypeError, ValueError, OverflowError):
        return None
    return spans if all(map(math.isfinite, chain.from_iterable(spans))) else None


def _repeats(value: object) -> dict[str, float] | None:
    if not isinstance(value, Mapping):
        return None
    numbers = {str(name): or_nan(number) for name, number in value.items()}
    return {name: number if math.isfinite(number) else math.nan for name, number in numbers.items()}


def _curve(value: object) -> dict[int, float] | None:
    try:
        return {int(step): or_nan(number) for step, number in value.items()}  # type: ignore[attr-defined]
    except (AttributeError, ValueError):
        return None


def or_nan(value: object) -> float:
    """Return the number; NaN for a value that JSON couldn't hold."""
    try:
        return float(value) if isinstance(value, (int, float)) else math.nan
    except OverflowError:
        return math.nan


_READ: Mapping[str, Callable[[object], Any]] = {
    "outcome": lambda value: Outcome.read(value) or _text(value),
    **dict.fromkeys(("cause", "fault", "forked_from", "enqueued"), _text),
    **dict.fromkeys(("seconds", "since", "worked", "saved"), _number),
    **dict.fromkeys(("epochs", "epochs_planned", "best_epoch", "attempts"), _whole),
    **dict.fromkeys(("deaths", "losses", "progress", "restarts", "halvings"), _whole),
    "spans": _spans,
    "repeats": _repeats,
    "definitions": recorded,
    "curve": _curve,
    "quarantined": lambda value: value is True,
}
