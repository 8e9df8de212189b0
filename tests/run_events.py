"""Events of a small made-up run, for tests of what listens to runs."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lab.events import EpochEnd, Outcome, RunEnd, RunStart


def run_start(folder: Path, **changes: Any) -> RunStart:
    start = RunStart(
        run_id=folder.name,
        run_dir=folder,
        project="spheroids",
        name="unet",
        seed=7,
        config={"optimizer": {"target": "torch.optim.Adam", "lr": 0.1}, "data": {"token": "hunter2"}},
        first_epoch=1,
        epochs=4,
        device="cpu",
        parameters=11,
        model_bytes=44,
        train_samples=20,
        val_samples=5,
        group="sweep",
    )
    return replace(start, **changes)


def epoch_end(epoch: int, values: Mapping[str, float] | None = None, **changes: Any) -> EpochEnd:
    values = {"train_loss": 1 / epoch, "val_loss": 2 / epoch, "lr": 0.1} if values is None else values
    end = EpochEnd(
        epoch=epoch,
        epochs=4,
        values=values,
        improved=True,
        best_epoch=epoch,
        best=values,
        seconds=0.5,
        next_lr=values.get("lr", 0.1),
    )
    return replace(end, **changes)


def run_end(outcome: str = "completed", **changes: Any) -> RunEnd:
    end = RunEnd(
        outcome=Outcome(outcome),
        reason="",
        epochs=4,
        value=0.5,
        best_epoch=4,
        best={"val_loss": 0.5},
        last={"val_loss": 0.5},
        seconds=2.0,
        samples_per_second=50.0,
        files={"metrics": Path("metrics.csv")},
    )
    return replace(end, **changes)
