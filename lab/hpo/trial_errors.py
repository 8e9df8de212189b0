"""Errors of a trial's run that are no mistake in its code."""

from collections.abc import Sequence

from lab.config import Infeasible
from lab.config.problems import Path as KeyPath
from lab.config.problems import Refusal
from lab.store.error_text import text_of


def infeasible_reason(error: BaseException, searched: Sequence[KeyPath]) -> str:
    """The reason why a combination of values makes no run; empty where it was another fault.

    A component may declare it. One that refuses its arguments by a ValueError or an AssertionError does so as
    well, as far as the study has chosen some of them; else it is a mistake that all trials have.
    """
    if isinstance(error, Infeasible):
        return text_of(error) or "it is infeasible"
    if not isinstance(error, Refusal):
        return ""
    places = [problem.path for problem in error.problems]
    chosen = any(place[:1] == own[:1] for place in places for own in searched)
    return "; ".join(map(str, error.problems)) if error.declared or chosen else ""
