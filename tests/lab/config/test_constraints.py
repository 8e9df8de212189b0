"""A study's constraints: what is refused when the file is read, and which points meet them."""

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

from lab.config import ConfigError, OptimizeConfig
from lab.config.search_points import every
from tests import study_tools as tools

SPACE: dict[str, Any] = {
    "net.width": {"type": "int", "low": 4, "high": 16},
    "net.layers": {"type": "int", "low": 1, "high": 5},
    "optimizer": {
        "choices": [{"target": "torch.optim.SGD", "momentum": 0.5}, {"target": "torch.optim.AdamW"}]
    },
    "optimizer.lr": {"choices": [0.1, 0.01]},
    "optimizer.nesterov": {"choices": [True, False], "when": {"optimizer.target": "torch.optim.SGD"}},
}
POINT = {"net.width": 12, "net.layers": 5, "optimizer": {"target": "torch.optim.AdamW"}, "optimizer.lr": 0.1}
USERS = """
def fits(values, most=100):
    return values["net.width"] * values["net.layers"] <= most

def number(values):
    return 3

def broken(values):
    return values["net.depth"] > 1

class Fits:
    def __init__(self, most):
        self.most = most
    def __call__(self, values):
        return values["net.width"] <= self.most
"""


def config(folder: Path, *constraints: Any, **changes: Any) -> OptimizeConfig:
    path = tools.study_file(folder, search_space=SPACE, constraints=list(constraints), **changes)
    return OptimizeConfig.from_yaml(path)


@pytest.mark.parametrize(
    ("constraint", "broken"),
    [
        ("net.width % net.layers == 0", True),
        ("net.width % net.layers == 2", False),
        ("net.width * batch_size <= 12 * 32", False),  # a value of the base run
        ("batch_size < 32", True),
        ("optimizer.target == 'torch.optim.AdamW'", False),
        ("optimizer.target != 'torch.optim.SGD' or optimizer.nesterov", False),
        ("optimizer.nesterov", False),  # not active here: it doesn't apply
        ("optimizer.momentum < 0.4", False),  # AdamW has none
        ("run_free in [1]", None),
        ("threads == 1 and epochs == 4", False),
        ("monitor.mode == 'max'", True),
        ("seeds == [0]", False),
    ],
)
def test_a_point_meets_a_constraint_or_not(tmp_path: Path, constraint: str, broken: bool | None) -> None:
    if broken is None:
        with pytest.raises(ConfigError, match="names run_free, which the study neither searches nor sets"):
            config(tmp_path, constraint)
        return
    assert config(tmp_path, constraint).feasibility.violated(POINT) == (constraint if broken else None)


def test_the_value_of_a_chosen_component_counts_and_not_the_base_runs(tmp_path: Path) -> None:
    own = config(tmp_path, "optimizer.weight_decay < 0.1", **{"run.optimizer.weight_decay": 0.5})
    assert own.feasibility.violated(POINT) is None, "the base run's optimizer is replaced"


def test_as_many_points_meet_it_as_plain_python_counts(tmp_path: Path) -> None:
    own = config(tmp_path, "net.width % net.layers == 0", "not (optimizer.nesterov and optimizer.lr > 0.05)")
    found = [point for point in every(own.space) if own.feasibility.violated(point) is None]
    expected = [
        point
        for point in every(own.space)
        if point["net.width"] % point["net.layers"] == 0
        and not (point.get("optimizer.nesterov") and point["optimizer.lr"] > 0.05)
    ]
    assert found == expected and 0 < len(found) < own.space.size()  # type: ignore[operator]


