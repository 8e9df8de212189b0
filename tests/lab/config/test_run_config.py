"""RunConfig: its defaults, its copies, its round trip, and what it builds."""

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torch.optim import lr_scheduler

from lab.config import ConfigError, RunConfig, Spec
from lab.config.tracker_config import TensorBoardConfig, WandbConfig
from lab.config.validation import validate
from lab.data import Splits
from lab.metrics import MAE, R2
from lab.tasks import Regression

SMALL = {"data": "lab.data.function", "net": {"target": "model.MLP", "width": 4}}
Write = Callable[[str], str]


def make(**values: Any) -> RunConfig:
    return validate(RunConfig, {**SMALL, **values})


def refused(config: RunConfig) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        config.check()
    return [str(problem) for problem in caught.value.problems]


def test_every_default() -> None:
    data = make().as_data()
    assert data.pop("data") == {"target": "lab.data.function"}
    assert data.pop("net") == {"target": "model.MLP", "width": 4}
    assert data == RunConfig.defaults() == {
        "project": "lab",
        "name": "run",
        "seeds": [0],
        "folds": None,
        "device": "auto",
        "precision": "fp32",
        "epochs": 10,
        "batch_size": 32,
        "task": {"target": "lab.tasks.Regression"},
        "val": "auto",
        "criterion": {"target": "torch.nn.MSELoss"},
        "metrics": {},
        "optimizer": {"target": "torch.optim.AdamW", "lr": 0.001},
        "criterion_optimizer": {},
        "scheduler": None,
        "early_stopping_config": None,
        "monitor": {"metric": "val_loss", "mode": "min", "returns": "best", "also": []},
        "checkpoint": {"every_epochs": None, "every_seconds": 0.0, "every_n_steps": None},
        "trackers": [],
        "loader": {"workers": 0, "prefetch": 2, "pin_memory": None, "drop_last": False, "shard": None},
        "steps_per_epoch": None,
        "gradient_clip_norm": None,
        "accumulate_grad_batches": 1,
        "check_gradients": False,
        "ema": None,
        "compile": False,
        "channels_last": False,
        "deterministic": False,
        "threads": None,
        "log_every_steps": 10,
        "diagnostics": {"metric": "dice", "least": 0.6, "after_epochs": 20, "gap": 0.2},
        "pictures": {"enabled": True, "every_epochs": 10, "count": 4},
    }  # fmt: skip
    assert list(data)[:5] == ["project", "name", "seeds", "folds", "device"]


def test_defaults_of_sections_that_are_mentioned() -> None:
    config = make(
        early_stopping_config={}, ema={}, scheduler="a.B", trackers=["wandb", {"type": "tensorboard"}, "a.B"]
    )
    data = config.as_data()
    assert data["early_stopping_config"] == {
        "enabled": True,
        "patience": 10,
        "min_delta": 0.0,
        "metric": None,
        "mode": None,
    }
    assert data["ema"] == {"decay": 0.999}
    assert data["scheduler"] == {"target": "a.B", "interval": "epoch", "monitor": "val_loss"}
    assert config.shipped_trackers == [WandbConfig(type="wandb"), TensorBoardConfig(type="tensorboard")]
    assert config.trackers[2] == Spec(target="a.B")
    assert data["trackers"][0]["mode"] == "auto"


def test_it_is_frozen_and_closed() -> None:
    config = make()
    with pytest.raises(ValidationError, match="frozen"):
        config.epochs = 3  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        config.net.target = "a.B"
    with pytest.raises(ConfigError, match="epoch: unknown key 'epoch'; did you mean 'epochs'"):
        make(epoch=3)


@pytest.mark.parametrize(("written", "seeds"), [(3, (3,)), ([3], (3,)), ([2, 0, 1], (2, 0, 1))])
def test_seeds_are_one_or_several(written: Any, seeds: tuple[int, ...]) -> None:
    assert make(seeds=written).seeds == seeds


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:0", "cuda:12", "mps"])
def test_devices(device: str) -> None:
    assert make(device=device).device == device


@pytest.mark.parametrize("device", ["", "gpu", "cuda:", "cuda:a", "cpu:0", "CUDA", "cpu\n"])
def test_what_is_no_device(device: str) -> None:
    with pytest.raises(ConfigError, match="expected auto, cpu, cuda, cuda:1 or mps"):
        make(device=device)


