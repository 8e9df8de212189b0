"""Not written yet."""

from lab.faults.base import Verdict
from lab.faults.bench import Bench


def killed_writes(bench: Bench, count: int) -> Verdict:
    """Line 12."""
    raise NotImplementedError


def damaged(bench: Bench, count: int) -> Verdict:
    """Line 14."""
    raise NotImplementedError
