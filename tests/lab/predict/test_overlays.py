"""Outlines lie where the objects do, at every scale."""

import numpy as np
import pytest

from lab.figures.panels import to_rgb
from lab.predict.connected_objects import COLOURS, LARGEST, outlined, scaled
from tests.inference_tools import spots


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((300, 400), (300, 400)),
        ((100, 200), (200, 400)),
        ((1, 1), (512, 512)),
        ((1600, 10), (1600, 10)),
        ((3200, 800), (1600, 400)),
        ((9000, 2), (1600, 1)),
    ],
)
def test_pictures_are_as_large_as_a_screen_can_use(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert scaled(np.zeros(size, np.uint8)).shape == (*expected, 3)


def test_an_image_is_shown_as_it_is_but_for_contrast() -> None:
    image = np.random.default_rng(0).integers(0, 65536, (300, 400, 3), np.uint16)
    assert np.array_equal(scaled(image), to_rgb(image))


def test_outlines_are_coloured_by_class_with_a_dark_rim() -> None:
    mask = spots((300, 400), (50, 50, 100, 80), value=1)
    mask[200:260, 300:380] = 2
    picture = np.full((300, 400, 3), 128, np.uint8)
    found = outlined(picture, mask)
    for index, (top, left, bottom, right) in ((1, (50, 50, 149, 129)), (2, (200, 300, 259, 379))):
        where = (found == COLOURS[index - 1]).all(2)
        edge = np.zeros_like(where)
        edge[top : bottom + 1, [left, right]] = edge[[top, bottom], left : right + 1] = True
        assert np.array_equal(where, edge)
        assert (found[top + 1, left + 5] == 0).all() and (found[top - 1, left + 5] == 0).all()
        assert (found[(top + bottom) // 2, (left + right) // 2] == 128).all()
    assert (picture == 128).all() and (found[20, 20] == 128).all()


def test_nothing_found_leaves_the_picture() -> None:
    picture = np.full((20, 20, 3), 7, np.uint8)
    assert np.array_equal(outlined(picture, np.zeros((20, 20), np.uint8)), picture)


def test_a_single_pixel_of_a_large_image_stays_to_be_seen() -> None:
    mask = spots((4 * LARGEST, 64), (5000, 30, 1, 1), value=1)
    found = outlined(np.zeros((LARGEST, 16, 3), np.uint8), mask)
    seen = np.argwhere((found == COLOURS[0]).all(2)).mean(0)
    assert seen == pytest.approx((5000 / 4, 30 / 4), abs=1)


def test_outlines_of_an_enlarged_image_are_thin() -> None:
    mask = spots((64, 64), (20, 20, 10, 10), value=1)
    found = outlined(scaled(mask), mask)
    assert found.shape == (512, 512, 3)
    where = np.argwhere((found == COLOURS[0]).all(2))
    assert where.min() == 160 and where.max() == 239 and len(where) == 4 * 79
