"""Samplers that a restart doesn't change, pruners told what the run says, a view for several objectives."""

import itertools
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna import pruners, samplers
from optuna.trial import TrialState

from lab.config.optimize_config import OptimizeConfig
from lab.config.problems import ConfigError
from lab.config.validation import validate
from lab.hpo.cma import SafeCmaEs
from lab.hpo.pfl import PredictedFinalLoss
from lab.hpo.samplers import (
    create_pruner,
    create_sampler,
    pruning_view,
    remembered,
    should_prune,
    with_sampler,
)
from lab.hpo.storage import Database

optuna.logging.set_verbosity(optuna.logging.ERROR)

RUN = {"epochs": 8, "data": "lab.data.function", "net": "model.MLP", "metrics": {"mae": "lab.metrics.MAE"}}
NUMBERS = {
    "optimizer.lr": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True},
    "optimizer.weight_decay": {"type": "float", "low": 0.0, "high": 1.0},
}
POINTS = {
    "net.width": {"type": "int", "low": 4, "high": 8},
    "net.activation": {"type": "categorical", "choices": ["relu", "gelu", "silu", "tanh"]},
}
SAMPLERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "tpe": ({"target": "optuna.samplers.TPESampler", "n_startup_trials": 3}, NUMBERS),
    "gp": ({"target": "optuna.samplers.GPSampler", "n_startup_trials": 3}, NUMBERS),
    "cma": ({"target": "optuna.samplers.CmaEsSampler", "popsize": 4}, NUMBERS),
    "nsga2": ({"target": "optuna.samplers.NSGAIISampler", "population_size": 3}, NUMBERS),
    "nsga3": ({"target": "optuna.samplers.NSGAIIISampler", "population_size": 3}, NUMBERS),
    "qmc": ({"target": "optuna.samplers.QMCSampler", "scramble": True}, NUMBERS),
    "sobol": ({"target": "optuna.samplers.QMCSampler"}, NUMBERS),
    "random": ({"target": "optuna.samplers.RandomSampler"}, NUMBERS),
    "grid": ({"target": "optuna.samplers.GridSampler"}, POINTS),
    "brute": ({"target": "optuna.samplers.BruteForceSampler"}, POINTS),
    "nested": (
        {
            "target": "optuna.samplers.GPSampler",
            "n_startup_trials": 5,
            "independent_sampler": {"target": "optuna.samplers.TPESampler", "n_startup_trials": 2},
        },
        NUMBERS,
    ),
}
NEVER_TWICE = sorted(set(SAMPLERS) - {"nsga2", "nsga3"})  # a child of theirs may be its parent again
Point = tuple[Any, ...]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


def config_of(sampler: Any = "optuna.samplers.TPESampler", **settings: Any) -> OptimizeConfig:
    data = {"study_name": "s", "run": RUN, "search_space": NUMBERS, "sampler": sampler, "seed": 3}
    return validate(OptimizeConfig, data | settings)


def config_for(name: str, **settings: Any) -> OptimizeConfig:
    sampler, space = SAMPLERS[name]
    return config_of(sampler, search_space=space, **settings)


def opened(path: Path, **settings: Any) -> optuna.Study:
    return optuna.create_study(study_name="s", storage=f"sqlite:///{path}", load_if_exists=True, **settings)


def open_trial(study: optuna.Study, config: OptimizeConfig, trial_id: int) -> optuna.Trial:
    number = study._storage.get_trial_number_from_id(trial_id)
    return optuna.Trial(with_sampler(study, config, number), trial_id)


def begin(study: optuna.Study, config: OptimizeConfig) -> tuple[int, Point]:
    """A new trial as a scheduler makes it: its id, and where it is."""
    trial_id = study._storage.create_new_trial(study._study_id)
    return trial_id, tuple(config.space.suggest(open_trial(study, config, trial_id)).values())


