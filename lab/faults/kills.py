"""Not written yet."""

from lab.faults.base import Verdict
from lab.faults.bench import Bench


def kill_workers(bench: Bench, count: int) -> Verdict:
    """Line 1."""
    raise NotImplementedError


def exactly_n_trials(bench: Bench, count: int) -> Verdict:
    """Line 6."""
    raise NotImplementedError
