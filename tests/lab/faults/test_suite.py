"""Every fault of the table, tried a few times: the promises hold."""

import pytest

from lab.faults.base import Fault
from lab.faults.bench import Bench
from lab.faults.suite import FAULTS, try_faults


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.number}_{fault.attempt.__name__}")
def test_the_promise_holds(bench: Bench, fault: Fault) -> None:
    (tried,) = try_faults(bench, only=[fault.number])
    assert tried.verdict.held, tried.as_text()
    assert tried.verdict.figures, "what was counted is told"
