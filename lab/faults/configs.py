"""Not written yet."""

from lab.faults.base import Verdict
from lab.faults.bench import Bench


def mutated_files(bench: Bench, count: int) -> Verdict:
    """Line 18."""
    raise NotImplementedError