@pytest.mark.parametrize(
    ("written", "mode"),
    [
        ("val_loss", "min"),
        ({"metric": "train_loss"}, "min"),
        ({"mode": "max"}, "max"),
        ({"metric": "val_mae", "mode": "min"}, "min"),
        ({"metric": "val_dice", "mode": "max", "returns": "last"}, "max"),
        ({"metric": "val_loss_bce"}, "min"),
    ],
)
def test_monitor(written: Any, mode: str) -> None:
    assert make(monitor=written).monitor.mode == mode


def test_further_objectives_of_a_study() -> None:
    mapping = make(
        metrics={"mae": "lab.metrics.MAE"},
        monitor={
            "metric": "val_mae",
            "mode": "min",
            "also": ["val_loss", {"metric": "seconds", "mode": "min"}],
        },
    )
    mapping.check()
    assert [(o.metric, o.mode) for o in mapping.monitor.also] == [("val_loss", "min"), ("seconds", "min")]
    written = [{"metric": "val_mae", "mode": "min"}, "val_loss", {"metric": "seconds", "mode": "min"}]
    assert make(monitor=written).monitor == mapping.monitor
    assert make(monitor=["val_loss"]).monitor == make().monitor
    assert make(monitor=written).with_values({"epochs": 1}).monitor == mapping.monitor


