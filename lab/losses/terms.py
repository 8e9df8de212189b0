"""The mean of a loss over a set: a sum of terms, each a mean with a denominator of its own.

A mean of batch means depends on how a set is cut into batches wherever the batches weigh unequally: by class
weights, ignored pixels, padding. So each term of a loss is kept as its mean over the batch and the weight of
that mean, its denominator. Numerators (mean · weight) and denominators are summed over the batches, and one
divided by the other at the end, which is the loss of one batch of everything.
"""

import functools
import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from lab.losses.torch_losses import Weight, known

Output = Any
"""What a network returns: a tensor, or anything that a loss or a task takes apart."""
Target = Any
"""What a dataset returns beside the inputs."""
Criterion = Callable[[Output, Target], Any]
"""A loss: of an output and a target, a 0-dim tensor or named ones."""
SetMean = Literal["set", "batches"]
"""`set`: the mean over a set is the loss of one batch of everything. `batches`: a loss for which that is not
known, or not possible; it is the mean of the batches' losses, each weighted by its samples."""


class NotScalar(ValueError):
    """A criterion that returns neither a mean over the batch, 0-dim, nor a mapping of such means."""


class Term(NamedTuple):
    """A mean over a batch, 0-dim and with its graph, and its weight; None is as many as there are samples."""

    mean: Tensor
    weight: Weight | None = None


class Measured(NamedTuple):
    """A loss of a batch and the terms of which it is the sum, by name."""

    loss: Tensor
    terms: Mapping[str, Term]
    parts: Mapping[str, Tensor] = {}  # the terms' means that are logged by their names


class Loss(nn.Module, ABC):
    """A loss that knows its terms and their denominators. Define `means` and `weights`; `forward` follows."""

    named: ClassVar[bool] = True
    """True: `forward` returns the terms by name, and a run logs each of them; else it returns their sum."""

    ignored: tuple[int, ...] = ()
    """Values of the target that are left out of every term."""

    batchwise: tuple[str, ...] = ()
    """Terms that no sum over batches gives: their weight is the number of samples."""

    _by_terms: ClassVar[bool] = True

    def __init_subclass__(cls) -> None:
        """A subclass with a `forward` of its own returns what its parent's terms need not add up to."""
        super().__init_subclass__()
        if "forward" in vars(cls):
            cls._by_terms = False
        elif "means" in vars(cls):
            cls._by_terms = True

    @abstractmethod
    def means(self, output: Output, target: Target) -> dict[str, Tensor]:
        """Each term, 0-dim: the mean over what counts in this batch, and 0 where nothing does."""

    @abstractmethod
    def weights(self, target: Target) -> Mapping[str, Weight]:
        """The denominator of each term, by the target alone, so that it is known before the network runs."""

    def forward(self, output: Output, target: Target) -> Tensor | dict[str, Tensor]:
        """The terms by name, or their sum where they have no names outside of this class."""
        means = self.means(output, target)
        return means if self.named else _total(means)


def measure(criterion: Criterion, output: Output, target: Target) -> Measured:
    """The loss of a batch and its terms.

    Raises:
        NotScalar: the loss is not 0-dim.
    """
    if isinstance(criterion, Loss) and criterion._by_terms:
        # Terms and weights are known one by one: a set's loss can be that of one batch of everything.
        means = criterion.means(output, target)
        weights = criterion.weights(target)
        loss = torch.stack(list(means.values())).sum() if criterion.named else _total(means)
        terms = {name: Term(mean, weights[name]) for name, mean in means.items()}
        return Measured(loss, terms, means if criterion.named else {})
    # Any other criterion gives a scalar or named scalars; each counts by its number of samples.
    value = criterion(output, target)
    if isinstance(value, Mapping):
        for name, part in value.items():
            _require_scalar(name, part)
        loss = torch.stack(list(value.values())).sum()
        return Measured(loss, {name: Term(mean) for name, mean in value.items()}, value)
    _require_scalar("loss", value)
    weight = _weight(criterion, target)
    # Whether it is above 0 is asked on a CPU only: elsewhere the host would have to wait for the answer.
    if isinstance(weight, Tensor) and not (weight.device.type == "cpu" and float(weight.detach()) > 0):
        # torch's mean over nothing is NaN; the same bits where there is something
        value = torch.where(weight > 0, value, torch.zeros_like(value))
    return Measured(value, {"loss": Term(value, weight)})


def weights_ahead(criterion: Criterion, target: Target) -> Mapping[str, Weight]:
    """The denominators by term, as `measure` will give them; one that is not named is the samples."""
    if isinstance(criterion, Loss) and criterion._by_terms:
        return criterion.weights(target)
    weight = _weight(criterion, target)
    return {} if weight is None else {"loss": weight}


def set_mean(criterion: Criterion) -> SetMean:
    """`set` for a loss whose mean over a set is that of one batch of everything, else `batches`."""
    if isinstance(criterion, Loss):
        return "set" if criterion._by_terms and not criterion.batchwise else "batches"
    loss = known(criterion)
    return "batches" if loss is None or loss.denominator is None else "set"


def ignored_by(criterion: Criterion) -> tuple[int, ...] | None:
    """The target's values that the loss leaves out; None where that is not known, as of a function."""
    if isinstance(criterion, Loss):
        return criterion.ignored
    loss = known(criterion)
    return None if loss is None else loss.ignored


def _weight(criterion: Criterion, target: Target) -> Weight | None:
    """The denominator of a criterion that is no `Loss`; None where it is not known."""
    loss = known(criterion)
    if loss is None or loss.denominator is None or not isinstance(target, Tensor):
        return None
    return loss.denominator(target)


def _total(means: Mapping[str, Tensor]) -> Tensor:
    return functools.reduce(operator.add, means.values())


def _require_scalar(name: str, value: object) -> None:
    if not isinstance(value, Tensor) or value.dim() > 0:
        found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise NotScalar(
            f"the criterion must return the mean over a batch, a 0-dim tensor, or a mapping of them; "
            f"{name} is {found}. A loss of torch's needs reduction: mean"
        )


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
