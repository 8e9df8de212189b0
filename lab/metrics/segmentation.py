"""Overlap of binary masks: Dice and IoU from the same three counts."""

from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor

from lab.metrics.base import Metric, require_same_shape


class _Overlap(ABC):
    """Counts |P ∩ G|, |P| and |G| per image, and averages a ratio of them over images or over the set."""

    def __init__(self, threshold: float = 0.5, average: Literal["image", "set"] = "image") -> None:
        if not 0 <= threshold < 1:
            raise ValueError(f"threshold must be in [0, 1), found {threshold}")
        if average not in ("image", "set"):
            raise ValueError(f"average must be 'image' or 'set', found {average!r}")
        self.threshold = threshold
        self.average = average
        self.reset()

    def reset(self) -> None:
        """Forget all batches."""
        self._images = 0
        self._ratios: Tensor | None = None  # sum of the images' ratios, 0-dim float32
        self._counts: Tensor | None = None  # overlap, |P|, |G| of the whole set, (3,) int64

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Probabilities and masks of the same shape (N, ...); a pixel is set where it is > threshold (mask: >
        0.5).

        Raises:
            ValueError: the shapes differ.
        """
        require_same_shape(prediction, target)
        found = (prediction > self.threshold).flatten(1)
        truth = (target > 0.5).flatten(1)
        counts = torch.stack([(found & truth).sum(1), found.sum(1), truth.sum(1)])  # (3, N) int64
        ratios = self._ratio(*counts).sum()
        total = counts.sum(1)
        self._images += len(prediction)
        self._ratios = ratios if self._ratios is None else self._ratios + ratios
        self._counts = total if self._counts is None else self._counts + total

    def compute(self) -> Tensor:
        """The value in [0, 1], 0-dim; NaN without any image."""
        if self._ratios is None or self._counts is None:
            return torch.tensor(torch.nan)
        return self._ratios / self._images if self.average == "image" else self._ratio(*self._counts)

    @staticmethod
    @abstractmethod
    def _ratio(overlap: Tensor, found: Tensor, truth: Tensor) -> Tensor:
        """The measure from integer counts of any one shape; 1 where both masks are empty."""


def _ratio_or_one(numerator: Tensor, denominator: Tensor) -> Tensor:
    """The quotient in float32, and 1 where the denominator is 0: nothing to find and nothing found."""
    return torch.where(denominator == 0, 1.0, numerator / denominator.clamp(min=1))


class Dice(_Overlap):
    """Dice = 2·|P ∩ G| / (|P| + |G|), the F1 score of the pixels (Dice 1945, Sørensen 1948).

    Args:
        threshold: a pixel is set where its probability is greater than this.
        average: `image` is the mean of the images' values, so that each image weighs the same; `set` is one
            value from the counts of all pixels, in which large objects weigh more. Both masks empty: 1.
    """

    @staticmethod
    def _ratio(overlap: Tensor, found: Tensor, truth: Tensor) -> Tensor:
        return _ratio_or_one(2 * overlap, found + truth)


class IoU(_Overlap):
    """Intersection over union = |P ∩ G| / |P ∪ G| (Jaccard 1901); over a set it equals Dice / (2 − Dice).

    Args:
        threshold: a pixel is set where its probability is greater than this.
        average: `image` is the mean of the images' values, so that each image weighs the same; `set` is one
            value from the counts of all pixels, in which large objects weigh more. Both masks empty: 1.
    """

    @staticmethod
    def _ratio(overlap: Tensor, found: Tensor, truth: Tensor) -> Tensor:
        return _ratio_or_one(overlap, found + truth - overlap)


_dice: type[Metric] = Dice  # mypy proves the protocol here
_iou: type[Metric] = IoU
