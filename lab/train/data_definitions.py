"""Metrics and losses whose definition depends on the data, shown a sample of it."""

import copy
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from lab.config.mask_values import IGNORE_INDEX
from lab.losses.terms import Criterion
from lab.metrics import Metric
from lab.store.definitions import Definition, describe


def definitions_with(
    dataset: object, criterion: Criterion, *metrics: Mapping[str, Metric]
) -> dict[str, Definition]:
    """Return the definitions of everything that is logged of a training on such data; see `describe`."""
    return describe(criterion, *metrics, settled=_settle(dataset))


def _settle(dataset: object) -> Callable[[Any], Any]:
    """Return a function that calls a copy of a component with the first target of a dataset."""
    pairs: list[tuple[Tensor, Tensor]] = []

    def settled(component: Any) -> Any:
        if not type(component).__module__.startswith("lab."):  # a user's or torch's has no definition of ours
            return component
        # The target is read at the first component that needs it, and for most runs never.
        if not pairs and (target := _first_target(dataset)) is not None:
            pairs.append((_prediction(target), target))
        seen = copy.deepcopy(component)
        for prediction, target in pairs:
            with suppress(ValueError):  # of classes that one target lacks; its kind has been seen before
                getattr(seen, "update", seen)(prediction, target)
        return seen

    return settled


def _first_target(dataset: object) -> Tensor | None:
    """Return a batch of one target; None where the data can't be indexed or its targets are no tensors."""
    if not hasattr(dataset, "__getitem__"):
        return None
    try:
        item = dataset[0]
    except Exception:  # noqa: BLE001 - a user's dataset; what is wrong with it shows where it is trained on
        return None
    target = item[-1] if isinstance(item, (tuple, list)) and item else None
    return target[None] if isinstance(target, Tensor) else None


def _prediction(target: Tensor) -> Tensor:
    """Return a prediction of one map for a floating-point target, else of a map for each class."""
    if target.is_floating_point():
        return torch.zeros_like(target)
    classes = int(target[target != IGNORE_INDEX].max()) + 1 if (target != IGNORE_INDEX).any() else 1
    return torch.zeros(len(target), max(2, classes), *target.shape[1:])
