"""Streams (`IterableDataset`): each sample once an epoch, with any number of workers.

Torch gives every worker the whole stream. Here one worker reads it, unless `loader.shard` asks for more.
`true` lets every worker read the stream and keep its own batches of it, so that the batches and their order
are as of a single process; `dataset` leaves the division to the dataset (`torch.utils.data.get_worker_info`).

The global random streams that a dataset draws from begin anew in every epoch, from (seed, epoch).
"""

import itertools
import math
from collections.abc import Iterator, Sized
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from lab.config.sections import LoaderConfig
from lab.data.loader_workers import KeptWorkers, worker_options
from lab.data.nan_check import watched
from lab.data.protocols import Collate, EpochStream
from lab.rng.seeding import OwnStreams, seed_all
from lab.state.worker_state_watch import Watch


class UnknownLength(ValueError):
    """A training stream doesn't know how many samples an epoch has."""


class Share(IterableDataset[object]):
    """A stream, or the part of its batches that a worker reads.

    Args:
        batch_size: samples that stay together; None: the dataset divides itself, or nobody does.
        epoch: 0-dim int64, in memory that the workers share.
        watch: sees what changes in the dataset, where workers read it.
    """

    def __init__(
        self,
        dataset: IterableDataset[object],
        batch_size: int | None,
        seed: int,
        epoch: Tensor,
        watch: Watch | None = None,
    ) -> None:
        self.dataset = dataset
        self._batch_size, self._seed, self._epoch, self.watch = batch_size, seed, epoch, watch

    def __iter__(self) -> Iterator[object]:
        if self.watch is None:
            return self._samples()
        self.watch.begin(int(self._epoch))
        return itertools.chain(self._samples(), self._look_at_end(self.watch))

    def _look_at_end(self, watch: Watch) -> Iterator[object]:
        """Yield no sample, and look at the dataset after the last one."""
        watch.look()
        return
        yield

    def _samples(self) -> Iterator[object]:
        worker, epoch = get_worker_info(), int(self._epoch)
        if isinstance(self.dataset, EpochStream):
            with nullcontext() if self.watch is None else self.watch.deriving():
                self.dataset.set_epoch(epoch)
        # This process reads the stream itself.
        if worker is None:
            return iter(self.dataset)
        # One worker, or a dataset that divides itself: then workers must draw differently.
        if self._batch_size is None or worker.num_workers == 1:
            own = () if worker.num_workers == 1 else (worker.id + 1,)
            seed_all(self._seed, epoch, *own)
            return iter(self.dataset)
        seed_all(self._seed, epoch)
        samples = iter(self.dataset)
        batches = iter(lambda: list(itertools.islice(samples, self._batch_size)), [])
        return itertools.chain.from_iterable(itertools.islice(batches, worker.id, None, worker.num_workers))


class StreamLoader(KeptWorkers):
    """The batches of a stream.

    Args:
        shuffle: whether it is trained on; a validation stream is the same in every epoch.
        steps: batches of an epoch, for a stream that doesn't know its length; it is cut off after them.
    """

    def __init__(
        self,
        dataset: IterableDataset[object],
        batch_size: int,
        *,
        shuffle: bool,
        seed: int,
        device: torch.device | str,
        config: LoaderConfig,
        steps: int | None = None,
        collate: Collate,
    ) -> None:
        self.name = f"{'training' if shuffle else 'validation'} stream {type(dataset).__name__}"
        self.notes: list[str] = []
        self._known = _length(dataset)
        self._limit = steps if shuffle and self._known is None else None
        if shuffle and self._known is None and steps is None:
            raise UnknownLength(
                f"the {self.name} has no __len__: set steps_per_epoch, the batches that an epoch of it has"
            )
        workers = config.workers
        if config.shard is None and workers > 1:
            workers = 1
            self.notes.append(
                f"one worker reads the {self.name}, not {config.workers}, as each would read all of it: set "
                "loader.shard: true to divide it, or loader.shard: dataset if the dataset divides itself"
            )
        self._shuffle, self._seed = shuffle, seed
        self._epoch = torch.zeros((), dtype=torch.int64)
        if workers:
            self._epoch.share_memory_()
        drop_last = config.drop_last and shuffle
        parts = max(1, workers) if config.shard == "dataset" else 1  # the last batch of each may be small
        self._steps = self._limit
        if self._known is not None:
            self._steps = _batches(self._known, batch_size, drop_last, parts)
        self._watch = Watch(dataset) if workers else None
        self._reported = False
        self.samples = self._known or (self._limit or 0) * batch_size  # 0 where nobody knows
        super().__init__(
            Share(dataset, batch_size if config.shard is True else None, seed, self._epoch, self._watch),
            batch_size,
            drop_last=drop_last,
            collate_fn=collate,
            generator=torch.Generator().manual_seed(
                seed
            ),  # from the global one it would shift dropout's masks
            **worker_options(config, device, workers),
        )

    @property
    def changed_in_workers(self) -> str:
        """The attributes of the dataset that change where workers read it."""
        return "" if self._watch is None else self._watch.changed

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration."""
        self._epoch.fill_(epoch if self._shuffle else 0)

    def __len__(self) -> int:
        """Batches of an epoch; 0 where nobody knows, which is until the first pass is through."""
        return self._steps or 0

    def __iter__(self) -> Any:
        aside = OwnStreams(self._seed, int(self._epoch)) if self.num_workers == 0 else None
        batches = super().__iter__() if aside is None else aside.iterate(super().__iter__)
        batches = self._counted(batches)
        return batches if self._reported else watched(batches, lambda number: (), self.name, self.warn)

    def _counted(self, batches: Iterator[object]) -> Iterator[object]:
        """The batches; then report by name, once, where they were not as many as promised."""
        count = 0
        for batch in batches:
            if count == self._limit:
                self._report(
                    f"the {self.name} continues after steps_per_epoch: {self._limit} batches; an epoch ends "
                    "there, and the next one restarts the stream"
                )
                return
            count += 1
            yield batch
            if count == self._limit and self._reported:
                return
        # The first pass of a validation stream shows its length.
        if self._steps is None:
            self._steps = count
        elif count != self._steps:
            promised = "steps_per_epoch promises" if self._limit else "its __len__ promises"
            self._report(
                f"the {self.name} returned {count} batches in an epoch, but {promised} {self._steps}, which "
                "the progress display and schedulers of steps depend on"
            )
        self._reported = True

    def _report(self, message: str) -> None:
        if not self._reported:
            self._reported = True
            self.warn(message)


def _batches(samples: int, size: int, drop_last: bool, parts: int) -> int:
    """The number of batches that so many samples make, in parts that are as equal as can be."""
    shares = [samples // parts + (part < samples % parts) for part in range(parts)]
    return sum(share // size if drop_last else math.ceil(share / size) for share in shares)


def _length(dataset: object) -> int | None:
    """Return the length that it declares, or None."""
    try:
        return len(dataset) if isinstance(dataset, Sized) else None
    except TypeError:
        return None


def divided(loader: object) -> list[str]:
    """Return a warning where a custom loader may return the samples of a stream several times."""
    if not isinstance(loader, DataLoader) or not isinstance(loader.dataset, IterableDataset):
        return []
    if loader.num_workers < 2:
        return []
    return [
        f"each of the {loader.num_workers} workers of a loader reads all of its stream, unless the dataset "
        "divides itself by torch.utils.data.get_worker_info"
    ]
