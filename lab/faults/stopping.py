"""Not written yet."""

from lab.faults.base import Verdict
from lab.faults.bench import Bench


def signals(bench: Bench, count: int) -> Verdict:
    """Line 9."""
    raise NotImplementedError
