"""Sums of numerators and denominators by name, gathered on a device and read seldom."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lab.losses.torch_losses import Weight


class Ratios:
    """Σ mean · weight / Σ weight of each name, in float64.

    What is added stays on its device until it is read, which waits for the device once a name.
    """

    def __init__(self) -> None:
        self._sums: dict[str, tuple[float, float]] = {}
        self._pending: dict[str, list[tuple[Tensor, Weight]]] = {}

    def add(self, name: str, mean: Tensor, weight: Weight) -> None:
        """Take in a mean, 0-dim, and its weight; a mean of weight 0 counts nothing."""
        self._pending.setdefault(name, []).append((mean.detach(), weight))

    def read(self) -> dict[str, float]:
        """Add up what is pending; returns its means by name, NaN where all weights are 0."""
        found = {}
        for name, pairs in self._pending.items():
            # One transfer for all weights and one for all means, however many batches are pending.
            weights = numbers([weight for _, weight in pairs])
            numerator = float((numbers([mean for mean, _ in pairs]) * weights).sum())
            denominator = float(weights.sum())
            earlier = self._sums.get(name, (0.0, 0.0))
            self._sums[name] = earlier[0] + numerator, earlier[1] + denominator
            found[name] = _ratio(numerator, denominator)
        self._pending = {}
        return found

    def means(self) -> dict[str, float]:
        """All that was read, by name; NaN where all weights are 0."""
        return {name: _ratio(*sums) for name, sums in self._sums.items()}

    def state_dict(self) -> dict[str, list[float]]:
        """The sums by name: numerator and denominator."""
        return {name: list(sums) for name, sums in self._sums.items()}

    def load_state_dict(self, state: Mapping[str, Sequence[float]]) -> None:
        """Continue from there."""
        self._sums = {name: (float(above), float(below)) for name, (above, below) in state.items()}


def total(means: Mapping[str, float]) -> float:
    """The sum of the means that there are; NaN where there is none."""
    there = [mean for mean in means.values() if not math.isnan(mean)]
    return sum(there) if there else math.nan


def numbers(values: Sequence[Tensor | int]) -> Tensor:
    """0-dim tensors, or plain numbers, as one of float64 on the CPU."""
    tensors = [each for each in values if isinstance(each, Tensor)]
    if len(tensors) == len(values) > 0:
        return torch.stack(tensors).cpu().double()
    return torch.tensor([float(each) for each in values], dtype=torch.float64)


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator else math.nan
