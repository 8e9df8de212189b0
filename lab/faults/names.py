"""Not written yet."""

from lab.faults.base import Verdict
from lab.faults.bench import Bench


def hostile_names(bench: Bench, count: int) -> Verdict:
    """Line 21."""
    raise NotImplementedError
