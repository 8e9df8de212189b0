"""Metrics of classifiers that give one probability per class."""

import torch
from torch import Tensor

from lab.metrics.base import Metric


class Accuracy:
    """The share of samples whose most probable class is the right one."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all batches."""
        self._samples = 0
        self._right: Tensor | None = None  # 0-dim int64

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Probabilities (or logits) (N, C, ...) with C ≥ 2, and int64 classes (N, ...).

        Raises:
            ValueError: the shapes don't fit one another, or there is one column only (then argmax is always
                0).
        """
        if prediction.dim() < 2 or prediction.shape[1] < 2:
            raise ValueError(
                f"prediction must be (N, classes) with classes >= 2, found {tuple(prediction.shape)}"
            )
        if target.shape != prediction.shape[:1] + prediction.shape[2:]:
            raise ValueError(
                f"target must hold one class per sample, found {tuple(target.shape)} "
                f"for a prediction of {tuple(prediction.shape)}"
            )
        right = (prediction.argmax(1) == target).sum()
        self._samples += target.numel()
        self._right = right if self._right is None else self._right + right

    def compute(self) -> Tensor:
        """The accuracy in [0, 1], 0-dim float32; NaN without any sample."""
        return torch.tensor(torch.nan) if self._right is None else self._right / self._samples


_accuracy: type[Metric] = Accuracy  # mypy proves the protocol here
