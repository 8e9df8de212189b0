"""Studies in this process, on real SQLite: every sampler and pruner, several seeds, several objectives."""

import csv
import json
import math
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from optuna.trial import TrialState

import util
from lab.config import OptimizeConfig
from lab.hpo import study
from lab.hpo.study import StudyResult
from tests import study_tools as tools

SPACE: dict[str, Any] = {
    "optimizer.lr": {"type": "float", "low": 1e-3, "high": 1e-1, "log": True},
    "net.width": {"type": "int", "low": 4, "high": 16, "step": 4},
}
STEPPED = {**SPACE, "optimizer.lr": {"type": "float", "low": 0.01, "high": 0.03, "step": 0.01}}


@pytest.fixture
def search(workplace: Path) -> Any:
    """Runs a small study here, and gives its result; the arguments change its file."""

    def call(**changes: Any) -> StudyResult:
        path = tools.study_file(workplace, **{"isolation": "none", "run.epochs": 3, **changes})
        config = OptimizeConfig.from_yaml(path)
        config.check()
        return study.optimize(config, util.run, console="quiet")

    return call


SAMPLERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "TPESampler": ({"n_startup_trials": 3}, SPACE),
    "GPSampler": ({"n_startup_trials": 3}, SPACE),
    "CmaEsSampler": ({"n_startup_trials": 2, "warn_independent_sampling": False}, SPACE),
    "NSGAIISampler": ({"population_size": 3}, SPACE),
    "QMCSampler": ({}, SPACE),
    "RandomSampler": ({}, SPACE),
    "GridSampler": ({}, STEPPED),
    "BruteForceSampler": ({}, STEPPED),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_study_with_each_sampler(search: Any, workplace: Path, name: str) -> None:
    arguments, space = SAMPLERS[name]
    sampler = {"target": f"optuna.samplers.{name}", **arguments}
    result = search(sampler=sampler, search_space=space, n_trials=6)
    found = tools.trials(workplace)
    assert [t.state for t in found] == [TrialState.COMPLETE] * 6
    assert len({json.dumps(t.params) for t in found}) >= (3 if name == "NSGAIISampler" else 5)
    assert result.best is not None and result.best.value == min(t.value or math.inf for t in found)


def test_a_grid_ends_when_it_is_through(search: Any, workplace: Path) -> None:
    search(sampler="optuna.samplers.GridSampler", search_space=STEPPED, n_trials=None)
    points = {(t.params["optimizer.lr"], t.params["net.width"]) for t in tools.trials(workplace)}
    assert len(tools.trials(workplace)) == len(points) == 3 * 4


PRUNERS: dict[str, dict[str, Any]] = {
    "optuna.pruners.MedianPruner": {"n_startup_trials": 1, "n_warmup_steps": 1},
    "optuna.pruners.PercentilePruner": {"percentile": 40.0, "n_startup_trials": 1, "n_warmup_steps": 1},
    "optuna.pruners.SuccessiveHalvingPruner": {"min_resource": 1, "reduction_factor": 2},
    "optuna.pruners.HyperbandPruner": {"min_resource": 1, "reduction_factor": 2},
    "optuna.pruners.PatientPruner": {"patience": 1, "wrapped_pruner": {
        "target": "optuna.pruners.ThresholdPruner", "upper": 0.25}},
    "optuna.pruners.ThresholdPruner": {"upper": 0.25, "n_warmup_steps": 2},
    "optuna.pruners.WilcoxonPruner": {"p_threshold": 0.4, "n_startup_steps": 2},
    "optuna.pruners.NopPruner": {},
    "lab.hpo.pfl.PredictedFinalLoss": {"top_k": 2},
}  # fmt: skip


QUICK = ("optuna.pruners.MedianPruner", "optuna.pruners.WilcoxonPruner", "lab.hpo.pfl.PredictedFinalLoss")


