"""The mean of a loss over a set: a sum of terms, each a mean with a denominator of its own.

A mean of batch means depends on how a set is cut into batches wherever the batches weigh unequally: by class
weights, ignored pixels, padding. So each term of a loss is kept as its mean over the batch and the weight of
that mean, its denominator. Numerators (mean · weight) and denominators are summed over the batches, and one
divided by the other at the end, which is the loss of one batch of everything.
"""

import enum
import functools
import inspect
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Weight = Tensor | int
"""A denominator: a number, or a 0-dim tensor that stays on its device."""

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
    def means(self, output: Any, target: Any) -> dict[str, Tensor]:
        """Each term, 0-dim: the mean over what counts in this batch, and 0 where nothing does."""

    @abstractmethod
    def weights(self, target: Any) -> Mapping[str, Weight]:
        """The denominator of each term, by the target alone, so that it is known before the network runs."""

    def forward(self, output: Any, target: Any) -> Any:
        """The terms by name, or their sum where they have no names outside of this class."""
        means = self.means(output, target)
        return means if self.named else _total(means)


def measure(criterion: Callable[[Any, Any], Any], output: Any, target: Any) -> Measured:
    """The loss of a batch and its terms.

    Raises:
        NotScalar: the loss is not 0-dim.
    """
    if isinstance(criterion, Loss) and criterion._by_terms:
        means = criterion.means(output, target)
        weights = criterion.weights(target)
        loss = torch.stack(list(means.values())).sum() if criterion.named else _total(means)
        terms = {name: Term(mean, weights[name]) for name, mean in means.items()}
        return Measured(loss, terms, means if criterion.named else {})
    value = criterion(output, target)
    if isinstance(value, Mapping):
        _require_scalars(value)
        loss = torch.stack(list(value.values())).sum()
        return Measured(loss, {name: Term(mean) for name, mean in value.items()}, value)
    _require_scalars({"loss": value})
    weight = _weight(criterion, target)
    if isinstance(weight, Tensor) and not _is_seen_positive(weight):
        # torch's mean over nothing is NaN; the same bits where there is something
        value = torch.where(weight > 0, value, torch.zeros_like(value))
    return Measured(value, {"loss": Term(value, weight)})


def _is_seen_positive(weight: Tensor) -> bool:
    """Whether it is above 0; False where the host would have to wait for the answer."""
    return weight.device.type == "cpu" and float(weight.detach()) > 0


def weights_ahead(criterion: Callable[[Any, Any], Any], target: Any) -> Mapping[str, Weight]:
    """The denominators by term, as `measure` will give them; one that is not named is the samples."""
    if isinstance(criterion, Loss) and criterion._by_terms:
        return criterion.weights(target)
    weight = _weight(criterion, target)
    return {} if weight is None else {"loss": weight}


def set_mean(criterion: Callable[[Any, Any], Any]) -> SetMean:
    """`set` for a loss whose mean over a set is that of one batch of everything, else `batches`."""
    if isinstance(criterion, Loss):
        return "set" if criterion._by_terms and not criterion.batchwise else "batches"
    return "batches" if _denominator(criterion) is None else "set"


def ignored_by(criterion: Callable[[Any, Any], Any]) -> tuple[int, ...] | None:
    """The target's values that the loss leaves out; None where that is not known, as of a function."""
    if isinstance(criterion, Loss):
        return criterion.ignored
    kind, options = _known(criterion)
    if kind in _OF_CLASSES:
        return (int(options["ignore_index"]),)
    return () if kind in _OF_ELEMENTS or kind in _OF_SAMPLES else None


def reduction_of(criterion: Callable[[Any, Any], Any]) -> str | None:
    """`mean`, `sum`, `none` or `batchmean` of a loss of torch's; None of any other."""
    kind, options = _known(criterion)
    return None if kind is None else str(options.get("reduction", "mean"))


def class_denominator(target: Tensor, weights: Tensor | None, ignored: int) -> Tensor:
    """Σ of the classes' weights over a target of class indices, 0-dim; of those that are ignored, none."""
    judged = target != ignored
    if weights is None:
        return judged.sum()
    weights, target = weights.to(target.device), target.long()
    return (weights[target.where(judged, 0).clamp(0, len(weights) - 1)] * judged).sum()


def _total(means: Mapping[str, Tensor]) -> Tensor:
    return functools.reduce(operator.add, means.values())


