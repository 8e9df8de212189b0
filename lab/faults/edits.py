"""Not written yet."""

from lab.faults.base import Verdict
from lab.faults.bench import Bench


def edited_studies(bench: Bench, count: int) -> Verdict:
    """Line 17."""
    raise NotImplementedError
