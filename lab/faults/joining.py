"""Not written yet."""

from lab.faults.base import Verdict
from lab.faults.bench import Bench


def start_at_once(bench: Bench, count: int) -> Verdict:
    """Line 4."""
    raise NotImplementedError


def queue_in_lockstep(bench: Bench, count: int) -> Verdict:
    """Line 5."""
    raise NotImplementedError