@pytest.mark.parametrize(
    ("monitor", "expected"),
    [
        ([], ["monitor: found [] (list), expected a list of at least 1"]),
        (["val_loss", 3], ["monitor.1: found 3 (whole number), expected a metric's name, or a mapping"]),
        (["val_loss", "val_loss"], ["monitor.1.metric: is monitored already; keep one"]),
        ([{"metric": "val_loss", "also": []}], ["monitor.0.also: is what the list itself states; remove it"]),
        (
            ["val_loss", {"metric": "seconds"}],
            ["monitor.1.metric: set mode: max or mode: min for 'seconds'; only a loss has a default"],
        ),
        (
            [{"metrik": "val_loss"}, {"metric": "train_loss", "mod": "min"}],
            [
                "monitor.0.metrik: unknown key 'metrik'; did you mean 'metric'?",
                "monitor.1.mod: unknown key 'mod'; did you mean 'mode'?",
            ],
        ),
        (
            {"also": ["train_loss", "val_loss"]},
            ["monitor.also.1.metric: 'val_loss' is monitored already; keep one"],
        ),
        ({"also": "train_loss"}, ["monitor.also: found 'train_loss' (text), expected a list"]),
    ],
)  # fmt: skip
def test_a_list_of_objectives_that_is_wrong_names_the_item(monitor: Any, expected: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        make(monitor=monitor)
    assert [str(problem) for problem in caught.value.problems] == expected


def test_with_values() -> None:
    config = make(metrics={"mae": "lab.metrics.MAE"})
    before = config.as_data()
    other = config.with_values(
        {"optimizer.lr": 0.5, "net.width": 8, "seeds.0": 7, "ema.decay": 0.5, "epochs": 2}
    )
    assert other.optimizer.arguments == {"lr": 0.5}
    assert other.optimizer.target == "torch.optim.AdamW"
    assert other.net.arguments == {"width": 8}
    assert other.seeds == (7,)
    assert other.ema is not None
    assert other.ema.decay == 0.5
    assert other.epochs == 2
    assert config.as_data() == before
    assert (
        other.with_values({"optimizer.lr": 0.001, "net.width": 4, "seeds": [0], "ema": None, "epochs": 10})
        == config
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 0}, "epochs: found 0 (whole number), expected at least 1"),
        ({"optimiser.lr": 1}, "optimiser: unknown key 'optimiser'; did you mean 'optimizer'?"),
        ({"epochs.x": 1}, "epochs: has no part 'x': found 10 (whole number)"),
        ({"seeds.4": 1}, "seeds.4: '4' is no position in it: found a list of 1, counted from 0"),
        ({"a..b": 1}, "'a..b' is no path such as optimizer.lr"),
        (
            {"monitor.metric": "val_mae"},
            "monitor.metric: set mode: max or mode: min for 'val_mae'; only a loss has a default",
        ),
    ],
)
def test_with_values_validates_again(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make().with_values(values)
    assert str(caught.value) == message


def test_overriding_the_metric_asks_for_its_mode(tmp_path: Path) -> None:
    file = tmp_path / "f.yaml"
    file.write_text("data: lab.data.function\nnet: model.MLP\nmetrics: {mae: lab.metrics.MAE}\n")
    with pytest.raises(ConfigError, match=r"--set monitor\.metric=val_mae: monitor\.metric: set mode"):
        RunConfig.from_yaml(file, ["monitor.metric=val_mae"])
    config = RunConfig.from_yaml(file, ["monitor.metric=val_mae", "monitor.mode=min"])
    assert (config.monitor.metric, config.monitor.mode) == ("val_mae", "min")


def test_the_resolved_config_is_read_back_equal(tmp_path: Path) -> None:
    config = make(
        name="1e-3",
        optimizer={
            "target": "torch.optim.SGD",
            "lr": 1e-05,
            "names": {0: "no", "1": "yes"},
            "limit": float("inf"),
        },
        monitor={"metric": "val_mae", "mode": "min"},
        trackers=["wandb", {"target": "a.B", "tags": ["x", None, True]}],
        gradient_clip_norm=1,
        compile="aot_eager",
    )
    file = tmp_path / "f.yaml"
    file.write_text(config.to_yaml(), encoding="utf-8")
    again = RunConfig.from_yaml(file)
    assert again == config
    assert again.as_data() == config.as_data()
    assert again.to_yaml() == config.to_yaml()
    assert again.optimizer.arguments["names"] == {0: "no", "1": "yes"}


@pytest.mark.parametrize(
    ("scheduler", "says"),
    [
        ({"interval": "step"}, "a plateau is looked for once an epoch"),
        ({"monitor": "val_mae"}, "set mode: max or mode: min for 'val_mae'"),
        ({"target": "torch.optim.lr_scheduler.StepLR", "monitor": "train_loss"}, "only ReduceLROnPlateau"),
    ],
)
def test_schedulers_that_make_no_sense(scheduler: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=f"scheduler: {says}"):
        make(scheduler={"target": "torch.optim.lr_scheduler.ReduceLROnPlateau", **scheduler})


def test_an_optimizer_that_needs_a_closure_is_refused() -> None:
    (problem,) = refused(make(optimizer="torch.optim.LBFGS"))
    assert problem.startswith("optimizer.target: torch.optim.LBFGS needs a closure")


def test_one_tracker_of_each_kind() -> None:
    with pytest.raises(ConfigError, match="trackers: the same tracker is listed twice"):
        make(trackers=["wandb", {"type": "wandb", "mode": "offline"}])


def test_a_good_config_passes_its_check() -> None:
    make(
        metrics={"mae": "lab.metrics.MAE"},
        monitor={"metric": "val_mae", "mode": "min"},
        early_stopping_config={"metric": "train_loss"},
        scheduler={
            "target": "torch.optim.lr_scheduler.ReduceLROnPlateau",
            "monitor": "val_mae",
            "mode": "min",
        },
        criterion="torch.nn.functional.mse_loss",
    ).check()


def test_check_finds_every_component_and_its_path(mine: Write) -> None:
    name = mine("class Tracker:\n    def __init__(self, colour): ...\n")
    config = make(
        task={"target": "lab.tasks.Classification", "x": 1},
        data={"target": "lab.data.function", "nam": "sin"},
        net={"target": "model.MLP", "width": "wide"},
        criterion={"target": "torch.nn.MSELoss", "reducton": "sum"},
        metrics={"mae": "lab.metrics.MAEE", "r2": "lab.metrics.R2"},
        optimizer={"target": "torch.optim.SGD", "lr": True},
        scheduler={"target": "torch.optim.lr_scheduler.StepLR", "step_size": "auto", "gama": 1},
        trackers=["wandb", f"{name}.Tracker"],
    )
    assert refused(config) == [
        "task.x: Classification takes no 'x'; known: classes, cutmix, mixup",
        "data.nam: function takes no 'nam'; did you mean 'name'?",
        "net.width: found 'wide' (text), expected a whole number",
        "optimizer.lr: found true, expected a number",
        "metrics.mae.target: 'lab.metrics' has no 'MAEE'; did you mean 'MAE'?",
        "trackers.1: Tracker needs 'colour', which is not given",
        "scheduler.gama: StepLR takes no 'gama'; did you mean 'gamma'?",
        "criterion.reducton: MSELoss takes no 'reducton'; did you mean 'reduction'?",
    ]


@pytest.mark.parametrize(
    ("criterion", "expected"),
    [
        ("torch.nn.functional.mse_loss", None),
        ({"target": "torch.nn.functional.mse_loss", "reduction": "sum"}, None),
        (
            {"target": "torch.nn.functional.mse_loss", "input": 1},
            "criterion.input: mse_loss gets 'input' from the run; remove it here",
        ),
        ("torch.nn.mse_loss", "criterion.target: 'torch.nn' has no 'mse_loss'; did you mean 'MSELoss'?"),
        ("builtins.repr", "criterion.target: repr must take prediction, target as its first arguments"),
    ],
)  # fmt: skip
def test_a_criterion_may_be_a_function(criterion: Any, expected: str | None) -> None:
    if expected is None:
        make(criterion=criterion).check()
    else:
        assert refused(make(criterion=criterion)) == [expected]


def test_monitored_names_are_checked() -> None:
    config = make(
        metrics={"mae": "lab.metrics.MAE"},
        monitor={"metric": "val_mea", "mode": "min"},
        early_stopping_config={"metric": "valloss"},
        scheduler={"target": "torch.optim.lr_scheduler.ReduceLROnPlateau", "monitor": "vall_loss"},
    )
    assert refused(config) == [
        "monitor.metric: nothing is logged as 'val_mea'; did you mean 'val_mae'?",
        "early_stopping_config.metric: nothing is logged as 'valloss'; did you mean 'val_loss'?",
        "scheduler.monitor: nothing is logged as 'vall_loss'; did you mean 'val_loss'?",
    ]
    assert refused(make(monitor=[{"metric": "seconds", "mode": "min"}, "valloss"])) == [
        "monitor.metric: no epoch logs 'seconds'; only a study's further objectives may be this",
        "monitor.also.0.metric: nothing is logged as 'valloss'; did you mean 'val_loss'?",
    ]
    make(monitor="val_loss_bce").check()  # a named loss of a task's own


def test_create_builds_what_is_named() -> None:
    config = make(metrics={"mae": "lab.metrics.MAE", "r2": "lab.metrics.R2"})
    model = config.create_model()
    assert next(model.parameters()).shape == (4, 1)
    assert isinstance(config.create_criterion(), nn.MSELoss)
    assert isinstance(config.create_task(), Regression)
    metrics = config.create_metrics()
    assert {name: type(metric) for name, metric in metrics.items()} == {"mae": MAE, "r2": R2}
    assert config.create_metrics()["mae"] is not metrics["mae"], "fresh ones each time"
    data = config.create_data()
    assert isinstance(data, Splits)
    assert config.create_scheduler(config.create_optimizer(model)) is None
    assert config.create_trackers() == []


def test_the_optimizer_is_fused_where_torch_has_that() -> None:
    model = nn.Linear(1, 1)
    optimizer = make(optimizer={"target": "torch.optim.AdamW", "betas": [0.5, 0.9]}).create_optimizer(model)
    assert type(optimizer) is torch.optim.AdamW
    assert optimizer.defaults["fused"] is True
    assert optimizer.defaults["betas"] == (0.5, 0.9)
    assert optimizer.param_groups[0]["params"] == list(model.parameters())


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        ({"target": "torch.optim.AdamW", "fused": False}, False),
        ({"target": "torch.optim.AdamW", "foreach": True}, None),
        ({"target": "torch.optim.SGD", "differentiable": True}, None),
        ({"target": "torch.optim.SGD"}, True),
        ({"target": "torch.optim.RMSprop"}, ...),
    ],
)
def test_fused_is_left_alone_where_the_config_chooses_or_torch_has_none(
    optimizer: Any, expected: Any
) -> None:
    defaults = make(optimizer=optimizer).create_optimizer(nn.Linear(1, 1)).defaults
    assert defaults.get("fused", ...) is expected


