"""Batches: the same for any number of workers, another order every epoch, and nothing else disturbed."""

import multiprocessing
import random
import time
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from lab.config import RunConfig
from lab.config.sections import LoaderConfig
from lab.data import epoch_loader, loaders
from lab.data.loaders import SampleLoader, StreamLoader, TensorLoader, create_loader, create_loaders
from lab.data.protocols import SampledDataset, SizedImages

CPU = torch.device("cpu")


class Given(SampledDataset):
    """Draws from the generator that it is given."""

    def __init__(self, samples: int = 7) -> None:
        self._samples = samples

    def __len__(self) -> int:
        return self._samples

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        raise AssertionError("sample() is there")

    def sample(self, index: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        return torch.tensor(index), torch.tensor(rng.random(3))


class Global(Dataset[tuple[Tensor, Tensor]]):
    """Draws from the global streams, as most datasets of this world do."""

    sample, sizes, names, samples, set_epoch = 0.5, (1, 2), None, "all", True  # which means nothing

    def __init__(self, samples: int = 7) -> None:
        self._samples = samples

    def __len__(self) -> int:
        return self._samples

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        drawn = torch.tensor([random.random(), np.random.rand()], dtype=torch.float64)
        return torch.tensor(index), torch.cat([drawn, torch.rand(1, dtype=torch.float64)])


class Stream(IterableDataset[Tensor]):
    def __init__(self, samples: int) -> None:
        self._samples = samples

    def __len__(self) -> int:
        return self._samples

    def __iter__(self) -> Iterator[Tensor]:
        return iter(torch.arange(self._samples))


def tensors(samples: int = 10) -> TensorDataset:
    return TensorDataset(torch.arange(samples), torch.arange(samples * 6.0).reshape(samples, 2, 3))


def epoch_of(loader: Any, epoch: int) -> list[list[Tensor]]:
    loader.set_epoch(epoch)
    return [list(batch) for batch in loader]


def equal(a: list[list[Tensor]], b: list[list[Tensor]]) -> bool:
    return len(a) == len(b) and all(
        torch.equal(x, y) for left, right in zip(a, b, strict=True) for x, y in zip(left, right, strict=True)
    )


def indices(batches: list[list[Tensor]]) -> list[int]:
    return [int(index) for batch in batches for index in batch[0]]


def workers(count: int) -> LoaderConfig:
    return LoaderConfig.model_validate({"workers": count})


@pytest.fixture(autouse=True)
def _no_worker_is_left() -> Iterator[None]:
    yield
    deadline = time.monotonic() + 10
    while multiprocessing.active_children() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert multiprocessing.active_children() == []


# Tensors in memory


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("batch_size", [1, 3, 5, 10, 11])
def test_tensor_loader_equals_a_data_loader(batch_size: int, drop_last: bool) -> None:
    data = tensors()
    ours = TensorLoader(data.tensors, batch_size, shuffle=False, drop_last=drop_last)
    theirs = DataLoader(data, batch_size, drop_last=drop_last)
    assert equal([list(batch) for batch in ours], [list(batch) for batch in theirs])
    assert len(ours) == len(theirs) == len(list(ours)) and ours.samples == 10


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("drop_last", [False, True])
def test_shuffled_tensors(monkeypatch: pytest.MonkeyPatch, at_once: bool, drop_last: bool) -> None:
    if not at_once:
        monkeypatch.setattr(loaders, "GATHER_BYTES", 10)
    data = tensors()
    ours = TensorLoader(data.tensors, 4, shuffle=True, seed=3, drop_last=drop_last)
    assert ours._gather_at_once is at_once
    batches = epoch_of(ours, 2)
    order = indices(batches)
    assert [len(batch[0]) for batch in batches] == ([4, 4] if drop_last else [4, 4, 2])
    assert len(set(order)) == len(order) and order != sorted(order)
    theirs = DataLoader(data, 4, sampler=order)
    assert equal(batches, [list(batch) for batch in theirs])


def test_both_ways_to_gather_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = epoch_of(TensorLoader(tensors().tensors, 4, shuffle=True, seed=1), 5)
    monkeypatch.setattr(loaders, "GATHER_BYTES", 0)
    by_batch = epoch_of(TensorLoader(tensors().tensors, 4, shuffle=True, seed=1), 5)
    assert equal(at_once, by_batch)


def test_large_tensors_stay_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    small = TensorLoader(tensors().tensors, 4, shuffle=False, device="meta")
    assert [t.device.type for t in small.tensors] == ["meta", "meta"]
    monkeypatch.setattr(loaders, "RESIDENT_BYTES", 100)
    large = TensorLoader(tensors().tensors, 4, shuffle=False, device="meta")
    assert [t.device.type for t in large.tensors] == ["cpu", "cpu"]


LOADERS: dict[str, Callable[[int], Any]] = {
    "tensors": lambda seed: create_loader(tensors(40), 8, shuffle=True, seed=seed),
    "samples": lambda seed: create_loader(Given(40), 8, shuffle=True, seed=seed),
}


@pytest.mark.parametrize("make", LOADERS.values(), ids=LOADERS)
def test_order_is_a_function_of_seed_and_epoch(make: Callable[[int], Any]) -> None:
    orders = {
        (seed, epoch): tuple(indices(epoch_of(make(seed), epoch))) for seed in (0, 1) for epoch in (1, 2, 3)
    }
    assert len(set(orders.values())) == 6
    again = make(1)
    assert [tuple(indices(epoch_of(again, epoch))) for epoch in (3, 1)] == [orders[1, 3], orders[1, 1]]
    assert all(sorted(order) == list(range(40)) for order in orders.values())


# Samples


@pytest.mark.parametrize("dataset", [Given, Global])
@pytest.mark.parametrize("shuffle", [True, False])
def test_any_number_of_workers_gives_the_same_bits(dataset: Any, shuffle: bool) -> None:
    def epochs(count: int) -> list[list[list[Tensor]]]:
        loader = create_loader(dataset(), 3, shuffle=shuffle, seed=5, config=workers(count))
        assert isinstance(loader, SampleLoader)
        loader.start(1)
        result = [epoch_of(loader, epoch) for epoch in (1, 2)]
        loader.stop()
        return result

    alone, one, two = (epochs(count) for count in (0, 1, 2))
    for other in (one, two):
        assert all(equal(a, b) for a, b in zip(alone, other, strict=True))
    assert [len(batch[0]) for batch in alone[0]] == [3, 3, 1]
    drawn = [{int(i): row for batch in epoch for i, row in zip(*batch, strict=True)} for epoch in alone]
    assert len({tuple(row.tolist()) for row in drawn[0].values()}) == 7  # each sample has its own draw
    same = [torch.equal(drawn[0][index], drawn[1][index]) for index in range(7)]
    assert same == [not shuffle] * 7  # validation is the same every epoch


@pytest.mark.parametrize("count", [0, 2])
def test_resumed_epoch_equals(count: int) -> None:
    whole = create_loader(Global(), 2, shuffle=True, seed=1, config=workers(count))
    assert isinstance(whole, SampleLoader)
    epochs = [epoch_of(whole, epoch) for epoch in (1, 2, 3)]
    whole.stop()
    resumed = create_loader(Global(), 2, shuffle=True, seed=1, config=workers(count))
    assert isinstance(resumed, SampleLoader)
    resumed.start(3)
    assert equal(epoch_of(resumed, 3), epochs[2])
    resumed.stop()


def test_start_forks_the_workers_and_stop_ends_them() -> None:
    loader = create_loader(Given(), 2, shuffle=True, config=workers(2))
    assert isinstance(loader, SampleLoader)
    assert multiprocessing.active_children() == []
    loader.start(1)
    children = {child.pid for child in multiprocessing.active_children()}
    assert len(children) == 2
    for epoch in (1, 2):
        epoch_of(loader, epoch)
    assert {child.pid for child in multiprocessing.active_children()} == children  # the same ones
    loader.stop()
    assert multiprocessing.active_children() == []
    loader.stop()


@pytest.mark.parametrize("when", ["started", "within an epoch"])
def test_stop_ends_the_workers_though_somebody_holds_the_iterator(when: str) -> None:
    """Hold the iterator like the traceback of an error within an epoch."""
    loader = create_loader(Given(), 2, shuffle=True, config=workers(2))
    assert isinstance(loader, SampleLoader)
    loader.start(1)
    held = iter(loader) if when == "within an epoch" else loader.__dict__["_waiting"]
    if when == "within an epoch":
        next(held)
    loader.stop()
    assert multiprocessing.active_children() == []
    del held


@pytest.mark.parametrize("dataset", [Given, Global])
@pytest.mark.parametrize("count", [0, 1])
def test_the_global_streams_are_not_touched(dataset: Any, count: int) -> None:
    """They belong to dropout: another number of workers must not shift its masks."""
    loader = create_loader(dataset(), 3, shuffle=True, config=workers(count))
    assert isinstance(loader, SampleLoader)
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)
    expected = (torch.rand(2).tolist(), random.random(), np.random.rand())
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)
    loader.start(1)
    for epoch in (1, 2):
        epoch_of(loader, epoch)
    assert (torch.rand(2).tolist(), random.random(), np.random.rand()) == expected
    loader.stop()


