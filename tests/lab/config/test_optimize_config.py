"""OptimizeConfig: its defaults, its round trip, what contradicts itself, and the schema for editors."""

import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from lab.config import ConfigError, OptimizeConfig, config_file
from lab.config.validation import validate
from tests.lab.config.conftest import STUDY, StudyFiles
from tests.test_configs import ROOT, valid

RUN = {"data": "lab.data.function", "net": {"target": "model.MLP", "width": 4}}
SMALL = {"study_name": "s", "run": RUN, "search_space": {"net.width": {"type": "int", "low": 4, "high": 8}}}
SCHEMA = ROOT / "configs" / "schema" / "optimize.schema.json"


def make(**values: Any) -> OptimizeConfig:
    return validate(OptimizeConfig, {**SMALL, **values})


def refused(**values: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        make(**values)
    return [str(problem) for problem in caught.value.problems]


def test_every_default() -> None:
    data = make().as_data()
    assert {key: data.pop(key) for key in ("study_name", "run", "search_space")} == {
        "study_name": "s",
        "run": RUN,
        "search_space": {
            "net.width": {"type": "int", "low": 4, "high": 8, "step": 1, "log": False, "when": {}}
        },
    }
    assert data == OptimizeConfig.defaults() == {
        "set": {},
        "storage": "sqlite:///studies.db",
        "n_trials": None,
        "time_budget": None,
        "trial_timeout": None,
        "seed": 0,
        "sampler": {"target": "optuna.samplers.TPESampler"},
        "pruner": None,
        "prune_on": None,
        "workers": None,
        "devices": [],
        "isolation": "process",
        "constraints": [],
        "enqueue": [],
        "retention": {"keep_best": 3, "max_disk_gb": None, "pruned": False},
        "preflight": "cheap",
        "on_oom": "infeasible",
        "max_consecutive_failures": 3,
        "max_attempts": 2,
        "lease_seconds": 60.0,
        "confirm": None,
    }  # fmt: skip
    assert make(confirm={}).as_data()["confirm"] == {"top": 3, "seeds": 5}


def test_it_is_frozen_and_closed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        make().seed = 3  # type: ignore[misc]
    assert refused(n_trails=3) == ["n_trails: unknown key 'n_trails'; did you mean 'n_trials'?"]


def test_it_is_read_back_equal(study: StudyFiles, tmp_path: Path) -> None:
    config = study.read(overrides=["confirm.top=2"])
    file = tmp_path / "elsewhere" / "resolved.yaml"
    file.parent.mkdir()
    file.write_text(config.to_yaml(), encoding="utf-8")
    again = OptimizeConfig.from_yaml(file)
    assert again == config == validate(OptimizeConfig, config.as_data())
    assert again.to_yaml() == config.to_yaml()
    assert json.loads(json.dumps(config.as_data())) == config.as_data()
    assert pickle.loads(pickle.dumps(config)) == config
    assert again != study.read(overrides=["seed=1"])


def test_what_trials_are_made_of(study: StudyFiles) -> None:
    config = study.read()
    assert (config.base.epochs, config.base.batch_size) == (4, 16), "set counts"
    assert config.space.order == (
        "optimizer",
        "optimizer.lr",
        "optimizer.momentum",
        "net.layers",
        "batch_size",
    )
    values = {
        "optimizer": {"target": "torch.optim.SGD"},
        "optimizer.lr": 0.5,
        "net.layers": 1,
        "batch_size": 8,
    }
    trial = config.trial_config(values)
    assert trial.optimizer.model_dump() == {"target": "torch.optim.SGD", "lr": 0.5}
    assert (trial.net.arguments, trial.batch_size, trial.epochs) == ({"width": 8, "layers": 1}, 8, 4)
    assert (
        config.trial_config({"optimizer": "torch.optim.SGD", "optimizer.lr": 0.5}).optimizer
        == trial.optimizer
    )
    assert config.base is config.base
    assert config.time_budget == 5400.0


def test_monitors() -> None:
    two = {**RUN, "monitor": ["val_loss", {"metric": "seconds", "mode": "min"}]}
    assert [(m.metric, m.mode) for m in make(run=two).monitors] == [("val_loss", "min"), ("seconds", "min")]
    assert [m.metric for m in make().monitors] == ["val_loss"]
    assert [m.metric for m in make(set={"monitor.metric": "train_loss"}).monitors] == ["train_loss"]


@pytest.mark.parametrize(
    ("values", "workers"),
    [
        ({}, 1),
        ({"workers": 3}, 3),
        ({"devices": ["cpu", "cuda:1"]}, 2),
        ({"workers": 1, "devices": ["cuda:0", "cuda:1"]}, 1),
    ],
)
def test_n_workers(values: dict[str, Any], workers: int) -> None:
    assert make(**values).n_workers == workers
    assert validate(OptimizeConfig, make(**values).as_data()).n_workers == workers


@pytest.mark.parametrize(
    ("values", "total"),
    [
        ({}, 20),
        ({"n_trials": 7}, 7),
        ({"sampler": "optuna.samplers.GridSampler"}, 5),
        ({"sampler": "optuna.samplers.GridSampler", "n_trials": 3}, 3),
        ({"sampler": "optuna.samplers.BruteForceSampler", "n_trials": 30}, 5),
        ({"sampler": "optuna.samplers.RandomSampler", "n_trials": 30}, 30),
    ],
)
def test_total(values: dict[str, Any], total: int) -> None:
    assert make(**values).total == total


WIDTH = SMALL["search_space"]["net.width"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"run": "run.yaml"}, "run: is a path, and only from_yaml knows what it is relative to"),
        ({"run": {"data": "a.B"}}, "run.net: is required, and not given"),
        ({"search_space": {}}, "search_space: is empty; give at least one parameter to search"),
        ({"search_space": {3: WIDTH}}, "search_space.3: the key 3 (whole number) must be a name"),
        (
            {"search_space": {"nett.width": WIDTH}},
            "search_space.nett.width: a run has no 'nett'; did you mean 'net'?",
        ),
        ({"search_space": {"n..w": WIDTH}}, "search_space.n..w: 'n..w' is no path such as optimizer.lr"),
        (
            {"search_space": {"seeds": {"choices": [0, 1]}}},
            "search_space.seeds: can't be searched: seeds would find the luckiest seed;"
            " several seeds in the run make a trial's value their mean",
        ),
        (
            {"search_space": {"monitor.mode": {"choices": ["min", "max"]}}},
            "search_space.monitor.mode: can't be searched: monitor is what the study optimizes,"
            " the same for all trials",
        ),
        (
            {"search_space": {"device": {"choices": ["cpu"]}}},
            "search_space.device: can't be searched: device is assigned by the study; see devices",
        ),
        (
            {"search_space": {"epochs": WIDTH}, "pruner": "optuna.pruners.MedianPruner"},
            "search_space.epochs: can't be searched with a pruner, which compares trials epoch by epoch;"
            " remove one of them",
        ),
        ({"set": {"net.width": 3}}, "set.net.width: is searched, too, as 'net.width'; remove one of them"),
        ({"set": {"epohcs": 3}}, "set.epohcs: a run has no 'epohcs'; did you mean 'epochs'?"),
        ({"set": {"epochs": 0}}, "set.epochs: found 0 (whole number), expected at least 1"),
        (
            {"set": {"loader.wokers": 1}},
            "set.loader.wokers: unknown key 'wokers'; did you mean 'workers'?",
        ),
        ({"set": {"epochs.x": 1}}, "set.epochs.x: has no part 'x': found 10 (whole number)"),
        ({"set": {"scheduler.x": 1}}, "set.scheduler.x: scheduler.target: is required, and not given"),
        ({"prune_on": "val_loss"}, "prune_on: has no effect without a pruner"),
        (
            {"prune_on": "val_los", "pruner": "optuna.pruners.MedianPruner"},
            "prune_on: the monitor has no 'val_los'; did you mean 'val_loss'?",
        ),
        (
            {"isolation": "none", "workers": 2},
            "workers: 2 trials at a time need processes; remove isolation: none, or this",
        ),
        (
            {"isolation": "none", "devices": ["cpu", "cuda"]},
            "devices: 2 trials at a time need processes; remove isolation: none, or this",
        ),
        (
            {"devices": ["cpu", "cpu"]},
            "devices: the same device is listed twice; workers: N puts several trials on one",
        ),
        ({"confirm": {"seeds": 1}}, "confirm.seeds: found 1 (whole number), expected at least 2"),
        (
            {"sampler": "TPEsampler"},
            "sampler.target: 'TPEsampler' is no import path; did you mean 'optuna.samplers.TPESampler'?",
        ),
        (
            {"pruner": {"target": "Medianpruner"}},
            "pruner.target: 'Medianpruner' is no import path; did you mean 'optuna.pruners.MedianPruner'?",
        ),
    ],
)
def test_what_contradicts_itself(values: dict[str, Any], expected: str) -> None:
    assert refused(**values) == [expected]


