"""What a classifier says of samples, one after another and asked in batches."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lab.predict.loaded_run import LoadedRun

T = TypeVar("T")
Probabilities = NDArray[np.float32]


def answers(
    loaded: LoadedRun, samples: Iterable[tuple[T, Sequence[Tensor]]]
) -> Iterator[tuple[T, Sequence[Tensor], Probabilities]]:
    """Each sample with the probabilities of its classes, (C,), in their order.

    Args:
        samples: whatever the caller calls a sample by, and the network's inputs without the axis of a batch.
            Neighbours of one shape are asked together, as many as a batch of the training has.
    """
    waiting: list[tuple[T, Sequence[Tensor]]] = []
    for sample in samples:
        if waiting and (len(waiting) >= loaded.config.batch_size or _shapes(sample) != _shapes(waiting[0])):
            yield from _asked(loaded, waiting)
            waiting = []
        waiting.append(sample)
    if waiting:
        yield from _asked(loaded, waiting)


def class_names(loaded: LoadedRun, classes: int) -> list[str]:
    """The names that the data gave its classes; their indices where it gave none, or another number."""
    return loaded.classes if len(loaded.classes) == classes else [str(index) for index in range(classes)]


def _shapes(sample: tuple[object, Sequence[Tensor]]) -> list[torch.Size]:
    return [each.shape for each in sample[1]]


def _asked(
    loaded: LoadedRun, samples: Sequence[tuple[T, Sequence[Tensor]]]
) -> Iterator[tuple[T, Sequence[Tensor], Probabilities]]:
    inputs = [torch.stack(each) for each in zip(*(inputs for _, inputs in samples), strict=True)]
    likely = loaded.predicted(*inputs).float().cpu().numpy()
    for (what, shown), row in zip(samples, likely, strict=True):
        yield what, shown, row