def test_batch_options() -> None:
    config = LoaderConfig.model_validate(
        {"drop_last": True, "pin_memory": False, "prefetch": 3, "workers": 1}
    )
    train = create_loader(Given(), 3, shuffle=True, config=config)
    val = create_loader(Given(), 3, shuffle=False, config=config)
    assert isinstance(train, SampleLoader) and isinstance(val, SampleLoader)
    assert (len(train), len(val)) == (2, 3)  # validation leaves nothing out
    assert (train.prefetch_factor, train.persistent_workers, train.pin_memory) == (3, True, False)
    tensor = create_loader(tensors(7), 3, shuffle=True, config=config)
    assert isinstance(tensor, TensorLoader) and len(tensor) == 2


@pytest.mark.parametrize("data", [tensors(0), Given(0)])
def test_an_empty_dataset_is_refused(data: Any) -> None:
    with pytest.raises(ValueError, match="the dataset is empty"):
        create_loader(data, 3, shuffle=False)


@pytest.mark.parametrize("data", [tensors(2), Given(2)])
def test_a_dataset_without_one_whole_batch_is_refused(data: Any) -> None:
    config = LoaderConfig.model_validate({"drop_last": True})
    with pytest.raises(ValueError, match=r"2 samples, fewer than one batch of 3, and drop_last is on"):
        create_loader(data, 3, shuffle=True, config=config)
    assert len(create_loader(data, 3, shuffle=False, config=config)) == 1