@pytest.mark.parametrize(
    "target",
    [pytest.param(each, marks=() if each in QUICK else pytest.mark.slow) for each in PRUNERS],
)
def test_a_study_with_each_pruner(search: Any, workplace: Path, target: str) -> None:
    """Half the points learn well and half badly: every pruner but none has to notice."""
    bad = [2.0, 3.0, 4.0, 5.0] if "Patient" in target else [1e-6, 2e-6, 3e-6, 4e-6]  # it waits for a rise
    space = {"optimizer.lr": {"type": "categorical", "choices": [0.05, 0.04, 0.03, 0.02, *bad]}}
    result = search(
        pruner={"target": target, **PRUNERS[target]}, search_space=space,
        sampler="optuna.samplers.GridSampler", n_trials=None, seed=1, **{"run.epochs": 8},
    )  # fmt: skip
    found = tools.trials(workplace)
    states = {t.params["optimizer.lr"]: t.state for t in found}
    pruned = [lr for lr, state in states.items() if state == TrialState.PRUNED]
    assert set(states.values()) <= {TrialState.COMPLETE, TrialState.PRUNED}
    assert (len(pruned) == 0) == (target == "optuna.pruners.NopPruner"), states
    assert result.best is not None and result.best.params["optimizer.lr"] not in bad
    for trial in found:
        if trial.state == TrialState.PRUNED:
            assert len(trial.intermediate_values) == trial.user_attrs["epochs"] < 8
            assert trial.user_attrs["cause"].startswith("val_loss ")
            folder = workplace / "studies" / "small" / f"trial_{trial.number:05d}"
            assert not list(folder.rglob("*.pt")), "the weights of a pruned trial are gone"


def test_several_seeds_give_their_mean_and_the_pruner_sees_the_mean_so_far(
    search: Any, workplace: Path
) -> None:
    search(n_trials=2, **{"run.seeds": [0, 1, 2]})
    for trial in tools.trials(workplace):
        folder = workplace / "studies" / "small" / f"trial_{trial.number:05d}"
        curves = []
        for seed in range(3):
            with (folder / f"seed_{seed}" / "metrics.csv").open() as file:
                curves.append([float(row["val_loss"]) for row in csv.DictReader(file)])
        assert trial.value == pytest.approx(sum(map(min, curves)) / 3, abs=1e-15)
        assert trial.user_attrs["repeats"] == {f"seed_{i}": min(curve) for i, curve in enumerate(curves)}
        expected = {
            index * 3 + epoch + 1: sum(curve[epoch] for curve in curves[: index + 1]) / (index + 1)
            for index in range(3)
            for epoch in range(3)
        }
        assert trial.intermediate_values == pytest.approx(expected, abs=1e-15)
    best = workplace / "studies" / "small" / "best"
    assert yaml.safe_load((best / "config.yaml").read_text())["seeds"] == [0, 1, 2]
    assert (best / "best.pt").exists()


def test_a_pruned_seed_ends_the_trial(search: Any, workplace: Path) -> None:
    search(
        n_trials=1, pruner={"target": "optuna.pruners.ThresholdPruner", "upper": 0.0}, **{"run.seeds": [0, 1]}
    )
    (trial,) = tools.trials(workplace)
    assert (trial.state, len(trial.intermediate_values)) == (TrialState.PRUNED, 1)
    folder = workplace / "studies" / "small" / "trial_00000"
    assert sorted(path.name for path in folder.glob("seed_*")) == ["seed_0"]
    assert json.loads((folder / "summary.json").read_text())["outcome"] == "pruned"


def test_several_objectives_have_a_front_and_are_pruned_by_one(search: Any, workplace: Path) -> None:
    space = {"net.width": {"type": "categorical", "choices": [2, 4, 8, 16, 32, 48, 64]}}
    result = search(
        search_space={**space, "optimizer.lr": {"type": "categorical", "choices": [0.03, 1e-6]}},
        sampler={"target": "optuna.samplers.TPESampler", "n_startup_trials": 4}, n_trials=14, seed=2,
        pruner={"target": "optuna.pruners.MedianPruner", "n_startup_trials": 2, "n_warmup_steps": 1},
        **{"run.monitor": [{"metric": "val_loss", "mode": "min"}, {"metric": "parameters", "mode": "min"}],
           "run.epochs": 5},
    )  # fmt: skip
    loaded = optuna.load_study(study_name="small", storage=f"sqlite:///{workplace / 'studies.db'}")
    found = loaded.trials
    assert [d.name for d in loaded.directions] == ["MINIMIZE", "MINIMIZE"]
    complete = [t for t in found if t.state == TrialState.COMPLETE]
    pruned = [t for t in found if t.state == TrialState.PRUNED]
    assert complete and pruned and len(found) == 14
    assert all(t.values[1] == 3 * t.params["net.width"] + 1 for t in complete)
    assert all(t.values is None and t.intermediate_values == {} for t in pruned)
    assert all(len(t.user_attrs["curve"]) == t.user_attrs["epochs"] for t in found)
    front = {t.number for t in loaded.best_trials}
    assert result.best is not None and result.best.number in front
    kept = {
        path.parent.parent.name
        for path in (workplace / "studies" / "small").rglob("trial_*/checkpoints/best.pt")
    }
    assert kept >= {f"trial_{number:05d}" for number in front}
    assert "Pareto" in (workplace / "studies" / "small" / "report.html").read_text()