def test_epochs_can_be_searched_where_nothing_prunes() -> None:
    assert make(search_space={"epochs": WIDTH}).space.order == ("epochs",)


def test_what_ends_with_the_run_cannot_prune() -> None:
    two = {**RUN, "monitor": ["val_loss", {"metric": "seconds", "mode": "min"}]}
    assert refused(run=two, prune_on="seconds", pruner="optuna.pruners.MedianPruner") == [
        "prune_on: 'seconds' is known at a trial's end only; known: val_loss"
    ]
    assert make(run=two, prune_on="val_loss", pruner="optuna.pruners.MedianPruner").prune_on == "val_loss"


def test_the_schema_that_ships_is_the_generated_one() -> None:
    shipped = json.loads(SCHEMA.read_text(encoding="utf-8"))
    assert shipped == OptimizeConfig.model_json_schema(), (
        "run: python main.py --schema optimize > configs/schema/optimize.schema.json"
    )
    assert shipped["required"] == ["study_name", "run", "search_space"]
    undescribed = [
        f"{section}.{key}"
        for section, part in {"study": shipped, **shipped["$defs"]}.items()
        for key, item in part.get("properties", {}).items()
        if not item.get("description") and "const" not in item
    ]
    assert undescribed == []


def fits(data: Any) -> bool:
    """Whether the schema takes it; its parts are looked up in itself."""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))

    def inlined(part: Any) -> Any:
        if isinstance(part, list):
            return [inlined(item) for item in part]
        if not isinstance(part, dict):
            return part
        if "$ref" in part:
            return inlined({**schema["$defs"][part["$ref"].rpartition("/")[2]], **_without(part, "$ref")})
        return {key: inlined(item) for key, item in part.items()}

    return valid(data, inlined(_without(schema, "$defs")))


def _without(part: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: item for name, item in part.items() if name != key}


def test_editors_find_a_study_valid() -> None:
    data = config_file.parse(STUDY, "f").data
    assert fits(data) and fits(make().as_data()) and fits({**SMALL, "run": "run.yaml"})
    for bad in (
        {"n_trails": 3},
        {"run": {**RUN, "epohcs": 3}},
        {"search_space": {"a": {"type": "flaot", "low": 1, "high": 2}}},
        {"search_space": {"a": {"type": "int", "low": 1, "hihg": 2}}},
        {"time_budget": "5x"},
        {"storage": "mysql://x"},
        {"devices": ["gpu"]},
        {"sampler": "TPESampler"},
    ):
        assert not fits({**data, **bad}), bad


def test_reading_a_study_loads_neither_torch_nor_optuna(study: StudyFiles) -> None:
    study.read()
    code = "import sys\nfrom lab.config import OptimizeConfig\n"
    code += f"config = OptimizeConfig.from_yaml({str(study.study)!r}, ['search_space.optimizer.lr.high=1'])\n"
    code += "config.space.corners(), config.total\n"
    code += "print({'torch', 'numpy', 'optuna'} & set(sys.modules) or 'none')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("none\n", "")
