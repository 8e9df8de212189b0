import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from lab.report.study_data import Dimension, read
from lab.store import run_folder
from tests.lab.report import studies

PARAMS = {"optimizer.lr": 0.01, "optimizer": "AdamW", "net.layers": 3, "batch_size": 8}


def test_a_trial_is_read_whole(tmp_path: Path) -> None:
    config = studies.config()
    study = studies.create(tmp_path, config)
    studies.add(
        study, config, PARAMS, "completed", (0.75,), {2: 0.75, 1: math.nan}, cause="two\n lines",
        epochs=2, epochs_planned=30, best_epoch=2, seconds=7.5, attempts=2,
        repeats={"seed_0": 0.5, "seed_1": None},
    )  # fmt: skip
    folder = studies.trial_folder(tmp_path, 0)
    (trial,) = read(tmp_path, study, config).trials
    assert (trial.outcome, trial.rank, trial.values, trial.last) == ("completed", 1, (0.75,), 0.75)
    assert trial.params == {"optimizer.lr": 0.01, "optimizer": "AdamW", "net.layers": 3, "batch_size": "8"}
    assert trial.curve[1] == (2, 0.75)
    assert math.isnan(trial.curve[0][1])
    assert (trial.cause, trial.epochs, trial.epochs_planned, trial.best_epoch) == ("two lines", 2, 30, 2)
    assert (trial.seconds, trial.folder, trial.traceback) == (7.5, folder, None)
    assert trial.repeats["seed 0"] == 0.5
    assert math.isnan(trial.repeats["seed 1"])


@pytest.mark.parametrize(
    ("state", "values", "stored", "curve", "outcome"),
    [
        (TrialState.COMPLETE, [0.5], None, {}, "completed"),
        (TrialState.COMPLETE, [0.5], "early_stopped", {}, "early_stopped"),
        (TrialState.COMPLETE, [-math.inf], "out_of_memory", {}, "out_of_memory"),
        (TrialState.COMPLETE, [-math.inf], "completed", {}, "diverged"),
        (TrialState.PRUNED, None, "completed", {}, "pruned"),
        (TrialState.PRUNED, None, "infeasible", {}, "infeasible"),
        (TrialState.FAIL, None, "infeasible", {}, "failed"),
        (TrialState.FAIL, None, "timed_out", {}, "timed_out"),
        (TrialState.FAIL, None, "pruned", {}, "failed"),
        (TrialState.RUNNING, None, "interrupted", {1: 0.5}, "running"),
        (TrialState.WAITING, None, None, {1: 0.5}, "interrupted"),
        (TrialState.WAITING, None, None, {}, "waiting"),
    ],
)
def test_the_outcome_goes_by_optunas_state(
    state: TrialState, values: list[float] | None, stored: str | None, curve: dict[int, float], outcome: str,
    tmp_path: Path,
) -> None:  # fmt: skip
    config = studies.config()
    study = studies.create(tmp_path, config)
    attrs = {} if stored is None else {"outcome": stored}
    study.add_trial(create_trial(state=state, values=values, user_attrs=attrs, intermediate_values=curve))
    assert [trial.outcome for trial in read(tmp_path, study, config).trials] == [outcome]


def test_dimensions_are_the_files_then_those_of_older_trials(tmp_path: Path) -> None:
    config = studies.config(
        search_space={name: studies.SPACE[name] for name in ("optimizer.lr", "batch_size")}
    )
    study = studies.create(tmp_path, config)
    older = {
        "optimizer.lr": FloatDistribution(1e-3, 1, log=True),
        "batch_size": CategoricalDistribution([8, 64]),
        "net.width": IntDistribution(16, 64, step=16),
        "net.act": CategoricalDistribution(["relu", None, True]),
    }
    params = {"optimizer.lr": 0.5, "batch_size": 64, "net.width": 32, "net.act": True}
    study.add_trial(create_trial(params=params, distributions=older, value=0.5))
    data = read(tmp_path, study, config)
    assert data.dimensions == (
        Dimension("optimizer.lr", "float", 1e-5, 0.1, log=True),
        Dimension("batch_size", "categorical", choices=("8", "16", "32", "64")),
        Dimension("net.width", "int", 16, 64, 16, in_space=False),
        Dimension("net.act", "categorical", choices=("relu", "null", "true"), in_space=False),
    )
    assert data.trials[0].params == {
        "optimizer.lr": 0.5,
        "batch_size": "64",
        "net.width": 32,
        "net.act": "true",
    }


