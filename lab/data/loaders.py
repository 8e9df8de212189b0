"""Batches of a dataset: whole-batch tensor indexing where the data is in memory, workers elsewhere.

Both loaders draw the order of an epoch from (seed, epoch) and a sample's own randomness from (seed, epoch,
index), so a run resumed at an epoch boundary sees what the uninterrupted run would have seen, with any number
of workers.
"""

import math
from collections.abc import Iterator, Mapping, Sized
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset, default_collate

from lab.config import ConfigError, Problem, RunConfig
from lab.config.dataset_info import DatasetInfo, Facts
from lab.config.sections import LoaderConfig
from lab.data.epoch_loader import EpochLoader, MixedSizes, Unstackable
from lab.data.loader_workers import KeptWorkers, worker_options
from lab.data.nan_check import not_finite, watched
from lab.data.protocols import NamedTensors, SizedImages, collate_of, unused
from lab.data.sample_order import EpochSampler, SizedBatches
from lab.data.seeded_dataset import SeededDataset
from lab.data.splits import WITHOUT, is_empty, splits_of, unvalidated
from lab.data.streams import Share, StreamLoader, UnknownLength, divided
from lab.events import Callback, Note
from lab.rng.keys import derive_seed
from lab.rng.seeding import seed_all
from lab.state.worker_state_watch import Watch

RESIDENT_BYTES = 2**30  # tensors up to here are kept on the device
GATHER_BYTES = 2**28  # tensors up to here are shuffled once an epoch instead of once a batch


class Loader(Protocol):
    """The methods that the Trainer needs of a loader; a plain DataLoader serves too, without `set_epoch`."""

    def __iter__(self) -> Iterator[Any]: ...

    def __len__(self) -> int: ...


class TensorLoader(EpochLoader):
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
        bad = not_finite(tensors, "training" if shuffle else "validation")
        self.notes = [bad] if bad else []
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
        generator = torch.Generator().manual_seed(derive_seed(self._seed, self._epoch))
        order = torch.randperm(self.samples, generator=generator)[begin : self._used]
        order = order.to(self.tensors[0].device)
        if self._gather_at_once:
            return zip(*(t[order].split(self.batch_size) for t in self.tensors), strict=True)
        return (tuple(t[part] for t in self.tensors) for part in order.split(self.batch_size))


def collate(items: list[object]) -> object:
    """A batch of items.

    Raises:
        Unstackable: they can't be stacked.
    """
    try:
        return default_collate(items)
    except (RuntimeError, TypeError) as error:
        # Torch names neither the shapes nor a remedy. Images of several sizes are the most frequent case.
        first = [item[0] if isinstance(item, (list, tuple)) and item else item for item in items]
        images = {tuple(each.shape) for each in first if isinstance(each, Tensor)}
        if len(images) > 1 and all(len(size) > 2 for size in images):
            raise MixedSizes(
                f"a batch has items of several shapes, such as {_two(images)}: end the transforms with "
                "albumentations.RandomCrop and pad_if_needed, cut patches, or set batch_size: 1"
            ) from error
        what = f"can't be stacked ({error})"
        for shapes in map(set, zip(*map(_shapes, items), strict=False)):
            if len(shapes) > 1:
                what = f"has items of several shapes, such as {_two(shapes)}"
                break
        raise Unstackable(
            f"a batch {' '.join(what.split())}: return tensors of equal shapes, or give the dataset a method "
            "collate(items) that makes the batch, such as by torch.nn.utils.rnn.pad_sequence (docs/tasks.md)"
        ) from error


def _shapes(item: object) -> list[tuple[int, ...]]:
    """Those of the tensors in an item."""
    if isinstance(item, Mapping):
        item = list(item.values())
    if isinstance(item, (list, tuple)):
        return [shape for part in item for shape in _shapes(part)]
    shape = getattr(item, "shape", None)
    return [] if shape is None else [tuple(shape)]


def _two(sizes: set[tuple[int, ...]]) -> str:
    return " and ".join(" × ".join(map(str, size)) or "()" for size in sorted(sizes)[:2])


