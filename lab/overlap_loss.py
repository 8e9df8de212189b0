"""Soft Dice, Jaccard and Tversky of several classes, averaged over those that count."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from lab.labels import Background, counted_classes


class OverlapLoss:
    """An overlap loss of smp that is the mean over the classes that count.

    Args:
        kind: smp's class.
        binary: the logits are one map, which becomes that of two classes.
    """

    def __init__(
        self,
        kind: Callable[..., nn.Module],
        options: Mapping[str, object],
        background: Background,
        binary: bool,
    ) -> None:
        self._loss = kind("multiclass", **options)
        self._background, self._binary = background, binary
        self._counted: dict[tuple[int, torch.device], Tensor] = {}

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        if self._binary:
            logits, target = torch.cat([torch.zeros_like(logits), logits], dim=1), target[:, 0].long()
        classes = logits.shape[1]
        key = classes, logits.device
        if key not in self._counted:  # once, for it waits for a device
            counted = counted_classes(classes, self._background, one_map=self._binary)
            self._counted[key] = torch.tensor(counted, device=logits.device)
        self._loss.classes = self._counted[key]
        loss: Tensor = self._loss(logits, target)
        return loss
