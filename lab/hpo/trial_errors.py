"""Errors of a trial's run that are no mistake in its code."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

from lab.config import Infeasible
from lab.config.problems import Path as KeyPath
from lab.config.problems import Refusal
from lab.hpo.clock import REAL, Clock
from lab.store.error_text import text_of

_FIRST_DELAY = 1.0  # seconds


@dataclass
class StorageFaults:
    """Decide how long trials that the system keeps from their files are tried again.

    Args:
        patience: seconds after a trial's first fault, unless it has made progress since.
    """

    patience: float
    clock: Clock = REAL
    _since: dict[Hashable, tuple[float, int]] = field(default_factory=dict)  # and the epochs then

    def delay(self, trial: Hashable, epochs: int) -> float | None:
        """Return the seconds until a trial's next attempt, each time about twice as many; None to stop.

        Args:
            epochs: that the trial has reported.
        """
        now = self.clock.monotonic()
        since, before = self._since.get(trial, (now, -1))
        since = now if epochs > before else since
        self._since[trial] = since, epochs
        lasted = now - since
        return None if lasted >= self.patience else max(_FIRST_DELAY, lasted)


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