def test_a_subclass_of_tensor_dataset_keeps_its_own_items() -> None:
    class Doubled(TensorDataset):
        def __getitem__(self, index: int) -> Any:
            return tuple(2 * part for part in super().__getitem__(index))

    (batch,) = create_loader(Doubled(torch.arange(3)), 3, shuffle=False)
    assert batch[0].tolist() == [0, 2, 4]


@pytest.mark.parametrize("count", [0, 1])
def test_a_stream_is_read_in_its_own_order(count: int) -> None:
    loader = create_loader(Stream(5), 2, shuffle=True, config=workers(count))
    assert type(loader) is StreamLoader
    assert [batch.tolist() for batch in loader] == [[0, 1], [2, 3], [4]]


# Batches of one size


class Sized(SizedImages):
    sizes = ((2, 2), (2, 2), (2, 2), (2, 3), (2, 3), (1, 1), (2, 2))

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return torch.tensor(index), torch.full(self.sizes[index], index)


@pytest.mark.parametrize("count", [0, 1])
def test_neighbours_of_one_size_share_a_batch_and_the_order_stays(count: int) -> None:
    loader = create_loader(Sized(), 2, shuffle=False, config=workers(count))
    assert isinstance(loader, SampleLoader)
    loader.start(1)
    for epoch in (1, 2):
        batches = epoch_of(loader, epoch)
        assert [batch[0].tolist() for batch in batches] == [[0, 1], [2], [3, 4], [5], [6]]
        assert len(loader) == len(batches) and loader.samples == 7
    loader.stop()


