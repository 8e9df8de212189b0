"""A batch at each corner of a space, in real processes; each fault is told of its own corner."""

import json
import os
import re
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from lab.config import OptimizeConfig
from lab.hpo.preflight import BASE, check
from lab.hpo.preflight_report import StudyReport, TriedCorner
from tests import study_tools as tools
from util import Trainer

NETS = """
import os, pathlib, time
import torch
from torch import nn

class Base(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.net = nn.Linear(1, 1)

class Tells(Base):
    def forward(self, x):
        raise RuntimeError(f"{torch.get_num_threads()} threads on {x.device}")

class Ends(Base):
    def forward(self, x):
        raise SystemExit(3)

class Waits(Base):
    def forward(self, x):
        pathlib.Path("pid").write_text(str(os.getpid()))
        pathlib.Path("pid").rename("waiting")
        time.sleep(600)
"""
FAULTY = "faulty.Faulty"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with the user's modules in it."""
    (tmp_path / "faulty.py").write_text(tools.FAULTY)
    (tmp_path / "check_nets.py").write_text(NETS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tried(folder: Path, limit: float = 120.0, **values: Any) -> tuple[StudyReport, dict[str, TriedCorner]]:
    """The report, and its corners by name."""
    config = OptimizeConfig.from_yaml(tools.study_file(folder, **values))
    report = check(config, Trainer.from_config, limit=limit)
    return report, {corner.label: corner for corner in report.corners}


def test_every_corner_is_tried_and_told_in_figures(folder: Path) -> None:
    report, corners = tried(folder, n_trials=6)
    assert list(corners) == [BASE, "all numbers low", "all numbers high"]
    assert report.passed and report.warnings == []
    assert corners["all numbers high"].values == {"optimizer.lr": 0.1, "net.width": 64}
    for corner, width in zip(report.corners, (8, 4, 64), strict=True):
        found, costs = corner.report, corner.report.costs
        assert found.loss is not None and 0 < found.loss < 50
        assert costs is not None and costs.checkpoints == 3
        assert costs.seconds == pytest.approx(4 * costs.epoch_seconds)  # four epochs
        weights = 4 * (3 * width + 1)  # bytes; Adam has two moments of each, and there are random streams
        assert 3 * weights < costs.checkpoint_bytes < 3 * weights + 20_000
    assert report.estimate is not None
    low, high = (corners[f"all numbers {end}"].report.costs for end in ("low", "high"))
    assert low is not None and high is not None
    assert report.estimate.seconds == pytest.approx(6 * (low.seconds + high.seconds) / 2), "not the base"
    assert sorted(path.name for path in folder.iterdir() if path.suffix != ".py") == ["opt.yaml"]


@pytest.mark.slow
def test_peak_memory_is_the_corners_own(folder: Path) -> None:
    """The base has 16 million weights, with gradients and moments 256 MB, and is tried first."""
    space = {"net.width": {"type": "int", "low": 4, "high": 8}}
    _, corners = tried(folder, search_space=space, **{"run.net": {"target": "model.MLP", "layers": 2,
                                                                  "width": 4000}})  # fmt: skip
    peaks = {
        label: corner.report.costs.peak_bytes for label, corner in corners.items() if corner.report.costs
    }
    assert peaks[BASE] - peaks["all numbers low"] > 200e6
    assert abs(peaks["all numbers high"] - peaks["all numbers low"]) < 50e6


FAULTS = {
    "none": None,
    "type_error": r"net: the first training batch failed: TypeError: planted: unsupported operand "
    r"\(faulty\.py:\d+\); input 32x1 float32, target 32x1 float32",
    "nan": r"train loss is nan at step 1 of the very first batch",
    "oom": r"out of memory: OutOfMemoryError: CUDA out of memory\. Tried to allocate 20\.00 GiB .*",
    "memory_error": r"out of memory: MemoryError: no more .*",
    "exit": r"its process ended with exit code 7",
    "segfault": r"its process was ended by SIGSEGV \(faulty\.py:\d+\)",
    "sleep": r"one batch takes longer than 10\.0 s \(faulty\.py:\d+\)",
}


@pytest.mark.slow
def test_each_fault_is_its_corners_own(folder: Path) -> None:
    space = {"net.fault": {"type": "categorical", "choices": list(FAULTS)}}
    values: dict[str, Any] = {"search_space": space, "run.net": {"target": FAULTY}}
    report, corners = tried(folder, limit=10.0, **values)
    assert not report.passed
    found = {str(corner.values["net.fault"]): corner.report for corner in report.corners[1:]}
    assert list(found) == list(FAULTS) and corners[BASE].report.passed
    for name, pattern in FAULTS.items():
        faults = found[name].faults
        assert len(faults) == (0 if pattern is None else 1), (name, faults)
        assert pattern is None or re.fullmatch(pattern, faults[0]), (name, faults)
    assert report.estimate is not None and report.estimate.trials == 4, "by the corners that passed"
    text = report.as_text()
    assert "Fault: its process ended with exit code 7 (at net.fault = exit)" in text
    assert "Not ready: fix the faults above." in text


def test_a_component_that_can_not_be_built_at_a_corner_is_its_fault(folder: Path) -> None:
    """The signatures fit; only the constructor knows that a network needs a width."""
    space = {"net.width": {"type": "int", "low": 0, "high": 8}}
    report, corners = tried(folder, search_space=space)
    (fault,) = corners["all numbers low"].report.faults
    assert re.fullmatch(
        r"net: model\.MLP can't be built: width must be at least 1, found 0 \(model\.py:\d+\)", fault
    )
    assert corners["all numbers high"].report.passed and not report.passed


@pytest.mark.slow
def test_infeasible_corners_are_left_out_and_listed(folder: Path) -> None:
    space = {
        "net.width": {"type": "int", "low": 4, "high": 9},
        "net.layers": {"type": "int", "low": 1, "high": 2},
        "batch_size": {"choices": [16, 32]},
    }
    report, corners = tried(folder, search_space=space, constraints=["net.width % net.layers == 0"])
    assert list(report.left_out.items()) == [("all numbers high", "net.width % net.layers == 0")]
    text = report.as_text()
    assert report.passed and "Not tried: all numbers high: it violates net.width % net.layers == 0" in text
    assert json.loads(report.as_json())["infeasible"] == dict(report.left_out)
    point = corners["batch_size = 32"].values  # with other numbers beside it
    assert point["batch_size"] == 32 and point["net.width"] % point["net.layers"] == 0


def test_a_corner_that_a_constructor_declares_infeasible_is_a_warning(folder: Path) -> None:
    net = {"target": "tests.lab.hpo.test_infeasible.Picky", "heads": 4}
    space = {"net.width": {"type": "int", "low": 4, "high": 6}}
    report, corners = tried(folder, search_space=space, **{"run.net": net})
    high = corners["all numbers high"].report
    assert report.passed and high.faults == [] and high.costs is None
    (warning,) = high.warnings
    assert "Picky is infeasible: 4 heads don't divide 6" in warning


@pytest.mark.slow
def test_where_the_study_halves_batches_memory_is_a_warning(folder: Path) -> None:
    space = {"batch_size": {"choices": [16, 64]}}
    values: dict[str, Any] = {"search_space": space, "run.net": {"target": FAULTY, "fault": "oom_large"}}
    refused, _ = tried(folder, **values)
    report, corners = tried(folder, on_oom="accumulate", **values)
    assert (refused.passed, report.passed) == (False, True)
    (warning,) = corners["batch_size = 64"].report.warnings
    assert warning.startswith("out of memory; such trials begin again with half the batch: OutOfMemoryError")


@pytest.mark.slow
def test_a_corner_that_diverges_is_a_warning_with_its_costs(folder: Path) -> None:
    space = {"optimizer.lr": {"type": "float", "low": 1e-3, "high": 1e30, "log": True}}
    report, corners = tried(folder, search_space=space)
    high = corners["all numbers high"].report
    assert report.passed and high.costs is not None
    assert high.warnings == ["the loss is not finite after one step; the learning rate may be too high"]
    assert corners["all numbers low"].report.warnings == []


@pytest.mark.parametrize("given", [None, 3])
def test_it_runs_as_a_trial_does_on_the_first_device_with_its_share_of_the_cpu(
    folder: Path, given: int | None
) -> None:
    space = {"net.width": {"choices": [8]}}
    values: dict[str, Any] = {"run.net": {"target": "check_nets.Tells"}, "run.device": "auto",
                              "run.threads": given, "devices": ["cpu"], "workers": 2}  # fmt: skip
    report, _ = tried(folder, search_space=space, **values)
    threads = given or max(1, len(os.sched_getaffinity(0)) // 2)
    for corner in report.corners:
        assert f"RuntimeError: {threads} threads on cpu" in corner.report.faults[0]


@pytest.mark.slow
def test_where_no_corner_passes_nothing_is_estimated(folder: Path) -> None:
    report, _ = tried(folder, **{"run.net": {"target": "check_nets.Ends"}})
    assert report.estimate is None and not report.passed
    assert "The whole study" not in report.as_text() and json.loads(report.as_json())["study"] is None
    assert "Fault: its process ended with exit code 3 (at every corner)" in report.as_text()


def test_the_command_says_what_it_found_and_leaves_nothing(tmp_path: Path) -> None:
    path = tools.study_file(tmp_path)
    code, out, err = tools.finish(tools.start(tmp_path, "--check", str(path)))
    assert (code, err) == (0, "") and out.splitlines()[-1].startswith("Ready to search. This check took")
    code, out, _ = tools.finish(tools.start(tmp_path, "--check", str(path), "--json"))
    data = json.loads(out)
    assert code == 0 and data["passed"] and len(data["corners"]) == 3
    assert data["study"]["trials"] == 4 and data["room"]["device"] == "cpu"
    assert {item.name for item in tmp_path.iterdir()} <= {"opt.yaml", "faulty.py", "__pycache__"}


@pytest.mark.slow
def test_a_fault_ends_the_command_with_1_and_a_full_preflight_begins_no_study(tmp_path: Path) -> None:
    values: dict[str, Any] = {"run.net": {"target": FAULTY, "fault": "exit"}, "preflight": "full"}
    path = tools.study_file(tmp_path, **values)
    for verb in ("--check", "--optimize"):
        code, out, _ = tools.finish(tools.start(tmp_path, verb, str(path)))
        assert code == 1 and "Fault: its process ended with exit code 7 (at every corner)" in out
    assert not (tmp_path / "studies").exists() and not (tmp_path / "studies.db").exists()


def test_an_invalid_corner_is_refused_before(tmp_path: Path) -> None:
    path = tools.study_file(tmp_path, **{"search_space/net.heads": {"type": "int", "low": 1, "high": 2}})
    code, out, err = tools.finish(tools.start(tmp_path, "--check", str(path)))
    assert (code, out) == (2, "") and "search_space.net.heads: MLP takes no 'heads'" in err


def members(session: int) -> set[int]:
    """The living processes of a session."""
    found = set()
    for pid in (int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()):
        with suppress(OSError):
            if os.getsid(pid) == session and "State:\tZ" not in Path(f"/proc/{pid}/status").read_text():
                found.add(pid)
    return found


def test_ctrl_c_leaves_no_process(folder: Path) -> None:
    path = tools.study_file(folder, **{"run.net": {"target": "check_nets.Waits"}})
    process = tools.start(folder, "--check", str(path))
    tools.wait_for(lambda: (folder / "waiting").exists())
    corner = int((folder / "waiting").read_text())
    assert len(members(process.pid)) >= 2 and members(corner) == {corner}, (
        "the command, the server, the corner"
    )
    process.send_signal(signal.SIGINT)
    code, _, err = tools.finish(process, timeout=20)
    assert (code, err) == (130, "")
    tools.wait_for(lambda: not members(process.pid) | members(corner), 20)
