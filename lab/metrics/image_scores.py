"""Scores of masks image by image: numbers that can be listed, averaged and drawn after all was seen."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lab.config.mask_values import IGNORE_INDEX, Auto, Background, counted_classes
from lab.metrics.boundary import hausdorff95
from lab.metrics.segmentation import Dice, IoU, Overlap, Precision, Recall, class_masks

OVERLAPS: Mapping[str, type[Overlap]] = {"dice": Dice, "iou": IoU, "precision": Precision, "recall": Recall}
HD95 = "hd95"
MEASURES = (*OVERLAPS, HD95)
"""What is measured: shares in [0, 1], better the larger they are, and a distance."""


@dataclass(frozen=True)
class ImageScores:
    """One image's scores, by class.

    Args:
        counts: |P ∩ G|, |P| and |G| of each class, in pixels.
        hd95: of each of them; NaN of a background beside a single foreground, which no table lists.
        counted: the indices of the classes that means are over.
        part: the fold or seed whose network was asked, where there are several.
    """

    name: str
    height: int
    width: int
    counts: tuple[tuple[int, int, int], ...]
    hd95: tuple[float, ...]
    counted: tuple[int, ...]
    part: str = ""

    def value(self, measure: str, index: int | None = None) -> float | None:
        """One of `MEASURES`.

        Args:
            index: of a class: None where neither truth nor prediction has it, unless it is the only
                foreground, of which nothing found where nothing is counts as right. Without it, the mean over
                the classes that count and are there.
        """
        chosen = self.counted if index is None else (index,)
        there = [n for n in chosen if self.counts[n][1] + self.counts[n][2]]
        if index is not None and not there and self.counted != (index,):
            return None
        if measure == HD95:
            return sum(self.hd95[n] for n in there) / len(there) if there else 0.0
        counts = torch.tensor([self.counts[n] for n in there], dtype=torch.int64).reshape(-1, 3)
        return float(OVERLAPS[measure].ratio(counts))


def score_image(
    name: str,
    prediction: Tensor,
    target: Tensor,
    *,
    threshold: float = 0.5,
    spacing: float = 1.0,
    background: Background = Auto.AUTO,
    part: str = "",
) -> ImageScores:
    """The scores of one image.

    Args:
        prediction: probabilities (1, 1, H, W), or those of the classes (1, K, H, W).
        target: (1, 1, H, W), or classes (1, H, W).
        spacing: how large a pixel is; HD95 has that unit.
        background: as for `lab.metrics.Dice`.

    Raises:
        ValueError: the shapes don't fit.
    """
    classes = max(2, prediction.shape[1])
    counted = counted_classes(classes, background, one_map=prediction.shape == target.shape)
    height, width = target.shape[-2:]
    judged = (target != IGNORE_INDEX).reshape(height, width).cpu().numpy()
    counts, distances = [], []
    for index, (found, truth) in enumerate(class_masks(prediction, target, threshold, background=None)):
        counts.append((int((found & truth).sum()), int(found.sum()), int(truth.sum())))
        if len(counted) == 1 and index not in counted:
            distances.append(math.nan)
            continue
        masks = (mask.reshape(height, width).cpu().numpy() for mask in (found, truth))
        distances.append(hausdorff95(*masks, spacing=spacing, judged=judged))
    return ImageScores(name, height, width, tuple(counts), tuple(distances), counted, part)


@dataclass(frozen=True)
class Summary:
    """One measure over images. `whole` is that of all their pixels as one; a distance has none."""

    mean: float
    deviation: float  # of the sample (n - 1); NaN for one image
    median: float
    low: float
    high: float
    count: int
    whole: float | None = None


def summarise(images: Sequence[ImageScores], measure: str, index: int | None = None) -> Summary | None:
    """One measure over images that have the class `index` (see `ImageScores.value`); None where none has.

    The mean is the metric's `average: image`, the figure of all pixels its `average: set`.
    """
    summary = describe(value for image in images if (value := image.value(measure, index)) is not None)
    if summary is None or measure == HD95:
        return summary
    counts = torch.tensor([image.counts for image in images], dtype=torch.int64).sum(0)  # (classes, 3)
    chosen = counts[list(images[0].counted) if index is None else [index]]
    whole = float(OVERLAPS[measure].ratio(chosen))
    return Summary(**{**vars(summary), "whole": whole})


def describe(values: Iterable[float]) -> Summary | None:
    """Mean, spread and range; None without a value."""
    found = np.asarray(list(values), dtype=np.float64)
    if not found.size:
        return None
    deviation = float(found.std(ddof=1)) if found.size > 1 else math.nan
    low, high = float(found.min()), float(found.max())
    return Summary(float(found.mean()), deviation, float(np.median(found)), low, high, found.size)


THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 20))
"""What is tried: 0.05 to 0.95."""


class ThresholdSearch:
    """The threshold with the best mean Dice per image, found in one pass over the images.

    Each pixel is counted by how many thresholds its probability exceeds, so that all are judged at once.

    Args:
        background: the index of the class that is no object; None: the mean is over both classes.
    """

    def __init__(self, background: int | None = 0) -> None:
        self._counted = counted_classes(2, background, one_map=True)
        self._sum = torch.zeros(len(THRESHOLDS), dtype=torch.float64)
        self._images = 0

    def add(self, prediction: Tensor, target: Tensor) -> None:
        """Take in images: probabilities of the foreground and masks, both (N, 1, H, W).

        Raises:
            ValueError: there are several classes, which need no threshold.
        """
        if prediction.shape != target.shape or prediction.shape[1] != 1:
            raise ValueError(
                f"a threshold is for one foreground, (N, 1, H, W); found {tuple(prediction.shape)}"
            )
        edges = torch.tensor(THRESHOLDS, dtype=prediction.dtype, device=prediction.device)
        for each, mask in zip(prediction, target, strict=True):
            judged = mask != IGNORE_INDEX
            # The number of thresholds that each probability exceeds.
            exceeded = torch.bucketize(each[judged], edges)
            truth = mask[judged] > 0.5
            found, overlap = (_at_least(part) for part in (exceeded, exceeded[truth]))
            true = truth.sum().expand_as(found)
            foreground = torch.stack([overlap, found, true])
            # The background's counts follow from those of the foreground.
            rest = torch.stack([truth.numel() - found - true + overlap, *(truth.numel() - foreground[1:])])
            counts = torch.stack([rest, foreground])[list(self._counted)]
            self._sum += Dice.ratio(counts).double().cpu()
            self._images += 1

    def curve(self) -> list[tuple[float, float]]:
        """(threshold, mean Dice per image)."""
        return list(zip(THRESHOLDS, (self._sum / max(self._images, 1)).tolist(), strict=True))

    def best(self) -> float:
        """The best one; of several equal ones that nearest to 0.5."""
        curve = self.curve()
        highest = max(value for _, value in curve)
        return min(
            (each for each, value in curve if value >= highest - 1e-9), key=lambda each: abs(each - 0.5)
        )


def _at_least(exceeded: Tensor) -> Tensor:
    """Count the values above each of the thresholds, (thresholds,)."""
    histogram = torch.bincount(exceeded, minlength=len(THRESHOLDS) + 1)
    return histogram.flip(0).cumsum(0).flip(0)[1:]