def finish(study: optuna.Study, trial_id: int, point: Point) -> None:
    """The best is within the space: a Gaussian process would go to a corner again and again."""
    value = len(str(point)) if isinstance(point[1], str) else (point[0] - 0.01) ** 2 + (point[1] - 0.4) ** 2
    values = [float(value), -float(value)][: len(study.directions)]
    study._storage.set_trial_state_values(trial_id, TrialState.COMPLETE, values)


def explore(study: optuna.Study, config: OptimizeConfig, count: int) -> list[Point]:
    points = []
    for _ in range(count):
        trial_id, point = begin(study, config)
        finish(study, trial_id, point)
        points.append(point)
    return points


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if name in ("nested", "gp") else name for name in SAMPLERS],
)
def test_a_resumed_study_proposes_what_the_uninterrupted_one_would_have(name: str, tmp_path: Path) -> None:
    config = config_for(name)
    at_once = explore(opened(tmp_path / "whole.db"), config, 12)
    halves = [point for _ in range(2) for point in explore(opened(tmp_path / "halves.db"), config, 6)]
    assert halves == at_once
    assert name not in NEVER_TWICE or len(set(at_once)) == 12


@pytest.mark.parametrize("name", NEVER_TWICE)
def test_two_processes_in_turns_never_propose_the_same_point(name: str, tmp_path: Path) -> None:
    config, path = config_for(name), tmp_path / "studies.db"
    first, second = opened(path), opened(path)
    points = []
    for _ in range(6):
        begun = [(study, *begin(study, config)) for study in (first, second)]
        points += [point for _, _, point in begun]
        for study, trial_id, point in begun:
            finish(study, trial_id, point)
    assert len(set(points)) == 12


@pytest.mark.parametrize("name", ["nsga2", "nsga3"])
def test_several_objectives_resume_as_well(name: str, tmp_path: Path) -> None:
    config, both = config_for(name), {"directions": ["minimize", "maximize"]}
    at_once = explore(opened(tmp_path / "whole.db", **both), config, 12)
    path = tmp_path / "halves.db"
    assert [p for _ in range(2) for p in explore(opened(path, **both), config, 6)] == at_once


@pytest.mark.parametrize("name", sorted(set(SAMPLERS) - {"sobol"}))
def test_the_seed_decides(name: str, tmp_path: Path) -> None:
    first = explore(opened(tmp_path / "a.db"), config_for(name, seed=1), 6)
    second = explore(opened(tmp_path / "b.db"), config_for(name, seed=2), 6)
    assert first != second


@pytest.mark.parametrize("name", ["grid", "brute"])
def test_a_finite_space_is_searched_wholly_and_each_point_once(name: str, tmp_path: Path) -> None:
    points = explore(opened(tmp_path / "studies.db"), config_for(name), 20)
    assert set(points) == set(itertools.product(range(4, 9), ["relu", "gelu", "silu", "tanh"]))


