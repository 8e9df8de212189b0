"""Small runs of scene graphs, and data that can't be asked in every way."""

from pathlib import Path
from typing import Any

from lab.config import RunConfig
from lab.config.validation import validate
from lab.data import moving_boxes
from lab.data.splits import Splits
from util import run

HERE = "tests.graph_tools"
SMALL = {"train_count": 6, "val_count": 3, "test_count": 3, "frames": 3}


def without_modes(**arguments: Any) -> Splits:
    """The generated world, for a data source that knows true boxes only."""
    return moving_boxes(**{**SMALL, **arguments, "mode": "predcls"})


def train(folder: Path, **values: Any) -> Path:
    """A run of two epochs; dotted paths override its config."""
    plain = {
        "device": "cpu",
        "epochs": 2,
        "batch_size": 2,
        "task": "lab.tasks.SceneGraph",
        "data": {"target": "lab.data.moving_boxes", **SMALL},
        "net": {
            "target": "model.RelationNet",
            "objects": "auto",
            "relations": "auto",
            "features": "auto",
            "width": 16,
        },
        "criterion": "lab.losses.SceneGraphLoss",
        "metrics": {
            "recall20": {"target": "lab.metrics.GraphRecall", "dataset": "auto"},
            "mean_recall20": {"target": "lab.metrics.GraphRecall", "dataset": "auto", "mean": True},
        },
        "monitor": {"metric": "val_mean_recall20", "mode": "max"},
        "trackers": [],
        "pictures": {"enabled": False},
    }
    run(validate(RunConfig, plain).with_values(values), run_dir=folder, console="quiet")
    return folder
