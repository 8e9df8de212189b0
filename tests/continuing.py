"""Runs of a tiny network that are cut at any step and resumed, and what has to be equal to the bit."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset, TensorDataset

from lab import checkpoint
from lab.config import RunConfig
from lab.config.validation import validate
from lab.events import Callback, EpochEnd, Note
from lab.trackers.csv_file import read_metrics
from selftest import stateful_parts
from selftest.faulty_parts import Noisy
from selftest.watched_training import digest
from util import run

STATEFUL = "selftest.stateful_parts"
DATA = "tests.continuing.points"
SAMPLES = 24
_CLOCKS = ("cost",)


class Stream(stateful_parts.Stream):
    """A stream that holds samples back, which stay in a buffer until the next epoch."""

    def __init__(self, own: bool, held_back: int = 0) -> None:
        super().__init__(own, SAMPLES)
        self.waiting: list[Tensor] = []
        self._held_back = held_back

    def __len__(self) -> int:
        return len(self.x) - (self._held_back if not self.waiting else 0)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        ready = [*self.waiting, *(x for x, _ in super().__iter__())]
        cut = len(ready) - self._held_back
        self.waiting = ready[cut:]
        for x in ready[:cut]:
            yield x, 3 * x - 1


class Scheduled(Dataset[object]):
    """Points whose noise has a schedule and a generator of its own."""

    def __init__(self) -> None:
        self.generator = np.random.default_rng(3)
        self.read = 0

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        self.read += 1
        x = torch.tensor([index / SAMPLES * 2 - 1])
        noise = float(self.generator.normal(0.0, 0.1 / (1 + 0.01 * self.read)))
        return x + noise, 3 * x - 1


def points(kind: str = "memory") -> tuple[Any, Any]:
    """Training and validation set.

    Args:
        kind: memory; noisy, by the global streams; scheduled; stream, by the global streams; own, a stream
            with a generator; waiting, one that holds samples back.
    """
    x = torch.linspace(-1, 1, SAMPLES)[:, None]
    sets: dict[str, Callable[[], Any]] = {
        "memory": lambda: TensorDataset(x, 3 * x - 1),
        "noisy": lambda: Subset(Noisy(), range(SAMPLES)),
        "scheduled": Scheduled,
        "stream": lambda: Stream(own=False),
        "own": lambda: Stream(own=True),
        "waiting": lambda: Stream(own=True, held_back=3),
    }
    return sets[kind](), TensorDataset(x[::3], 3 * x[::3] - 1)


class Cut(Exception):
    pass


class Cutter(Callback):
    """Ends a run at a step of an epoch's training, or at its end where the step is 0; collects notes."""

    def __init__(self, at: tuple[int, int] | None = None) -> None:
        self._at, self._epoch = at, 0
        self.notes: list[str] = []

    def on_phase_start(self, event: Any) -> None:
        self._epoch = event.epoch if event.phase == "train" else 0

    def on_steps(self, event: Any) -> None:
        if self._at == (self._epoch, event.step):
            raise Cut

    def on_epoch_end(self, event: EpochEnd) -> None:
        if self._at == (event.epoch, 0):
            raise Cut

    def on_note(self, event: Note) -> None:
        if "Cutter" not in event.message:
            self.notes.append(event.message)


def tiny(**values: Any) -> RunConfig:
    """A config with all that a test doesn't ask for left out; three epochs of three batches."""
    base = {
        "data": {"target": DATA},
        "net": {"target": "selftest.faulty_parts.Forgetful"},
        "optimizer": {"target": "torch.optim.AdamW", "lr": 0.01},
        "metrics": {"mae": "lab.metrics.MAE"},
        "batch_size": 8,
        "epochs": 3,
        "device": "cpu",
        "threads": 1,
        "pictures": {"enabled": False},
        "log_every_steps": 1,
    }
    return validate(RunConfig, {**base, **values})


Loaders = Callable[[], tuple[Any, Any]]


def whole(folder: Path, config: RunConfig, loaders: Loaders = lambda: (None, None)) -> list[str]:
    """Run without an interruption; returns the notes."""
    listener = Cutter()
    run(config, *loaders(), run_dir=folder, console="quiet", callbacks=[listener])
    return listener.notes


def interrupted(
    folder: Path,
    config: RunConfig,
    at: tuple[int, int],
    loaders: Loaders = lambda: (None, None),
    **changes: Any,
) -> list[str]:
    """Run until the cut, and resume to the end, the config changed; returns the notes of the resume."""
    with suppress(Cut):
        run(config, *loaders(), run_dir=folder, console="quiet", callbacks=[Cutter(at)])
    listener = Cutter()
    config = config.with_values({name.replace("__", "."): value for name, value in changes.items()})
    run(config, *loaders(), run_dir=folder, resume=True, console="quiet", callbacks=[listener])
    return listener.notes


def differences(one: Path, other: Path) -> list[str]:
    """List what isn't equal to the bit in two runs: values of epochs, parts of `last.pt`."""
    rows = [
        [{name: value for name, value in row.items() if name != "seconds"} for row in read_metrics(folder)]
        for folder in (one, other)
    ]
    found = [] if rows[0] == rows[1] else [f"metrics.csv: {rows[0]} and {rows[1]}"]
    states = [checkpoint.load(folder / "checkpoints" / "last.pt") for folder in (one, other)]
    for state in states:
        state["course"] = {name: value for name, value in state["course"].items() if name not in _CLOCKS}
        state["components"]["unkept"].pop("callbacks.Cutter", None)  # it lists notes, and a resume has more
    return found + [
        name
        for name in {**states[0], **states[1]}
        if digest(states[0].get(name)) != digest(states[1].get(name))
    ]
