"""Losses of torch's: the kind of target that each takes, the values that it leaves out, its denominator.

A subclass may compute something else, so types are compared and not asked by `isinstance`.
"""

import enum
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from lab.config.signatures import defaults_of

Weight = Tensor | int
"""A denominator: a number, or a 0-dim tensor that stays on its device."""


class Takes(enum.Enum):
    """The kind of target that a loss of torch's takes."""

    NUMBERS = enum.auto()  # of the output's shape
    BINARY = enum.auto()  # the same, in [0, 1]
    SIGNS = enum.auto()  # the same, -1 or 1
    CLASSES = enum.auto()  # class indices, or shares of the classes
    INDICES = enum.auto()  # class indices
    LISTS = enum.auto()  # the indices of the classes that each sample has


_OF_ELEMENTS: Mapping[object, Takes] = {
    **dict.fromkeys((nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss), Takes.NUMBERS),
    **dict.fromkeys((F.mse_loss, F.l1_loss, F.smooth_l1_loss, F.huber_loss), Takes.NUMBERS),
    **dict.fromkeys((nn.PoissonNLLLoss, F.poisson_nll_loss, nn.KLDivLoss, F.kl_div), Takes.NUMBERS),
    **dict.fromkeys((nn.BCELoss, F.binary_cross_entropy), Takes.BINARY),
    **dict.fromkeys((nn.BCEWithLogitsLoss, F.binary_cross_entropy_with_logits), Takes.BINARY),
    **dict.fromkeys((nn.SoftMarginLoss, F.soft_margin_loss, nn.HingeEmbeddingLoss), Takes.SIGNS),
}
_OF_SAMPLES: Mapping[object, Takes] = {
    **dict.fromkeys((nn.MultiMarginLoss, F.multi_margin_loss), Takes.INDICES),
    **dict.fromkeys((nn.MultiLabelMarginLoss, F.multilabel_margin_loss), Takes.LISTS),
    **dict.fromkeys((nn.MultiLabelSoftMarginLoss, F.multilabel_soft_margin_loss), Takes.BINARY),
}
_OF_CLASSES: Mapping[object, Takes] = {
    **dict.fromkeys((nn.CrossEntropyLoss, F.cross_entropy), Takes.CLASSES),
    **dict.fromkeys((nn.NLLLoss, F.nll_loss), Takes.INDICES),
}
_TAKES = {**_OF_ELEMENTS, **_OF_SAMPLES, **_OF_CLASSES}
_WEIGHTED_MEANS: frozenset[object] = frozenset({F.mse_loss, F.l1_loss, F.huber_loss})  # by `weight`


Argument = Callable[[str], Any]
"""Returns an argument of a loss by its name, None where the loss has none of it."""


class TorchLoss:
    """A loss of torch's and its arguments.

    Args:
        kind: its class or function.
        argument: returns an argument by its name, None where the loss has none of it. A buffer such as
            `weight` may move to a device, so it is asked for when it is needed.
    """

    def __init__(self, kind: object, argument: Argument) -> None:
        self.takes = _TAKES[kind]
        self.reduction = str(argument("reduction") or "mean")
        self.ignored = (int(argument("ignore_index")),) if kind in _OF_CLASSES else ()
        self.denominator = self._denominator(kind, argument)
        """From a target to what torch divides by; None where the loss is no mean."""

    def _denominator(self, kind: object, argument: Argument) -> Callable[[Tensor], Weight | None] | None:
        if self.reduction not in ("mean", "batchmean"):
            return None
        if kind in _OF_SAMPLES or self.reduction == "batchmean":
            return len
        if kind in _OF_ELEMENTS:
            weighted = kind in _WEIGHTED_MEANS and argument("weight") is not None
            return None if weighted else Tensor.numel
        return lambda target: _of_classes(target, argument("weight"), *self.ignored)


def known(criterion: object) -> TorchLoss | None:
    """The criterion as a loss of torch's, looked up once for each; None for any other."""
    try:
        return _looked_up(criterion)
    except TypeError:  # a class of the user's that can't be hashed
        return None


def takes(criterion: object) -> Takes | None:
    """The kind of target it takes, where it is a loss of torch's."""
    loss = known(criterion)
    return None if loss is None else loss.takes


def class_denominator(target: Tensor, weights: Tensor | None, ignored: int) -> Tensor:
    """Σ of the classes' weights over a target of class indices, 0-dim; of those that are ignored, none."""
    judged = target != ignored
    if weights is None:
        return judged.sum()
    weights, target = weights.to(target.device), target.long()
    return (weights[target.where(judged, 0).clamp(0, len(weights) - 1)] * judged).sum()


def _of_classes(target: Tensor, weights: Tensor | None, ignored: int) -> Weight:
    # Torch divides a loss of class shares, (N, C, ...) or (C,), by the number of positions.
    if target.is_floating_point():
        return target.numel() // target.shape[1 if target.dim() > 1 else 0]
    return class_denominator(target, weights, ignored)


@functools.lru_cache(maxsize=32)
def _looked_up(criterion: object) -> TorchLoss | None:
    if type(criterion) in _TAKES:
        return TorchLoss(type(criterion), lambda name: getattr(criterion, name, None))
    function, bound = criterion, dict[str, object]()
    if type(criterion) is functools.partial and not criterion.args:
        function, bound = criterion.func, criterion.keywords
    if inspect.isroutine(function) and function in _TAKES and not {"size_average", "reduce"} & set(bound):
        defaults = {} if inspect.isbuiltin(function) else defaults_of(function)
        return TorchLoss(function, {**defaults, **bound}.get)
    return None
