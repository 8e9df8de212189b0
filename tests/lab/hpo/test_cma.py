"""CMA-ES as Optuna has it, without its pickles."""

import os
import pickle
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna._transform import _SearchSpaceTransform
from optuna.samplers import CmaEsSampler
from optuna.trial import TrialState

from lab.hpo import cma
from lab.hpo.cma import SafeCmaEs
from lab.hpo.storage import Database

optuna.logging.set_verbosity(optuna.logging.ERROR)
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "separable": {"use_separable_cma": True},
    "margin": {"with_margin": True},
    "adaptive": {"lr_adapt": True},
    "popsize": {"popsize": 9},
}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


def bowl(trial: optuna.Trial) -> float:
    """A turned quadratic with its least value, 0, at x = 0.7, y = −0.4, n = 3."""
    x, y = trial.suggest_float("x", -2, 2), trial.suggest_float("y", -2, 2)
    n = trial.suggest_int("n", 0, 10)
    u, v = x - 0.7, y + 0.4
    return (u + v) ** 2 + 10 * (u - v) ** 2 + 0.1 * (n - 3) ** 2


def opened(path: Path, sampler: CmaEsSampler, **settings: Any) -> optuna.Study:
    return optuna.create_study(
        study_name="s", storage=f"sqlite:///{path}", load_if_exists=True, sampler=sampler, **settings
    )


def after(count: int, sampler: optuna.samplers.BaseSampler) -> float:
    study = optuna.create_study(sampler=sampler)
    study.optimize(bowl, n_trials=count)
    return study.best_value


