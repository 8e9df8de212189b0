import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.metrics.class_scores import BINS, calibration_error, reliability


def test_closed_form() -> None:
    """Four answers of 0.9, half of them right, and one of 0.3 that is wrong: (4 · 0.4 + 1 · 0.3) / 5."""
    bins = reliability([0.9, 0.9, 0.9, 0.9, 0.3], [True, False, True, False, False], bins=10)
    assert [(each.samples, each.low, each.high) for each in bins if each.samples] == [
        (1, 0.2, 0.3),
        (4, 0.8, 0.9),
    ]
    assert bins[8].confidence == pytest.approx(0.9) and bins[8].accuracy == 0.5
    assert math.isnan(bins[0].accuracy)
    assert calibration_error(bins) == pytest.approx((4 * 0.4 + 0.3) / 5)


def test_as_sure_as_right_is_no_error() -> None:
    rng = np.random.default_rng(0)
    sure = rng.uniform(0.3, 1, 200_000)
    right = rng.random(200_000) < sure
    assert calibration_error(reliability(sure, right)) < 0.01
    assert calibration_error(reliability(sure, ~right)) > 0.3
    assert calibration_error(reliability(np.ones(5), np.ones(5))) == 0


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=40),
    st.integers(1, 20),
)
def test_equals_the_sum_over_bins(answers: list[tuple[float, bool]], count: int) -> None:
    """As `Σ n_b / N |acc_b − conf_b|` reads, over (low, high]."""
    sure, right = (np.array(column) for column in zip(*answers, strict=True))
    bins = reliability(sure, right, count)
    assert len(bins) == count and sum(each.samples for each in bins) == len(answers)
    assert (bins[0].low, bins[-1].high) == (0, 1)
    total = 0.0
    for number, each in enumerate(bins):
        inside = (sure <= each.high) & ((sure > each.low) | (number == 0))
        assert each.samples == inside.sum()
        if inside.any():
            total += inside.sum() / len(sure) * abs(right[inside].mean() - sure[inside].mean())
    assert calibration_error(bins) == pytest.approx(total, abs=1e-12)


def test_nothing_has_no_error() -> None:
    bins = reliability([], [])
    assert len(bins) == BINS and math.isnan(calibration_error(bins))


@pytest.mark.parametrize(
    ("sure", "right", "bins", "message"),
    [
        ([0.5], [True, False], 15, r"found \(1,\) and \(2,\)"),
        ([0.5], [True], 0, "at least 1, found 0"),
        ([1.5], [True], 15, r"in \[0, 1\]"),
        ([math.nan], [True], 15, r"in \[0, 1\]"),
    ],
)
def test_what_makes_no_sense(sure: list[float], right: list[bool], bins: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        reliability(sure, right, bins)
