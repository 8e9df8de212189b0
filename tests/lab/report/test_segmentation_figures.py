import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.figures.panels import IGNORED
from lab.report.segmentation import histogram, legend, tuning


def piles(svg: str) -> list[tuple[int, float, float]]:
    """(images, from, to) of each bar."""
    return [
        (int(n), float(a), float(b))
        for n, a, b in re.findall(r"<title>(\d+) between (\S+) and ([\d.]+)<", svg)
    ]


def test_each_image_is_in_a_bar() -> None:
    found = piles(histogram([0.0, 0.04, 0.5, 0.52, 0.97, 1.0]))
    assert found == [(2, 0.0, 0.05), (2, 0.5, 0.55), (2, 0.95, 1.0)]


def test_good_images_have_finer_bars() -> None:
    assert piles(histogram([0.91, 0.905, 0.994])) == [(1, 0.9, 0.91), (1, 0.91, 0.92), (1, 0.99, 1.0)]
    assert piles(histogram([1.0])) == [(1, 0.99, 1.0)]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50))
def test_no_image_is_lost(values: list[float]) -> None:
    found = piles(histogram(values))
    assert sum(count for count, *_ in found) == len(values)
    assert found[0][1] <= min(values) + 0.005 and found[-1][2] >= max(values) - 0.005


def test_the_chosen_threshold_is_marked() -> None:
    curves = {"fold_0": [(0.4, 0.7), (0.5, 0.8)], "fold_1": [(0.4, 0.75), (0.5, 0.6)]}
    svg = str(tuning(curves, {"fold_0": 0.5, "fold_1": 0.4}))
    assert re.findall(r"<title>(fold_\d: [^<]*)<", svg) == ["fold_0: 0.5, 0.8000", "fold_1: 0.4, 0.7500"]
    assert svg.count('class="curve') == 2
    assert tuning({}, {}) is None


@pytest.mark.parametrize("ignored", [True, False])
def test_the_legend_names_classes_and_what_is_there(ignored: bool) -> None:
    picture = np.zeros((3, 3, 3), np.uint8)
    if ignored:
        picture[1, 1] = IGNORED
    rest = ["ignored"] if ignored else []
    assert [name for name, _ in legend(["bg", "cell"], [picture])] == [
        "found",
        "false alarm",
        "missed",
        *rest,
    ]
    several = legend(["bg", "cell", "debris"], [picture])
    assert [name for name, _ in several][:2] == ["cell", "debris"]
    assert len({colour for _, colour in several}) == len(several)
    assert all(re.fullmatch("#[0-9a-f]{6}", colour) for _, colour in several)
