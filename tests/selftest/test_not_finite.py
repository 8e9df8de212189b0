"""Trials with values that aren't finite, as the judge rejects them."""

from typing import Any

import pytest

from selftest.not_finite import KINDS, MODES, PRUNERS, cases, judge

GOOD: dict[str, Any] = {
    "place": "loss", "value": "nan", "mode": "min", "state": "COMPLETE", "worth": ["inf"], "best": False,
    "outcome": "diverged", "cause": "train loss is nan at step 2 of epoch 2", "steps after": 0,
    "last.pt": 1, "best.pt": 1, "reported": {"1": "0.5"},
}  # fmt: skip


def test_every_fault_under_every_pruner_in_both_directions_once() -> None:
    everything = cases(10**6)
    assert len(everything) == len(set(everything)) == len(PRUNERS) * len(MODES) * len(KINDS) == 162
    first = cases(9)
    assert len({pruner for pruner, *_ in first}) == 9
    assert len({tuple(fault) for _, _, *fault in first}) == 9
    assert {mode for _, mode, *_ in first} == {"min", "max"}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"mode": "max", "worth": ["-inf"]},
        {"place": "gradient", "value": "-inf", "cause": "gradient norm is inf at step 2 of epoch 2"},
        {"place": "metric", "value": "-inf", "cause": "val_level is -inf in epoch 2"},
        {"place": "none", "outcome": "completed", "best": True, "last.pt": 3, "cause": ""},
    ],
)
def test_what_is_as_promised(changes: dict[str, Any]) -> None:
    assert judge({**GOOD, **changes}) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"steps after": 3}, "steps after: expected 0, found 3"),
        ({"best": True}, "best: expected False, found True"),
        ({"last.pt": 2}, "last.pt: expected 1, found 2"),
        ({"last.pt": "not finite"}, "last.pt: expected 1, found not finite"),
        ({"best.pt": 2}, "best.pt: expected 1, found 2"),
        ({"outcome": "pruned"}, "outcome: expected diverged, found pruned"),
        ({"worth": ["-inf"]}, "worth: expected ['inf'], found ['-inf']"),
        ({"cause": "train loss is nan at step 4 of epoch 2"}, "cause: expected train loss is nan at step 2"),
        ({"reported": {"1": "0.5", "2": "nan"}}, "expected finite values for the pruner"),
        ({"place": "none", "outcome": "failed"}, "expected the good trials to complete, found failed"),
    ],
)
def test_what_is_not(changes: dict[str, Any], said: str) -> None:
    (fault,) = judge({**GOOD, **changes})
    assert fault.startswith(said)
