"""The order in which the samples of an epoch are read, and their division into batches."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch.utils.data import Sampler

from lab.rng.keys import derive_seed

BATCH_PIXELS = 2**22  # of whole images in one batch of validation


class EpochSampler(Sampler[tuple[int, int]]):
    """Yields (epoch, index): the key travels to the worker, which needs no other message about the epoch."""

    def __init__(self, samples: int, *, shuffle: bool, seed: int) -> None:
        self._samples, self._shuffle, self._seed = samples, shuffle, seed
        self._epoch = 0
        self._begin = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; without shuffling every epoch is the same one."""
        self._epoch = epoch if self._shuffle else 0
        self._begin = 0

    def skip(self, samples: int) -> None:
        """Leave out the first samples of the next iteration."""
        self._begin = samples

    def items_of(self, batch_size: int | None) -> Callable[[int], Sequence[int]]:
        """The items of a batch of the next iteration, by its number from 0."""
        epoch, begin, size = self._epoch, self._begin, batch_size or 1
        return lambda number: self._order(epoch)[begin + number * size :][:size]

    def __len__(self) -> int:
        return self._samples

    def __iter__(self) -> Iterator[tuple[int, int]]:
        begin, self._begin = self._begin, 0
        epoch = self._epoch
        return ((epoch, index) for index in self._order(epoch)[begin:])

    def _order(self, epoch: int) -> Sequence[int]:
        if not self._shuffle:
            return range(self._samples)
        generator = torch.Generator().manual_seed(derive_seed(self._seed, epoch))
        order: list[int] = torch.randperm(self._samples, generator=generator).tolist()
        return order


class SizedBatches(Sampler[list[tuple[int, int]]]):
    """Batches in the dataset's order, each of one size only: a batch ends where the next item has another.

    Whole images may be large: a batch has no more than `BATCH_PIXELS`, or one image.

    Args:
        sizes: (H, W) of each item.
    """

    def __init__(self, sizes: Sequence[tuple[int, int]], batch_size: int) -> None:
        self._batches: list[list[tuple[int, int]]] = []
        for size, same in itertools.groupby(enumerate(sizes), key=lambda item: item[1]):
            keys = [(0, index) for index, _ in same]
            most = max(1, min(batch_size, BATCH_PIXELS // max(1, math.prod(size))))
            self._batches += [keys[start : start + most] for start in range(0, len(keys), most)]

    def items_of(self, batch_size: int | None) -> Callable[[int], Sequence[int]]:
        """The items of a batch, by its number from 0."""
        return lambda number: [index for _, index in self._batches[number]]

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        return iter(self._batches)