def test_sizes_that_are_equal_or_batches_of_one_change_nothing() -> None:
    class Equal(Sized):
        sizes: ClassVar[list[tuple[int, int]]] = [(2, 2)] * 7

    loader = create_loader(Equal(), 3, shuffle=False)
    assert [batch[0].tolist() for batch in loader] == [[0, 1, 2], [3, 4, 5], [6]]
    single: Any = create_loader(Sized(), 1, shuffle=True, seed=1)
    assert sorted(indices(epoch_of(single, 1))) == list(range(7))


def test_shuffling_several_sizes_is_refused_with_advice() -> None:
    with pytest.raises(
        ValueError, match="the images have 3 sizes and a batch needs one: cut patches, or add"
    ):
        create_loader(Sized(), 2, shuffle=True)


# From a config


def test_loaders_of_a_config(config: Callable[..., RunConfig]) -> None:
    data = create_loaders(config(), None, None, CPU)
    assert (data.train_samples, data.val_samples) == (48, 16)
    assert (len(data.train), len(data.val)) == (3, 1)
    assert isinstance(data.train, TensorLoader) and data.val_set[0][0].shape == (1,)
    other = create_loaders(config(seeds=[1]), None, None, CPU)
    orders = [next(iter(d.train))[0] for d in (data, create_loaders(config(), None, None, CPU), other)]
    assert torch.equal(orders[0], orders[1]) and not torch.equal(orders[0], orders[2])


def test_facts_and_the_test_set_are_kept(config: Callable[..., RunConfig]) -> None:
    plain = create_loaders(config(), None, None, CPU)
    assert (plain.test_set, dict(plain.facts)) == (None, {})
    drawn = {"target": "lab.data.spheroids", "train_count": 4, "val_count": 2, "test_count": 3, "size": 32}
    data = create_loaders(config(data=drawn), None, None, CPU)
    assert len(data.test_set) == 3 and data.facts["classes"] == ["background", "foreground"]
    assert data.facts["counts"] == {"train": 4, "val": 2, "test": 3}


def test_given_loaders_are_used(config: Callable[..., RunConfig]) -> None:
    train, val = DataLoader(tensors(10), 4), DataLoader(tensors(6), 4)
    data = create_loaders(config(), train, val, CPU)
    assert (data.train, data.val, data.train_samples, data.val_samples) == (train, val, 10, 6)
    assert data.val_set is val.dataset
    unsized = create_loaders(config(), [(1, 2)], [(1, 2)], CPU)
    assert (unsized.val_set, unsized.train_samples) == (None, 0)
    data.start(1)
    data.stop()  # nothing of ours to start or stop


@pytest.mark.parametrize("which", [0, 1])
def test_one_loader_alone_is_refused(config: Callable[..., RunConfig], which: int) -> None:
    pair: list[Any] = [None, None]
    pair[which] = DataLoader(tensors(), 2)
    with pytest.raises(ValueError, match="give both dl_train and dl_val, or neither"):
        create_loaders(config(), *pair, CPU)


def test_start_and_stop_of_both(config: Callable[..., RunConfig]) -> None:
    spheroids = {"target": "lab.data.spheroids", "train_count": 4, "val_count": 2, "size": 32}
    flips = [{"target": "albumentations.HorizontalFlip", "p": 0.5}]
    data = create_loaders(
        config(**{"data": {**spheroids, "transforms": flips}, "loader.workers": 1}), None, None, CPU
    )
    data.start(1)
    assert len(multiprocessing.active_children()) >= 1
    data.stop()
    assert multiprocessing.active_children() == []


