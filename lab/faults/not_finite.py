"""Not written yet."""

from lab.faults.base import Verdict
from lab.faults.bench import Bench


def not_finite(bench: Bench, count: int) -> Verdict:
    """Line 15."""
    raise NotImplementedError
