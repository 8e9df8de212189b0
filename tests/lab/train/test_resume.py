"""Going on: what is loaded, what is refused, and what is said about it."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lab import checkpoint
from lab.checkpoint import CheckpointError, collect
from lab.config import ConfigError, RunConfig
from lab.train.resume import resume_from
from util import Trainer, run


def build(config: RunConfig) -> Trainer:
    return Trainer.from_config(config, batches=3)


def stored(folder: Path, config: RunConfig, name: str = "last.pt", epoch: int = 2) -> Trainer:
    """A checkpoint of a trainer whose weights nobody else has."""
    trainer = build(config)
    with torch.no_grad():
        for parameter in trainer.model.parameters():
            parameter.fill_(epoch)
    trainer.course.epoch = epoch
    checkpoint.save(folder / name, {"config": config.as_data(), **collect(trainer.parts())})
    return trainer


def resume(folder: Path, config: RunConfig) -> tuple[Trainer, list[str]]:
    trainer = build(config)
    notes = resume_from(folder, {"config": config.as_data(), "data": {}}, trainer.parts())
    return trainer, [f"{note.level}: {note.message}" for note in notes]


def first_weight(trainer: Trainer) -> float:
    return next(trainer.model.parameters()).flatten()[0].item()


def test_nothing_there_yet(tmp_path: Path, config: Callable[..., RunConfig]) -> None:
    trainer, notes = resume(tmp_path, config())
    assert trainer.course.epoch == 0
    assert notes == ["info: there is no checkpoint yet; starting at the first epoch"]


def test_everything_is_loaded(tmp_path: Path, config: Callable[..., RunConfig]) -> None:
    stored(tmp_path, config())
    trainer, _ = resume(tmp_path, config())
    assert (trainer.course.epoch, first_weight(trainer)) == (2, 2.0)


def test_changes_are_said(tmp_path: Path, config: Callable[..., RunConfig]) -> None:
    stored(tmp_path, config())
    changed = config(**{"epochs": 9, "checkpoint.every_epochs": 2})
    trainer, notes = resume(tmp_path, changed)
    assert trainer.course.epoch == 2
    assert notes == [
        "info: changed since the checkpoint: epochs: 2 -> 9",
        "info: changed since the checkpoint: checkpoint.every_epochs: None -> 2",
    ]


@pytest.mark.parametrize("change", [{"monitor.metric": "train_loss"}, {"monitor.mode": "max"}])
def test_another_monitor_looks_for_the_best_epoch_anew(
    tmp_path: Path, config: Callable[..., RunConfig], change: dict[str, Any]
) -> None:
    early = config(early_stopping_config={"patience": 5}, epochs=3)
    trainer = stored(tmp_path, early)
    trainer.course.best.update(2, {"val_loss": 0.5, "train_loss": 0.4})
    assert trainer.early_stopping is not None
    trainer.early_stopping.best, trainer.early_stopping.waited = 0.5, 3
    checkpoint.save(tmp_path / "last.pt", {"config": early.as_data(), **collect(trainer.parts())})
    resumed, notes = resume(tmp_path, early.with_values(change))
    assert (resumed.course.best.epoch, resumed.course.best.values) == (0, {})
    assert resumed.early_stopping is not None
    assert (resumed.early_stopping.best, resumed.early_stopping.waited) == (None, 0)
    best, waiting, *_ = notes
    assert best.startswith("warning: monitor was val_loss (min) and is ") and "epoch is reset" in best
    assert waiting.startswith("warning: early stopping is reset: what early stopping watches was ")
    with pytest.raises(ConfigError, match="epochs: 2 epochs are done, and monitor was val_loss"):
        resume(tmp_path, early.with_values({**change, "epochs": 2}))


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"net.width": 9}, "net.width"),
        ({"net": {"target": "torch.nn.Linear", "in_features": 1, "out_features": 1}}, "net"),
        ({"optimizer.lr": 0.5}, "optimizer.lr"),
        ({"optimizer": {"target": "torch.optim.SGD", "lr": 0.1}}, "optimizer"),
        ({"scheduler": {"target": "torch.optim.lr_scheduler.StepLR", "step_size": 1}}, "scheduler"),
        ({"ema": {"decay": 0.9}}, "ema"),
        ({"seeds": [1]}, "seeds"),
        ({"task": "lab.tasks.Classification"}, "task"),
    ],
)
def test_another_network_is_refused(
    tmp_path: Path, config: Callable[..., RunConfig], change: dict[str, Any], path: str
) -> None:
    stored(tmp_path, config())
    trainer = build(config())
    before = copy.deepcopy(trainer.model.state_dict())
    with pytest.raises(ConfigError) as caught:
        resume_from(tmp_path, {"config": config(**change).as_data(), "data": {}}, trainer.parts())
    problems = caught.value.problems
    assert all(".".join(map(str, problem.path)).startswith(path) for problem in problems)
    assert all("the checkpoint in" in p.message and "start a new run" in p.message for p in problems)
    assert all(torch.equal(before[k], v) for k, v in trainer.model.state_dict().items())


def test_a_damaged_last_is_passed_over_and_replaced(tmp_path: Path, config: Callable[..., RunConfig]) -> None:
    stored(tmp_path, config(), "prev.pt", epoch=1)
    stored(tmp_path, config(), "last.pt", epoch=2)
    (tmp_path / "last.pt").write_bytes((tmp_path / "last.pt").read_bytes()[:-9])
    trainer, notes = resume(tmp_path, config())
    assert (trainer.course.epoch, first_weight(trainer)) == (1, 1.0)
    assert len(notes) == 1
    assert notes[0].startswith("warning: skipped a damaged checkpoint: ") and "last.pt" in notes[0]
    # Kept as `last`, it would become `prev` at the next save: then a kill would leave nothing to load.
    assert checkpoint.load(tmp_path / "last.pt")["course"]["epoch"] == 1


def test_none_that_can_be_read(tmp_path: Path, config: Callable[..., RunConfig]) -> None:
    (tmp_path / "last.pt").write_bytes(b"x" * 1000)
    with pytest.raises(CheckpointError, match=r"last\.pt: .*; .*prev\.pt: there is no"):
        resume(tmp_path, config())


def test_early_stopping_and_a_scaler_may_be_new(tmp_path: Path, config: Callable[..., RunConfig]) -> None:
    stored(tmp_path, config())
    trainer, _ = resume(tmp_path, config(precision="fp16", early_stopping_config={"patience": 3}))
    assert (trainer.course.epoch, trainer.early_stopping.waited) == (2, 0)  # type: ignore[union-attr]
    assert trainer.runtime.scaler.is_enabled()


def test_a_part_that_must_be_there(tmp_path: Path, config: Callable[..., RunConfig]) -> None:
    trainer = build(config())
    content = collect(trainer.parts())
    del content["optimizer"]
    checkpoint.save(tmp_path / "last.pt", {"config": config().as_data(), **content})
    with pytest.raises(CheckpointError, match="has no optimizer"):
        resume(tmp_path, config())


SCHEDULES: dict[str, dict[str, Any]] = {
    "one cycle": {
        "target": "torch.optim.lr_scheduler.OneCycleLR",
        "interval": "step",
        "max_lr": 0.01,
        "total_steps": "auto",
    },
    "cosine by step": {
        "target": "torch.optim.lr_scheduler.CosineAnnealingLR",
        "interval": "step",
        "T_max": "auto",
    },
    "cosine by epoch": {"target": "torch.optim.lr_scheduler.CosineAnnealingLR", "T_max": "auto"},
    "linear": {
        "target": "torch.optim.lr_scheduler.LinearLR",
        "end_factor": 0.1,
        "start_factor": 1.0,
        "total_iters": "auto",
    },
    "warm-up, then cosine": {
        "target": "torch.optim.lr_scheduler.SequentialLR",
        "milestones": [1],
        "schedulers": [
            {"target": "torch.optim.lr_scheduler.LinearLR", "total_iters": 1},
            {"target": "torch.optim.lr_scheduler.CosineAnnealingLR", "T_max": "auto"},
        ],
    },
}


def test_a_schedule_by_steps_keeps_its_steps(tmp_path: Path, config: Callable[..., RunConfig]) -> None:
    by_steps, by_epochs = (config(scheduler=SCHEDULES[name]) for name in ("one cycle", "cosine by epoch"))
    stored(tmp_path, by_steps)
    with pytest.raises(ConfigError, match=r"batch_size: the checkpoint in .* has 16, the config has 8"):
        resume(tmp_path, by_steps.with_values({"batch_size": 8}))
    stored(tmp_path, by_epochs)
    assert resume(tmp_path, by_epochs.with_values({"batch_size": 8}))[0].course.epoch == 2


def numbers(state: Any) -> list[float]:
    """All numbers in a nested state, in order."""
    if isinstance(state, dict):
        state = list(state.values())
    if isinstance(state, (list, tuple)):
        return [number for item in state for number in numbers(item)]
    return [float(state)] if isinstance(state, (int, float)) else []


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_extending_stretches_the_schedule(
    config: Callable[..., RunConfig], workplace: Path, schedule: dict[str, Any]
) -> None:
    """From where the training stands, the learning rate is what a run of that length would have."""
    whole = run(config(epochs=5, scheduler=schedule), console="quiet").run_dir
    part = run(config(epochs=2, scheduler=schedule), console="quiet").run_dir
    assert run(config(epochs=5, scheduler=schedule), run_dir=part, resume=True, console="quiet").epochs == 5

    def content(folder: Path) -> dict[str, Any]:
        return checkpoint.load(folder / "checkpoints" / "last.pt")

    expected, found = content(whole), content(part)
    lrs = [[row["lr"] for row in c["course"]["history"][2:]] for c in (expected, found)]
    assert lrs[1] == pytest.approx(lrs[0], rel=1e-9)
    assert numbers(found["scheduler"]) == pytest.approx(numbers(expected["scheduler"]), rel=1e-9)
    groups = [numbers(c["optimizer"]["param_groups"]) for c in (expected, found)]
    assert groups[1] == pytest.approx(groups[0], rel=1e-9)


def test_files_that_changed_since_are_named(tmp_path: Path, config: Callable[..., RunConfig]) -> None:
    trainer = build(config())

    def facts(train: int, val: int) -> dict[str, Any]:
        return {"split": {"train": ["a"], "val": ["b"]}, "file_sizes": {"train": [train], "val": [val]}}

    content = {"config": config().as_data(), "data": facts(5, 6), **collect(trainer.parts())}
    checkpoint.save(tmp_path / "last.pt", content)
    notes = resume_from(tmp_path, {"config": config().as_data(), "data": facts(5, 7)}, trainer.parts())
    assert [f"{note.level}: {note.message}" for note in notes] == [
        "warning: the files of the data have changed since the checkpoint: "
        "1 of another size: b (6 -> 7 bytes)"
    ]
    assert resume_from(tmp_path, {"config": config().as_data(), "data": facts(5, 6)}, trainer.parts()) == []