@pytest.mark.parametrize(
    ("dimension", "value", "position"),
    [
        (Dimension("a", "float", 0, 10), 2.5, 0.25),
        (Dimension("a", "float", 1e-4, 1, log=True), 0.01, 0.5),
        (Dimension("a", "int", 2, 6, 1), 6, 1.0),
        (Dimension("a", "int", 1, 64, log=True), 8, 0.5),
        (Dimension("a", "float", 3, 3), 3, 0.5),
        (Dimension("a", "float", 1, 8, log=True), -1, 0.0),
        (Dimension("a", "float", 0, 10), 12, 1.2),
        (Dimension("a", "float", 0, 10), "x", None),
        (Dimension("a", "float", 0, 10), True, None),
        (Dimension("a", "float", 0, 10), None, None),
        (Dimension("a", "categorical", choices=("x",)), "x", None),
    ],
)
def test_a_position_is_on_the_parameters_own_scale(
    dimension: Dimension, value: object, position: float | None
) -> None:
    assert dimension.position(value) == (None if position is None else pytest.approx(position))


def test_several_objectives_have_names_curves_and_a_front(tmp_path: Path) -> None:
    both = [{"metric": "val_dice", "mode": "max"}, {"metric": "parameters", "mode": "min"}]
    config = studies.config(monitor=both)
    study = studies.create(tmp_path, config)
    for values in ((0.5, 100.0), (0.75, 300.0), (0.4, 200.0)):
        studies.add(study, config, PARAMS, "completed", values, {1: 0.1, 10: 0.3, 9: 0.2})
    data = read(tmp_path, study, config)
    assert [(each.metric, each.sign) for each in data.objectives] == [("val_dice", -1), ("parameters", 1)]
    assert data.reported is data.objectives[0]
    assert data.trials[0].curve == ((1, 0.1), (9, 0.2), (10, 0.3))
    assert [trial.number for trial in data.ranked] == [1, 0, 2]
    assert [trial.number for trial in data.front] == [1, 0]
    assert data.winner is data.trials[1]


def test_forked_trials_have_no_folder_here(tmp_path: Path) -> None:
    config = studies.config()
    study = studies.create(tmp_path, config)
    studies.add(study, config, PARAMS, "completed", (0.5,), forked_from="older 12")
    studies.add(study, config, PARAMS, "failed", cause="boom")
    studies.trial_folder(tmp_path, 0)
    folder = studies.trial_folder(tmp_path, 1)
    (folder / "seed_3").mkdir()
    (folder / "seed_3" / run_folder.TRACEBACK).write_text("Traceback")
    data = read(tmp_path, study, config)
    assert (data.trials[0].folder, data.trials[0].forked_from) == (None, "older 12")
    assert data.own == (data.trials[1],)
    assert data.trials[1].traceback == folder / "seed_3" / "traceback.txt"


def test_texts_are_redacted(tmp_path: Path) -> None:
    url = "postgresql://me:hunter2@host/db"
    config = studies.config(search_space={"data.source": {"choices": [url, "x"]}})
    study = studies.create(tmp_path, config)
    chosen = {"data.source": url.replace("hunter2", "***")}  # as the database has it
    studies.add(study, config, chosen, "failed", cause=f"no {url}", forked_from=url)
    assert "hunter2" not in repr(read(tmp_path, study, config))


def test_a_confirmation_is_read(tmp_path: Path) -> None:
    config = studies.config()
    study = studies.create(tmp_path, config)
    stored = {
        "seeds": [10, 11], "metric": "val_dice", "mode": "max", "verdict": "close",
        "candidates": [
            {"trial": 4, "values": [0.5, None], "mean": None, "low": None, "high": None},
            {"trial": 7, "values": [0.25, 0.75], "mean": 0.5, "low": 0.1, "high": 0.9},
            {"trial": 9, "values": [0.25, 0.25], "mean": 0.25, "low": 0.25, "high": 0.25},
        ],
    }  # fmt: skip
    (tmp_path / "confirm.json").write_text(json.dumps(stored))
    found = read(tmp_path, study, config).confirmation
    assert found is not None
    assert (found.seeds, found.metric, found.verdict) == (2, "val_dice", "close")
    assert found.best is found.candidates[1]
    assert replace(found, maximize=False).best is found.candidates[2]
    assert math.isnan(found.candidates[0].values[1])


@pytest.mark.parametrize("content", ["{", "{}", '{"candidates": 3}', "[]"])
def test_a_confirmation_that_cannot_be_read_is_a_remark(content: str, tmp_path: Path) -> None:
    config = studies.config()
    study = studies.create(tmp_path, config)
    (tmp_path / "confirm.json").write_text(content)
    data = read(tmp_path, study, config)
    assert data.confirmation is None
    assert str(tmp_path / "confirm.json") in data.remarks[0]


def test_an_empty_study_is_read(tmp_path: Path) -> None:
    config = studies.config()
    data = read(tmp_path, studies.create(tmp_path, config), config)
    assert (data.trials, data.ranked, data.winner, data.total) == ((), (), None, 40)
