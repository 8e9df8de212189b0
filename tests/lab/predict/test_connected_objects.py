"""Objects of known shape, and what is removed."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from lab.predict import connected_objects
from lab.predict.connected_objects import class_counts, find_objects


def disk(radius: int, margin: int = 3) -> NDArray[np.uint8]:
    at = np.arange(-radius - margin, radius + margin + 1)
    return (at[:, None] ** 2 + at**2 <= radius**2).astype(np.uint8)


def test_a_rectangle_is_measured_exactly() -> None:
    mask = np.zeros((40, 60), np.uint8)
    mask[10:14, 30:40] = 1
    (found,) = find_objects(mask)
    assert (found.label, found.index, found.area) == (1, 1, 40)
    assert (found.left, found.top, found.width, found.height) == (30, 10, 10, 4)
    assert (found.x, found.y) == (34.5, 11.5)
    assert found.diameter == pytest.approx(2 * math.sqrt(40 / math.pi))
    # 2·10 crossings of upright lines, 2·4 of level ones, 2·13 of those in either diagonal, which lie √½ apart
    assert found.perimeter == pytest.approx(math.pi / 8 * (20 + 8 + 52 * math.sqrt(0.5)))


@pytest.mark.parametrize(("radius", "error"), [(10, 0.07), (30, 0.025), (200, 0.005)])
def test_a_disk_is_round_and_has_its_diameter(radius: int, error: float) -> None:
    (found,) = find_objects(disk(radius))
    assert found.circularity == pytest.approx(1, abs=error)
    assert found.perimeter == pytest.approx(2 * math.pi * radius, rel=error)
    assert found.diameter == pytest.approx(2 * radius, rel=error)
    assert (found.x, found.y) == (radius + 3, radius + 3)


def test_what_is_long_is_not_round() -> None:
    mask = np.zeros((200, 200), np.uint8)
    mask[50:54, 10:190] = 1
    (found,) = find_objects(mask)
    assert found.circularity == pytest.approx(4 * math.pi * 720 / 368**2, rel=0.13)


def test_pixels_that_touch_at_a_corner_are_one_object() -> None:
    assert [each.area for each in find_objects(np.eye(3, dtype=np.uint8))] == [3]


def test_classes_that_touch_are_objects_apart() -> None:
    mask = np.zeros((6, 9), np.uint8)
    mask[:, :3], mask[:, 3:5], mask[0, 8] = 2, 1, 2
    found = find_objects(mask)
    assert [(each.label, each.index, each.area) for each in found] == [(1, 1, 12), (2, 2, 18), (3, 2, 1)]


def test_objects_below_the_least_area_are_gone_from_the_mask() -> None:
    mask = np.zeros((20, 20), np.uint8)
    mask[2:4, 2:4], mask[10:13, 10:13], mask[0, 0], mask[19, :3] = 1, 1, 2, 2
    found = find_objects(mask, min_area=4)
    assert [(each.label, each.area) for each in found] == [(1, 4), (2, 9)]
    expected = np.zeros((20, 20), np.uint8)
    expected[2:4, 2:4], expected[10:13, 10:13] = 1, 1
    assert np.array_equal(mask, expected)
    assert [each.area for each in find_objects(mask, min_area=5)] == [9] and mask.sum() == 9


def test_an_empty_mask_has_none() -> None:
    assert find_objects(np.zeros((5, 5), np.uint8), 3) == []


def test_one_pixel_is_an_object_at_most_perfectly_round() -> None:
    (found,) = find_objects(np.ones((1, 1), np.uint8))
    assert (found.area, found.circularity, found.x, found.y) == (1, 1.0, 0.0, 0.0)


def crossings(mask: NDArray[np.uint8]) -> float:
    """Crofton's sum for one object, pixel by pixel."""
    there = {(int(y), int(x)) for y, x in np.argwhere(mask)}
    total = 0.0
    for y, x in product(range(-1, len(mask) + 1), range(-1, mask.shape[1] + 1)):
        for down, right, spacing in ((0, 1, 1), (1, 0, 1), (1, 1, math.sqrt(0.5)), (1, -1, math.sqrt(0.5))):
            total += spacing * (((y, x) in there) != ((y + down, x + right) in there))
    return math.pi / 8 * total


@given(
    mask=arrays.arrays(
        np.uint8, st.tuples(st.integers(1, 11), st.integers(1, 11)), elements=st.integers(0, 1)
    )
)
@settings(max_examples=60, deadline=None)
def test_perimeters_and_areas_add_up_whatever_the_rows_of_a_block(mask: NDArray[np.uint8]) -> None:
    rows = connected_objects._ROWS
    try:
        for connected_objects._ROWS in (1, 4, 512):
            found = find_objects(mask)
            assert sum(each.area for each in found) == mask.sum()
            # Objects don't touch, so that each crossing belongs to one of them.
            assert sum(each.perimeter for each in found) == pytest.approx(crossings(mask))
    finally:
        connected_objects._ROWS = rows


def test_pixels_are_counted_by_class() -> None:
    mask = np.repeat(np.array([0, 3, 3, 255], np.uint8)[:, None], 700, axis=1).T
    counts = class_counts(np.ascontiguousarray(mask))
    assert {int(k): int(counts[k]) for k in np.flatnonzero(counts)} == {0: 700, 3: 1400, 255: 700}
