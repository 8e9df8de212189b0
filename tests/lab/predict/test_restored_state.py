"""An evaluation computes the loss as the training did: with what loss, task and network have learnt."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lab import checkpoint
from lab.checkpoint import CheckpointError
from lab.config import RunConfig
from lab.evaluate.generic import GenericEvaluator
from lab.predict.loaded_run import load
from lab.predict.restored_state import restore_loss
from lab.trackers.csv_file import read_metrics
from tests.test_loss_parameters import HERE as LOSSES
from tests.test_loss_parameters import Noise
from util import run

HERE = "tests.lab.predict.test_restored_state."
evaluate_run = GenericEvaluator().evaluate


class Centred(nn.Module):
    """A buffer that follows the targets, and a counter."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(()))
        self.centre: Tensor
        self.calls = 0

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        if self.training:
            self.centre.lerp_(target.mean(), 0.1)
            self.calls += 1
        return (output - target).square().mean() + self.centre.abs() + self.calls


class Tempered(nn.Module):
    """A network with a buffer that its `state_dict` leaves out."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 1)
        self.register_buffer("temperature", torch.ones(()), persistent=False)
        self.temperature: Tensor

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.temperature *= 1.1
        result: Tensor = self.layer(x) / self.temperature
        return result


CASES: list[dict[str, Any]] = [
    {"criterion": LOSSES + "Noise", "criterion_optimizer": {"lr": 0.5}},
    {"criterion": LOSSES + "Plain", "criterion_optimizer": {"lr": 0.5}},
    {"criterion": LOSSES + "Drawn"},
    {"criterion": HERE + "Centred"},
    {"task": LOSSES + "Weighing", "criterion_optimizer": {"lr": 0.5}},
    {"net": HERE + "Tempered"},
]


@pytest.mark.parametrize("values", CASES, ids=str)
def test_the_loss_is_that_of_the_validation(
    config: Callable[..., RunConfig], workplace: Path, values: Any
) -> None:
    net = {"target": "torch.nn.Linear", "in_features": 3, "out_features": 1}
    base = {"data": LOSSES + "points", "net": net, "batch_size": 8, "monitor.returns": "last"}
    result = run(config(**{**base, **values}), console="silent")
    found = evaluate_run(result.run_dir)
    best = min(read_metrics(result.run_dir), key=lambda row: row["val_loss"])
    assert found.values["loss"] == pytest.approx(best["val_loss"], rel=1e-6) and found.notes == []
    fresh = {"criterion": {}, "components": {}}
    path = result.run_dir / "checkpoints" / "best.pt"
    checkpoint.save(path, {**checkpoint.load(path), **fresh})
    other = evaluate_run(result.run_dir)
    assert other.values["loss"] != pytest.approx(best["val_loss"], rel=1e-6)
    if values.get("criterion") in (LOSSES + "Noise", LOSSES + "Drawn", HERE + "Centred"):
        assert other.notes == [f"{path} holds no state of the loss: the evaluation uses an untrained one"]


def test_weights_of_the_config_are_no_state(tmp_path: Path) -> None:
    """A checkpoint of before there was state of losses."""
    criterion = nn.BCEWithLogitsLoss(pos_weight=torch.ones(1))
    assert criterion.state_dict() and restore_loss({}, tmp_path, criterion, torch.device("cpu")) == []


def test_a_loss_that_does_not_fit(config: Callable[..., RunConfig], workplace: Path) -> None:
    result = run(config(criterion=LOSSES + "Noise"), console="silent")
    path = result.run_dir / "checkpoints" / "best.pt"
    checkpoint.save(path, {**checkpoint.load(path), "criterion": {"log_noise": torch.zeros(2)}})
    with pytest.raises(CheckpointError, match="doesn't fit the loss Noise"):
        evaluate_run(result.run_dir)


def test_a_loaded_run_is_in_eval_mode(config: Callable[..., RunConfig], workplace: Path) -> None:
    net = {"target": "torch.nn.Linear", "in_features": 3, "out_features": 1}
    values = {"data": LOSSES + "points", "net": net, "task": "tests.lab.state.test_modes.Taught"}
    result = run(config(criterion=LOSSES + "Noise", **values), console="silent")
    loaded = load(result.run_dir)
    assert not any(m.training for m in (*loaded.model.modules(), *loaded.task.teacher.modules()))  # type: ignore[attr-defined]
    criterion, notes = loaded.create_criterion()
    assert isinstance(criterion, Noise) and criterion.log_noise.item() != 0 and notes == []
