"""Not written yet."""

from lab.faults.base import Verdict
from lab.faults.bench import Bench


def planted_secrets(bench: Bench, count: int) -> Verdict:
    """Line 22."""
    raise NotImplementedError
