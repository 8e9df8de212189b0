"""From a dataset to batches: whole-batch tensor indexing where the data is in memory, workers elsewhere.

Both loaders draw the order of an epoch from (seed, epoch) and a sample's own randomness from (seed, epoch,
index), so a run resumed at an epoch boundary sees what the uninterrupted run would have seen, with any number
of workers.
"""

import contextlib
import math
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sized
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset, default_collate

from lab.config import ConfigError, Problem, RunConfig
from lab.config.sections import LoaderConfig
from lab.data.order import EpochSampler, SizedBatches
from lab.keys import mix, sample_rng
from lab.seeding import seed_all, seeded

RESIDENT_BYTES = 2**30  # tensors up to here are kept on the device
GATHER_BYTES = 2**28  # tensors up to here are shuffled once an epoch instead of once a batch


class Loader(Protocol):
    """What the Trainer needs of a loader; a plain DataLoader serves too, without `set_epoch`."""

    def __iter__(self) -> Iterator[Any]: ...

    def __len__(self) -> int: ...


class TensorLoader:
    """Batches by indexing whole tensors: no row-by-row reading, no collation, no workers.

    Args:
        tensors: of equal first dimension, the samples.
        device: where to keep them, if they have at most `RESIDENT_BYTES`.
    """

    def __init__(
        self,
        tensors: tuple[Tensor, ...],
        batch_size: int,
        *,
        shuffle: bool,
        seed: int = 0,
        device: torch.device | str = "cpu",
        drop_last: bool = False,
    ) -> None:
        size = sum(t.element_size() * t.numel() for t in tensors)
        self.tensors = tuple(t.to(device) for t in tensors) if size <= RESIDENT_BYTES else tensors
        self.batch_size = batch_size
        self.samples = len(tensors[0])
        self._shuffle, self._seed, self._epoch = shuffle, seed, 0
        self._begin = 0
        self._gather_at_once = size <= GATHER_BYTES
        self._used = self.samples - self.samples % batch_size if drop_last else self.samples

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next iteration has."""
        self._epoch = epoch

    def skip(self, batches: int) -> int:
        """Leave out the first batches of the next iteration; returns how many it can leave out."""
        self._begin = batches * self.batch_size
        return batches

    def __len__(self) -> int:
        return math.ceil(self._used / self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        begin, self._begin = self._begin, 0
        if begin >= self._used:
            return iter(())
        if not self._shuffle:
            return zip(*(t[begin : self._used].split(self.batch_size) for t in self.tensors), strict=True)
        generator = torch.Generator().manual_seed(mix(self._seed, self._epoch))
        order = torch.randperm(self.samples, generator=generator)[begin : self._used]
        order = order.to(self.tensors[0].device)
        if self._gather_at_once:
            return zip(*(t[order].split(self.batch_size) for t in self.tensors), strict=True)
        return (tuple(t[part] for t in self.tensors) for part in order.split(self.batch_size))


class MixedSizes(ValueError):
    """The items of a batch differ in shape."""


def collate(items: list[Any]) -> Any:
    """A batch of items.

    Raises:
        MixedSizes: they can't be stacked.
    """
    try:
        return default_collate(items)
    except RuntimeError as error:
        sizes = {tuple(part.shape) for item in items for part in item[:1] if isinstance(part, Tensor)}
        if len(sizes) < 2:
            raise
        found = " and ".join(" × ".join(map(str, size)) for size in sorted(sizes)[:2])
        raise MixedSizes(
            f"a batch has items of several shapes, such as {found}: end the transforms with "
            "albumentations.RandomCrop and pad_if_needed, cut patches, or set batch_size: 1"
        ) from error


class SeededDataset(Dataset[Any]):
    """Any map-style dataset, its randomness a function of (seed, epoch, index).

    A dataset with `sample(index, rng)` gets a generator; for another the global streams of Python, NumPy and
    torch are seeded while it makes the sample.
    """

    def __init__(self, dataset: Dataset[Any], seed: int) -> None:
        self.dataset = dataset
        self._seed = seed
        self._sample = getattr(dataset, "sample", None)

    def __len__(self) -> int:
        return len(cast(Sized, self.dataset))

    def __getitem__(self, key: tuple[int, int]) -> Any:
        epoch, index = key
        if self._sample is not None:
            return self._sample(index, sample_rng(self._seed, epoch, index))
        with seeded(self._seed, epoch, index):
            return self.dataset[index]


_PATIENCE = 5.0  # seconds for a worker to end


class SampleLoader(DataLoader[Any]):
    """A DataLoader over a SeededDataset; its workers live as long as it does and can be started early."""

    samples: int

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration; call it before iterating."""
        if isinstance(self.sampler, EpochSampler):  # else every epoch is the same
            self.sampler.set_epoch(epoch)

    def skip(self, batches: int) -> int:
        """Leave out the first batches of the next iteration; returns how many it can leave out."""
        if not isinstance(self.sampler, EpochSampler) or self.batch_size is None:
            return 0
        self.sampler.skip(batches * self.batch_size)
        return batches

    def start(self, epoch: int, done: int = 0) -> None:
        """Start the workers on an epoch's batches, but for the first ones where they are done already.

        They are forked, so this is called before anything else has started a thread.
        """
        if self.num_workers > 0:
            self.set_epoch(epoch)
            self.skip(done)
            self._waiting = super().__iter__()

    def stop(self) -> None:
        """End the workers, also where somebody, such as a traceback, still holds the iterator."""
        self.__dict__.pop("_waiting", None)
        iterator, self._iterator = self._iterator, None
        shutdown = getattr(iterator, "_shutdown_workers", None)
        if shutdown is not None:
            with contextlib.suppress(RuntimeError):  # torch's word that a worker was killed
                shutdown()
            # That word may interrupt the shutdown, which then terminates the others without waiting for them.
            for worker in getattr(iterator, "_workers", ()):
                with contextlib.suppress(RuntimeError):
                    worker.join(_PATIENCE)

    def __iter__(self) -> Any:
        waiting = self.__dict__.pop("_waiting", None)
        return super().__iter__() if waiting is None else waiting