class SampleLoader(KeptWorkers):
    """A DataLoader over a SeededDataset; its workers live as long as it does and can be started early."""

    what: str
    _read = False

    @property
    def changed_in_workers(self) -> str:
        """The attributes of the dataset that change where workers read it."""
        watch = self.dataset._watch if isinstance(self.dataset, SeededDataset) else None
        return "" if watch is None else watch.changed

    def __iter__(self) -> Any:
        read, self._read = self._read, True
        if read:
            return super().__iter__()
        order = self.sampler if isinstance(self.sampler, EpochSampler) else self.batch_sampler
        indices = order.items_of(self.batch_size) if isinstance(order, (EpochSampler, SizedBatches)) else None
        batches = super().__iter__()
        return batches if indices is None else watched(batches, indices, self.what, self.warn)

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


def create_loader(
    dataset: Dataset[object],
    batch_size: int,
    *,
    shuffle: bool,
    seed: int = 0,
    device: torch.device | str = "cpu",
    config: LoaderConfig | None = None,
    steps: int | None = None,
) -> TensorLoader | SampleLoader | StreamLoader:
    """The fastest loader that serves this dataset; a `collate(items)` of its own makes its batches.

    Args:
        steps: batches of an epoch, for a training stream that doesn't know its length.

    Raises:
        ValueError: the dataset is empty, or a training stream without a length.
    """
    config = config or LoaderConfig()
    drop_last = config.drop_last and shuffle
    # Data in memory: no worker, no collation. A subclass may have items of its own, so the type is exact.
    if type(dataset) in (TensorDataset, NamedTensors):
        tensors = cast(TensorDataset, dataset).tensors
        loader = TensorLoader(
            tensors, batch_size, shuffle=shuffle, seed=seed, device=device, drop_last=drop_last
        )
        return _not_empty(loader, loader.samples, batch_size)
    own = collate_of(dataset)
    together = own or collate
    # Streams have no indices, hence neither a sampler nor a seed for each item.
    if isinstance(dataset, IterableDataset):
        return StreamLoader(
            dataset, batch_size, shuffle=shuffle, seed=seed, device=device, config=config, steps=steps,
            collate=together,
        )  # fmt: skip
    samples = SeededDataset(dataset, seed, Watch(dataset) if config.workers else None)
    sizes = list(dataset.sizes) if batch_size > 1 and isinstance(dataset, SizedImages) else []
    # Batches of equal sizes would restrict the random order, so training requires one size.
    if len(set(sizes)) > 1 and shuffle:
        raise ValueError(
            f"the images have {len(set(sizes))} sizes and a batch needs one: cut patches, or add a transform "
            "such as albumentations.RandomCrop with pad_if_needed, or set batch_size: 1"
        )
    options = {
        **worker_options(config, device, config.workers),
        # Every iteration draws a seed for its workers: from the global stream it would shift dropout's masks.
        "generator": torch.Generator().manual_seed(seed),
        "collate_fn": samples.seeding(own) if own else together,
    }
    # Validation groups whole images by size instead of padding them.
    if sizes and not shuffle:
        sample_loader = SampleLoader(samples, batch_sampler=SizedBatches(sizes, batch_size), **options)
    else:
        sampler = EpochSampler(len(samples), shuffle=shuffle, seed=seed)
        sample_loader = SampleLoader(samples, batch_size, sampler=sampler, drop_last=drop_last, **options)
    sample_loader.samples, sample_loader.what = len(samples), "training" if shuffle else "validation"
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


C = TypeVar("C", bound=Callback)


