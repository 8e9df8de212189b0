"""Not written yet."""

from lab.faults.base import Verdict
from lab.faults.bench import Bench


def hostile_files(bench: Bench, count: int) -> Verdict:
    """Line 19."""
    raise NotImplementedError


def import_payloads(bench: Bench, count: int) -> Verdict:
    """Line 20."""
    raise NotImplementedError
