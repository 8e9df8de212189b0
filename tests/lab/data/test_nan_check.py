"""NaN and infinite values are named with their item when it is first read."""

import math
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from lab.config.sections import LoaderConfig
from lab.data.loaders import create_loader

BAD = (math.nan, math.inf, -math.inf)


class Items(Dataset[Any]):
    """Ten items, some of them not finite."""

    def __init__(self, bad: dict[int, str], kind: type = tuple) -> None:
        self.bad, self.kind = bad, kind

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> Any:
        x, y = torch.full((2, 3), 1e30), torch.tensor(1e38)
        if self.bad.get(index) == "input":
            x[1, 2] = BAD[index % 3]
        if self.bad.get(index) == "target":
            y = torch.tensor(math.inf)
        return {"x": x, "y": y} if self.kind is dict else (index, {"deep": [x]}, y)


def warnings(loader: Any, epochs: int = 1) -> list[str]:
    found: list[str] = []
    loader.warn = found.append
    for epoch in range(1, epochs + 1):
        loader.set_epoch(epoch)
        for _ in loader:
            pass
    return found


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("shuffle", [True, False])
def test_an_items_own_number_is_named_once(shuffle: bool, workers: int) -> None:
    config = LoaderConfig.model_validate({"workers": workers})
    loader = create_loader(Items({7: "input"}), 4, shuffle=shuffle, seed=3, config=config)
    which = "training" if shuffle else "validation"
    assert warnings(loader, 3) == [f"{which} item 7 has NaN or infinite values in the input"]
    loader.stop()  # type: ignore[union-attr]


def test_several_of_a_batch_and_the_first_batch_only() -> None:
    bad = {1: "target", 2: "input", 8: "input"}
    expected = "validation items 1, 2 have NaN or infinite values in the target and input"
    assert warnings(create_loader(Items(bad), 5, shuffle=False)) == [expected]
    assert (
        warnings(create_loader(Items({}), 5, shuffle=False)) == []
    )  # sums of 1e38 overflow, and all is finite


def test_after_batches_that_were_left_out() -> None:
    loader = create_loader(Items({7: "input"}), 2, shuffle=False)
    loader.skip(3)
    assert warnings(loader) == ["validation item 7 has NaN or infinite values in the input"]


def test_a_mapping() -> None:
    loader = create_loader(Items({4: "target"}, dict), 5, shuffle=False)
    assert warnings(loader) == ["validation item 4 has NaN or infinite values in the input"]


@dataclass
class Scene:
    """An item of somebody's own class."""

    image: Tensor
    label: Tensor


def collate(items: list[tuple[Scene, Tensor]]) -> tuple[Scene, Tensor]:
    scenes, targets = zip(*items, strict=True)
    images = torch.stack([scene.image for scene in scenes])
    labels = torch.stack([scene.label for scene in scenes])
    return Scene(images, labels), torch.stack(targets)


class Scenes(Items):
    """The items, as dataclasses."""

    collate = staticmethod(collate)

    def __getitem__(self, index: int) -> Any:
        x, y = super().__getitem__(index).values()
        return Scene(x, y), torch.tensor(0)


def test_a_dataclass() -> None:
    loader = create_loader(Scenes({4: "input"}, dict), 5, shuffle=False)
    assert warnings(loader) == ["validation item 4 has NaN or infinite values in the input"]


def test_tensors_in_memory() -> None:
    x, y = torch.zeros(9, 2), torch.zeros(9)
    assert create_loader(TensorDataset(x, y), 2, shuffle=True).notes == []
    for row in (8, 1, 3, 5):
        x[row, 1] = BAD[row % 3]
    [note] = create_loader(TensorDataset(x, y), 2, shuffle=True).notes
    assert note == "training items 1, 3, 5 and 1 more have NaN or infinite values in the input"
    y[0] = math.nan
    [note] = create_loader(TensorDataset(y), 2, shuffle=False).notes
    assert note == "validation item 0 has NaN or infinite values in the input"


def test_a_stream_names_the_batch() -> None:
    class Stream(IterableDataset[Any]):
        def __len__(self) -> int:
            return 6

        def __iter__(self) -> Any:
            return iter(torch.tensor([1.0, 2.0, 3.0, math.nan, 5.0, 6.0]))

    loader = create_loader(Stream(), 2, shuffle=True)
    assert warnings(loader) == ["training stream Stream batch 2 has NaN or infinite values in its input"]
