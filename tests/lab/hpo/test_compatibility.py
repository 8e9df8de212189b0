"""What two descriptions of a study differ in: as plain data, as storage hands it back."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from lab.config import config_file
from lab.config.optimize_config import OptimizeConfig
from lab.config.problems import ConfigError
from lab.config.run_config import RunConfig
from lab.hpo import compatibility
from lab.hpo.compatibility import NO_MATTER, refuse, run_problems
from lab.hpo.open_study import description
from tests.study_tools import changed

SGD = {"target": "torch.optim.SGD", "lr": 0.1, "momentum": 0.9}
ADAM = {"target": "torch.optim.Adam", "lr": 0.001}
RUN = {"epochs": 4, "data": {"target": "lab.data.function"}, "net": {"target": "model.MLP", "width": 8}}
FILE: dict[str, Any] = {
    "study_name": "s",
    "run": RUN,
    "search_space": {
        "optimizer": {"choices": [SGD, ADAM]},
        "optimizer.lr": {"type": "float", "low": 0.001, "high": 0.1, "log": True},
        "optimizer.momentum": {
            "type": "float",
            "low": 0.0,
            "high": 0.9,
            "when": {"optimizer.target": "torch.optim.SGD"},
        },
        "net.width": {"type": "int", "low": 4, "high": 16, "step": 4},
    },
}


def described(**updates: Any) -> dict[str, Any]:
    """The description of the file with some `section/key/...` values; `...` removes one."""
    config = OptimizeConfig.model_validate(changed(FILE, updates))
    return json.loads(json.dumps(description(config)))  # type: ignore[no-any-return]


def found(stored: dict[str, Any], wanted: dict[str, Any]) -> dict[str, str]:
    """Path -> message of what is refused."""
    try:
        refuse(stored, wanted, "s", fork="python main.py --fork s-2")
    except ConfigError as error:
        assert "python main.py --fork s-2" in error.note and "another study_name" in error.note
        return {".".join(map(str, problem.path)): problem.message for problem in error.problems}
    return {}


LR, WIDTH, MOMENTUM = "search_space/optimizer.lr", "search_space/net.width", "search_space/optimizer.momentum"
REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "type": (
        {f"{WIDTH}": {"type": "float", "low": 4, "high": 16, "step": 4}},
        "search_space.net.width.type",
        'the study has "int", the file has "float"',
    ),
    "log": ({f"{LR}/log": False}, "search_space.optimizer.lr.log", "the study has true, the file has false"),
    "step": ({f"{WIDTH}/step": 2}, "search_space.net.width.step", "the study has 4, the file has 2"),
    "higher low": (
        {f"{LR}/low": 0.002},
        "search_space.optimizer.lr.low",
        "the study has 0.001, the file has 0.002, which is narrower",
    ),
    "lower high": (
        {f"{WIDTH}/high": 12},
        "search_space.net.width.high",
        "the study has 16, the file has 12, which is narrower",
    ),
    "steps from elsewhere": (
        {f"{WIDTH}/low": 2, f"{WIDTH}/high": 18},
        "search_space.net.width.low",
        "the study has 4, the file has 2: by steps of 4 its values are others",
    ),
    "choice added": (
        {"search_space/optimizer/choices": [SGD, ADAM, "torch.optim.AdamW"]},
        "search_space.optimizer.choices",
        'the file adds "torch.optim.AdamW"',
    ),
    "choice removed": (
        {"search_space/optimizer/choices": [SGD]},
        "search_space.optimizer.choices",
        f"the file lacks {json.dumps(ADAM)}",
    ),
    "choices reordered": (
        {"search_space/optimizer/choices": [ADAM, SGD]},
        "search_space.optimizer.choices",
        "another order",
    ),
    "argument of a choice": (
        {"search_space/optimizer/choices": [{**SGD, "momentum": 0.8}, ADAM]},
        "search_space.optimizer.choices",
        "SGD, momentum: the study has 0.9, the file has 0.8",
    ),
    "condition": (
        {f"{MOMENTUM}/when": ...},
        "search_space.optimizer.momentum.when",
        'the study has {"optimizer.target": "torch.optim.SGD"}, the file has {}',
    ),
    "parameter removed": (
        {WIDTH: ...},
        "search_space.net.width",
        "is in the study, whose trials differ in it",
    ),
    "parameter added": (
        {"search_space/batch_size": {"choices": [8, 16]}},
        "search_space.batch_size",
        "is not in the study",
    ),
    "metric": (
        {"run/monitor": "train_loss"},
        "run.monitor.metric",
        'the study has "val_loss", the file has "train_loss"',
    ),
    "mode": (
        {"run/monitor": {"metric": "val_loss", "mode": "max"}},
        "run.monitor.mode",
        'the study has "min", the file has "max"',
    ),
    "returns": (
        {"run/monitor": {"metric": "val_loss", "returns": "last"}},
        "run.monitor.returns",
        'the study has "best", the file has "last"',
    ),
    "objectives": (
        {"run/monitor": ["val_loss", {"metric": "seconds", "mode": "min"}]},
        "run.monitor.also",
        'the study has [], the file has [{"metric": "seconds", "mode": "min"}]',
    ),
    "epochs": ({"run/epochs": 5}, "run.epochs", "the study has 4, the file has 5"),
    "epochs, by set": ({"set": {"epochs": 5}}, "set.epochs", "the study has 4, the file has 5"),
    "seeds": ({"run/seeds": [0, 1]}, "run.seeds", "the study has [0], the file has [0, 1]"),
    "net": (
        {"run/net": "model.CNN"},
        "run.net.target",
        'the study has "model.MLP", the file has "model.CNN"',
    ),
    "argument of the net": (
        {"run/net/layers": 3},
        "run.net.layers",
        "the study has nothing there, the file has 3",
    ),
    "data": ({"run/data/noise": 0.5}, "run.data.noise", "the study has nothing there, the file has 0.5"),
    "precision": ({"run/precision": "bf16"}, "run.precision", 'the study has "fp32", the file has "bf16"'),
    "grid": ({"sampler": "optuna.samplers.GridSampler"}, "sampler.target", "a grid would not know"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_what_makes_trials_incomparable_is_refused(case: tuple[dict[str, Any], str, str]) -> None:
    updates, path, message = case
    problems = found(described(), described(**updates))
    assert message in problems.pop(path)
    assert problems == {}


ACCEPTED: dict[str, dict[str, Any]] = {
    "nothing": {},
    "more trials": {"n_trials": 99, "time_budget": "2h", "trial_timeout": 60},
    "another search": {
        "seed": 5,
        "sampler": "optuna.samplers.GPSampler",
        "pruner": "optuna.pruners.MedianPruner",
    },
    "another execution": {
        "workers": 3,
        "isolation": "process",
        "on_oom": "accumulate",
        "preflight": "off",
        "max_consecutive_failures": 9,
        "max_attempts": 5,
        "lease_seconds": 5,
    },
    "other records": {"retention": {"keep_best": 1}, "confirm": {"top": 2}, "storage": "sqlite:///other.db"},
    "wider bounds": {f"{LR}/low": 0.0001, f"{LR}/high": 1, f"{WIDTH}/high": 32},
    "a lower low on the same steps": {f"{WIDTH}/low": 0},
    "a number written otherwise": {f"{WIDTH}/high": 16, f"{LR}/high": 1e-1},
    "a condition written as a list": {f"{MOMENTUM}/when": {"optimizer.target": ["torch.optim.SGD"]}},
    "the order of parameters": {"search_space": dict(reversed(FILE["search_space"].items()))},
    "the order of a choice's arguments": {
        "search_space/optimizer/choices": [dict(reversed(SGD.items())), ADAM]
    },
    "what the search sets": {"run/optimizer": {"target": "torch.optim.SGD", "lr": 5.0}, "run/net/width": 100},
    "the same by set": {"run/epochs": 9, "set": {"epochs": 4}},
    "a default written out": {"run/batch_size": 32, "run/precision": "fp32"},
    "a metric that is only written down": {"run/metrics": {"mae": "lab.metrics.MAE"}},
}


@pytest.mark.parametrize("updates", ACCEPTED.values(), ids=ACCEPTED)
def test_what_leaves_them_comparable_is_accepted(updates: dict[str, Any]) -> None:
    assert found(described(), described(**updates)) == {}


OTHERS: dict[str, Any] = {
    "project": "p",
    "name": "n",
    "trackers": ["tensorboard"],
    "pictures": {"count": 1},
    "diagnostics": {"least": 0.5},
    "checkpoint": {"every_epochs": 1},
    "log_every_steps": 1,
    "device": "cpu",
    "threads": 1,
    "compile": True,
    "channels_last": True,
    "deterministic": True,
    "loader.workers": 2,
    "loader.prefetch": 9,
    "loader.pin_memory": True,
}


def test_what_does_not_matter_is_a_list_of_paths_that_exist() -> None:
    assert OTHERS.keys() == NO_MATTER.keys()
    run = RunConfig.model_validate(RUN)
    other = run.with_values(OTHERS)
    assert all(path.split(".")[0] in RunConfig.model_fields for path in NO_MATTER)
    assert list(run_problems(run.as_data(), other.as_data())) == []
    matters = run.with_values({**OTHERS, "loader.drop_last": True, "check_gradients": True})
    assert [p.path[1:] for p in run_problems(run.as_data(), matters.as_data())] == [
        ("loader", "drop_last"), ("check_gradients",),
    ]  # fmt: skip


def test_several_differences_are_told_at_once() -> None:
    updates = {"run/epochs": 9, f"{LR}/low": 0.01, "search_space/optimizer/choices": [ADAM, SGD]}
    assert set(found(described(), described(**updates))) == {
        "run.epochs", "search_space.optimizer.lr.low", "search_space.optimizer.choices",
    }  # fmt: skip


def test_a_watched_metric_matters() -> None:
    mae, dice = {"m": "lab.metrics.MAE"}, {"m": "lab.metrics.Dice"}
    monitor = {"metric": "val_m", "mode": "min"}
    a, b = ({"run/metrics": metrics, "run/monitor": monitor} for metrics in (mae, dice))
    assert list(found(described(**a), described(**b))) == ["run.metrics.m.target"]
    assert found(described(**{"run/metrics": mae}), described(**{"run/metrics": dice})) == {}


def test_a_conditional_parameter_leaves_the_base_value_to_the_others() -> None:
    optimizer = {"target": "torch.optim.SGD", "lr": 0.1}
    space = {
        "net.width": {"choices": [8, 16]},
        "optimizer.lr": {"type": "float", "low": 0.01, "high": 0.1, "when": {"net.width": 8}},
    }
    a = described(**{"search_space": space, "run/optimizer": optimizer})
    b = described(**{"search_space": space, "run/optimizer": {**optimizer, "lr": 0.2}})
    assert found(a, b) == {"run.optimizer.lr": "the study has 0.1, the file has 0.2"}


def test_a_position_in_a_list_can_be_searched() -> None:
    space = {"net.sizes.1": {"choices": [1, 2]}}
    a, b, c = (
        described(**{"search_space": space, "run/net": {"target": "m.Net", "sizes": sizes}})
        for sizes in ([8, 8], [8, 9], [9, 8])
    )
    assert found(a, b) == {}
    assert found(a, c) == {"run.net.sizes.0": "the study has 8, the file has 9"}


def test_numbers_that_json_has_not_and_keys_that_are_none_come_back_the_same() -> None:
    net = {"target": "m.Net", "bad": float("nan"), "most": float("inf"), "table": {1: "a", 2: "b"}}
    assert found(described(**{"run/net": net}), described(**{"run/net": copy.deepcopy(net)})) == {}
    other = {**net, "table": {1: "a", 2: "c"}}
    assert list(found(described(**{"run/net": net}), described(**{"run/net": other}))) == ["run.net.table.2"]
    flags = (
        {"search_space": {"net.flag": {"choices": [1, 0]}}},
        {"search_space": {"net.flag": {"choices": [True, 0]}}},
    )
    assert (
        "the file adds true"
        in found(described(**flags[0]), described(**flags[1]))["search_space.net.flag.choices"]
    )


def test_secrets_are_not_stored_and_hide_no_parameter() -> None:
    net = {"target": "m.Net", "password": "hunter2", "url": "https://me:hunter2@host/x"}
    space = {
        "net.tokens": {"type": "int", "low": 1, "high": 9},
        "net.key": {"choices": ["query", "value"]},
        "net.head": {"choices": [{"target": "m.A", "secret": "hunter2"}, {"target": "m.B"}]},
    }
    a = described(**{"run/net": net, "search_space": space})
    assert "hunter2" not in json.dumps(a)
    assert a["config"]["search_space"]["net.tokens"]["type"] == "int"
    assert found(a, described(**{"run/net": net, "search_space": space})) == {}
    space["net.key"] = {"choices": ["query", "valve"]}
    assert list(found(a, described(**{"run/net": net, "search_space": space}))) == [
        "search_space.net.key.choices"
    ]
    space["net.key"] = {"choices": ["query", "value"]}
    assert found(a, described(**{"run/net": {**net, "password": "other"}, "search_space": space})) == {}


def test_an_older_version_that_knew_fewer_keys_is_understood() -> None:
    stored = described()
    del stored["base"]["check_gradients"], stored["base"]["loader"]["drop_last"]
    assert found(stored, described()) == {}
    assert list(found(stored, described(**{"run/check_gradients": True}))) == ["run.check_gradients"]


@pytest.mark.parametrize(
    "stored", [{}, {"config": {}}, {"config": {"search_space": {}}}, {"base": 1, "config": "x"}]
)
def test_a_study_of_another_program_is_refused(stored: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        refuse(stored, described(), "s")
    assert str(caught.value.problems[0]) == (
        "study_name: the database has a study 's' already, which this program did not make or can't read"
    )


def test_messages_stay_short() -> None:
    assert compatibility.text("x" * 500) == '"' + "x" * 66 + "..."


def test_the_files_tell_the_lines(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("epochs: 4\ndata: lab.data.function\nnet: model.MLP\n")
    (tmp_path / "opt.yaml").write_text(
        "study_name: s\nrun: run.yaml\nset:\n  batch_size: 8\nsearch_space:\n"
        "  optimizer.lr: {type: float, low: 0.1, high: 1}\n"
    )
    stored = description(OptimizeConfig.from_yaml(tmp_path / "opt.yaml"))
    overrides = ["run.epochs=5", "search_space.optimizer.lr.low=0.2", "set.batch_size=4"]
    document = OptimizeConfig.read(tmp_path / "opt.yaml")
    changed = OptimizeConfig.from_yaml(tmp_path / "opt.yaml", overrides)
    with pytest.raises(ConfigError) as caught:
        refuse(stored, description(changed), "s")
    located = document.located(caught.value)
    assert [str(problem).partition(": the study")[0] for problem in located.problems] == [
        f"{tmp_path}/opt.yaml:4: set.batch_size",
        f"{tmp_path}/opt.yaml:6: search_space.optimizer.lr.low",
        f"{tmp_path}/run.yaml:1: epochs",
    ]
    assert isinstance(document, config_file.Document)
