"""Distances between the outlines of two masks: what overlap doesn't measure, and too slow for every epoch."""

import math

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


def hausdorff95(
    prediction: Mask, truth: Mask, *, spacing: float | tuple[float, float] = 1.0, judged: Mask | None = None
) -> float:
    """The Hausdorff distance between two masks' boundaries at 95 %: one stray pixel doesn't decide it.

    From each boundary pixel of either mask the distance to the nearest boundary pixel of the other one; of
    both sets of distances together, the 95th percentile. That is MedPy's `hd95`, which most publications
    report; others (MONAI, Maier-Hein et al., "Metrics reloaded", 2024) take the larger one of the two sets'
    percentiles. Neither bounds the other: the larger percentile is usually the greater value, but
    interpolation between a few distances can make it the smaller one. A boundary pixel is one of the mask
    that has a neighbour (above, below, left or right) outside of it; beyond the image's edge is outside.

    Args:
        prediction, truth: (H, W) booleans.
        spacing: how wide and high a pixel is, or (height, width), such as µm; the result has that unit.
        judged: (H, W); where it is False, neither mask is set.

    Returns:
        0 where both masks are empty. Where one is, the length of the image's diagonal: nothing in it can be
        farther apart, and a mean over images neither loses such a failure nor becomes infinite.

    Raises:
        ValueError: the masks differ in shape, or are not (H, W).
    """
    if prediction.shape != truth.shape or truth.ndim != 2:
        raise ValueError(f"both masks must be (height, width), found {prediction.shape} and {truth.shape}")
    if judged is not None:
        prediction, truth = prediction & judged, truth & judged
    pixel = np.broadcast_to(np.asarray(spacing, dtype=np.float64), 2)
    found, true = (np.argwhere(boundary(mask)) * pixel for mask in (prediction, truth))
    if not len(found) and not len(true):
        return 0.0
    if not len(found) or not len(true):
        return math.hypot(*(np.asarray(truth.shape) * pixel))
    from scipy.spatial import cKDTree  # distances from boundary pixels only: no map of a huge image

    # Both directions: a mask that lies within the other has small distances one way only.
    there, back = cKDTree(true).query(found)[0], cKDTree(found).query(true)[0]
    return float(np.percentile(np.concatenate([there, back]), 95))


def boundary(mask: Mask) -> Mask:
    """The pixels of a mask (H, W) that have one of their four neighbours outside of it."""
    framed = np.pad(mask, 1)
    inner: Mask = framed[:-2, 1:-1] & framed[2:, 1:-1] & framed[1:-1, :-2] & framed[1:-1, 2:]
    return mask & ~inner
