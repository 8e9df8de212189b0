"""Time per training step: this Trainer, a bare PyTorch loop, and the floor, epoch by epoch in one process.

    python -m benchmarks.loop [--epochs N]

The bare loop is the one of the project's first document: a DataLoader, `.item()` after every batch, a default
optimizer. The floor indexes whole tensors and has a fused optimizer and nothing else. The Trainer runs as
`main.py` runs it: its record, checkpoints and console line every epoch. CPU time of the process, validation
included; the three take turns, so that a machine that drifts drifts for all.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import torch
from torch.utils.data import DataLoader, TensorDataset

from lab.config import RunConfig, import_policy
from lab.config.validation import validate
from lab.events import Callback, EpochEnd, RunStart
from util import run

MLP = {
    "name": "bench",
    "batch_size": 256,
    "data": {"target": "benchmarks.loop.rows"},
    "net": {"target": "model.MLP", "in_features": 8, "layers": 4, "width": 64},
}
CNN = {
    "name": "bench",
    "batch_size": 64,
    "task": "lab.tasks.Classification",
    "data": "lab.data.digits",
    "net": {"target": "model.ConvNet", "classes": 10},
    "criterion": "torch.nn.CrossEntropyLoss",
}


def rows(train_count: int = 8000, val_count: int = 2000) -> tuple[TensorDataset, TensorDataset]:
    """y = sin of a projection of eight numbers."""
    x = torch.randn(train_count + val_count, 8, generator=torch.Generator().manual_seed(0))
    y = torch.sin(x.sum(1, keepdim=True))
    return TensorDataset(x[:train_count], y[:train_count]), TensorDataset(x[train_count:], y[train_count:])


Epochs = Iterator[float]  # each step runs one epoch and yields its validation loss


def bare(config: RunConfig) -> Epochs:
    """The loop as most people write it."""
    train, val = config.create_data()[:2]
    model, criterion = config.create_model(), config.create_criterion()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    dl_train = DataLoader(train, batch_size=config.batch_size, shuffle=True)
    dl_val = DataLoader(val, batch_size=config.batch_size)
    while True:
        model.train()
        train_loss = 0.0
        for x, y in dl_train:
            loss = criterion(model(x), y)
            train_loss += loss.item()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        val_loss = 0.0
        with torch.no_grad():
            for x, y in dl_val:
                val_loss += criterion(model(x), y).item()
        yield val_loss / len(dl_val)


def floor(config: RunConfig) -> Epochs:
    """The least that computes the same."""
    train, val = config.create_data()[:2]
    model, criterion = config.create_model(), config.create_criterion()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    (x_train, y_train), (x_val, y_val) = train.tensors, val.tensors
    size = config.batch_size
    while True:
        model.train()
        order = torch.randperm(len(x_train))
        for x, y in zip(x_train[order].split(size), y_train[order].split(size), strict=True):
            loss = criterion(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        losses = []
        with torch.no_grad():
            for x, y in zip(x_val.split(size), y_val.split(size), strict=True):
                losses.append(criterion(model(x), y))
        yield float(torch.stack(losses).mean())


class Turns(Callback):
    """Lets the others have their epoch after each of the Trainer's, and takes the time of all."""

    def __init__(self, others: dict[str, Epochs], own: str) -> None:
        self._others, self._own = others, own
        self.seconds: dict[str, list[float]] = {name: [] for name in (own, *others)}
        self._since = 0.0

    def on_run_start(self, event: RunStart) -> None:
        """The Trainer's first epoch begins."""
        self._since = time.process_time()

    def on_epoch_end(self, event: EpochEnd) -> None:
        """The last callback: all of the Trainer's own work for this epoch is done."""
        self.seconds[self._own].append(time.process_time() - self._since)
        for name, epochs in self._others.items():
            started = time.process_time()
            next(epochs)
            self.seconds[name].append(time.process_time() - started)
        self._since = time.process_time()


def measure(settings: dict[str, object], epochs: int) -> dict[str, float]:
    """CPU seconds per epoch by contestant: the median over the epochs, the first two left out."""
    config = validate(RunConfig, {**settings, "epochs": epochs, "device": "cpu"})
    turns = Turns({"bare": bare(config), "floor": floor(config)}, "trainer")
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(StringIO()):
        run(config, run_dir=Path(folder) / "run", callbacks=[turns])
    return {name: statistics.median(values[2:]) for name, values in turns.seconds.items()}


def main() -> None:
    """Print a line for each network."""
    arguments = argparse.ArgumentParser(description="Time per step beside a bare loop and the floor.")
    arguments.add_argument("--epochs", type=int, default=40)
    arguments.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    import_policy.guard(["benchmarks"])
    print(f"torch {torch.__version__}, {options.threads} threads, median of {options.epochs - 2} epochs")
    print(f"{'':<16}{'bare':>10}{'trainer':>10}{'floor':>10}   ms of CPU an epoch")
    for name, settings, goal in (
        ("MLP 64x4", MLP, "0.60, stretch 0.45"),
        ("digits CNN", CNN, "0.95, stretch 0.86"),
    ):
        seconds = measure(settings, options.epochs)
        times = "".join(f"{1000 * seconds[key]:>10.1f}" for key in ("bare", "trainer", "floor"))
        ratio, least = seconds["trainer"] / seconds["bare"], seconds["floor"] / seconds["bare"]
        print(f"{name:<16}{times}   trainer / bare = {ratio:.2f}, floor / bare = {least:.2f} (target {goal})")


if __name__ == "__main__":
    main()
