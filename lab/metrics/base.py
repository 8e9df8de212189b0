"""The interface of a metric: three methods, and state that stays on the device."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor

from lab.store.error_text import PartNote


@runtime_checkable
class Metric(Protocol):
    """A number about a whole set that is gathered batch by batch.

    `update` runs after every step, so it must not wait for the device: no `.item()`, no `if` on a tensor. How
    a set was cut into batches must not change the result, so that a short last batch doesn't weigh more.
    """

    def update(self, prediction: Any, target: Any) -> None:
        """Take in one batch, tensors but for graphs. `prediction` holds probabilities (regression: the raw
        output)."""

    def compute(self) -> Tensor:
        """The value over all batches since the last reset: 0-dim, on their device; NaN without any batch."""

    def reset(self) -> None:
        """Forget all batches."""


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Add the metric's name to an exception of its code."""
    try:
        yield
    except Exception as error:
        error.add_note(PartNote(f"in the metric '{name}'"))
        raise


class LeavesOut:
    """A metric that leaves out what nobody judged: where the target is `mark`, or what the loss ignores."""

    mark: ClassVar[int]


def marked(target: object, ignored: Iterable[int], metric: object) -> object:
    """The target as a metric gets it: what the loss ignores is what the metric leaves out, if it can."""
    return with_mark(target, ignored, metric.mark) if isinstance(metric, LeavesOut) else target


def with_mark(target: Any, ignored: Iterable[int], mark: int) -> Any:
    """The target, a tensor, with `mark` in the place of every value that the loss ignores."""
    for value in ignored:
        if value != mark and isinstance(target, Tensor):
            target = target.masked_fill(target == value, mark)
    return target


def require_same_shape(prediction: Tensor, target: Tensor) -> None:
    """Raise ValueError where the shapes differ: broadcasting (N,) against (N, 1) is a silent (N, N)."""
    if prediction.shape != target.shape:
        raise ValueError(
            "prediction and target must have the same shape, "
            f"found {tuple(prediction.shape)} and {tuple(target.shape)}"
        )


def wide(values: Tensor) -> Tensor:
    """Convert numbers to float64, or float32 on a device without it.

    Sums over a long set, and differences of numbers around 1e9, need more digits than float32 has.
    """
    return values.detach().to(torch.float32 if values.device.type == "mps" else torch.float64)
