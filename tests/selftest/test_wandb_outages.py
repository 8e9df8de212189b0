"""That the judges of runs with W&B see what is missing, and what is there twice."""

import socket
from collections import Counter
from dataclasses import replace
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from selftest.wandb_outages import EPOCHS, Trained, _nobody, judge_run, judge_steps

WELL = Trained(0, 2.0, "completed", tuple(range(1, EPOCHS + 1)), True)


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({}, ""),
        ({"code": -9}, "completed, 0 expected, found completed, -9"),
        ({"outcome": "failed"}, "completed, 0 expected, found failed, 0"),
        ({"rows": (*range(1, EPOCHS), EPOCHS, EPOCHS)}, f"rows 1 to {EPOCHS} expected, found [1, 2, 3"),
        ({"rows": (2, 3)}, f"rows 1 to {EPOCHS} expected, found [2, 3]"),
        ({"warned": False}, "a word on W&B expected in events.jsonl, found none"),
    ],
)
def test_runs_are_judged(changes: dict[str, Any], wrong: str) -> None:
    found = list(judge_run(replace(WELL, **changes), trouble=True))
    assert len(found) == bool(wrong) and "".join(found).startswith(wrong)


def test_no_trouble_needs_no_word() -> None:
    assert list(judge_run(replace(WELL, warned=False), trouble=False)) == []


def test_steps_are_there_once() -> None:
    steps = Counter(range(1, EPOCHS + 1))
    assert list(judge_steps(steps)) == []
    assert list(judge_steps(steps + Counter([3]))) == ["step 3 once expected, found 2 times"]
    del steps[2]
    assert list(judge_steps(steps)) == [f"steps 1 to {EPOCHS} expected, found none of [2]"]


def test_the_black_hole_accepts_and_is_silent() -> None:
    with _nobody(accepts=True) as url, pytest.raises((TimeoutError, URLError)) as silence:
        urlopen(url, timeout=0.2)
    reason = getattr(silence.value, "reason", silence.value)
    assert isinstance(reason, (socket.timeout, TimeoutError)), reason
