import json
from pathlib import Path
from typing import Any

import pytest

from lab.checkpoint import CheckpointError, load, save
from lab.config import RunConfig
from lab.config.validation import validate
from lab.evaluate.generic import GenericEvaluator
from lab.report.generic import GenericReport
from lab.store import run_folder
from lab.tasks import Regression
from lab.trackers.csv_file import read_metrics
from util import run

evaluate_run = GenericEvaluator().evaluate


def train(folder: Path, **values: Any) -> Path:
    plain = {
        "device": "cpu",
        "epochs": 3,
        "task": "lab.tasks.Regression",
        "data": {"target": "lab.data.function", "noise": 0.3},
        "net": "model.MLP",
        "metrics": {"mae": "lab.metrics.MAE", "r2": "lab.metrics.R2"},
        "monitor": {"metric": "val_mae", "mode": "min"},
        "trackers": [],
        "pictures": {"enabled": False},
    }
    run(validate(RunConfig, plain).with_values(values), run_dir=folder, console="quiet")
    return folder


def test_figures_are_those_of_the_best_epoch(tmp_path: Path) -> None:
    folder = train(tmp_path / "run")
    best = min(read_metrics(folder), key=lambda row: row["val_mae"])
    found = evaluate_run(folder)
    assert found.split == "val" and list(found.values) == ["loss", "mae", "r2"]
    for name, value in found.values.items():
        assert value == pytest.approx(best[f"val_{name}"], rel=1e-5)
    path = GenericReport(found).write(tmp_path / "evaluation")
    assert json.loads(path.read_text())["scores"] == pytest.approx(dict(found.values))
    first, *lines = GenericReport(found).as_text().splitlines()
    assert first == "run, val set" and lines[1].split() == ["mae", f"{best['val_mae']:.4f}"]


def test_what_can_not_be_judged_is_told(tmp_path: Path) -> None:
    folder = train(tmp_path / "run", epochs=1)
    with pytest.raises(ValueError, match="its data has no test set"):
        evaluate_run(folder, "test")
    with pytest.raises(ValueError, match="not a run folder"):
        evaluate_run(tmp_path)
    several = train(tmp_path / "seeds", epochs=1, seeds=[0, 1])
    with pytest.raises(ValueError, match=r"consists of 2 runs; name one of them"):
        evaluate_run(several)
    for name in ("best.pt", "final.pt"):
        (folder / run_folder.CHECKPOINTS / name).unlink()
    with pytest.raises(CheckpointError):
        evaluate_run(folder)


def test_the_test_set_is_the_usual_one(tmp_path: Path) -> None:
    folder = train(tmp_path / "run", **{"epochs": 1, "data.test_count": 50})
    found, again = evaluate_run(folder), evaluate_run(folder, "test")
    assert found.split == "test" and found.values == again.values
    assert found.values != evaluate_run(folder, "val").values


class Own:
    """A task that is no `lab.tasks.Task`, and passes everything on to one."""

    def __init__(self) -> None:
        self._task = Regression()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)


def test_any_task_is_judged(tmp_path: Path) -> None:
    folder = train(tmp_path / "run", epochs=1)
    path = folder / run_folder.CHECKPOINTS / "best.pt"
    content = load(path)
    content["config"]["task"] = "tests.lab.evaluate.test_generic.Own"
    expected = evaluate_run(folder).values
    save(path, content)
    assert evaluate_run(folder).values == expected
