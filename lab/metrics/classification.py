"""Metrics of classifiers that give one probability per class."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from lab.config.mask_values import UNLABELLED
from lab.metrics.base import LeavesOut, Metric
from lab.metrics.segmentation import Dice, Overlap, Precision, Recall


class Accuracy(LeavesOut, Metric):
    """The fraction of samples whose most probable class is the right one.

    Samples without a class (-100, `UNLABELLED`, or what the loss ignores) don't count.
    """

    mark = UNLABELLED

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all batches."""
        self._samples: Tensor | int = 0
        self._right: Tensor | None = None  # 0-dim int64

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Probabilities (or logits) (N, C, ...) with C ≥ 2, and int64 classes (N, ...).

        Raises:
            ValueError: the shapes don't fit one another, or there is one column only (then argmax is always
                0).
        """
        _require_classes(prediction, target)
        right = (prediction.argmax(1) == target).sum()
        self._samples = self._samples + (target != UNLABELLED).sum()
        self._right = right if self._right is None else self._right + right

    def compute(self) -> Tensor:
        """The accuracy in [0, 1], 0-dim float32; NaN without any sample."""
        return torch.tensor(torch.nan) if self._right is None else self._right / self._samples


class _OfClasses(LeavesOut, Metric):
    """A ratio of the counts of right, predicted and true samples, class by class, as one number.

    As scikit-learn's with `zero_division=0`: a class that is neither true nor ever predicted is left out
    of the mean, and one that is in only one of them has 0. Samples without a class (-100,
    `UNLABELLED`, or what the loss ignores) are left out. In YAML `f1: lab.metrics.F1`, or
    `recall_sick: {target: lab.metrics.ClassRecall, average: 1}`.

    Args:
        average: `macro` is the mean over classes, each weighing the same; `weighted` weighs them by how many
            samples are truly theirs. Or one class: its index, or its name where `classes` has the names.
        classes: names by index.

    Raises:
        ValueError: `average` is none of these.
    """

    mark = UNLABELLED
    _kind: ClassVar[type[Overlap]]

    def __init__(self, average: str | int = "macro", classes: Sequence[str] = ()) -> None:
        known = ["macro", "weighted", *classes]
        if isinstance(average, bool) or (isinstance(average, str) and average not in known):
            hint = "" if classes else "; a class goes by its index, or list the names as classes: [...]"
            raise ValueError(f"average must be {', '.join(known)} or an index, found {average!r}{hint}")
        if isinstance(average, int) and average < 0:
            raise ValueError(f"average must be an index from 0, found {average}")
        self.average = average
        self._index = average if isinstance(average, int) else None
        if isinstance(average, str) and average in classes:
            self._index = list(classes).index(average)
        self.reset()

    def reset(self) -> None:
        """Forget all batches."""
        self._counts: Tensor | None = None  # right, predicted and true samples by class, (C, 3) int64

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Probabilities (or logits) (N, C, ...) with C ≥ 2, and int64 classes (N, ...).

        Raises:
            ValueError: the shapes don't fit one another, or there is no class `average`.
        """
        _require_classes(prediction, target)
        classes = prediction.shape[1]
        if self._index is not None and self._index >= classes:
            raise ValueError(f"average is class {self._index}, and there are {classes} (from 0)")
        # One comparison with all class indices instead of a loop: (samples, C) booleans.
        index = torch.arange(classes, device=prediction.device)
        judged = (target != UNLABELLED).flatten()[:, None]
        predicted = (prediction.argmax(1).flatten()[:, None] == index) & judged
        true = target.flatten()[:, None] == index
        counts = torch.stack([(predicted & true).sum(0), predicted.sum(0), true.sum(0)], dim=1)
        self._counts = counts if self._counts is None else self._counts + counts

    def compute(self) -> Tensor:
        """The value in [0, 1], 0-dim float32; NaN without a sample, or for a class that never occurs."""
        if self._counts is None:
            return torch.tensor(torch.nan)
        values = self._kind.ratio(self._counts.T[None])  # (C,): of one class each
        _, predicted, true = self._counts.unbind(1)
        there = predicted + true > 0
        if self._index is not None:
            return torch.where(there, values, torch.nan)[self._index]
        weights = true.float() if self.average == "weighted" else there.float()
        return (values * weights).sum() / weights.sum()


class ClassPrecision(_OfClasses):
    """The fraction of the samples predicted as a class that are of it. Arguments as in `_OfClasses`.

    `lab.metrics.Precision` is that of masks.
    """

    _kind = Precision


class ClassRecall(_OfClasses):
    """The fraction of a class that was recognised. Its `macro` is also known as balanced accuracy.

    Arguments as in `_OfClasses`; `lab.metrics.Recall` is that of masks.
    """

    _kind = Recall


class F1(_OfClasses):
    """The harmonic mean of precision and recall, 2·right / (predicted + true) (van Rijsbergen 1979).

    Arguments as in `_OfClasses`.
    """

    _kind = Dice


def _require_classes(prediction: Tensor, target: Tensor) -> None:
    if prediction.dim() < 2 or prediction.shape[1] < 2:
        raise ValueError(
            f"prediction must be (N, classes) with classes >= 2, found {tuple(prediction.shape)}"
        )
    if target.shape != prediction.shape[:1] + prediction.shape[2:]:
        raise ValueError(
            f"target must hold one class per sample, found {tuple(target.shape)} "
            f"for a prediction of {tuple(prediction.shape)}"
        )
