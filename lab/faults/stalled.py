"""Not written yet."""

from lab.faults.base import Verdict
from lab.faults.bench import Bench


def stopped_workers(bench: Bench, count: int) -> Verdict:
    """Line 8."""
    raise NotImplementedError
