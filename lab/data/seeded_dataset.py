"""A dataset whose randomness is a function of (seed, epoch, index), with any number of workers."""

from collections.abc import Sized
from typing import cast

from torch.utils.data import Dataset

from lab.data.protocols import Collate, SampledDataset, is_sampled, located
from lab.rng.keys import sample_rng
from lab.rng.seeding import seeded
from lab.state.worker_state_watch import Watch

_OF_BATCHES = 1  # keeps the random streams of batches apart from those of samples


class SeededDataset(Dataset[object]):
    """Any map-style dataset, its randomness a function of (seed, epoch, index).

    A `SampledDataset` gets a generator; for another the global streams of Python, NumPy and torch are seeded
    while it makes the sample, and while a `collate` of its own makes the batch.

    Args:
        watch: sees what changes in the dataset, where workers read it.
    """

    def __init__(self, dataset: Dataset[object], seed: int, watch: Watch | None = None) -> None:
        self.dataset = dataset
        self._seed, self._watch = seed, watch
        self._sampled = is_sampled(dataset)
        self._last = (0, 0)

    def __len__(self) -> int:
        return len(cast(Sized, self.dataset))

    def __getitem__(self, key: tuple[int, int]) -> object:
        epoch, index = self._last = key
        if self._watch is not None:
            with self._watch.reading(epoch):
                return self._item(epoch, index)
        return self._item(epoch, index)

    def _item(self, epoch: int, index: int) -> object:
        if self._sampled:
            below, place = located(self.dataset, index)
            if isinstance(below, SampledDataset):
                return below.sample(place, sample_rng(self._seed, epoch, index))
        with seeded(self._seed, epoch, index):
            return self.dataset[index]

    def seeding(self, together: Collate) -> Collate:
        """The function that makes batches, what it draws a function of (seed, epoch, index of the last)."""

        def collate(items: list[object]) -> object:
            with seeded(self._seed, *self._last, _OF_BATCHES):
                return together(items)

        return collate
