"""A table of real learning curves: small networks on the digits, trained under settings drawn at random.

`python -m benchmarks.pruning --build` recreates it; `data/curves.csv.gz` is what it made.
"""

import csv
import gzip
import io
import json
import math
import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch.utils.data import TensorDataset

from lab.config import RunConfig
from lab.config.validation import validate
from lab.data import digits
from lab.events import Callback, EpochEnd
from util import run

PATH = Path(__file__).parent / "data" / "curves.csv.gz"
EPOCHS, COUNT = 20, 200
Kind = Literal["cnn", "mlp"]
KINDS: tuple[Kind, ...] = ("cnn", "mlp")


@dataclass(frozen=True)
class Curve:
    """The validation loss after each epoch of one training; shorter than EPOCHS where it diverged."""

    kind: Kind
    settings: dict[str, object]
    losses: tuple[float, ...]

    @property
    def value(self) -> float:
        """The value of the run: its best loss, infinite where it diverged."""
        return min(self.losses) if len(self.losses) == EPOCHS else math.inf


def flat_digits() -> tuple[TensorDataset, TensorDataset]:
    """The digits as rows of 64 numbers."""
    train, val = digits()[:2]
    assert isinstance(train, TensorDataset) and isinstance(val, TensorDataset)
    (x_train, y_train), (x_val, y_val) = train.tensors, val.tensors
    return TensorDataset(x_train.flatten(1), y_train), TensorDataset(x_val.flatten(1), y_val)


def draw(kind: Kind, number: int) -> dict[str, Any]:
    """The settings of one training, by dotted path; wide enough that most are bad."""
    rng = np.random.default_rng((KINDS.index(kind), number))
    optimizer: dict[str, Any] = {"target": "torch.optim.AdamW"}
    if rng.random() < 0.6:
        optimizer |= {"lr": _log(rng, 1e-5, 1e-1), "weight_decay": _log(rng, 1e-5, 1.0)}
    else:
        optimizer = {"target": "torch.optim.SGD", "lr": _log(rng, 1e-4, 1.0)}
        optimizer["momentum"] = _pick(rng, 0.0, 0.5, 0.9, 0.99)
    net: dict[str, Any]
    if kind == "cnn":
        net = {"target": "model.ConvNet", "width": _pick(rng, 4, 6, 8, 12), "depth": _pick(rng, 1, 2)}
        net["dropout"] = round(float(rng.uniform(0, 0.6)), 2)
    else:
        net = {"target": "model.MLP", "in_features": 64, "out_features": 10}
        net |= {"layers": int(rng.integers(1, 5)), "width": _pick(rng, 8, 16, 32, 64, 128)}
        net["activation"] = _pick(rng, "relu", "gelu", "silu", "tanh")
    cosine = {"target": "torch.optim.lr_scheduler.CosineAnnealingLR", "T_max": "auto"}
    scheduler = _pick(rng, None, cosine)
    batch_size = _pick(rng, 32, 64, 128, 256)
    return {"optimizer": optimizer, "net": net, "scheduler": scheduler, "batch_size": batch_size}


def _log(rng: np.random.Generator, low: float, high: float) -> float:
    return float(f"{math.exp(rng.uniform(math.log(low), math.log(high))):.4g}")


def _pick(rng: np.random.Generator, *choices: object) -> object:
    return choices[int(rng.integers(len(choices)))]


class Losses(Callback):
    """Keeps the validation loss of every epoch that didn't diverge."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def on_epoch_end(self, event: EpochEnd) -> None:
        """Called after each epoch."""
        if not event.diverged:
            self.values.append(event.values["val_loss"])


def train(kind: Kind, number: int) -> Curve:
    """One real run, as `main.py` would make it, in a folder that goes."""
    torch.set_num_threads(1)
    settings = draw(kind, number)
    base = {
        "device": "cpu",
        "epochs": EPOCHS,
        "task": "lab.tasks.Classification",
        "data": "lab.data.digits" if kind == "cnn" else "benchmarks.curves.flat_digits",
        "criterion": "torch.nn.CrossEntropyLoss",
        "pictures": {"enabled": False},
    }
    losses = Losses()
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
        run(validate(RunConfig, base | settings), run_dir=Path(folder) / "run", callbacks=[losses])
    return Curve(kind, settings, tuple(losses.values))


def build(workers: int) -> None:
    """Train them all and write the table: about ten minutes of CPU."""
    os.environ["OMP_NUM_THREADS"] = "1"
    jobs = [(kind, number) for kind in KINDS for number in range(COUNT)]
    with ProcessPoolExecutor(workers) as pool:
        curves = list(pool.map(train, *zip(*jobs, strict=True)))
    PATH.parent.mkdir(exist_ok=True)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["kind", "settings", *range(1, EPOCHS + 1)])
    for curve in curves:
        shown = [f"{loss:.5g}" for loss in curve.losses]
        writer.writerow([curve.kind, json.dumps(curve.settings), *shown, *[""] * (EPOCHS - len(shown))])
    PATH.write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))


def read() -> dict[Kind, list[Curve]]:
    """The committed table."""
    tables: dict[Kind, list[Curve]] = {kind: [] for kind in KINDS}
    with gzip.open(PATH, "rt", encoding="utf-8", newline="") as file:
        for name, settings, *losses in list(csv.reader(file))[1:]:
            kind: Kind = "cnn" if name == "cnn" else "mlp"
            numbers = tuple(float(loss) for loss in losses if loss)
            tables[kind].append(Curve(kind, json.loads(settings), numbers))
    return tables