def _require_scalars(values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        if not isinstance(value, Tensor) or value.dim() > 0:
            found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise NotScalar(
                f"the criterion must return the mean over a batch, a 0-dim tensor, or a mapping of them; "
                f"{name} is {found}. A loss of torch's needs reduction: mean"
            )


# Losses of torch's. A subclass may compute something else, so types are compared and not asked `isinstance`.

_OF_ELEMENTS: frozenset[Any] = frozenset({
    nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss, nn.BCELoss, nn.BCEWithLogitsLoss,
    nn.SoftMarginLoss, nn.PoissonNLLLoss, nn.KLDivLoss, nn.HingeEmbeddingLoss,
    F.mse_loss, F.l1_loss, F.smooth_l1_loss, F.huber_loss, F.binary_cross_entropy,
    F.binary_cross_entropy_with_logits, F.soft_margin_loss, F.poisson_nll_loss, F.kl_div,
})  # fmt: skip
_OF_SAMPLES: frozenset[Any] = frozenset({
    nn.MultiMarginLoss, nn.MultiLabelMarginLoss, nn.MultiLabelSoftMarginLoss,
    F.multi_margin_loss, F.multilabel_margin_loss, F.multilabel_soft_margin_loss,
})  # fmt: skip
_OF_CLASSES: frozenset[Any] = frozenset({nn.CrossEntropyLoss, nn.NLLLoss, F.cross_entropy, F.nll_loss})
_KNOWN = _OF_ELEMENTS | _OF_SAMPLES | _OF_CLASSES
_WEIGHTED_MEANS: frozenset[Any] = frozenset({F.mse_loss, F.l1_loss, F.huber_loss})  # by `weight`


class Takes(enum.Enum):
    """The kind of target that a loss of torch's takes."""

    NUMBERS = enum.auto()  # of the output's shape
    BINARY = enum.auto()  # the same, in [0, 1]
    SIGNS = enum.auto()  # the same, -1 or 1
    CLASSES = enum.auto()  # class indices, or shares of the classes
    INDICES = enum.auto()  # class indices
    LISTS = enum.auto()  # the indices of the classes that each sample has


_TAKES: Mapping[Any, Takes] = {
    **dict.fromkeys(_OF_ELEMENTS, Takes.NUMBERS),
    **dict.fromkeys((nn.BCELoss, nn.BCEWithLogitsLoss, nn.MultiLabelSoftMarginLoss), Takes.BINARY),
    **dict.fromkeys((F.binary_cross_entropy, F.binary_cross_entropy_with_logits), Takes.BINARY),
    F.multilabel_soft_margin_loss: Takes.BINARY,
    **dict.fromkeys((nn.SoftMarginLoss, nn.HingeEmbeddingLoss, F.soft_margin_loss), Takes.SIGNS),
    **dict.fromkeys((nn.CrossEntropyLoss, F.cross_entropy), Takes.CLASSES),
    **dict.fromkeys((nn.NLLLoss, F.nll_loss, nn.MultiMarginLoss, F.multi_margin_loss), Takes.INDICES),
    **dict.fromkeys((nn.MultiLabelMarginLoss, F.multilabel_margin_loss), Takes.LISTS),
}


def takes(criterion: Callable[[Any, Any], Any]) -> Takes | None:
    """The kind of target it takes, where it is a loss of torch's."""
    kind, _ = _known(criterion)
    return None if kind is None else _TAKES[kind]


def _weight(criterion: Callable[[Any, Any], Any], target: Any) -> Weight | None:
    denominator = _denominator(criterion)
    return denominator(target) if denominator is not None and isinstance(target, Tensor) else None


def _denominator(criterion: Callable[[Any, Any], Any]) -> Callable[[Tensor], Weight | None] | None:
    """From a target to what torch divides by; None where the loss is none of torch's, or no mean."""
    kind, options = _known(criterion)
    reduction = options.get("reduction", "mean")
    if kind is None or reduction not in ("mean", "batchmean"):
        return None
    if kind in _OF_SAMPLES or reduction == "batchmean":
        return len
    if kind in _OF_ELEMENTS:
        weighted = kind in _WEIGHTED_MEANS and options.get("weight") is not None
        return None if weighted else Tensor.numel
    weights, ignored = options.get("weight"), int(options["ignore_index"])
    return lambda target: _of_classes(target, weights, ignored)


def _of_classes(target: Tensor, weights: Tensor | None, ignored: int) -> Weight:
    if target.is_floating_point():  # shares of the classes, (N, C, ...) or (C,): divided by N · …
        return target.numel() // target.shape[1 if target.dim() > 1 else 0]
    return class_denominator(target, weights, ignored)


def _known(criterion: Any) -> tuple[Any, Mapping[str, Any]]:
    """A loss of torch's, its class or function, with its arguments; (None, {}) for any other."""
    if type(criterion) in _KNOWN:
        return type(criterion), _Attributes(criterion)
    function, bound = criterion, dict[str, Any]()
    if type(criterion) is functools.partial and not criterion.args:
        function, bound = criterion.func, criterion.keywords
    if inspect.isroutine(function) and function in _KNOWN and not {"size_average", "reduce"} & set(bound):
        return function, {**_defaults(function), **bound}
    return None, {}


@functools.cache
def _defaults(function: Callable[..., Any]) -> Mapping[str, Any]:
    if inspect.isbuiltin(function):
        return {}
    parameters = inspect.signature(function).parameters.values()
    return {each.name: each.default for each in parameters if each.default is not each.empty}


class _Attributes(Mapping[str, Any]):
    """A module's attributes, read when they are asked for: a buffer such as `weight` may move to a device."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module

    def __getitem__(self, name: str) -> Any:
        if not hasattr(self._module, name):
            raise KeyError(name)
        return getattr(self._module, name)

    def get(self, name: str, default: Any = None) -> Any:
        """Without a detour by an exception: it is asked for at every step."""
        return getattr(self._module, name, default)

    def __iter__(self) -> Any:
        return iter(vars(self._module))

    def __len__(self) -> int:
        return len(vars(self._module))
