"""A trial that this process works on."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.config import RunConfig
from lab.events import RUNNING
from lab.hpo.learning_curve import Curve
from lab.hpo.leases import Lease
from lab.report.trial_attributes import Spans


@dataclass
class Trial:
    """A claimed trial.

    Args:
        recipe: the base run with these values, or None where they fit no valid run.
        problem: why they fit none.
        crashes: how often its process died without progress, `progress` being the epochs it had done by then,
            and `saved` when it had last saved its state, in seconds since 1970: within an epoch, too.
        losses: how often its owner was silent without progress, and not proven to be dead.
        restarts: how often either happened at all.
        spans: when it was at work, (from, to) in seconds since 1970; the present one begins at `since`.
        claimed: when this process claimed it, by the queue's working time.
        halvings: how often its batch was halved for lack of memory.
        earlier_seconds: of training, before this process had it.
        ran: the recipe with what this machine added to it, which reproduces the trial.
        lost: whether another process has taken it over. The thread that renews leases sets it, and nothing
            ever resets it, so that no lock is needed.
    """

    lease: Lease
    values: dict[str, Any]
    recipe: RunConfig | None
    problem: str
    folder: Path
    resume: bool
    curve: Curve
    crashes: int = 0
    losses: int = 0
    progress: int = 0
    saved: float = 0.0
    restarts: int = 0
    halvings: int = 0
    spans: Spans = ()
    since: float = 0.0
    claimed: float = 0.0
    earlier_seconds: float = 0.0
    ran: RunConfig | None = None
    lost: bool = False

    @property
    def number(self) -> int:
        """Optuna's, which the folder is named for."""
        return self.lease.number

    def facts(self, study_name: str) -> dict[str, Any]:
        """Return what the trial's own folder keeps of it."""
        return {
            "outcome": RUNNING,
            "study": study_name,
            "number": self.number,
            "params": self.values,
            "halvings": self.halvings,
            "recipe": self.ran.as_data() if self.ran is not None else None,
        }