def create_loader(
    dataset: Dataset[Any],
    batch_size: int,
    *,
    shuffle: bool,
    seed: int = 0,
    device: torch.device | str = "cpu",
    config: LoaderConfig | None = None,
) -> TensorLoader | SampleLoader | DataLoader[Any]:
    """The fastest loader that serves this dataset; a `collate(items)` of its own makes its batches.

    Raises:
        ValueError: the dataset is empty, or says nothing of its length.
    """
    config = config or LoaderConfig()
    drop_last = config.drop_last and shuffle
    if type(dataset) is TensorDataset:
        loader = TensorLoader(
            dataset.tensors, batch_size, shuffle=shuffle, seed=seed, device=device, drop_last=drop_last
        )
        return _not_empty(loader, loader.samples, batch_size)
    pin_memory = torch.device(device).type == "cuda" if config.pin_memory is None else config.pin_memory
    workers: dict[str, Any] = {
        "num_workers": config.workers,
        "pin_memory": pin_memory,
        "drop_last": drop_last,
    }
    if config.workers:
        workers |= {
            "persistent_workers": True,
            "prefetch_factor": config.prefetch,
            "worker_init_fn": _set_up_worker,
            # The default in a trial of a study is another: each worker would start Python and import torch.
            "multiprocessing_context": "fork" if sys.platform == "linux" else None,
        }
    if isinstance(dataset, IterableDataset):
        if not isinstance(dataset, Sized):
            raise ValueError("an IterableDataset must say by __len__ how many samples an epoch has")
        return DataLoader(dataset, batch_size, **workers)
    samples = SeededDataset(dataset, seed)
    sizes = list(getattr(dataset, "sizes", ())) if batch_size > 1 else []
    if len(set(sizes)) > 1 and shuffle:
        raise ValueError(
            f"the images have {len(set(sizes))} sizes and a batch needs one: cut patches, or add a transform "
            "such as albumentations.RandomCrop with pad_if_needed, or set batch_size: 1"
        )
    # Every iteration draws a seed for its workers: from the global stream, it would shift dropout's masks.
    generator = torch.Generator().manual_seed(seed)
    workers["collate_fn"] = getattr(dataset, "collate", collate)
    if sizes and not shuffle:
        del workers["drop_last"]
        batches = SizedBatches(sizes, batch_size)
        sample_loader = SampleLoader(samples, batch_sampler=batches, generator=generator, **workers)
    else:
        sampler = EpochSampler(len(samples), shuffle=shuffle, seed=seed)
        sample_loader = SampleLoader(samples, batch_size, sampler=sampler, generator=generator, **workers)
    sample_loader.samples = len(samples)
    return _not_empty(sample_loader, len(samples), batch_size)


