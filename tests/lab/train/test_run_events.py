"""The first and the last event of a run."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lab.config import RunConfig
from lab.data.loaders import create_loaders
from lab.events import Outcome
from lab.store import run_folder
from lab.train.run_context import RunContext
from lab.train.run_events import run_end, run_start
from util import Trainer


@pytest.fixture
def trainer(config: Callable[..., RunConfig]) -> Trainer:
    return Trainer.from_config(config(), batches=3)


@pytest.mark.parametrize(("group", "run_id"), [(None, "NAME"), ("sweep", "sweep-NAME")])
def test_start_event(
    tmp_path: Path, config: Callable[..., RunConfig], trainer: Trainer, group: str | None, run_id: str
) -> None:
    data = create_loaders(config(), None, None, torch.device("cpu"))
    trainer.course.epoch = 2
    made = config(project="p", **{"data.target": "lab.data.function", "data.token": "hunter2"})
    event = run_start(RunContext(tmp_path, group=group), made, trainer, data)
    assert event.run_id == run_id.replace("NAME", tmp_path.name)
    assert (event.run_dir, event.project, event.name, event.seed) == (tmp_path, "p", "small", 0)
    assert (event.first_epoch, event.resumed, event.epochs, event.device) == (3, True, 2, "cpu")
    assert event.config["project"] == "p" and "hunter2" not in str(event.config)
    parameters = (1 * 8 + 8) + (8 * 1 + 1)
    assert (event.parameters, event.model_bytes) == (parameters, 4 * parameters)
    assert (event.train_samples, event.val_samples, event.group) == (48, 16, group)
    assert event.config["net"]["width"] == 8


def test_end_event_of_a_run_that_saw_nothing(tmp_path: Path, trainer: Trainer) -> None:
    trainer.outcome, trainer.reason = Outcome.FAILED, "because"
    event = run_end(RunContext(tmp_path), trainer)
    assert (event.outcome, event.reason, event.epochs, event.value) == ("failed", "because", 0, math.inf)
    assert math.isnan(event.best["val_loss"]) and math.isnan(event.last["val_loss"])
    assert (event.seconds, event.samples_per_second, event.best_epoch) == (0.0, 0.0, 0)
    assert event.files["Traceback"] == tmp_path / run_folder.TRACEBACK


def test_end_event(tmp_path: Path, trainer: Trainer) -> None:
    for epoch, loss in enumerate([2.0, 1.0, 3.0], 1):
        row = {"val_loss": loss}
        trainer.course.best.update(epoch, row)
        trainer.course.end_epoch(row, 0.5)
    trainer.course.samples, trainer.course.train_seconds = 30, 1.5
    event = run_end(RunContext(tmp_path), trainer)
    assert (event.outcome, event.epochs, event.value, event.best_epoch) == ("completed", 3, 1.0, 2)
    assert (event.best, event.last) == ({"val_loss": 1.0}, {"val_loss": 3.0})
    assert (event.seconds, event.samples_per_second) == (1.5, 20.0)
    names = ["checkpoints/best.pt", "checkpoints/final.pt", "history.png", "predictions.png", "summary.json"]
    assert list(event.files.values()) == [tmp_path / name for name in names]


@pytest.mark.parametrize("group", [None, "whole"])
def test_the_end_of_an_interrupted_run_has_the_command_that_resumes(
    tmp_path: Path, trainer: Trainer, group: str | None
) -> None:
    folder = tmp_path / "whole" / "seed_1"
    trainer.outcome = Outcome.INTERRUPTED
    event = run_end(RunContext(folder, group=group), trainer)
    assert event.again.endswith(f"--resume {folder.parent if group else folder}")
