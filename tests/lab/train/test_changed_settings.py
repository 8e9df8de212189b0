"""The state that a changed setting resets or refuses."""

from typing import Any

import pytest

from lab.config.config_diff import differences
from lab.train.changed_settings import refused, resets
from tests.continuing import tiny

STOPPING = {"patience": 3}


def changed(was: dict[str, Any], now: dict[str, Any]) -> tuple[Any, ...]:
    before, after = (tiny(**values).as_data() for values in (was, now))
    return differences(before, after), before, after


PLATEAU = {"target": "torch.optim.lr_scheduler.ReduceLROnPlateau"}


@pytest.mark.parametrize(
    ("was", "now", "expected"),
    [
        ({}, {"epochs": 9, "loader": {"workers": 1}, "threads": 2}, {}),
        ({}, {"monitor": "train_loss"}, {"best": "monitor was val_loss (min) and is train_loss (min)"}),
        (
            {"early_stopping_config": STOPPING},
            {"early_stopping_config": STOPPING, "monitor": {"metric": "val_mae", "mode": "min"}},
            {
                "best": "monitor was val_loss (min) and is val_mae (min)",
                "early_stopping": "what early stopping watches was val_loss (min) and is val_mae (min)",
            },
        ),
        ({"early_stopping_config": STOPPING}, {"early_stopping_config": {"patience": 9}}, {}),
        (
            {"early_stopping_config": STOPPING},
            {"early_stopping_config": {**STOPPING, "min_delta": 0.5}},
            {
                "early_stopping": "what early stopping watches was val_loss (min) and is val_loss (min, "
                "min_delta 0.5)"
            },
        ),
        (
            {"early_stopping_config": {**STOPPING, "enabled": False}},
            {"early_stopping_config": STOPPING},
            {"early_stopping": "it was off until the checkpoint"},
        ),
        ({"early_stopping_config": STOPPING}, {}, {}),
        (
            {"scheduler": PLATEAU, "early_stopping_config": STOPPING},
            {"scheduler": PLATEAU, "early_stopping_config": STOPPING, "criterion": "torch.nn.L1Loss"},
            {
                "best": "criterion has changed, and val_loss with it",
                "early_stopping": "criterion has changed, and val_loss with it",
                "plateau": "criterion has changed",
                "criterion": "criterion has changed",
                "components": {"criterion": "criterion has changed"},
            },
        ),
        (
            {"monitor": {"metric": "val_mae", "mode": "min"}},
            {"monitor": {"metric": "val_mae", "mode": "min"}, "metrics": {"mae": "lab.metrics.RMSE"}},
            {
                "best": "metrics.mae has changed",
                "metrics": ("mae",),
                "components": {
                    "metrics.train.mae": "metrics.mae has changed",
                    "metrics.val.mae": "metrics.mae has changed",
                },
            },
        ),
        (
            {},
            {"data": {"target": "tests.continuing.points", "kind": "own"}},
            {"components": {"data.train": "data has changed", "data.val": "data has changed"}},
        ),
        ({}, {"precision": "bf16"}, {}),
        ({"precision": "fp16"}, {"precision": "fp32"}, {"scaler": "precision has changed"}),
    ],
)
def test_resets(was: dict[str, Any], now: dict[str, Any], expected: dict[str, Any]) -> None:
    found = {name: value for name, value in vars(resets(*changed(was, now))).items() if value}
    assert found == expected


STEPS = {"scheduler": {"target": "torch.optim.lr_scheduler.StepLR", "step_size": 3, "interval": "step"}}


@pytest.mark.parametrize(
    ("was", "now", "names"),
    [
        ({}, {"net": "selftest.stateful_parts.PartlyFrozen"}, ["net.target"]),
        ({}, {"seeds": [3]}, ["seeds.0"]),
        ({"batch_size": 8}, {"batch_size": 4}, []),
        ({**STEPS, "batch_size": 8}, {**STEPS, "batch_size": 4}, ["batch_size"]),
        ({**STEPS, "steps_per_epoch": 8}, {**STEPS, "steps_per_epoch": 4}, ["steps_per_epoch"]),
        (STEPS, {**STEPS, "loader": {"drop_last": True, "workers": 1}}, ["loader.drop_last"]),
        ({}, {"ema": {"decay": 0.5}}, ["ema", "ema.decay"]),
    ],
)
def test_refused(was: dict[str, Any], now: dict[str, Any], names: list[str]) -> None:
    changes, _, after = changed(was, now)
    assert [name for name, _, _ in refused(changes, after)] == names
