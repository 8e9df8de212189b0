"""Protocols of datasets: by a base class, and never by the name of an attribute alone."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset, random_split

from lab.data import CollatedDataset, EpochStream, NamedDataset, SampledDataset
from lab.data.loaders import create_loader
from lab.data.protocols import collate_of, names_of, unused


class Rows(Dataset[Any]):
    """Eight rows with attributes that other tools give a meaning."""

    def __init__(self) -> None:
        self.sizes = np.array([3, 1, 2, 2, 5, 1, 1, 4])
        self.names = ["cat", "dog"]
        self.sample = torch.zeros(3)
        self.samples = [("a.png", 0)]
        self.facts = "many"
        self.skip = self.set_epoch = None

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return torch.tensor([float(index)]), torch.tensor(index)


class Drawn(SampledDataset):
    def __len__(self) -> int:
        return 8

    def sample(self, index: int, rng: np.random.Generator) -> tuple[int, float]:
        return index, rng.random()


class Named(NamedDataset, CollatedDataset):
    names = list("abcdefgh")  # noqa: RUF012

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> int:
        return index

    def collate(self, items: list[int]) -> list[int]:
        return [-item for item in items]


def test_attributes_mean_nothing() -> None:
    for batch_size in (1, 3):
        for shuffle in (True, False):
            loader = create_loader(Rows(), batch_size, shuffle=shuffle)
            assert loader.samples == 8
            assert sorted(index for _, batch in loader for index in batch.tolist()) == list(range(8))
    assert names_of(Rows()) is None and collate_of(Rows()) is None and list(unused(Rows())) == []


def test_what_torch_cuts_and_joins_keeps_the_generators() -> None:
    """Item i of the whole draws from (seed, epoch, i), wherever below it lies."""
    for data, places in [
        (Subset(Drawn(), [5, 2]), [5, 2]),
        (Subset(Subset(Drawn(), [5, 2, 7]), [2, 0]), [7, 5]),
        (ConcatDataset([Drawn(), Subset(Drawn(), [3])]), [*range(8), 3]),
    ]:
        loader = create_loader(data, 1, shuffle=False, seed=4)
        found = [(int(index), float(value)) for index, value in loader]
        expected = [(at, np.random.default_rng((4, 0, i)).random()) for i, at in enumerate(places)]
        assert found == expected


def test_what_torch_cuts_keeps_names_and_collate() -> None:
    train, val = random_split(Named(), [5, 3], torch.Generator().manual_seed(0))
    assert names_of(val) == [Named.names[index] for index in val.indices]
    [batch] = create_loader(val, 3, shuffle=False)
    assert batch == [-index for index in val.indices]
    [both] = create_loader(ConcatDataset([train, val]), 8, shuffle=False)
    assert both == [-index for index in (*train.indices, *val.indices)]


def test_a_subset_with_items_of_its_own_is_read_by_them() -> None:
    class Doubled(Subset[Any]):
        def __getitem__(self, index: int) -> Any:
            return 2 * index

        def __getitems__(self, indices: list[int]) -> list[Any]:
            return [self[index] for index in indices]

    assert [int(batch) for batch in create_loader(Doubled(Drawn(), [5, 2]), 1, shuffle=False)] == [0, 2]


class Base(Rows):
    pass


def cases() -> list[tuple[Any, bool, int]]:
    """(dataset, whether its collate is called, warnings)"""

    class One(Base):
        def collate(self, items: Any) -> Any: ...

    class Static(Base):
        @staticmethod
        def collate(batch: Any) -> Any: ...

    class Optional(Base):
        def collate(self, items: Any, pad: int = 0, **more: Any) -> Any: ...

    class Two(Base):
        def collate(self, items: Any, pad: int) -> Any: ...

    class Without(Base):
        def collate(self) -> Any: ...

    class Flag(Base):
        collate = True

    held = Base()
    held.collate = lambda items: items  # type: ignore[attr-defined]
    return [(One(), True, 0), (Static(), True, 0), (Optional(), True, 0), (Two(), False, 1),
            (Without(), False, 1), (Flag(), False, 0), (held, False, 1), (Named(), True, 0)]  # fmt: skip


@pytest.mark.parametrize(("dataset", "called", "warnings"), cases())
def test_collate_is_a_method_of_one_argument(dataset: Any, called: bool, warnings: int) -> None:
    assert (collate_of(dataset) is not None) == called
    found = list(unused(dataset))
    assert len(found) == warnings
    assert all("collate is not called" in each and "lab.data.CollatedDataset" in each for each in found)


def test_methods_that_look_like_a_protocols_are_named() -> None:
    class Mine(Dataset[Any]):
        def sample(self, index: int, rng: Any) -> Any: ...

        def set_epoch(self, epoch: int) -> None: ...

    class Other(Dataset[Any]):
        def sample(self, n: int) -> Any: ...

        def set_epoch(self, epoch: int, rank: int) -> None: ...

    whole = Mine()
    assert list(unused(Subset(whole, [0]))) == [
        "Mine.sample(index, rng) is not called: derive Mine from lab.data.SampledDataset",
        "Mine.set_epoch(epoch) is not called: derive Mine from lab.data.EpochStream, a stream",
    ]
    assert list(unused(Other())) == []
    assert list(unused(TensorDataset(torch.ones(2)))) == []
    assert issubclass(EpochStream, Dataset)
