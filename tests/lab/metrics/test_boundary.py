import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, distance_transform_edt

from lab.metrics.boundary import boundary, hausdorff95

Mask = NDArray[np.bool_]
MASKS = st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(
    lambda shape: st.tuples(arrays(bool, shape), arrays(bool, shape))
)


def disc(size: int, row: float, column: float, radius: float) -> Mask:
    rows, columns = np.ogrid[:size, :size]
    inside: Mask = (rows - row) ** 2 + (columns - column) ** 2 <= radius**2
    return inside


def by_brute_force(a: Mask, b: Mask, spacing: tuple[float, float]) -> float:
    """Pixel by pixel, from the definition."""
    edges = []
    for mask in (a, b):
        height, width = mask.shape
        edge = []
        for row, column in np.argwhere(mask):
            beside = [(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)]
            if any(not (0 <= r < height and 0 <= c < width and mask[r, c]) for r, c in beside):
                edge.append((row * spacing[0], column * spacing[1]))
        edges.append(edge)
    there = [min(math.dist(p, q) for q in edges[1]) for p in edges[0]]
    back = [min(math.dist(p, q) for p in edges[0]) for q in edges[1]]
    return float(np.percentile(there + back, 95))


def as_medpy(a: Mask, b: Mask, spacing: tuple[float, float]) -> float:
    """The lines of medpy.metric.binary.hd95, which isn't installed here."""
    edges = [mask ^ binary_erosion(mask) for mask in (a, b)]
    maps = [distance_transform_edt(~edge, sampling=spacing) for edge in edges]
    return float(np.percentile(np.hstack([maps[1][edges[0]], maps[0][edges[1]]]), 95))


@settings(max_examples=150, deadline=None)
@given(MASKS, st.sampled_from([(1.0, 1.0), (0.65, 0.65), (2.0, 0.5)]))
def test_equals_brute_force_and_medpy(masks: tuple[Mask, Mask], spacing: tuple[float, float]) -> None:
    a, b = masks
    found = hausdorff95(a, b, spacing=spacing)
    assert found == hausdorff95(b, a, spacing=spacing)
    diagonal = math.hypot(a.shape[0] * spacing[0], a.shape[1] * spacing[1])
    if a.any() and b.any():
        assert found == pytest.approx(by_brute_force(a, b, spacing))
        assert found == pytest.approx(as_medpy(a, b, spacing))
        assert found < diagonal
    else:
        assert found == (diagonal if a.any() or b.any() else 0.0)


@given(arrays(bool, (7, 8)))
def test_the_boundary_is_what_erosion_takes_away(mask: Mask) -> None:
    assert (boundary(mask) == (mask & ~binary_erosion(mask))).all()
    assert hausdorff95(mask, mask) == 0.0


def test_a_shift_is_the_distance() -> None:
    a, b = np.zeros((40, 60), bool), np.zeros((40, 60), bool)
    a[:, 10], b[:, 17] = True, True
    assert hausdorff95(a, b) == 7.0
    assert hausdorff95(a, b, spacing=0.5) == 3.5
    assert hausdorff95(a, b, spacing=(9.0, 0.5)) == 3.5


def test_a_stray_pixel_does_not_decide_it() -> None:
    a = disc(200, 60, 60, 30)
    b = a.copy()
    b[199, 199] = True
    assert hausdorff95(a, b) == 0.0
    b[150:, 150:] = True  # many do
    assert hausdorff95(a, b) > 50


def test_ignored_pixels_are_in_neither() -> None:
    a, b = disc(60, 20, 20, 8), disc(60, 20, 22, 8)
    c = b | disc(60, 50, 50, 5)
    judged = ~disc(60, 50, 50, 9)
    assert hausdorff95(a, c) > 20
    assert hausdorff95(a, c, judged=judged) == hausdorff95(a, b)
    assert hausdorff95(a & ~judged, b & ~judged, judged=judged) == 0.0


def test_a_large_image_takes_no_distance_map() -> None:
    a, b = (np.zeros((8192, 8192), bool) for _ in range(2))
    a[4000:4100, 4000:4100], b[4000:4100, 4003:4103] = True, True
    assert hausdorff95(a, b) == 3.0


@pytest.mark.parametrize(("a", "b"), [((4, 4), (4, 5)), ((1, 4, 4), (1, 4, 4))])
def test_shapes_must_fit(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"\(height, width\)"):
        hausdorff95(np.zeros(a, bool), np.zeros(b, bool))
