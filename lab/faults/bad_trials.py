"""Not written yet."""

from lab.faults.base import Verdict
from lab.faults.bench import Bench


def bad_trials(bench: Bench, count: int) -> Verdict:
    """Line 10."""
    raise NotImplementedError


def killing_configuration(bench: Bench, count: int) -> Verdict:
    """Line 11."""
    raise NotImplementedError