L = TypeVar("L", TensorLoader, SampleLoader)


def _not_empty(loader: L, samples: int, batch_size: int) -> L:
    if samples == 0:
        raise ValueError("the dataset is empty")
    if len(loader) == 0:
        raise ValueError(
            f"the dataset has {samples} samples, fewer than one batch of {batch_size}, and drop_last is on"
        )
    return loader


def _set_up_worker(worker: int) -> None:
    """One thread, and a quiet end.

    OpenCV's threads in every worker would fight over the cores; torch limits its own already. A signal to
    the whole job, as batch systems and terminals send it, must not look like a crash of the worker to the
    training, which has got the same signal and is about to close the run in order.
    """
    cv2 = sys.modules.get("cv2")
    if cv2 is not None:
        cv2.setNumThreads(0)
    signal.signal(signal.SIGTERM, lambda number, frame: os._exit(0))
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.excepthook = _unless_nobody_listens


def _unless_nobody_listens(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    """A training that ends takes no more batches: nothing that a thread of the worker should complain of."""
    if not isinstance(error, (ConnectionError, EOFError)):
        sys.__excepthook__(kind, error, trace)


@dataclass(frozen=True)
class Loaders:
    """What a run reads: its two loaders, the validation samples one by one, for pictures, the test set for
    the last word, where there is one, and what the data says of itself (`Splits.facts`)."""

    train: Loader
    val: Loader
    val_set: Any
    test_set: Any = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def train_samples(self) -> int:
        return _samples(self.train)

    @property
    def val_samples(self) -> int:
        return _samples(self.val)

    @property
    def test_samples(self) -> int:
        return len(self.test_set) if isinstance(self.test_set, Sized) else 0

    def start(self, epoch: int, done: int = 0) -> None:
        """Start the loaders' workers on an epoch, where they have any, of whose training some is done."""
        for loader, first in ((self.train, done), (self.val, 0)):
            if isinstance(loader, SampleLoader):
                loader.start(epoch, first)

    def stop(self) -> None:
        """End the loaders' workers."""
        for loader in (self.train, self.val):
            if isinstance(loader, SampleLoader):
                loader.stop()


def create_loaders(
    config: RunConfig, dl_train: Loader | None, dl_val: Loader | None, device: torch.device
) -> Loaders:
    """The given loaders, or those that the config describes, seeded by its first seed.

    Raises:
        ValueError: the data's target doesn't return (train, val), or only one loader is given.
        ConfigError: the data can't be built.
    """
    if (dl_train is None) != (dl_val is None):
        raise ValueError("give both dl_train and dl_val, or neither")
    if dl_train is not None and dl_val is not None:
        return Loaders(dl_train, dl_val, getattr(dl_val, "dataset", None))
    seed = config.seeds[0]
    seed_all(seed)
    sets = config.create_data()
    if not isinstance(sets, tuple) or not 2 <= len(sets) <= 4:
        found = type(sets).__name__
        message = f"{config.data.target} must return (train, val) or (train, val, test), found {found}"
        raise ConfigError([Problem(("data", "target"), message)])
    train, val = sets[0], sets[1]
    try:
        return Loaders(
            create_loader(
                train, config.batch_size, shuffle=True, seed=seed, device=device, config=config.loader
            ),
            create_loader(
                val, config.batch_size, shuffle=False, seed=seed, device=device, config=config.loader
            ),
            val,
            *sets[2:],
        )
    except ValueError as error:
        raise ConfigError([Problem(("data",), str(error))]) from error


def set_epoch(epoch: int, *loaders: Loader) -> None:
    """Tell the loaders, or their samplers, which epoch comes, where they want to know."""
    for loader in loaders:
        for part in (loader, getattr(loader, "sampler", None)):
            tell = getattr(part, "set_epoch", None)
            if tell is not None:
                tell(epoch)
                break


def _samples(loader: Loader) -> int:
    dataset = getattr(loader, "dataset", None)
    return int(getattr(loader, "samples", 0)) or (len(dataset) if isinstance(dataset, Sized) else 0)