def test_a_stream_of_unknown_length_is_refused() -> None:
    class Endless(IterableDataset[int]):
        def __iter__(self) -> Iterator[int]:
            return iter(range(3))

    with pytest.raises(ValueError, match="has no __len__: set steps_per_epoch"):
        create_loader(Endless(), 2, shuffle=True)


class Sentences(list[Tensor]):
    """Items of several lengths, with a collate of their own."""

    def collate(self, items: list[Tensor]) -> Tensor:
        return torch.nn.utils.rnn.pad_sequence(items, batch_first=True, padding_value=-1)


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_dataset_may_put_its_own_batches_together(shuffle: bool) -> None:
    items: Any = Sentences(torch.arange(length) for length in (2, 3, 1))
    batches = list(create_loader(items, 3, shuffle=shuffle))
    assert sorted(batches[0].tolist()) == [[0, -1, -1], [0, 1, -1], [0, 1, 2]] and len(batches) == 1


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (
            [(torch.ones(2, 4), 1), (torch.ones(3, 4), 0)],
            "of several shapes, such as 2 × 4 and 3 × 4: return",
        ),
        (
            [(torch.ones(2), torch.ones(1, 4)), (torch.ones(2), torch.ones(3, 4))],
            "such as 1 × 4 and 3 × 4: ret",
        ),
        ([{"x": torch.ones(2)}, {"x": torch.ones(3)}], "such as 2 and 3: return tensors"),
        (
            [(object(), 1), (object(), 0)],
            "a batch can't be stacked (default_collate: batch must contain tensors",
        ),
        ([(torch.ones(3, 4, 4), 1), (torch.ones(3, 5, 4), 0)], "RandomCrop"),
    ],
)
def test_items_that_cant_be_stacked(items: list[Any], message: str) -> None:
    with pytest.raises(epoch_loader.Unstackable) as caught:
        loaders.collate(items)
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert isinstance(caught.value, epoch_loader.MixedSizes) == (message == "RandomCrop")
    assert ("collate(items)" in str(caught.value)) == (message != "RandomCrop")


# Within an epoch


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("shuffle", [False, True])
def test_tensors_without_the_first_batches(
    monkeypatch: pytest.MonkeyPatch, shuffle: bool, drop_last: bool, at_once: bool
) -> None:
    monkeypatch.setattr(loaders, "GATHER_BYTES", 2**30 if at_once else 0)
    loader = TensorLoader(tensors().tensors, 3, shuffle=shuffle, seed=1, drop_last=drop_last)
    whole = epoch_of(loader, 2)
    for done in range(len(whole) + 1):
        assert loader.skip(done) == done
        assert equal([list(batch) for batch in loader], whole[done:])
    assert equal(epoch_of(loader, 2), whole), "the next pass has all of them again"


@pytest.mark.parametrize("count", [0, 2])
@pytest.mark.parametrize("started", [False, True])
def test_samples_without_the_first_batches(count: int, started: bool) -> None:
    def made() -> SampleLoader:
        loader = create_loader(Global(9), 2, shuffle=True, seed=1, config=workers(count))
        assert isinstance(loader, SampleLoader)
        return loader

    whole, going_on = made(), made()
    if started:
        going_on.start(3, 2)
    going_on.set_epoch(3)
    assert going_on.skip(2) == 2
    assert equal([list(batch) for batch in going_on], epoch_of(whole, 3)[2:])
    assert equal(epoch_of(going_on, 4), epoch_of(whole, 4)), "and the next epoch is whole"
    whole.stop()
    going_on.stop()


def test_batches_of_one_size_cannot_be_skipped() -> None:
    loader = create_loader(Sized(), 2, shuffle=False)
    assert isinstance(loader, SampleLoader) and loader.skip(1) == 0


def test_workers_are_forked_whatever_the_default_is() -> None:
    loader = create_loader(Given(), 2, shuffle=True, config=workers(1))
    assert isinstance(loader, SampleLoader)
    context = loader.multiprocessing_context
    assert context is not None and context.get_start_method() == "fork"