def optimizer_without_collector(params: Any) -> torch.optim.Optimizer:
    assert not gc.isenabled()
    return torch.optim.SGD(params, lr=0.1)


def test_the_collector_pauses_while_the_optimizer_is_built() -> None:
    assert gc.isenabled()
    make(optimizer=f"{__name__}.optimizer_without_collector").create_optimizer(nn.Linear(1, 1))
    assert gc.isenabled()


def test_only_parameters_that_are_trained_are_optimized() -> None:
    model = nn.Linear(1, 1)
    model.bias.requires_grad_(False)
    assert make().create_optimizer(model).param_groups[0]["params"] == [model.weight]
    model.weight.requires_grad_(False)
    with pytest.raises(ConfigError, match="net: the network has no parameters to train"):
        make().create_optimizer(model)


@pytest.mark.parametrize(
    ("interval", "steps", "expected"), [("epoch", 7, 5), ("step", 7, 35), ("step", None, 5)]
)
def test_auto_is_the_length_of_the_run(interval: str, steps: int | None, expected: int) -> None:
    config = make(
        epochs=5,
        scheduler={
            "target": "torch.optim.lr_scheduler.CosineAnnealingLR",
            "interval": interval,
            "T_max": "auto",
        },
    )
    scheduler = config.create_scheduler(config.create_optimizer(nn.Linear(1, 1)), steps_per_epoch=steps)
    assert isinstance(scheduler, lr_scheduler.CosineAnnealingLR)
    assert scheduler.T_max == expected
    assert config.scheduler is not None
    assert config.scheduler.arguments == {"T_max": "auto"}, "the config stays as it was"


