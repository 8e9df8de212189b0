"""A classifier's predictions for a stream of samples, computed in batches."""

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
    """Yield each sample with the probabilities of its classes, (C,), in order.

    Args:
        samples: an identifier of any type, and the network's inputs without the batch axis. Consecutive
            samples of one shape are batched, up to the batch size of the training.
    """
    waiting: list[tuple[T, Sequence[Tensor]]] = []
    for sample in samples:
        if waiting and (len(waiting) >= loaded.config.batch_size or _shapes(sample) != _shapes(waiting[0])):
            yield from _predicted(loaded, waiting)
            waiting = []
        waiting.append(sample)
    if waiting:
        yield from _predicted(loaded, waiting)


def class_names(loaded: LoadedRun, classes: int) -> list[str]:
    """Return the class names of the data; indices where it has none, or another number of them."""
    return loaded.classes if len(loaded.classes) == classes else [str(index) for index in range(classes)]


def _shapes(sample: tuple[object, Sequence[Tensor]]) -> list[torch.Size]:
    return [each.shape for each in sample[1]]


def _predicted(
    loaded: LoadedRun, samples: Sequence[tuple[T, Sequence[Tensor]]]
) -> Iterator[tuple[T, Sequence[Tensor], Probabilities]]:
    inputs = [torch.stack(each) for each in zip(*(inputs for _, inputs in samples), strict=True)]
    likely = loaded.predicted(*inputs).float().cpu().numpy()
    for (what, shown), row in zip(samples, likely, strict=True):
        yield what, shown, row
