"""Not written yet."""

from lab.faults.base import Verdict
from lab.faults.bench import Bench


def database_away(bench: Bench, count: int) -> Verdict:
    """Line 7."""
    raise NotImplementedError