@pytest.mark.parametrize(
    ("constraint", "message"),
    [
        ("net.widht % 2 == 0", "names net.widht, which .*; did you mean 'net.width'?"),
        ("net.width %", "'net.width %' can't be read: invalid syntax"),
        ("net.width", "is 4, expected true or false"),
        ("optimizer == 'SGD'", "names optimizer, which has parts; name one, such as optimizer.target"),
        ("optimizer.target > 3", "can't compare"),
        ("system('rm') == 0", "can't call system"),
        (3, "found 3 .*expected a text such as"),
        ("epochs > 100", "none of the .* points of the space meets the constraints; violated: epochs > 100"),
        ("net.width > 16", "none of the"),
    ],
)
def test_a_wrong_constraint_is_refused_with_its_line(tmp_path: Path, constraint: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        config(tmp_path, "net.width >= 4", constraint).check_shapes()
    lines = (tmp_path / "opt.yaml").read_text().splitlines()
    first = next(n for n, line in enumerate(lines, 1) if line.startswith("constraints"))
    places = {f"{tmp_path / 'opt.yaml'}:{line}" for line in range(first, first + 3)}
    assert {problem.where for problem in caught.value.problems} <= places


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        config(tmp_path, "net.widht == 1", "net.width +", "net.width", enqueue=[{"net.wdth": 3}])
    expected = [*(("constraints", n) for n in range(3)), ("enqueue", 0, "net.wdth")]
    assert [problem.path for problem in caught.value.problems] == expected


def test_a_space_without_a_feasible_point_that_cant_be_listed(tmp_path: Path) -> None:
    space = {"optimizer.lr": {"type": "float", "low": 0.0, "high": 1.0}}
    path = tools.study_file(tmp_path, search_space=space, constraints=["optimizer.lr > 2"])
    with pytest.raises(ConfigError, match=r"none of 10,000 random points .*optimizer.lr > 2"):
        OptimizeConfig.from_yaml(path).check_shapes()


@pytest.fixture
def users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "own_conditions.py").write_text(USERS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "own_conditions", raising=False)  # another test's
    importlib.invalidate_caches()
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_functions_get_the_point(users: Path) -> None:
    point = {**POINT, "net.width": 16}
    own = config(users, "own_conditions.fits")
    own.check()
    assert own.feasibility.violated(point) is None
    few = {"target": "own_conditions.fits", "most": 60}
    assert config(users, few).feasibility.violated(point) == "own_conditions.fits"
    assert config(users, few).feasibility.violated(POINT) is None
    built = config(users, {"target": "own_conditions.Fits", "most": 12})
    assert built.feasibility.violated(point) == "own_conditions.Fits"


@pytest.mark.parametrize(
    ("constraint", "message"),
    [
        ("os.system", "'os.system' may not be named"),
        ("own_conditions.none", "has no 'none'"),
        ({"target": "own_conditions.fits", "mots": 3}, "takes no 'mots'; did you mean 'most'?"),
        ("own_conditions.number", "returns 3, expected True or False"),
        (
            "own_conditions.broken",
            r"broken fails: KeyError: 'net.depth' \(own_conditions.py:9\)",
        ),
    ],
)
def test_a_wrong_function_is_refused(users: Path, constraint: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(users, constraint).check()


def test_an_enqueued_point_that_a_function_rejects_is_refused(users: Path) -> None:
    few = {"target": "own_conditions.fits", "most": 20}
    point = {"net.width": 16, "net.layers": 2, "optimizer": "AdamW", "optimizer.lr": 0.1}
    own = config(users, few, enqueue=[{"net.width": 4}, point])
    own.check_shapes()  # imports nothing
    with pytest.raises(ConfigError, match=r"enqueue.1: violates the constraint 'own_conditions.fits'"):
        own.check()


def test_a_grid_counts_the_points_that_meet_the_constraints(tmp_path: Path) -> None:
    sampler = {"target": "optuna.samplers.BruteForceSampler"}
    own = config(tmp_path, "net.width % net.layers == 0", sampler=sampler, n_trials=None)
    expected = sum(point["net.width"] % point["net.layers"] == 0 for point in every(own.space))
    assert own.total == expected


def test_a_corner_that_is_infeasible_is_not_checked_as_a_run(tmp_path: Path) -> None:
    """Checking gradients and fp16 exclude each other, which the run reports and the constraint knows."""
    space = {"check_gradients": {"choices": [True, False]}, "precision": {"choices": ["fp32", "fp16"]}}
    changes: dict[str, Any] = {"search_space": space, "run.check_gradients": True}
    with pytest.raises(ConfigError, match="does nothing with precision: fp16"):
        OptimizeConfig.from_yaml(tools.study_file(tmp_path, **changes)).check_shapes()
    allowed = ["not (check_gradients and precision == 'fp16')"]
    path = tools.study_file(tmp_path, **changes, constraints=allowed)
    OptimizeConfig.from_yaml(path).check_shapes()


def test_they_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    points = [{"net.width": 6, "optimizer": {"target": "torch.optim.AdamW"}}]
    given = ["net.width % 2 == 0", {"target": "own_conditions.fits", "most": 3}]
    own = config(tmp_path, *given, enqueue=points, n_trials=5)
    (tmp_path / "again.yaml").write_text(own.to_yaml())
    again = OptimizeConfig.from_yaml(tmp_path / "again.yaml")
    assert again == own and again.as_data()["constraints"] == given and again.as_data()["enqueue"] == points
