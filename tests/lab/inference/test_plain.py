from pathlib import Path
from typing import Any

import pytest

from lab import rundir
from lab.checkpoint import CheckpointError
from lab.config import RunConfig
from lab.config.validation import validate
from lab.inference.plain import plain_figures
from lab.trackers.csv_file import read_metrics
from util import run


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
    found = plain_figures(folder)
    assert found.split == "val" and list(found.values) == ["loss", "mae", "r2"]
    for name, value in found.values.items():
        assert value == pytest.approx(best[f"val_{name}"], rel=1e-5)
    first, *lines = found.as_text().splitlines()
    assert first == "run, val set" and lines[1].split() == ["mae", f"{best['val_mae']:.4f}"]


def test_what_can_not_be_judged_is_told(tmp_path: Path) -> None:
    folder = train(tmp_path / "run", epochs=1)
    with pytest.raises(ValueError, match="its data has no test set"):
        plain_figures(folder, "test")
    with pytest.raises(ValueError, match="is no single run"):
        plain_figures(tmp_path)
    several = train(tmp_path / "seeds", epochs=1, seeds=[0, 1])
    with pytest.raises(ValueError, match=r"is no single run; name one of those below: seed_0, seed_1"):
        plain_figures(several)
    config = (folder / rundir.CONFIG).read_text()
    (folder / rundir.CONFIG).write_text(
        config.replace("net:\n  target: model.MLP", "net:\n  target: model.MLP\n  width: 7")
    )
    with pytest.raises(CheckpointError, match="don't fit"):
        plain_figures(folder)
    (folder / rundir.CHECKPOINTS / "best.pt").unlink()
    with pytest.raises(CheckpointError):
        plain_figures(folder)


def test_the_test_set_is_the_usual_one(tmp_path: Path) -> None:
    folder = train(tmp_path / "run", **{"epochs": 1, "data.test_count": 50})
    found, again = plain_figures(folder), plain_figures(folder, "test")
    assert found.split == "test" and found.values == again.values
    assert found.values != plain_figures(folder, "val").values
