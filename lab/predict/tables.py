"""The tables of a prediction: a row per object, and the scores of each image against its ground truth."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from lab.config.mask_values import IGNORE_INDEX, listed
from lab.metrics.image_scores import OVERLAPS
from lab.predict.connected_objects import MaskObject
from lab.store.file_io import to_csv

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


OBJECTS, METRICS = "objects.csv", "metrics.csv"
_MEASURED = ("area_px", "equivalent_diameter_px", "circularity", "centroid_x_px", "centroid_y_px")
_BOX = ("left_px", "top_px", "width_px", "height_px")
_MICRONS = ("area_um2", "equivalent_diameter_um", "centroid_x_um", "centroid_y_um")
Scores = Mapping[str, Mapping[str, Mapping[str, float | None]]]
"""image -> class -> measure."""


def object_rows(
    image: str, objects: Iterable[MaskObject], classes: Sequence[str], pixel_size: float | None
) -> list[list[object]]:
    """Return a row per object; with a pixel size in µm, also its size and position in µm."""
    rows = []
    for each in objects:
        measured = [each.area, each.diameter, each.circularity, each.x, each.y]
        box = [each.left, each.top, each.width, each.height]
        row = [image, each.label, classes[each.index], *measured, *box]
        if pixel_size is not None:
            row += [each.area * pixel_size**2, *(v * pixel_size for v in (each.diameter, each.x, each.y))]
        rows.append(row)
    return rows


def objects_csv(rows: Iterable[Sequence[object]], pixel_size: float | None) -> str:
    """Return `objects.csv` with its header."""
    columns = ["image", "label", "class", *_MEASURED, *_BOX, *(() if pixel_size is None else _MICRONS)]
    return to_csv(columns, rows)


def metrics_csv(scores: Scores) -> str:
    """Return `metrics.csv`: a row per image and class; scores of absent classes are empty."""
    rows = (
        [image, name, *values.values()]
        for image, by_class in scores.items()
        for name, values in by_class.items()
    )
    return to_csv(["image", "class", *MEASURES], rows)


def means(scores: Scores) -> dict[str, dict[str, float]]:
    """Return class -> measure -> the mean over the images that have it."""
    found: dict[str, dict[str, list[float]]] = {}
    for by_class in scores.values():
        for name, values in by_class.items():
            for key, value in values.items():
                found.setdefault(name, {}).setdefault(key, [])
                if value is not None:
                    found[name][key].append(value)
    return {
        name: {key: sum(values) / len(values) for key, values in by_key.items() if values}
        for name, by_key in found.items()
    }
