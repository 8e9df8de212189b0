"""How the check of a study reads: a table, the whole study, and each message once."""

import json
from pathlib import Path
from typing import Any

from lab.config import OptimizeConfig
from lab.config.search_space import Corner
from lab.hpo.cost_estimate import Room
from lab.hpo.preflight_report import StudyReport
from lab.train.preflight_report import Costs, Report
from tests import study_tools as tools

COSTS = Costs(1_500_000_000, 25.0, 100.0, 45_000_000, 3)
LOW = {"lr": 1e-4, "width": 4}
OPTIMIZERS = [
    {"target": "torch.optim.AdamW"},
    {"target": "torch.optim.SGD", "nesterov": True},
]
SPACE: dict[str, Any] = {
    "optimizer": {"choices": OPTIMIZERS},
    "optimizer.lr": {"type": "float", "low": 1e-4, "high": 0.1, "log": True},
    "optimizer.momentum": {"type": "float", "low": 0.5, "high": 0.9, "when": {"optimizer.target":
                                                                          "torch.optim.SGD"}},
    "net.width": {"type": "int", "low": 4, "high": 64},
}  # fmt: skip
WHOLE = """\
Corner                                               Loss  Peak memory      A trial   Checkpoint
the base                                           0.5000      1.50 GB   1 min 40 s      45.0 MB
all numbers low                                    0.5000      1.50 GB   1 min 40 s      45.0 MB
  optimizer AdamW  optimizer.lr 0.0001  net.width 4
all numbers high                                   1.2500      2.00 GB   3 min 20 s      90.0 MB  warning
  optimizer AdamW  optimizer.lr 0.1  net.width 64
optimizer = SGD                                         –            –            –            –  fault
  optimizer.momentum 0.9

The whole study: 8 trials, 2 at a time
  Time    about 10 min 00 s of training; 6 min 40 s if all were the shortest, 13 min 20 s the longest; pruning
          makes it less; then 7 min 30 s to confirm the best; it fits into the time_budget of 1 h 00 min
  Memory  at most 4.00 GB for 2 trials; this machine has 24.00 GB
  Disk    up to 2.43 GB: 2.43 GB of weights and 2.1 MB of records; 70.00 GB are free

Warning: slow (at all numbers high)
Fault: its process ended with exit code 7 (at optimizer = SGD)

Not ready: fix the faults above. This check took 12.0 s."""


def study(folder: Path, **values: Any) -> OptimizeConfig:
    values = {"run.optimizer": OPTIMIZERS[0], "search_space": SPACE, **values}
    return OptimizeConfig.from_yaml(tools.study_file(folder, **values))


def report(config: OptimizeConfig, found: dict[str, Report] | None = None, **room: Any) -> StudyReport:
    """What comes of a check that found this at the corners by name, and at all others nothing."""
    corners = [Corner("the base", {}), *config.space.extremes()]
    good = Report(loss=0.5, costs=COSTS)
    tried = [(corner, (found or {}).get(corner.label, good)) for corner in corners]
    return StudyReport.of(config, tried, Room(**room), 12.0)


def test_a_whole_report_as_text(tmp_path: Path) -> None:
    config = study(tmp_path, n_trials=8, workers=2, time_budget="1h", pruner="optuna.pruners.MedianPruner",
                   confirm={"top": 2, "seeds": 3})  # fmt: skip
    high = Report(loss=1.25, costs=Costs(2_000_000_000, 50.0, 200.0, 90_000_000, 3), warnings=["slow"])
    broken = Report(faults=["its process ended with exit code 7"])
    text = report(
        config, {"all numbers high": high, "optimizer = SGD": broken},
        memory=24_000_000_000, device="cpu", disk=70_000_000_000,
    ).as_text()  # fmt: skip
    assert text == WHOLE


def test_everything_fits_the_width_whatever_the_names_are(tmp_path: Path) -> None:
    choices = ["x" * 60, [1] * 30, None]
    long = {f"net.a_parameter_with_quite_a_long_name_{i}": {"choices": choices} for i in range(4)}
    config = study(tmp_path, search_space=long)
    fault = Report(faults=["RuntimeError: " + "many words of a message " * 20])
    text = report(config, {"all numbers low": fault}, memory=10**12, device="cuda:0", disk=10**12).as_text()
    assert max(map(len, text.splitlines())) <= 110
    assert "…" in text and text.count("Fault: ") == 1


def test_a_message_stands_once_with_its_corners(tmp_path: Path) -> None:
    config = study(tmp_path)
    labels = [corner.label for corner in config.space.extremes()]
    assert labels == ["all numbers low", "all numbers high", "optimizer = SGD"]
    everywhere = {label: Report(loss=0.1, costs=COSTS, warnings=["slow"]) for label in ["the base", *labels]}
    everywhere["optimizer = SGD"].warnings.append("odd")
    everywhere["all numbers low"].warnings.append("odd")
    lines = report(config, everywhere, memory=10**9).as_text().splitlines()
    assert [line for line in lines if line.startswith("Warning")] == [
        "Warning: it wants 1.50 GB of memory, and this machine has 1.00 GB; take a smaller batch or network",
        "Warning: slow (at every corner)",
        "Warning: odd (at all numbers low; optimizer = SGD)",
    ]


def test_the_base_counts_for_faults_and_not_for_the_estimate(tmp_path: Path) -> None:
    config = study(tmp_path, n_trials=10)
    large = Report(loss=0.5, costs=Costs(9 * 10**9, 1.0, 1e6, 10**9, 3))
    found = report(config, {"the base": large})
    assert found.estimate is not None and found.estimate.seconds == 1000.0 and found.passed
    assert not report(config, {"the base": Report(faults=["no"])}).passed


def test_as_json(tmp_path: Path) -> None:
    config = study(tmp_path)
    data = json.loads(report(config, {"optimizer = SGD": Report(faults=["no"])}, disk=5).as_json())
    assert (data["passed"], data["seconds"]) == (False, 12.0)
    assert [one["corner"] for one in data["corners"]][::3] == ["the base", "optimizer = SGD"]
    last = data["corners"][-1]
    assert last["values"] == {
        "optimizer": "SGD", "optimizer.lr": 0.1, "optimizer.momentum": 0.9, "net.width": 64,
    }  # fmt: skip
    assert (last["costs"], last["faults"], last["passed"]) == (None, ["no"], False)
    assert data["corners"][1]["costs"]["peak_bytes"] == 1_500_000_000
    assert data["study"]["seconds"] == 400.0 and data["study"]["disk"] == (
        data["study"]["weights"] + data["study"]["records"]
    )
    assert data["room"] == {"memory": None, "device": "cpu", "disk": 5}
