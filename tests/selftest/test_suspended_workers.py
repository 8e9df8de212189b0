"""Changes that a worker which was stopped may not have made."""

from typing import Any

import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from selftest.suspended_workers import difference


def trial(**changes: Any) -> FrozenTrial:
    made = create_trial(
        state=TrialState.COMPLETE, value=0.5,
        params={"lr": 0.1}, distributions={"lr": FloatDistribution(0, 1)},
        intermediate_values={1: 0.5}, user_attrs={"attempts": 1},
    )  # fmt: skip
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def test_a_trial_that_stayed_as_it_was_has_no_difference() -> None:
    was = trial()
    assert difference(was, trial(datetime_complete=was.datetime_complete)) == ""


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"values": [0.4]}, "its values changed from [0.5] to [0.4]"),
        ({"params": {"lr": 0.2}}, "its params changed"),
        ({"intermediate_values": {1: 0.5, 2: 0.4}}, "its intermediate_values changed"),
        ({"user_attrs": {"attempts": 2}}, "its user_attrs changed"),
        ({"state": TrialState.RUNNING, "values": None}, "its state changed"),
        ({"datetime_complete": None}, "its datetime_complete changed"),
    ],
)
def test_whatever_was_written_is_found(changes: dict[str, Any], line: str) -> None:
    was = trial()
    assert line in difference(was, trial(**{"datetime_complete": was.datetime_complete, **changes}))
