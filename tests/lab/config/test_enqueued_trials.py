"""Enqueued points: what is refused when the file is read."""

from pathlib import Path
from typing import Any

import pytest

from lab.config import ConfigError, OptimizeConfig
from lab.config.enqueued_trials import is_complete, stored
from tests import study_tools as tools

SPACE: dict[str, Any] = {
    "optimizer.lr": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True},
    "net.width": {"type": "int", "low": 4, "high": 64, "step": 4},
    "criterion": {
        "choices": ["torch.nn.MSELoss", {"target": "torch.nn.HuberLoss", "delta": 1.0}],
    },
    "criterion.delta": {"choices": [0.5, 2.0], "when": {"criterion.target": "torch.nn.HuberLoss"}},
}


def config(folder: Path, *points: Any, **changes: Any) -> OptimizeConfig:
    return OptimizeConfig.from_yaml(
        tools.study_file(folder, search_space=SPACE, enqueue=list(points), **changes)
    )


def test_points_are_stored_as_optuna_has_them(tmp_path: Path) -> None:
    huber = {"target": "torch.nn.HuberLoss", "delta": 1.0}
    space = config(tmp_path).space
    assert stored(space, {"optimizer.lr": 0.01, "criterion": huber}) == {
        "optimizer.lr": 0.01,
        "criterion": "HuberLoss",
    }
    assert stored(space, {"criterion": "HuberLoss"}) == {"criterion": "HuberLoss"}, "by its name"
    whole = {"optimizer.lr": 1e-2, "net.width": 8, "criterion": "torch.nn.MSELoss"}
    assert is_complete(space, stored(space, whole)), "MSELoss has no delta"
    assert not is_complete(space, stored(space, {**whole, "criterion": huber}))


@pytest.mark.parametrize(
    ("point", "where", "message"),
    [
        ({"optimizer.rl": 0.01}, "optimizer.rl", "is not searched; did you mean 'optimizer.lr'?"),
        ({"batch_size": 8}, "batch_size", "is not searched; known: criterion"),
        ({"optimizer.lr": 0.5}, "optimizer.lr", "0.5 is no number from 0.0001 to 0.1"),
        ({"optimizer.lr": "fast"}, "optimizer.lr", "'fast' is no number"),
        ({"optimizer.lr": True}, "optimizer.lr", "True is no number"),
        ({"net.width": 5}, "net.width", "5 is no whole number from 4 to 64 by 4"),
        ({"net.width": 8.0}, "net.width", "8.0 is no whole number"),
        ({"criterion": "torch.nn.L1Loss"}, "criterion", "is not one of the choices"),
        ({"criterion": "torch.nn.MSELoss", "criterion.delta": 0.5}, "criterion.delta", "doesn't hold"),
        ({"criterion.delta": 0.5}, "criterion.delta", "depends on criterion, which the point must give"),
        ({}, "", "is empty"),
    ],
)
def test_a_wrong_point_is_refused_with_its_place(
    tmp_path: Path, point: dict[str, Any], where: str, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        config(tmp_path, {"net.width": 4}, point)
    (problem,) = caught.value.problems
    assert problem.path == ("enqueue", 1, *([where] if where else [])) and message in problem.message
    assert "opt.yaml:" in problem.where


def test_the_same_point_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the same point as the one at position 0"):
        config(tmp_path, {"net.width": 4, "optimizer.lr": 0.1}, {"optimizer.lr": 0.1, "net.width": 4})


def test_more_points_than_trials_are_refused(tmp_path: Path) -> None:
    points = [{"net.width": width} for width in (4, 8, 12)]
    assert len(config(tmp_path, *points, n_trials=3).enqueue) == 3
    with pytest.raises(ConfigError, match="has 3 points, and the study makes 2 trials; raise n_trials"):
        config(tmp_path, *points, n_trials=2)


def test_a_point_that_violates_a_constraint_is_refused(tmp_path: Path) -> None:
    rules = ["net.width % 8 == 0", "net.width < 32 or optimizer.lr < 0.01"]
    assert config(tmp_path, {"net.width": 8}, {"optimizer.lr": 0.1}, constraints=rules)
    with pytest.raises(ConfigError, match="violates the constraint"):
        config(tmp_path, {"net.width": 12}, constraints=rules)
    with pytest.raises(ConfigError, match="violates the constraint"):
        config(tmp_path, {"net.width": 32, "optimizer.lr": 0.1}, constraints=rules)
    impossible = ["net.width % 8 == 0", "optimizer.lr < 0.01 or net.width == 12"]
    with pytest.raises(ConfigError, match="no values of the other parameters were found"):
        config(tmp_path, {"optimizer.lr": 0.1}, constraints=impossible)


@pytest.mark.parametrize(
    ("name", "rest"),
    [
        ("net.layers", {"type": "int", "low": 1, "high": 50}),  # the space is listed
        ("optimizer.lr", {"type": "float", "low": 0.1, "high": 0.5}),  # points are drawn
    ],
)
def test_a_point_that_few_values_of_the_others_complete_is_taken(
    tmp_path: Path, name: str, rest: dict[str, Any]
) -> None:
    space = {name: rest, "net.width": {"type": "int", "low": 1, "high": 1000}}
    point = {name: rest["high"]}
    path = tools.study_file(tmp_path, search_space=space, constraints=["net.width == 512"], enqueue=[point])
    assert OptimizeConfig.from_yaml(path).enqueue == (point,)