def test_auto_within_a_scheduler_of_schedulers() -> None:
    name = "torch.optim.lr_scheduler"
    parts = [
        {"target": f"{name}.LinearLR", "total_iters": 2},
        {"target": f"{name}.CosineAnnealingLR", "T_max": "auto"},
    ]
    config = make(scheduler={"target": f"{name}.SequentialLR", "schedulers": parts, "milestones": [2]})
    config.check()
    scheduler = config.create_scheduler(config.create_optimizer(nn.Linear(1, 1)))
    assert isinstance(scheduler, lr_scheduler.SequentialLR)
    assert scheduler._schedulers[1].T_max == 10


@pytest.mark.parametrize(
    ("values", "create", "message"),
    [
        (
            {"net": {"target": "model.MLP", "width": 0}},
            "create_model",
            "net: model.MLP can't be built: width",
        ),
        ({"task": "math.log"}, "create_task", "task: math.log can't be built: TypeError"),
        (
            {"data": {"target": "lab.data.function", "name": "x"}},
            "create_data",
            "data: lab.data.function can't",
        ),
        ({"criterion": {"target": "torch.nn.HuberLoss", "delta": "x"}}, "create_criterion", None),
        ({"metrics": {"m": "math.log"}}, "create_metrics", "metrics.m: math.log can't be built"),
        ({"trackers": ["wandb", "math.log"]}, "create_trackers", "trackers.1: math.log can't be built"),
    ],
)
def test_a_component_that_cannot_be_built_names_its_path(
    values: Any, create: str, message: str | None
) -> None:
    config = make(**values)
    if message is None:  # torch takes anything here; only the check sees it
        assert refused(config) == ["criterion.delta: found 'x' (text), expected a number"]
        return
    with pytest.raises(ConfigError) as caught:
        getattr(config, create)()
    assert str(caught.value).startswith(message)


def test_a_refused_optimizer_or_scheduler_names_its_path() -> None:
    config = make(optimizer={"target": "torch.optim.SGD", "lr": -1.0})
    with pytest.raises(
        ConfigError, match=r"optimizer: torch.optim.SGD can't be built: Invalid learning rate"
    ):
        config.create_optimizer(nn.Linear(1, 1))
    config = make(
        scheduler={"target": "torch.optim.lr_scheduler.OneCycleLR", "max_lr": 0.1, "total_steps": -1}
    )
    with pytest.raises(ConfigError, match=r"scheduler: .*OneCycleLR can't be built: .*total_steps"):
        config.create_scheduler(config.create_optimizer(nn.Linear(1, 1)))
