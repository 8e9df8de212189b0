"""Intervals and verdicts, by numbers from a table of Student's t."""

import math

import pytest

from lab.hpo.confirm import _verdict, interval


def test_the_interval_is_students() -> None:
    mean, low, high = interval([1.0, 2.0, 3.0, 4.0, 5.0])  # t(0.975, 4) = 2.776, s = 1.5811
    assert mean == 3.0
    assert high - mean == pytest.approx(2.7764 * 1.58114 / math.sqrt(5), abs=1e-3)
    assert low == pytest.approx(2 * mean - high)


def test_too_few_values_have_no_interval() -> None:
    assert interval([2.0])[0] == 2.0 and math.isnan(interval([2.0])[1])
    assert all(map(math.isnan, interval([])))


@pytest.mark.parametrize(
    ("first", "second", "mode", "verdict"),
    [
        ([0.10, 0.11, 0.12], [0.20, 0.22, 0.21], "min", "trial 1 beats trial 2"),
        ([0.10, 0.11, 0.12], [0.20, 0.22, 0.21], "max", "trial 2 beats trial 1"),
        ([0.10, 0.30, 0.12], [0.20, 0.12, 0.21], "min", "can't be told apart"),
        ([0.10, None, None], [0.20, 0.22, 0.21], "min", "can't be compared"),
        ([0.10, math.nan, math.inf], [0.20, 0.22, 0.21], "min", "can't be compared"),
    ],
)
def test_the_first_beats_the_second_where_their_differences_leave_out_zero(
    first: list[float | None], second: list[float | None], mode: str, verdict: str
) -> None:
    assert verdict in _verdict({1: first, 2: second}, mode)


def test_seeds_are_paired() -> None:
    """The seeds differ far more than the trials do, and the same way for both."""
    first = [1.0, 2.0, 3.0, 4.0]
    assert "trial 1 beats" in _verdict({1: list(first), 2: [v + 0.01 for v in first]}, "min")


def test_one_candidate_has_nothing_to_beat() -> None:
    assert "no second trial" in _verdict({1: [1.0, 2.0]}, "min")
