"""Not written yet."""

from lab.faults.base import Verdict
from lab.faults.bench import Bench


def wandb_away(bench: Bench, count: int) -> Verdict:
    """Line 16."""
    raise NotImplementedError