def test_it_converges_as_the_stock_one_does() -> None:
    ours = [after(200, SafeCmaEs(seed=seed)) for seed in range(3)]
    stock = [after(200, CmaEsSampler(seed=seed)) for seed in range(3)]
    assert np.median(ours) < 1e-2
    assert np.median(ours) < 10 * np.median(stock) + 1e-3
    assert np.median([after(200, optuna.samplers.RandomSampler(seed=s)) for s in range(3)]) > 0.03


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_it_replays_the_optimizer_that_stock_has_pickled(variant: str, direction: str) -> None:
    """From the trials of a stock study we make the very optimizer that is in its last pickle."""
    stock = CmaEsSampler(seed=0, **VARIANTS[variant])
    study = optuna.create_study(sampler=stock, direction=direction)
    sign = 1 if direction == "minimize" else -1
    study.optimize(lambda trial: sign * bowl(trial), n_trials=60)
    pickled = stock._restore_optimizer(study.trials)
    ours = SafeCmaEs(seed=1, **VARIANTS[variant])
    space = ours.infer_relative_search_space(study, study.trials[-1])
    transform = _SearchSpaceTransform(space, transform_step=variant != "margin", transform_0_1=True)
    told = max(trial.system_attrs.get(stock._attr_key_generation, 0) for trial in study.trials)
    before = [t for t in study.trials if t.system_attrs.get(stock._attr_key_generation, -1) < told]
    replayed = ours._replayed(study, before, transform)
    assert replayed.generation == pickled.generation == told >= 4
    inner, other = (getattr(found, "_cma", found) for found in (replayed, pickled))
    for name in ("_mean", "_sigma", "_C", "_p_sigma"):
        np.testing.assert_allclose(getattr(inner, name), getattr(other, name), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "variant",
    ["plain", *(pytest.param(v, marks=pytest.mark.slow) for v in ("margin", "separable", "adaptive"))],
)
def test_what_was_replayed_is_kept_and_gives_the_same_points(
    variant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of trials that are kept in memory only new ones are replayed; without that, all of them each time."""
    points, replayed, point = {}, list[int](), SafeCmaEs._point
    monkeypatch.setattr(
        SafeCmaEs, "_point", lambda own, *of: (replayed.append(of[0].number), point(own, *of))[1]
    )
    for kept in (True, False):
        replayed.clear()
        database = Database(f"sqlite:///{tmp_path / str(kept)}.db")
        study = optuna.create_study(study_name=f"{variant} {kept}", storage=database.storage)
        for number in range(18):
            if not kept:
                cma._replays.clear()
            if number == 11:  # another sampler in the same process: nothing of it may be taken over
                other = SafeCmaEs(seed=0, sigma0=0.01, popsize=4, **VARIANTS[variant])
                other.sample_relative(study, study.ask(), study.trials[0].distributions)
            study.sampler = SafeCmaEs(seed=number, popsize=4, **VARIANTS[variant])
            study.optimize(bowl, n_trials=1)
        points[kept] = [trial.params for trial in study.trials]
        if kept:
            assert len(replayed) == 16 + 8 + 8, "each once, but for the other sampler, and again after it"
    assert len(replayed) > 80
    assert points[True] == points[False]


@pytest.mark.parametrize(
    "variant",
    [
        "plain",
        "margin",
        *(pytest.param(v, marks=pytest.mark.slow) for v in ("separable", "adaptive", "popsize")),
    ],
)
def test_a_study_opened_again_goes_on_as_if_it_had_never_stopped(variant: str, tmp_path: Path) -> None:
    """Each trial has a sampler of its own, as in a study of ours; two reopenings change nothing."""

    def explore(path: Path, parts: tuple[int, ...]) -> list[dict[str, Any]]:
        for count in parts:
            study = opened(path, SafeCmaEs())
            for _ in range(count):
                number = len(study.get_trials(deepcopy=False))
                study.sampler = SafeCmaEs(seed=number, **VARIANTS[variant])
                study.optimize(bowl, n_trials=1)
        return [trial.params for trial in opened(path, SafeCmaEs()).trials]

    at_once = explore(tmp_path / "whole.db", (18,))
    assert explore(tmp_path / "parts.db", (7, 6, 5)) == at_once
    assert len({str(point) for point in at_once}) == 18


def test_nothing_but_numbers_is_stored(tmp_path: Path) -> None:
    study = opened(tmp_path / "studies.db", SafeCmaEs(seed=0))
    study.optimize(bowl, n_trials=30)
    attributes = [trial.system_attrs for trial in study.trials]
    assert {name for attrs in attributes for name in attrs} == {"cma:generation"}
    assert [attrs.get("cma:generation") for attrs in attributes[:16]] == [None, *[0] * 7, *[1] * 7, 2]


class _Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("prefix", ["cma", "sepcma", "cmawm"])
def test_a_planted_pickle_is_never_read(prefix: str, tmp_path: Path) -> None:
    """The stock sampler runs what somebody wrote into the database; ours doesn't look at it."""
    variant = VARIANTS[{"cma": "plain", "sepcma": "separable", "cmawm": "margin"}[prefix]]
    trap = tmp_path / "executed"
    path = tmp_path / "studies.db"
    study = opened(path, SafeCmaEs(seed=0, **variant))
    study.optimize(bowl, n_trials=10)
    planted = study.ask()
    study._storage.set_trial_system_attr(
        planted._trial_id, f"{prefix}:optimizer:0", pickle.dumps(_Evil(trap)).hex()
    )
    bowl(planted)
    study.tell(planted, 1.0)
    opened(path, SafeCmaEs(seed=0, **variant)).optimize(bowl, n_trials=10)
    assert not trap.exists()
    opened(path, CmaEsSampler(seed=0, **variant)).optimize(bowl, n_trials=1)
    assert trap.exists()  # so the trap does work


@pytest.mark.parametrize(
    "garbage", ["text", [1.0], [1.0, float("nan"), 0.0], [1e300, 0.0, 0.0], {"0": 1}, None]
)
def test_garbage_in_the_database_is_passed_over(garbage: Any) -> None:
    """It says that it belongs to the generation that is under way."""
    study = optuna.create_study(sampler=SafeCmaEs(seed=0, with_margin=True))
    study.optimize(bowl, n_trials=20)
    planted = study.ask()
    bowl(planted)
    study._storage.set_trial_system_attr(planted._trial_id, "x_for_tell", garbage)
    study._storage.set_trial_system_attr(planted._trial_id, "cmawm:generation", garbage)
    study.tell(planted, -1e9)
    for _ in range(12):
        trial = study.ask()
        bowl(trial)
        study._storage.set_trial_system_attr(trial._trial_id, "x_for_tell", garbage)
        study._storage.set_trial_system_attr(trial._trial_id, "cmawm:generation", 2)
        study.tell(trial, 0.0)
    study.optimize(bowl, n_trials=20)
    assert study.trials[-1].system_attrs["cmawm:generation"] >= 3


def test_a_straggler_does_not_change_what_was_told() -> None:
    """A generation is its first trials to finish, and not those with the lowest numbers."""
    study = optuna.create_study(sampler=SafeCmaEs(seed=0, popsize=4))
    study.optimize(bowl, n_trials=1)
    late = study.ask()
    bowl(late)
    study.optimize(bowl, n_trials=5)
    sampler, space = SafeCmaEs(seed=0, popsize=4), study.trials[0].distributions
    transform = _SearchSpaceTransform(dict(space), transform_step=True, transform_0_1=True)
    before = sampler._replayed(study, study.get_trials(states=(TrialState.COMPLETE,)), transform)
    study.tell(late, -100.0)
    after_it = sampler._replayed(study, study.get_trials(states=(TrialState.COMPLETE,)), transform)
    assert before.generation == after_it.generation == 1
    np.testing.assert_array_equal(before.mean, after_it.mean)


def test_diverged_trials_are_the_worst_of_their_generation() -> None:
    study = optuna.create_study(sampler=SafeCmaEs(seed=0))
    study.optimize(
        lambda trial: bowl(trial) if trial.number % 3 else bowl(trial) + float("inf"), n_trials=150
    )
    assert study.best_value < 0.05


def test_several_objectives_are_refused() -> None:
    study = optuna.create_study(directions=["minimize", "minimize"], sampler=SafeCmaEs(seed=0))
    with pytest.raises(ValueError, match="multi-objective"):
        study.optimize(lambda trial: (trial.suggest_float("x", 0, 1), 0.0), n_trials=3)