def test_the_winner_is_confirmed_on_fresh_seeds(search: Any, workplace: Path) -> None:
    search(n_trials=3, confirm={"top": 2, "seeds": 3})
    folder = workplace / "studies" / "small"
    found = json.loads((folder / "confirm.json").read_text())
    assert found["seeds"] == [1, 2, 3] and len(found["candidates"]) == 2
    for candidate in found["candidates"]:
        values = candidate["values"]
        assert candidate["mean"] == pytest.approx(sum(values) / 3)
        assert candidate["low"] < candidate["mean"] < candidate["high"]
        for seed, value in zip(found["seeds"], values, strict=True):
            place = folder / "confirm" / f"trial_{candidate['trial']:05d}" / f"seed_{seed}"
            assert json.loads((place / "summary.json").read_text())["value"] == value
    assert "trial" in found["verdict"]
    assert found["verdict"] in (folder / "report.html").read_text().replace("&#39;", "'")


def test_a_time_budget_ends_the_study_and_is_counted_over_restarts(search: Any, workplace: Path) -> None:
    changes: dict[str, Any] = {"n_trials": 1000, "time_budget": 1.5}
    result = search(**changes)
    made = len(tools.trials(workplace))
    assert result.reason == "the time budget of 1.5 s is used up" and not result.failed
    assert 1 <= made < 1000
    assert len(tools.trials(workplace)) - made <= 1 and search(**changes).reason == result.reason
    assert len(tools.trials(workplace)) <= made + 1


def test_retention_keeps_the_best_and_the_limit(search: Any, workplace: Path) -> None:
    search(n_trials=6, retention={"keep_best": 2})
    folder = workplace / "studies" / "small"
    order = sorted(tools.trials(workplace), key=lambda t: t.value or 0.0)
    kept = sorted(path.parent.parent.name for path in folder.rglob("trial_*/checkpoints/best.pt"))
    assert kept == sorted(f"trial_{t.number:05d}" for t in order[:2])
    assert all((folder / f"trial_{t.number:05d}" / "metrics.csv").exists() for t in order)


def test_over_the_disk_limit_the_winner_alone_keeps_its_weights(search: Any, workplace: Path) -> None:
    result = search(n_trials=4, retention={"keep_best": 3, "max_disk_gb": 1e-6})
    folder = workplace / "studies" / "small"
    assert result.failed and "max_disk_gb" in result.reason
    assert (folder / "best" / "best.pt").exists() and result.best is not None
    assert [path.name for path in folder.rglob("trial_*/checkpoints/*.pt")] == ["best.pt"]


def test_the_shipped_trial_folder_has_its_parameters(search: Any, workplace: Path) -> None:
    search(n_trials=1)
    (trial,) = tools.trials(workplace)
    facts = json.loads((workplace / "studies" / "small" / "trial_00000" / "trial.json").read_text())
    assert facts["params"] == trial.params and facts["outcome"] == "completed"
    assert facts["values"] == {"val_loss": trial.value}
    assert facts["recipe"]["net"]["width"] == trial.params["net.width"]


def test_an_invalid_point_is_infeasible_with_its_reason(
    search: Any, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What no signature shows and no corner: the user's own code refuses a value in the middle."""
    monkeypatch.syspath_prepend(workplace)
    (workplace / "picky.py").write_text(
        "from model import MLP\n\n\nclass Picky(MLP):\n    def __init__(self, width: int = 8):\n"
        "        if width % 2:\n            raise ValueError('an odd width')\n"
        "        super().__init__(width=width)\n"
    )
    space = {"net.width": {"type": "int", "low": 4, "high": 8}}
    search(
        search_space=space, sampler="optuna.samplers.GridSampler", n_trials=None, max_consecutive_failures=9,
        **{"run.net": {"target": "picky.Picky"}},
    )  # fmt: skip
    ends = {t.params["net.width"]: t.user_attrs["outcome"] for t in tools.trials(workplace)}
    assert ends == {4: "completed", 5: "infeasible", 6: "completed", 7: "infeasible", 8: "completed"}
