"""Not written yet."""

from lab.faults.base import Verdict
from lab.faults.bench import Bench


def full_disk(bench: Bench, count: int) -> Verdict:
    """Line 13."""
    raise NotImplementedError
