"""`val: null`: a run without a validation set, by the real commands, and what needs one refused."""

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import main as program
import util
from lab.config import ConfigError, RunConfig
from lab.config.validation import validate
from lab.data.loaders import create_loaders

OWN = """
import torch
from torch.utils.data import TensorDataset
from lab.data import Splits

def points(count, seed):
    x = torch.randn(count, 3, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(x, x.sum(1, keepdim=True))

def none(test=True):
    return Splits(points(20, 0), None, points(6, 1) if test else None)

def pair():
    return points(20, 0), None

def both():
    return points(20, 0), points(7, 2)
"""
YAML = """
data: lab_none.none
val: null
net: {target: torch.nn.Linear, in_features: 3, out_features: 1}
metrics: {mae: lab.metrics.MAE}
optimizer: {target: torch.optim.SGD, lr: 0.05}
epochs: 2
batch_size: 8
device: cpu
"""
PLATEAU = "torch.optim.lr_scheduler.ReduceLROnPlateau"
CPU = torch.device("cpu")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with a data module of the user's own and `run.yaml`."""
    (tmp_path / "lab_none.py").write_text(OWN)
    (tmp_path / "run.yaml").write_text(YAML)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "lab_none", raising=False)  # that of the test before, in another folder
    return tmp_path


@pytest.fixture
def call(place: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Calls the program, expects an exit code, and returns all that it printed."""

    def called(code: int, *arguments: str) -> str:
        try:
            ended = program.main(list(arguments))
        except SystemExit as stop:
            ended = int(stop.code or 0)
        out, err = capsys.readouterr()
        assert ended == code, (out, err)
        return out + err

    return called


def config(**values: Any) -> RunConfig:
    base = {"data": "lab_none.none", "val": None, "device": "cpu", "epochs": 2, "batch_size": 8}
    net = {"target": "torch.nn.Linear", "in_features": 3, "out_features": 1}
    return validate(RunConfig, {**base, "net": net, "optimizer": "torch.optim.SGD", **values})


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def only_run(place: Path) -> Path:
    (folder,) = (place / "runs").iterdir()
    return folder


def test_every_command_of_a_run(place: Path, call: Callable[..., str]) -> None:
    assert "20 training, 0 validation" in call(0, "--check", "run.yaml")
    out = call(0, "--run", "run.yaml")
    assert "val is null: nothing is validated, and the best epoch is that of train_loss" in out
    assert "no plots of predictions" in out and "Final training loss" in out and "val_" not in out
    folder = only_run(place)
    call(0, "--resume", str(folder), "--set", "epochs=4")
    found = rows(folder)
    assert [row["epoch"] for row in found] == ["1", "2", "3", "4"]
    assert list(found[0]) == ["epoch", "train_loss", "lr", "train_mae", "seconds"]
    summary = json.loads((folder / "summary.json").read_text())
    losses = [float(row["train_loss"]) for row in found]
    assert summary["value"] == summary["best"]["train_loss"] == min(losses)
    assert summary["best_epoch"] == 1 + losses.index(min(losses))
    assert not [name for name in summary["best"] | summary["last"] if name.startswith("val")]
    best = torch.load(folder / "checkpoints" / "best.pt", weights_only=True)
    assert best["course"]["best"]["epoch"] == summary["best_epoch"]
    assert (folder / "history.png").exists() and not (folder / "predictions.png").exists()
    assert "train_loss" in call(0, "--list") and "val_loss" not in call(0, "--list")
    call(0, "--run", "run.yaml", "--set", "optimizer.lr=0.01")
    both = [str(path) for path in (place / "runs").iterdir()]
    assert "val_loss" not in call(0, "--compare", *both)
    judged = json.loads(call(0, "--evaluate", str(folder), "--json"))
    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(1))
    weight, bias = best["model"]["weight"], best["model"]["bias"]
    expected = ((x @ weight.T + bias - x.sum(1, keepdim=True)) ** 2).mean()
    assert judged["split"] == "test" and judged["scores"]["loss"] == pytest.approx(float(expected), rel=1e-5)
    assert "trained with val: null, so it has no validation set" in call(
        2, "--evaluate", str(folder), "--split", "val"
    )


def test_the_loss_is_that_of_torch(place: Path) -> None:
    still = config(optimizer={"target": "torch.optim.SGD", "lr": 0.0}, batch_size=20, epochs=1)
    result = util.run(still, console="quiet")
    weights = torch.load(result.run_dir / "checkpoints" / "best.pt", weights_only=True)["model"]
    x = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    expected = nn.functional.mse_loss(nn.functional.linear(x, *weights.values()), x.sum(1, keepdim=True))
    assert float(result) == pytest.approx(float(expected), rel=1e-6)
    assert set(result.best) == {"train_loss", "lr"}


def test_training_is_the_same_to_the_bit_as_with_validation(place: Path) -> None:
    def final(**values: Any) -> Any:
        folder = util.run(config(**values), console="quiet").run_dir
        return torch.load(folder / "checkpoints" / "final.pt", weights_only=True)["model"]

    with_validation = final(data="lab_none.both", val="auto")
    for data in ("lab_none.none", "lab_none.pair", "lab_none.both"):
        without = final(data=data)
        assert all(torch.equal(without[name], with_validation[name]) for name in without)


def test_a_validation_set_that_is_left_out_is_named(place: Path, call: Callable[..., str]) -> None:
    out = call(0, "--run", "run.yaml", "--set", "data=lab_none.both")
    assert "the 7 validation samples of the data are neither trained on nor validated on" in out


def test_several_seeds(place: Path, call: Callable[..., str]) -> None:
    assert "train_loss" in (out := call(0, "--run", "run.yaml", "--set", "seeds=[0,1]"))
    assert "val_" not in out
    summary = json.loads((only_run(place) / "summary.json").read_text())
    each = [row["best"]["train_loss"] for row in summary["seeds"]]
    assert summary["best"]["train_loss"] == pytest.approx(np.mean(each))
    assert summary["spread"]["train_loss"] == pytest.approx(np.std(each, ddof=1))
    assert not [name for name in summary["best"] if name.startswith("val")]


@pytest.mark.parametrize("data", ["lab_none.none", "lab_none.pair"])
def test_none_is_a_declared_choice(place: Path, call: Callable[..., str], data: str) -> None:
    out = call(2, "--run", "run.yaml", "--set", f"data={data}", "--set", "val=auto")
    assert f"{data} returned no validation set; `val: null` in the config trains without validation" in out
    assert not (place / "runs").exists() or not list((place / "runs").iterdir())


@pytest.mark.parametrize(
    ("setting", "where", "message"),
    [
        ("monitor=val_loss", "monitor.metric", "no 'val_loss' is logged"),
        ("monitor={metric: val_mae, mode: min}", "monitor.metric", "no 'val_mae' is logged"),
        ("monitor=[train_loss, val_loss]", "monitor.also.0.metric", "no 'val_loss' is logged"),
        ("monitor={also: [train_loss]}", "monitor.also", "'train_loss' is monitored already"),
        ("early_stopping_config={metric: val_loss}", "early_stopping_config.metric", "no 'val_loss'"),
        (f"scheduler={{target: {PLATEAU}, monitor: val_loss}}", "scheduler.monitor", "no 'val_loss'"),
        ("folds=3", "folds", "validates on each fold in turn, and val is null"),
        ("val=none", "val", "expected 'auto' or null"),
    ],
)
def test_what_needs_validation_is_refused(
    call: Callable[..., str], setting: str, where: str, message: str
) -> None:
    out = call(2, "--run", "run.yaml", "--set", setting)
    assert f"--set {setting}: {where}: " in out and message in out


def test_early_stopping_and_a_plateau_go_by_the_training_loss(place: Path) -> None:
    still = config(
        optimizer={"target": "torch.optim.SGD", "lr": 1e-6},
        scheduler={"target": PLATEAU, "patience": 0, "factor": 0.5},
        early_stopping_config={"patience": 2, "min_delta": 1e-3},
        epochs=9,
    )
    assert still.scheduler is not None and still.scheduler.monitor == "train_loss"
    result = util.run(still, console="quiet")
    assert (result.outcome, result.epochs) == ("early_stopped", 3)
    assert [float(row["lr"]) for row in rows(result.run_dir)] == pytest.approx([1e-6, 1e-6, 5e-7])


def test_the_defaults_follow_val(place: Path) -> None:
    plain = config(monitor={"returns": "last"}, scheduler={"target": PLATEAU})
    assert (plain.monitor.metric, plain.monitor.returns) == ("train_loss", "last")
    assert validate(RunConfig, plain.as_data()) == plain
    again = plain.with_values({"val": "auto"})
    assert again.scheduler is not None
    assert (again.monitor.metric, again.scheduler.monitor) == ("val_loss", "val_loss")


def test_loaders_of_the_callers_own(place: Path) -> None:
    x = torch.arange(12.0).reshape(-1, 3) / 12
    loader = DataLoader(TensorDataset(x, x[:, :1]), batch_size=2)
    result = util.run(config(), loader, None, console="quiet")
    assert result.outcome == "completed" and set(result.last) == {"train_loss", "lr"}
    with pytest.raises(ValueError, match="give both dl_train and dl_val, or neither; `val: null`"):
        util.run(config(val="auto"), loader, None, console="quiet")
    with pytest.raises(ValueError, match="give both"):
        util.run(config(), None, loader, console="quiet")
    assert "the 4 validation samples" in create_loaders(config(), loader, loader, CPU).notes()[0]
    assert "the validation samples" in create_loaders(config(), loader, [x], CPU).notes()[0]


def test_a_trainer_of_its_own_names_what_it_watches(place: Path) -> None:
    model = nn.Linear(3, 1)
    x = torch.ones(4, 3)
    loader = DataLoader(TensorDataset(x, x[:, :1]), batch_size=2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = util.Trainer(model, optimizer, None, nn.functional.mse_loss, callbacks=())
    with pytest.raises(ValueError, match="without validation data nothing is logged as val_loss"):
        trainer.train(loader, None, 1)


def test_a_run_that_diverges_at_once(place: Path, call: Callable[..., str]) -> None:
    out = call(1, "--run", "run.yaml", "--set", "optimizer.lr=1e30")
    assert "Diverged" in out
    summary = json.loads((only_run(place) / "summary.json").read_text())
    assert summary["outcome"] == "diverged" and set(summary["last"]) == {"train_loss", "lr"}


def test_a_study(place: Path, call: Callable[..., str]) -> None:
    study: dict[str, Any] = {"study_name": "none", "n_trials": 2, "run": "run.yaml", "isolation": "none"}
    study["preflight"] = "off"
    study["search_space"] = {"optimizer.lr": {"type": "float", "low": 0.001, "high": 0.1}}
    (place / "study.yaml").write_text(json.dumps(study))
    assert "minimize train_loss" in call(0, "--optimize", "study.yaml")
    study["study_name"], study["search_space"] = (
        "other",
        {"val": {"type": "categorical", "choices": ["auto", None]}},
    )
    (place / "study.yaml").write_text(json.dumps(study))
    assert "decides what the study can optimize" in call(2, "--optimize", "study.yaml")


def write_images(folder: Path, count: int = 6) -> None:
    generator = np.random.default_rng(0)
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for index in range(count):
        mask = np.zeros((32, 32), np.uint8)
        mask[8:20, 8:20] = 255
        Image.fromarray(generator.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(
            folder / "images" / f"{index}.png"
        )
        Image.fromarray(mask).save(folder / "masks" / f"{index}.png")


@pytest.mark.parametrize("more", [{}, {"test_share": 0.34}, {"patches": {"size": 16, "per_image": 1}}])
def test_a_share_of_0_trains_on_all_images(place: Path, more: dict[str, Any]) -> None:
    write_images(place / "set")
    data = {"target": "lab.data.image_folder", "root": "set", "val_share": 0, **more}
    loaders = create_loaders(config(data=data), None, None, CPU)
    tested = 2 if "test_share" in more else 0
    split = loaders.facts["split"]
    assert (len(split["train"]), split["val"], len(split["test"])) == (6 - tested, [], tested)
    assert (loaders.val, loaders.val_set, loaders.val_samples, loaders.notes()) == (None, None, 0, [])
    with pytest.raises(ConfigError, match="returned no validation set; `val: null`"):
        create_loaders(config(data=data, val="auto"), None, None, CPU)


def test_all_digits_are_trained_on() -> None:
    data = {"target": "lab.data.digits", "val_share": 0, "sample_size": 20}
    loaders = create_loaders(config(data=data), None, None, CPU)
    assert (loaders.train_samples, loaders.val_samples) == (200, 0)
    assert sorted(map(int, loaders.facts["split"]["train"])) == sorted(
        {int(name) for name in loaders.facts["split"]["train"]}
    )


def test_definitions_are_those_of_a_run_with_validation(place: Path) -> None:
    write_images(place / "set")
    data = {"target": "lab.data.image_folder", "root": "set", "patches": {"size": 16, "per_image": 1}}
    common: dict[str, Any] = {
        "task": "lab.tasks.Segmentation",
        "net": {"target": "torch.nn.Conv2d", "in_channels": 3, "out_channels": 1, "kernel_size": 1},
        "criterion": "lab.losses.BCEDice",
        "metrics": {"dice": "lab.metrics.Dice"},
        "epochs": 1,
    }

    def definitions(**values: Any) -> Any:
        folder = util.run(config(**common, **values), console="quiet").run_dir
        return json.loads((folder / "summary.json").read_text())["definitions"]

    assert definitions(data={**data, "val_share": 0}) == definitions(data=data, val="auto")