@dataclass(frozen=True)
class Loaders:
    """The data of a run: its two loaders, the validation samples one by one, for images, and the test set.

    `facts` is the data's own description (`Splits.facts`). Without validation `val` and `val_set` are None,
    `train_set` has the samples, and `unused` reports a set that is left out.
    """

    train: Loader
    val: Loader | None
    val_set: Any
    test_set: Any = None
    facts: Facts = field(default_factory=dict)
    train_set: Any = None
    unused: str = ""

    @property
    def info(self) -> DatasetInfo:
        """The facts that the program knows, typed."""
        return DatasetInfo.from_facts(self.facts)

    @property
    def train_samples(self) -> int:
        return _samples(self.train)

    @property
    def val_samples(self) -> int:
        return 0 if self.val is None else _samples(self.val)

    @property
    def examples(self) -> Any:
        """Samples to look at: those of validation where there are any."""
        return self.train_set if self.val is None else self.val_set

    @property
    def test_samples(self) -> int:
        return len(self.test_set) if isinstance(self.test_set, Sized) else 0

    def notes(self) -> list[str]:
        """The warnings due before the first batch."""
        found = [self.unused] if self.unused else []
        for loader in self._all:
            found += loader.notes if isinstance(loader, EpochLoader) else divided(loader)
            dataset = getattr(loader, "dataset", None)
            found += unused(dataset.dataset if isinstance(dataset, (SeededDataset, Share)) else dataset)
        return list(dict.fromkeys(found))

    def listen(self, callbacks: C) -> C:
        """Send the warnings that loaders issue while reading to callbacks, which are returned."""
        for loader in self._all:
            if isinstance(loader, EpochLoader):
                loader.warn = lambda message: callbacks.on_note(Note(message, "warning"))
        return callbacks

    def start(self, epoch: int, done: int = 0) -> None:
        """Start the loaders' workers on an epoch, where they have any, of whose training some is done."""
        for loader, first in ((self.train, done), (self.val, 0)):
            if isinstance(loader, KeptWorkers):
                loader.start(epoch, first)

    def stop(self) -> None:
        """End the loaders' workers."""
        for loader in self._all:
            if isinstance(loader, KeptWorkers):
                loader.stop()

    @property
    def _all(self) -> list[Loader]:
        return [self.train] if self.val is None else [self.train, self.val]


def create_loaders(
    config: RunConfig, dl_train: Loader | None, dl_val: Loader | None, device: torch.device
) -> Loaders:
    """The given loaders, or those that the config describes, seeded by its first seed.

    Raises:
        ValueError: only one loader is given, and the config validates.
        ConfigError: the data can't be built, or it has no validation set and the config has no `val: null`.
    """
    if dl_train is not None or dl_val is not None:
        return _given(config, dl_train, dl_val)
    # A data source may draw from the global random streams, so they are seeded before it is built.
    seed = config.seeds[0]
    seed_all(seed)
    sets = splits_of(config.create_data(), config.data.target)
    how: dict[str, Any] = {"seed": seed, "device": device, "config": config.loader}
    try:
        train = create_loader(
            sets.train, config.batch_size, shuffle=True, steps=config.steps_per_epoch, **how
        )
        if config.val is None:
            return Loaders(train, None, None, sets.test, sets.facts, sets.train, unvalidated(sets.val))
        if sets.val is None or is_empty(sets.val):
            raise ValueError(f"{config.data.target} returned no validation set; {WITHOUT}")
        val = create_loader(sets.val, config.batch_size, shuffle=False, **how)
    except UnknownLength as error:
        raise ConfigError([Problem(("steps_per_epoch",), str(error))]) from error
    except ValueError as error:
        raise ConfigError([Problem(("data",), str(error))]) from error
    return Loaders(train, val, sets.val, sets.test, sets.facts)


def _given(config: RunConfig, dl_train: Loader | None, dl_val: Loader | None) -> Loaders:
    if dl_train is None or (dl_val is None and config.val is not None):
        raise ValueError(f"give both dl_train and dl_val, or neither; {WITHOUT}")
    train_set, val_set = (
        loader.dataset if isinstance(loader, DataLoader) else None for loader in (dl_train, dl_val)
    )
    if config.val is None:
        unused = unvalidated(dl_val if val_set is None else val_set)
        return Loaders(dl_train, None, None, train_set=train_set, unused=unused)
    return Loaders(dl_train, dl_val, val_set)


def set_epoch(epoch: int, *loaders: Loader | None) -> None:
    """Pass the next epoch to the loaders, or to their samplers, that have a `set_epoch`."""
    for loader in loaders:
        for part in (loader, getattr(loader, "sampler", None)):
            setter = getattr(part, "set_epoch", None)
            if callable(setter):
                setter(epoch)
                break


def _samples(loader: Loader) -> int:
    if isinstance(loader, EpochLoader):
        return loader.samples
    dataset = loader.dataset if isinstance(loader, DataLoader) else None
    return len(dataset) if isinstance(dataset, Sized) else 0
