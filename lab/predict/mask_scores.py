"""Scores of a mask against its ground truth, by the formulas of the training's metrics."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from lab.config.mask_values import IGNORE_INDEX, listed
from lab.metrics.image_scores import OVERLAPS

MEASURES = tuple(OVERLAPS)
MEAN = "mean"
_ROWS = 512


def score(
    mask: NDArray[np.uint8], truth: NDArray[np.uint8], classes: Sequence[str], background: int | None = 0
) -> dict[str, dict[str, float | None]]:
    """Compute Dice, IoU, precision and recall of one image, by class, and their mean over several classes.

    A class that neither mask has is None and not in the mean; if both masks are empty, the mean (the score of
    a single foreground) is 1.

    Args:
        mask, truth: (H, W), class indices; pixels whose truth is 255 don't count.
        classes: names by index.
        background: the index of the class that the mean leaves out, if there is one.

    Raises:
        ValueError: the two differ in size.
    """
    if mask.shape != truth.shape:
        sizes = " and ".join(f"{shape[1]} × {shape[0]}" for shape in (mask.shape, truth.shape))
        raise ValueError(f"image and truth differ in size: {sizes} pixels")
    counts = torch.from_numpy(_counts(mask, truth, len(classes)))
    result: dict[str, dict[str, float | None]] = {}
    counted = [index for index in range(len(classes)) if index != background]
    for index in listed(classes, background):
        there = bool(counts[index, 1] + counts[index, 2] > 0) or counted == [index]
        each = counts[index : index + 1]
        result[classes[index]] = {
            key: float(kind.ratio(each)) if there else None for key, kind in OVERLAPS.items()
        }
    if len(counted) > 1:
        result[MEAN] = {key: float(kind.ratio(counts[counted])) for key, kind in OVERLAPS.items()}
    return result


def _counts(mask: NDArray[np.uint8], truth: NDArray[np.uint8], classes: int) -> NDArray[np.int64]:
    """|P ∩ G|, |P| and |G| of each class, (classes, 3)."""
    pairs = np.zeros((classes, classes), np.int64)  # [true, predicted]
    # Block by block: the temporary arrays take many times the memory of the masks.
    for top in range(0, len(mask), _ROWS):
        predicted, true = mask[top : top + _ROWS], truth[top : top + _ROWS]
        judged = true != IGNORE_INDEX
        codes = true[judged].astype(np.intp) * classes + predicted[judged]
        pairs += np.bincount(codes, minlength=classes * classes).reshape(classes, classes)
    return np.stack([pairs.diagonal(), pairs.sum(0), pairs.sum(1)], axis=1)
