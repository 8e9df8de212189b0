"""Loaders of every kind continue where they were, or their part that can't be restored is named."""

import ast
import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler, TensorDataset

from lab import checkpoint
from lab.config import import_policy
from tests.continuing import differences, interrupted, tiny, whole

COUNT = 24
X = torch.linspace(-1, 1, COUNT)[:, None]
STILL = TensorDataset(X, 3 * X - 1)


@pytest.fixture(autouse=True)
def _granted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(import_policy.VARIABLE, "selftest,tests")


@pytest.fixture(autouse=True)
def _no_worker_is_left() -> Iterator[None]:
    """Collect the loaders that a test holds itself, by which torch ends their workers."""
    yield
    gc.collect()


class Jittering(nn.Module):
    """A transform with a buffer and a schedule."""

    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))
        self.stream = np.random.RandomState(3)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x + float(self.stream.normal()) / (10 + self.calls)


class Transformed(Dataset[Any]):
    def __init__(self) -> None:
        self.transform = Jittering()

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, index: int) -> Any:
        return self.transform(X[index]), 3 * X[index] - 1


class Walking(Sampler[int]):
    """Begins each pass where the last one ended, and shuffles with its own generator."""

    def __init__(self) -> None:
        self.begin = 0
        self.generator = torch.Generator().manual_seed(9)

    def __len__(self) -> int:
        return COUNT

    def __iter__(self) -> Iterator[int]:
        order = torch.randperm(COUNT, generator=self.generator).roll(self.begin).tolist()
        self.begin += 5
        return iter(order)


class Growing(IterableDataset[Any]):
    """Keeps a buffer over the epochs, with samples that it gives out later."""

    def __init__(self) -> None:
        self.buffer: list[Tensor] = []
        self.draw = np.random.default_rng(1)

    def __len__(self) -> int:
        return COUNT

    def __iter__(self) -> Iterator[Any]:
        for x in X[self.draw.permutation(COUNT)]:
            self.buffer.append(x)
            chosen = self.buffer.pop(int(self.draw.integers(len(self.buffer)))) if len(self.buffer) > 4 else x
            yield chosen, 3 * chosen - 1


class Standing(DataLoader[Any]):
    """A loader that knows where it stands, as torchdata's StatefulDataLoader does."""

    def __init__(self) -> None:
        super().__init__(STILL, 8)
        self.numbers = np.random.default_rng(4)
        self.order: list[int] = []
        self.done = 0

    def __iter__(self) -> Any:
        if not self.order:
            self.order = self.numbers.permutation(COUNT).tolist()
        while self.done < COUNT:
            rows = self.order[self.done : self.done + 8]
            self.done += 8
            yield [X[rows], 3 * X[rows] - 1]
        self.order, self.done = [], 0

    def state_dict(self) -> dict[str, Any]:
        return {
            "order": self.order,
            "done": self.done,
            "bits": str(self.numbers.bit_generator.state),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.order, self.done = list(state["order"]), state["done"]
        self.numbers.bit_generator.state = ast.literal_eval(state["bits"])


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(6)


VAL = DataLoader(TensorDataset(X[::3], 3 * X[::3] - 1), 8)
GIVEN: dict[str, Callable[[], Any]] = {
    "global": lambda: DataLoader(STILL, 8, shuffle=True),
    "generator": lambda: DataLoader(STILL, 8, shuffle=True, generator=generator()),
    "generator, workers": lambda: DataLoader(
        STILL, 8, shuffle=True, generator=generator(), num_workers=1, multiprocessing_context="fork"
    ),
    "sampler": lambda: DataLoader(STILL, 8, sampler=Walking()),
    "batch sampler": lambda: DataLoader(
        STILL, batch_sampler=torch.utils.data.BatchSampler(Walking(), 8, drop_last=False)
    ),
    "transform": lambda: DataLoader(Transformed(), 8, shuffle=True, generator=generator()),
    "stream": lambda: DataLoader(Growing(), 8),
    "standing": Standing,
}


@pytest.mark.parametrize("at", [(1, 0), (2, 2), (3, 1)])
@pytest.mark.parametrize("make", GIVEN.values(), ids=GIVEN)
def test_loaders_that_are_given(tmp_path: Path, make: Callable[[], Any], at: tuple[int, int]) -> None:
    config = tiny(checkpoint={"every_n_steps": 1}, net="model.MLP")
    whole(tmp_path / "whole", config, lambda: (make(), VAL))
    notes = interrupted(tmp_path / "cut", config, at, lambda: (make(), VAL))
    assert differences(tmp_path / "whole", tmp_path / "cut") == []
    assert not [note for note in notes if "is reset" in note]


SETS: dict[str, Callable[[], Any]] = {"transform": Transformed, "growing": Growing}


def sets(kind: str) -> Any:
    return SETS[kind](), TensorDataset(X[::3], 3 * X[::3] - 1)


@pytest.mark.parametrize("at", [(1, 0), (2, 2)])
@pytest.mark.parametrize("kind", SETS)
def test_data_of_a_config(tmp_path: Path, kind: str, at: tuple[int, int]) -> None:
    data = {"target": "tests.lab.data.test_loader_state.sets", "kind": kind}
    config = tiny(checkpoint={"every_n_steps": 1}, data=data)
    whole(tmp_path / "whole", config)
    notes = interrupted(tmp_path / "cut", config, at)
    assert differences(tmp_path / "whole", tmp_path / "cut") == []
    assert not [note for note in notes if "is reset" in note]


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        ("transform", "in loader workers: dataset.transform.stream, dataset.transform.calls"),
        ("growing", "in loader workers: dataset.buffer, dataset.draw"),
    ],
)
def test_what_changes_in_a_worker_is_named(tmp_path: Path, kind: str, named: str) -> None:
    data = {"target": "tests.lab.data.test_loader_state.sets", "kind": kind}
    notes = interrupted(tmp_path / "cut", tiny(data=data, loader={"workers": 1}), (1, 0))
    (note,) = [note for note in notes if "is reset" in note]
    what = "data Transformed" if kind == "transform" else "stream Growing"
    assert note.startswith(f"the training {what} has no state")
    assert named in note


