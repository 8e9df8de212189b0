"""An exception of a metric ends a run with the metric's name."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lab.config import RunConfig
from util import run


class Faulty:
    """A metric with a fault in one of its methods, after the first epochs."""

    resets = 0

    def __init__(self, fault: str = "") -> None:
        self.fault = fault

    def _fail(self, method: str) -> None:
        if self.fault == method and Faulty.resets > 8:
            raise ValueError("planted")

    def reset(self) -> None:
        Faulty.resets += 1

    def update(self, prediction: Tensor, target: Tensor) -> None:
        self._fail("update")

    def compute(self) -> object:
        self._fail("compute")
        return "text" if self.fault == "value" and Faulty.resets > 8 else torch.tensor(1.0)


@pytest.mark.parametrize("fault", ["update", "compute", "value"])
def test_the_metric_is_named(config: Callable[..., RunConfig], workplace: Path, fault: str) -> None:
    Faulty.resets = 0
    metrics = {"mae": "lab.metrics.MAE", "odd": {"target": f"{__name__}.Faulty", "fault": fault}}
    with pytest.raises(ValueError):
        run(config(metrics=metrics, epochs=9), console="quiet")
    (folder,) = (workplace / "runs").iterdir()
    summary = json.loads((folder / "summary.json").read_text())
    text = "could not convert string to float: 'text'" if fault == "value" else "planted"
    assert summary["outcome"] == "failed" and summary["epochs"] >= 1
    assert summary["reason"] == f"ValueError: {text} (in the metric 'odd')"
    assert (folder / "traceback.txt").read_text().endswith("\nin the metric 'odd'\n")
