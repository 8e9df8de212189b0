"""How well a mask fits its truth, counted in pieces, by the same formulas as the training's metrics."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from lab.labels import IGNORE
from lab.metrics.scores import OVERLAPS

MEASURES = tuple(OVERLAPS)
MEAN = "mean"
_ROWS = 512


def score(
    mask: NDArray[np.uint8], truth: NDArray[np.uint8], classes: Sequence[str]
) -> dict[str, dict[str, float | None]]:
    """Dice, IoU, precision and recall of one image, by class and, where there are several, their mean.

    A class that neither mask has is None and not in the mean; with nothing to find and nothing found, the
    mean (of two classes: the foreground's) is 1.

    Args:
        mask, truth: (H, W), class indices; pixels whose truth is 255 don't count.
        classes: names by index, background first.

    Raises:
        ValueError: the two differ in size.
    """
    if mask.shape != truth.shape:
        sizes = " and ".join(f"{shape[1]} × {shape[0]}" for shape in (mask.shape, truth.shape))
        raise ValueError(f"image and truth differ in size: {sizes} pixels")
    counts = torch.from_numpy(_counts(mask, truth, len(classes)))
    result: dict[str, dict[str, float | None]] = {}
    for index, name in enumerate(classes[1:]):
        there = bool(counts[index, 1] + counts[index, 2] > 0) or len(classes) == 2
        each = counts[index : index + 1]
        result[name] = {key: float(kind.ratio(each)) if there else None for key, kind in OVERLAPS.items()}
    if len(classes) > 2:
        result[MEAN] = {key: float(kind.ratio(counts)) for key, kind in OVERLAPS.items()}
    return result


def _counts(mask: NDArray[np.uint8], truth: NDArray[np.uint8], classes: int) -> NDArray[np.int64]:
    """|P ∩ G|, |P| and |G| of each class but background, (classes - 1, 3)."""
    pairs = np.zeros((classes, classes), np.int64)  # [true, said]
    for top in range(0, len(mask), _ROWS):
        said, true = mask[top : top + _ROWS], truth[top : top + _ROWS]
        judged = true != IGNORE
        codes = true[judged].astype(np.intp) * classes + said[judged]
        pairs += np.bincount(codes, minlength=classes * classes).reshape(classes, classes)
    counts = np.stack([pairs.diagonal(), pairs.sum(0), pairs.sum(1)], axis=1)
    return counts[1:]
