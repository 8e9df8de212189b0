"""Batches that share an optimizer step: together they give the gradient of one batch of all their samples.

The gradient of a set's mean is the sum of the numerators' gradients over the set's denominator, term by term.
So each batch's terms are divided by the whole group's denominators, which follow from the targets before the
network runs. Where they don't, a batch is weighted by the size that its step returns, and the gradients are
divided at the end.
Several processes would sum the denominators over all of them (an all_reduce) at the end of `Group.__init__`.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias, TypeVar

import torch
from torch import Tensor
from torch.optim import Optimizer

from lab.losses.torch_losses import Weight
from lab.tasks import StepResult

T = TypeVar("T")
Denominators: TypeAlias = tuple[Mapping[str, Weight], int]
"""The denominators of a batch's terms, and its samples, which stand for the terms that are not named."""


class Group:
    """The weight of each batch in the step that the group shares.

    Args:
        batches: of each batch its denominators, or None where they aren't known before its step. Empty for a
            batch that is alone: its step is that of the plain loss, to the bit.
    """

    def __init__(self, batches: Sequence[Denominators | None]) -> None:
        self._alone = not batches
        known = [each for each in batches if each is not None]
        self._denominators = known if len(known) == len(batches) else None
        self._next = 0
        self._reference = 0
        self._weight: Weight = 0
        self._totals: dict[str, Weight] = {}

    @classmethod
    def of(cls, batches: Sequence[T], weights: Callable[[T], Denominators | None]) -> "Group":
        """Return the group of these batches; `weights` returns the denominators of one, or None."""
        return _ALONE if len(batches) == 1 else cls([weights(batch) for batch in batches])

    def loss(self, result: StepResult) -> Tensor:
        """Return the value to pass backward for the next batch."""
        if self._alone:
            return result.loss
        place, self._next = self._next, self._next + 1
        if self._denominators is None:
            return self._by_reference(result)
        own, size = self._denominators[place]
        terms: list[Tensor] = [
            term.mean * _ratio(own.get(name, size), self._total(name)) for name, term in result.terms.items()
        ]
        return terms[0] if len(terms) == 1 else torch.stack(terms).sum()

    def finish(self, optimizer: Optimizer) -> None:
        """Divide the gradients by the group's weight, where it was not known before."""
        if self._alone or self._denominators is not None:
            return
        parameters = [each for group in optimizer.param_groups for each in group["params"]]
        gradients = [each.grad for each in parameters if each.grad is not None]
        if gradients:
            torch._foreach_mul_(gradients, _ratio(self._reference, self._weight))

    def _total(self, name: str) -> Weight:
        """Return the group's denominator of a term."""
        assert self._denominators is not None
        if name not in self._totals:
            self._totals[name] = sum((own.get(name, size) for own, size in self._denominators), start=0)
        return self._totals[name]

    def _by_reference(self, result: StepResult) -> Tensor:
        """Return the loss times its batch's weight over the samples of the group's first batch.

        That keeps the gradients at a usual magnitude, which matters for fp16.
        """
        terms = list(result.terms.values())
        weight = terms[0].weight if len(terms) == 1 else None
        weight = result.size if weight is None else weight
        self._reference = self._reference or result.size
        self._weight = self._weight + weight
        weighted: Tensor = result.loss * _ratio(weight, self._reference)
        return weighted


_ALONE = Group([])


def groups(items: Iterator[T], size: int) -> Iterator[list[T]]:
    """Yield the items in groups; the last one may be smaller."""
    while group := list(itertools.islice(items, size)):
        yield group


def _ratio(part: Weight, whole: Weight) -> Tensor | float:
    """Return part / whole, or 0 where the whole is 0."""
    if isinstance(whole, Tensor):
        return torch.where(whole > 0, part / whole.clamp(min=torch.finfo(torch.float32).tiny), 0.0)
    return part / whole if whole else 0.0