class Lines(IterableDataset[Any]):
    """Reads on from where it is."""

    def __init__(self) -> None:
        self.lines = iter(range(10**6))

    def __len__(self) -> int:
        return COUNT

    def __iter__(self) -> Iterator[Any]:
        for _ in range(COUNT):
            x = torch.tensor([next(self.lines) % COUNT / COUNT])
            yield x, 3 * x - 1


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (
            lambda: DataLoader(
                STILL, 8, shuffle=True, num_workers=1, persistent_workers=True, multiprocessing_context="fork"
            ),
            "TensorDataset has no state that a checkpoint can hold: it is reset (the random streams of",
        ),
        (
            lambda: DataLoader(Lines(), 8),
            "Lines has no state that a checkpoint can hold: it is reset (dataset.lines",
        ),
    ],
)
def test_what_cannot_be_restored_is_named(tmp_path: Path, make: Callable[[], Any], named: str) -> None:
    notes = interrupted(tmp_path / "cut", tiny(net="model.MLP"), (1, 0), lambda: (make(), VAL))
    (note,) = [note for note in notes if "is reset" in note]
    assert named in note


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "data",
    [
        {"target": "lab.data.function", "train_count": 24, "val_count": 8},
        {"target": "tests.continuing.points", "kind": "noisy"},
        {"target": "tests.continuing.points", "kind": "stream"},
        {"target": "tests.lab.data.test_loader_state.by_epoch"},
    ],
)
def test_what_follows_from_the_epoch_is_not_named(tmp_path: Path, data: dict[str, Any], workers: int) -> None:
    config = tiny(data=data, loader={"workers": workers})
    notes = interrupted(tmp_path / "cut", config, (2, 0))
    assert not [note for note in notes if "is reset" in note]
    content = checkpoint.load(tmp_path / "cut" / "checkpoints" / "last.pt")
    assert set(content["components"]["unkept"]) <= {"callbacks.Cutter"}


def by_epoch() -> Any:
    from lab.data import EpochStream

    class Stream(EpochStream):
        def set_epoch(self, epoch: int) -> None:
            self.draw = np.random.default_rng(epoch)

        def __len__(self) -> int:
            return COUNT

        def __iter__(self) -> Iterator[Any]:
            for x in X[np.random.default_rng(self.draw.integers(9)).permutation(COUNT)]:
                yield x, 3 * x - 1

    return Stream(), STILL


def test_a_worker_begins_with_what_was_restored(tmp_path: Path) -> None:
    """Two epochs read here, and the third by a worker, are as three that are read here."""
    data = {"target": "tests.lab.data.test_loader_state.sets", "kind": "growing"}
    whole(tmp_path / "whole", tiny(data=data))
    notes = interrupted(tmp_path / "cut", tiny(data=data), (2, 0), loader__workers=1)
    assert not [note for note in notes if "is reset" in note]
    found = set(differences(tmp_path / "whole", tmp_path / "cut"))
    assert found <= {"config", "components"}
