"""Streams: each sample once an epoch, the same batches with any number of workers."""

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import IterableDataset, get_worker_info

from lab.config.sections import LoaderConfig
from lab.data import EpochStream
from lab.data.loaders import create_loader
from lab.data.streams import StreamLoader, UnknownLength


class Plain(IterableDataset[int]):
    """Numbers, in an order that it draws from NumPy's stream, and noise from the others."""

    def __init__(self, count: int = 11) -> None:
        self.count = count

    def __iter__(self) -> Iterator[Any]:
        for index in np.random.permutation(self.count):
            yield int(index), random.random() + torch.rand(()).item()


class Counted(Plain):
    def __len__(self) -> int:
        return self.count


class Liar(Plain):
    def __init__(self, count: int, promised: int) -> None:
        super().__init__(count)
        self.promised = promised

    def __len__(self) -> int:
        return self.promised


class Divided(Counted):
    """It divides itself."""

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        first, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        return iter([(index, 0.0) for index in range(first, self.count, step)])


class Told(EpochStream):
    epoch = -1

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return 3

    def __iter__(self) -> Iterator[int]:
        return iter([self.epoch] * 3)


def loader_of(dataset: Any, workers: int = 0, shard: Any = None, shuffle: bool = True, **options: Any) -> Any:
    config = LoaderConfig.model_validate({"workers": workers, "shard": shard, **options.pop("config", {})})
    loader = create_loader(dataset, 3, shuffle=shuffle, seed=5, config=config, **options)
    assert isinstance(loader, StreamLoader)
    return loader


def epochs_of(loader: Any, *epochs: int) -> list[list[Any]]:
    found = []
    for epoch in epochs:
        loader.set_epoch(epoch)
        found.append([[part.tolist() for part in batch] for batch in loader])
    loader.stop()
    return found


def numbers(epoch: list[Any]) -> list[int]:
    return [number for batch in epoch for number in batch[0]]


@pytest.mark.parametrize("drop_last", [False, True])
def test_the_same_batches_with_any_number_of_workers(drop_last: bool) -> None:
    config = {"drop_last": drop_last}
    alone = epochs_of(loader_of(Counted(), config=config), 1, 2)
    assert [len(epoch) for epoch in alone] == [3 if drop_last else 4] * 2
    assert alone[0] != alone[1]
    if not drop_last:
        assert [sorted(numbers(epoch)) for epoch in alone] == [list(range(11))] * 2
    for workers in (1, 2, 3):
        loader = loader_of(Counted(), workers, True, config=config)
        loader.start(1)
        assert len(loader) == len(alone[0]) and loader.notes == []
        assert epochs_of(loader, 1, 2) == alone
    assert epochs_of(loader_of(Counted(), 1, config=config), 2) == alone[1:]  # resumed, with one worker


def test_one_worker_reads_unless_something_is_said() -> None:
    loader = loader_of(Counted(), 2)
    assert loader.num_workers == 1
    [note] = loader.notes
    assert "one worker reads the training stream Counted, not 2" in note and "loader.shard: true" in note
    assert sorted(numbers(epochs_of(loader, 1)[0])) == list(range(11))


def test_a_stream_that_divides_itself() -> None:
    loader = loader_of(Divided(), 2, "dataset")
    found: list[str] = []
    loader.warn = found.append
    [epoch] = epochs_of(loader, 1)
    assert sorted(numbers(epoch)) == list(range(11))
    assert len(loader) == len(epoch) == 4  # 6 samples and 5, in batches of 3
    assert found == [] and loader.notes == []
    assert len(loader_of(Divided(13), 2, "dataset")) == 5  # 7 samples and 6


def test_the_global_streams_are_left_alone() -> None:
    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    expected = torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random()
    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    loader = loader_of(Counted())
    loader.set_epoch(1)
    drawn = []
    for _ in loader:
        if len(drawn) < 3:
            drawn.append((torch.rand(()).item(), np.random.rand()))
    assert tuple(list(each) for each in zip(*drawn, strict=True)) == expected[:2]
    assert random.random() == expected[2]


def test_validation_is_the_same_in_every_epoch() -> None:
    first, second = epochs_of(loader_of(Counted(), shuffle=False), 1, 2)
    assert first == second


def test_without_a_length() -> None:
    with pytest.raises(UnknownLength, match="training stream Plain has no __len__: set steps_per_epoch"):
        loader_of(Plain())
    loader = loader_of(Plain(), steps=4)
    assert len(loader) == 4
    found: list[str] = []
    loader.warn = found.append
    assert sorted(numbers(epochs_of(loader, 1)[0])) == list(range(11))
    assert found == []
    val = loader_of(Plain(), shuffle=False)
    assert len(val) == 0  # not known yet
    assert sorted(numbers(epochs_of(val, 1)[0])) == list(range(11)) and len(val) == 4


def test_an_epoch_ends_after_steps_per_epoch() -> None:
    for workers in (0, 2):
        loader = loader_of(Plain(30), workers, True, steps=4)
        found: list[str] = []
        loader.warn = found.append
        epochs = epochs_of(loader, 1, 2, 3)
        assert [len(epoch) for epoch in epochs] == [4, 4, 4]
        assert epochs[0] != epochs[1]
        [note] = found
        assert "continues after steps_per_epoch: 4 batches" in note


@pytest.mark.parametrize(("count", "promised"), [(11, 6), (6, 11)])
def test_a_length_that_is_wrong_is_named_once(count: int, promised: int) -> None:
    loader = loader_of(Liar(count, promised))
    found: list[str] = []
    loader.warn = found.append
    epochs = epochs_of(loader, 1, 2)
    assert [sorted(numbers(epoch)) for epoch in epochs] == [list(range(count))] * 2
    [note] = found
    batches = {11: 4, 6: 2}
    assert (
        f"returned {batches[count]} batches in an epoch, but its __len__ promises {batches[promised]}" in note
    )


def test_one_that_is_told_the_epoch() -> None:
    for workers in (0, 1):
        loader = loader_of(Told(), workers)
        loader.set_epoch(1)
        found = [epoch for n in (1, 2) if loader.set_epoch(n) is None for epoch in loader]
        loader.stop()
        assert [batch.tolist() for batch in found] == [[1, 1, 1], [2, 2, 2]]
