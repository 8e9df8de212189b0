"""Not written yet."""

from lab.faults.base import Verdict
from lab.faults.bench import Bench


def kill_runs(bench: Bench, count: int) -> Verdict:
    """Line 2."""
    raise NotImplementedError


def kill_within_epochs(bench: Bench, count: int) -> Verdict:
    """Line 3."""
    raise NotImplementedError