def test_the_sampler_knows_what_was_finished_since_the_study_was_opened(tmp_path: Path) -> None:
    """One Study object for all trials: Optuna's list of them, kept from the first one on, would be stale."""
    config = config_for("tpe")
    one = explore(opened(tmp_path / "one.db"), config, 12)
    fresh = [explore(opened(tmp_path / "fresh.db"), config, 1)[0] for _ in range(12)]
    assert one == fresh
    drawn = explore(opened(tmp_path / "random.db"), config_for("random"), 12)
    assert one[:3] == drawn[:3]
    assert not set(one[3:]) & set(drawn[3:])


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_tpe_learns_from_the_best_and_the_newest_of_many_trials(
    direction: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lab.hpo.samplers.MOST_LEARNED", 20)
    study = optuna.create_study(direction=direction)
    values = [-1, 99, *np.random.default_rng(0).permutation(28).tolist()]
    states = [TrialState.PRUNED if n % 5 == 4 else TrialState.COMPLETE for n in range(30)]
    for value, state in zip(values, states, strict=True):
        study.add_trial(optuna.trial.create_trial(value=value, state=state))
    study.ask()
    study.add_trial(optuna.trial.create_trial(state=TrialState.FAIL))
    trials = study.get_trials()
    kept = [trial.number for trial in remembered(samplers.TPESampler(), study)(trials)]
    order = [n for n in np.argsort(values) if states[n] == TrialState.COMPLETE]
    best = {int(n) for n in (order[:2] if direction == "minimize" else order[-2:])}
    newest = [n for n in range(30) if n not in best][-18:]
    assert kept == [*sorted({*best, *newest}), 30, 31] and min(best) < min(newest)
    assert remembered(samplers.TPESampler(), study)(trials[11:]) == trials[11:], "no more than it learns from"
    assert remembered(samplers.CmaEsSampler(), study)(trials) == trials, "it needs its generations"


def test_a_qmc_sequence_leaves_its_streams_to_what_is_not_in_it(tmp_path: Path) -> None:
    """A parameter that the first trial lacked is drawn for each trial anew."""
    config, study = config_for("qmc"), opened(tmp_path / "studies.db")
    explore(study, config, 1)
    drawn = []
    for _ in range(4):
        trial_id = study._storage.create_new_trial(study._study_id)
        drawn.append(open_trial(study, config, trial_id).suggest_float("late", 0, 1))
        study._storage.set_trial_state_values(trial_id, TrialState.COMPLETE, [0.0])
    assert len(set(drawn)) == 4


def test_cma_es_is_ours_and_keeps_its_arguments() -> None:
    sampler = create_sampler(config_of({"target": "optuna.samplers.CmaEsSampler", "popsize": 7}), 0)
    assert type(sampler) is SafeCmaEs
    assert sampler._popsize == 7
    assert type(create_sampler(config_of("optuna.samplers.RandomSampler"), 0)) is samplers.RandomSampler


def test_a_sampler_within_a_sampler_is_made_the_same_way() -> None:
    spec = {
        "target": "optuna.samplers.PartialFixedSampler",
        "fixed_params": {"optimizer.lr": 0.01},
        "base_sampler": {"target": "optuna.samplers.CmaEsSampler"},
    }
    sampler = create_sampler(config_of(spec), 0)
    assert isinstance(sampler, samplers.PartialFixedSampler)
    assert type(sampler._base_sampler) is SafeCmaEs


def test_a_sampler_that_refuses_its_arguments_is_a_problem_with_the_config() -> None:
    config = config_of({"target": "optuna.samplers.NSGAIISampler", "population_size": 1})
    with pytest.raises(ConfigError, match="population_size"):
        create_sampler(config, 0)


def test_no_pruner_prunes_nothing() -> None:
    assert type(create_pruner(config_of())) is pruners.NopPruner


def test_a_pruner_is_told_what_the_base_run_says() -> None:
    run = RUN | {"seeds": [0, 1, 2], "monitor": {"metric": "val_loss", "returns": "last"}}
    pfl = create_pruner(config_of(run=run, pruner={"target": "lab.hpo.pfl.PredictedFinalLoss", "top_k": 2}))
    assert isinstance(pfl, PredictedFinalLoss)
    assert (pfl._epochs, pfl._seeds, pfl._returns, pfl._top_k) == (8, 3, "last", 2)
    hyperband = create_pruner(config_of(run=run, pruner="optuna.pruners.HyperbandPruner"))
    assert isinstance(hyperband, pruners.HyperbandPruner)
    assert hyperband._max_resource == 24
    given = create_pruner(config_of(pruner={"target": "optuna.pruners.HyperbandPruner", "max_resource": 5}))
    assert isinstance(given, pruners.HyperbandPruner)
    assert given._max_resource == 5
    halving = create_pruner(
        config_of(run=RUN | {"epochs": 250}, pruner="optuna.pruners.SuccessiveHalvingPruner")
    )
    assert isinstance(halving, pruners.SuccessiveHalvingPruner)
    assert halving._min_resource == 2


def test_a_pruner_within_a_patient_one_is_told_too() -> None:
    inner = {"target": "lab.hpo.pfl.PredictedFinalLoss"}
    spec = {"target": "optuna.pruners.PatientPruner", "patience": 2, "wrapped_pruner": inner}
    patient = create_pruner(config_of(pruner=spec))
    assert isinstance(patient, pruners.PatientPruner)
    assert isinstance(patient._wrapped_pruner, PredictedFinalLoss)
    assert patient._wrapped_pruner._epochs == 8
    alone = create_pruner(config_of(pruner=spec | {"wrapped_pruner": None}))
    assert isinstance(alone, pruners.PatientPruner)
    assert alone._wrapped_pruner is None


PRUNERS: dict[str, dict[str, Any]] = {
    "median": {"target": "optuna.pruners.MedianPruner"},
    "percentile": {"target": "optuna.pruners.PercentilePruner", "percentile": 25.0},
    "halving": {"target": "optuna.pruners.SuccessiveHalvingPruner"},
    "hyperband": {"target": "optuna.pruners.HyperbandPruner"},
    "threshold": {"target": "optuna.pruners.ThresholdPruner", "lower": -0.8, "upper": 0.8},
    "patient": {
        "target": "optuna.pruners.PatientPruner",
        "patience": 1,
        "wrapped_pruner": {"target": "optuna.pruners.MedianPruner"},
    },
    "wilcoxon": {"target": "optuna.pruners.WilcoxonPruner"},
    "pfl": {"target": "lab.hpo.pfl.PredictedFinalLoss"},
}


def verdicts(
    study: optuna.Study, config: OptimizeConfig, report: Callable[[optuna.Trial, Sequence[float]], None]
) -> list[int]:
    """Run 30 trials with the same random curves; after how many epochs each ended."""
    study.pruner = create_pruner(config)
    rng, ends = np.random.default_rng(0), []
    sign = 1.0 if config.monitors[-1].mode == "min" else -1.0
    for _ in range(30):
        trial = study.ask()
        values = sign * (rng.uniform(-0.5, 0.5) + np.exp(-0.5 * np.arange(1, 9)) + rng.normal(0, 0.05, 8))
        for epoch in range(1, 9):
            report(trial, values[:epoch].tolist())
            if epoch < 8 and should_prune(study, config, trial.number):
                study._storage.set_trial_state_values(trial._trial_id, TrialState.PRUNED)
                break
        else:
            study.tell(trial, [1.0, values.min() * sign][-len(study.directions) :])
        ends.append(epoch)
    return ends


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("name", PRUNERS)
def test_with_two_objectives_a_pruner_sees_what_it_would_with_one(name: str, mode: str) -> None:
    goal = {"metric": "val_mae", "mode": mode}
    one = config_of(run=RUN | {"monitor": goal}, pruner=PRUNERS[name])
    also = [{"metric": "val_loss", "mode": "min"}, goal]
    two = config_of(run=RUN | {"monitor": also}, pruner=PRUNERS[name], prune_on="val_mae")
    direction = {"min": "minimize", "max": "maximize"}[mode]
    alone = optuna.create_study(study_name="s", direction=direction)
    both = optuna.create_study(study_name="s", directions=["minimize", direction])

    def to_optuna(trial: optuna.Trial, values: Sequence[float]) -> None:
        trial.report(values[-1], len(values))

    def to_attributes(trial: optuna.Trial, values: Sequence[float]) -> None:
        trial.set_user_attr("curve", {str(epoch): value for epoch, value in enumerate(values, 1)})

    expected = verdicts(alone, one, to_optuna)
    assert min(expected) < 8 == max(expected)
    assert verdicts(both, two, to_attributes) == expected


def side_by_side(
    study: optuna.Study, storage: optuna.storages.BaseStorage, decide: Callable[[int], bool]
) -> list[bool]:
    """Run 12 trials, four at a time, with the same random curves; the decisions in turn."""
    rng, running, decisions = np.random.default_rng(1), dict[int, list[float]](), list[bool]()
    begun = 0
    while running or begun < 12:
        while len(running) < 4 and begun < 12:
            curve = rng.uniform(-0.5, 0.5) + np.exp(-0.5 * np.arange(1, 9)) + rng.normal(0, 0.05, 8)
            running[study.ask().number] = curve.tolist()
            begun += 1
        number = int(rng.choice(list(running)))
        trial_id = storage.get_trial_id_from_study_id_trial_number(study._study_id, number)
        step = len(storage.get_trial(trial_id).intermediate_values) + 1
        storage.set_trial_intermediate_value(trial_id, step, running[number][step - 1])
        decisions.append(step < 8 and decide(number))
        if decisions[-1] or step == 8:
            state = TrialState.PRUNED if decisions[-1] else TrialState.COMPLETE
            storage.set_trial_state_values(trial_id, state, [min(running.pop(number)[:step])])
    return decisions


@pytest.mark.parametrize("name", PRUNERS)
def test_a_pruner_decides_as_on_all_that_optuna_reads(name: str, tmp_path: Path) -> None:
    config = config_of(pruner=PRUNERS[name])
    ours, theirs = (Database(f"sqlite:///{tmp_path / name}.db") for name in ("ours", "theirs"))
    study = optuna.create_study(storage=ours.storage, study_name="s", pruner=create_pruner(config))
    other = optuna.create_study(storage=theirs.backend, study_name="s", pruner=create_pruner(config))
    found = side_by_side(study, ours.storage, lambda number: should_prune(study, config, number))
    expected = side_by_side(
        other, theirs.backend, lambda number: other.pruner.prune(other, other.get_trials()[number])
    )
    assert found == expected and (any(found) or name == "wilcoxon")


def test_the_view_of_one_objective_is_the_study_at_one_moment(tmp_path: Path) -> None:
    study = opened(tmp_path / "studies.db")
    study.ask()
    view = pruning_view(study, config_of())
    assert [trial.number for trial in view.get_trials()] == [0]
    assert (view.direction, view.study_name) == (study.direction, study.study_name)
    study.ask()
    assert [trial.number for trial in view.get_trials()] == [0]
    assert [trial.number for trial in pruning_view(study, config_of()).get_trials()] == [0, 1]


def test_the_view_tells_of_one_objective_only(tmp_path: Path) -> None:
    goals = [{"metric": "val_loss", "mode": "min"}, {"metric": "val_mae", "mode": "max"}]
    pruner = {"target": "optuna.pruners.MedianPruner"}
    study = opened(tmp_path / "studies.db", directions=["minimize", "maximize"])
    for value in (1.0, 2.0):
        trial = study.ask()
        trial.set_user_attr("curve", {"1": 10 * value, "2": 20 * value})
        study.tell(trial, [value, 3 * value])
    running = study.ask()
    first = pruning_view(study, config_of(run=RUN | {"monitor": goals}, pruner=pruner))
    second = pruning_view(study, config_of(run=RUN | {"monitor": goals}, pruner=pruner, prune_on="val_mae"))
    assert (first.direction.name, second.direction.name) == ("MINIMIZE", "MAXIMIZE")
    assert (first.best_trial.number, second.best_trial.number) == (0, 1)
    assert (first.best_value, second.best_value) == (1.0, 6.0)
    assert first.study_name == "s"
    assert [trial.value for trial in second.trials] == [3.0, 6.0, None]
    assert second.trials[1].intermediate_values == {1: 20.0, 2: 40.0}
    assert second.trials[1].last_step == 2
    assert second._storage.get_trial(running._trial_id - 1).value == 6.0
    assert [t.number for t in second.get_trials(states=(TrialState.RUNNING,))] == [running.number]
    second._storage.set_trial_system_attr(running._trial_id, "rung", 1.0)
    assert study.trials[2].system_attrs == {"rung": 1.0}
