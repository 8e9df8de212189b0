"""One batch through the real path: what it finds, and what it says of the cost."""

import json
import multiprocessing
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lab.config import ConfigError, RunConfig
from lab.train.preflight import preflight
from lab.train.preflight_report import Report
from util import Trainer

NETS = """
import torch
from torch import nn

class Base(nn.Module):
    def __init__(self):
        super().__init__()
        self.used = nn.Linear(1, 4)
        self.out = nn.Linear(4, 1)

    def forward(self, x):
        return self.out(self.used(x))

class Detached(Base):
    def forward(self, x):
        return super().forward(x).detach()

class Zero(Base):
    def forward(self, x):
        return super().forward(x) * 0

class Unused(Base):
    def __init__(self):
        super().__init__()
        self.spare = nn.Linear(1, 1)

class Dead(Base):
    def forward(self, x):
        return self.out(torch.relu(self.used(x) - 1e6))

class NotANumber(Base):
    def forward(self, x):
        return super().forward(x) * float("nan")

class BadGradient(Base):
    def forward(self, x):
        zero = (self.out.bias - self.out.bias.detach()).abs()
        return super().forward(x) + torch.sqrt(zero) * 0

class Wide(Base):
    def forward(self, x):
        return super().forward(x).expand(-1, 2)

class Normed(Base):
    def __init__(self):
        super().__init__()
        self.used = nn.Sequential(nn.Linear(1, 4), nn.BatchNorm1d(4))

class NoMemory(Base):
    def forward(self, x):
        raise MemoryError("no more")

class Raises(Base):
    def forward(self, x):
        raise KeyError("my own mistake")
"""


PARAMETERS = "body.0.weight, body.0.bias, body.2.weight, body.2.bias"


@pytest.fixture
def check(
    config: Callable[..., RunConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Report]:
    (tmp_path / "preflight_nets.py").write_text(NETS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name in ("preflight_nets", "slow_data"):  # those of another test, in another folder
        sys.modules.pop(name, None)

    def call(own: str | None = None, **values: Any) -> Report:
        if own is not None:
            values["net"] = {"target": f"preflight_nets.{own}"}
        return preflight(config(**values), Trainer.from_config)

    return call


def test_figures_of_a_good_run(check: Callable[..., Report]) -> None:
    report = check(epochs=20, **{"checkpoint.every_epochs": 5, "seeds": [0, 1]})
    assert report.passed and report.faults == [] and report.warnings == []
    figures = report.figures
    assert (str(figures["device"]), figures["parameters"]) == ("cpu", "25")
    assert figures["samples"] == "48 training, 16 validation"
    assert figures["batch"] == "input 16x1 float32, target 16x1 float32"
    assert figures["gradients reach"] == "4 of 4 trained parameters"
    first, second, val = map(float, re.findall(r"\d+\.\d{4}", figures["loss"]))
    assert 0 < second < first < 2 and 0 < val < 2
    assert 50 < float(figures["peak memory"].removesuffix(" MB").replace(",", "")) < 50_000
    assert figures["time in all"].endswith(" for 20 epochs x 2 seeds")
    assert re.fullmatch(r"up to \d+\.\d MB: 7 checkpoints of \d+\.\d MB", figures["disk"])
    assert report.shapes == [("body Sequential", "16x1", "16x1"), ("(whole) MLP", "16x1", "16x1")]


def seconds(text: str) -> float:
    units = {"ms": 1e-3, "s": 1, "min": 60, "h": 3600}
    return sum(float(number) * units[unit] for number, unit in re.findall(r"([\d.]+) (ms|s|min|h)\b", text))


def test_time_and_disk_add_up(check: Callable[..., Report]) -> None:
    report = check(epochs=100, **{"net.width": 2000, "net.layers": 2})
    parameters = 2000 * 2 + 2000 * 2001 + 2001
    files, size = re.match(r"up to .* MB: (\d+) checkpoints of ([\d.]+) MB", report.figures["disk"]).groups()  # type: ignore[union-attr]
    assert int(files) == 3  # last, prev and best
    assert float(size) == pytest.approx(
        3 * 4 * parameters / 2**20, rel=0.02
    )  # weights and Adam's two moments
    times = re.fullmatch(r"loading (.*), training (.*), validating (.*)", report.figures["time a batch"])
    loading, training, validating = map(seconds, times.groups())  # type: ignore[union-attr]
    epoch = seconds(report.figures["time an epoch"])
    assert epoch == pytest.approx(3 * (training + loading) + validating + loading, rel=0.05)
    assert seconds(report.figures["time in all"]) == pytest.approx(100 * epoch, rel=0.1)
    assert report.costs is not None
    assert report.costs.epoch_seconds == pytest.approx(epoch, rel=0.05)
    assert report.costs.seconds == pytest.approx(100 * report.costs.epoch_seconds)
    assert report.costs.checkpoints == 3 and report.costs.checkpoint_bytes == pytest.approx(
        3 * 4 * parameters, rel=0.02
    )


def test_costs_and_loss_are_those_of_the_text(check: Callable[..., Report]) -> None:
    report = check(epochs=20, **{"checkpoint.every_epochs": 5, "seeds": [0, 1]})
    costs = report.costs
    assert costs is not None and report.loss is not None
    assert f"after one step {report.loss:.4f}" in report.figures["loss"]
    assert report.figures["peak memory"] == f"{costs.peak_bytes / 2**20:,.0f} MB"
    assert costs.seconds == pytest.approx(costs.epoch_seconds * 20 * 2)
    assert costs.checkpoints == 7 * 2


def test_a_step_that_makes_the_loss_infinite_is_a_fault_and_the_costs_are_known(
    check: Callable[..., Report],
) -> None:
    report = check(**{"optimizer": {"target": "torch.optim.AdamW", "lr": 1e30}})
    assert report.faults == ["the loss is not finite after one step; the learning rate may be too high"]
    assert report.costs is not None and report.costs.peak_bytes > 0


def test_memory_that_runs_out_is_known_as_such(check: Callable[..., Report]) -> None:
    report = check("NoMemory")
    assert report.out_of_memory and report.costs is None
    assert report.faults[0].startswith("MemoryError: no more (")
    assert not check("Raises").out_of_memory


@pytest.mark.parametrize("steps", [3, 4, 5, 30])
def test_a_scheduler_that_counts_is_not_stepped_too_often(check: Callable[..., Report], steps: int) -> None:
    scheduler = {"target": "torch.optim.lr_scheduler.OneCycleLR", "interval": "step", "max_lr": 0.01,
                 "total_steps": "auto"}  # fmt: skip
    report = check(epochs=steps, batch_size=48, scheduler=scheduler)
    assert report.passed, report.faults


@pytest.mark.parametrize(
    ("net", "fault"),
    [
        ("Detached", r"RuntimeError: .*does not require grad"),
        ("Zero", r"no parameter gets a gradient: the loss doesn't depend on the network"),
        ("NotANumber", r"train loss is nan at step 1 of the very first batch"),
        ("BadGradient", r"gradients are not finite in out\.bias$"),
        (
            "Wide",
            r"^the network returns \(16, 2\) and the target is .*; both must have one shape$",
        ),
        ("Raises", r"KeyError: 'my own mistake' \(.*preflight_nets\.py:\d+\)"),
    ],
)
def test_faults(check: Callable[..., Report], net: str, fault: str) -> None:
    report = check(net)
    assert not report.passed
    assert re.search(fault, report.faults[0]), report.faults
    assert "this check took" in report.figures
    assert report.as_text().endswith("Not ready: fix the errors above.")


@pytest.mark.parametrize(
    ("net", "warning"),
    [
        ("Unused", "no gradient reaches spare.weight, spare.bias"),
        ("Dead", "the gradient is all zero in used.weight, used.bias, out.weight"),
    ],
)
def test_warnings(check: Callable[..., Report], net: str, warning: str) -> None:
    report = check(net)
    assert report.passed and warning in report.warnings
    assert f"Warning: {warning}" in report.as_text() and report.as_text().endswith("Ready to run.")


def test_a_last_batch_of_one_is_too_little_for_batch_norm(check: Callable[..., Report]) -> None:
    (fault,) = check("Normed", **{"data.train_count": 49}).faults
    assert fault.startswith("loader.drop_last: the last training batch has one sample, and the network ")
    assert "Expected more than 1 value per channel" in fault and fault.endswith("; true leaves it out")
    assert check("Normed", **{"data.train_count": 49, "loader.drop_last": True}).passed
    assert check("Normed").passed and check(**{"data.train_count": 49}).passed


def test_frozen_parameters_are_not_missed(check: Callable[..., Report], tmp_path: Path) -> None:
    source = "from torch import nn\nimport preflight_nets\ndef net():\n    model = preflight_nets.Base()\n"
    source += "    model.used.requires_grad_(False)\n    return model\n"
    (tmp_path / "frozen_net.py").write_text(source)
    report = check(net={"target": "frozen_net.net"})
    assert report.passed and report.figures["gradients reach"] == "2 of 2 trained parameters"


def test_as_json(check: Callable[..., Report]) -> None:
    data = json.loads(check("Unused").as_json())
    assert data["passed"] is True and data["faults"] == [] and len(data["warnings"]) >= 1
    assert data["figures"]["device"] == "cpu" and data["shapes"][-1][0] == "(whole) Unused"


def test_a_wrong_config_is_a_config_error(check: Callable[..., Report]) -> None:
    with pytest.raises(ConfigError, match="net"):
        check(**{"net.width": 0})


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_scaled_gradient_that_overflows_is_no_fault(check: Callable[..., Report], precision: str) -> None:
    """With fp16 the first steps may overflow, and the scaler skips them: that is how it finds its scale."""
    report = check(precision=precision, **{"data.low": -3000.0, "data.high": 3000.0})
    assert report.passed, report.faults
    assert [w for w in report.warnings if "overflow" in w] == (
        [] if precision == "bf16" else [f"gradients overflow fp16 in {PARAMETERS}; such steps are skipped"]
    )


def test_workers_are_used_and_ended(check: Callable[..., Report]) -> None:
    spheroids = {"target": "lab.data.spheroids", "train_count": 4, "val_count": 2, "size": 32}
    flips = [{"target": "albumentations.HorizontalFlip", "p": 0.5}]
    report = check(
        task="lab.tasks.Segmentation",
        data={**spheroids, "transforms": flips},
        net={"target": "torch.nn.Conv2d", "in_channels": 1, "out_channels": 1, "kernel_size": 1},
        criterion="lab.losses.BCEDice",
        batch_size=2,
        **{"loader.workers": 1},
    )
    assert report.passed
    assert report.figures["batch"] == "input 2x1x32x32 float32, target 2x1x32x32 float32"
    assert multiprocessing.active_children() == []


SLOW = """
import time
import torch
from torch.utils.data import Dataset

class Slow(Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        time.sleep(0.05)
        return torch.ones(1), torch.ones(1)

def sets():
    return Slow(), Slow()
"""


@pytest.mark.parametrize(("workers", "warned"), [(0, True), (1, False)])
def test_slow_loading_is_said(
    check: Callable[..., Report], tmp_path: Path, workers: int, warned: bool
) -> None:
    (tmp_path / "slow_data.py").write_text(SLOW)
    report = check(data={"target": "slow_data.sets"}, batch_size=2, **{"loader.workers": workers})
    assert any("loading a batch takes longer than training on it" in w for w in report.warnings) is warned
    assert seconds(report.figures["time an epoch"]) >= 2 * 0.1  # two batches of two


def test_leaves_no_hooks_behind(check: Callable[..., Report], config: Callable[..., RunConfig]) -> None:
    built: list[Trainer] = []

    def build(*arguments: Any, **options: Any) -> Trainer:
        built.append(Trainer.from_config(*arguments, **options))
        return built[0]

    preflight(config(), build)
    modules = list(built[0].model.modules())
    assert not any(module._forward_hooks for module in modules)
    assert not any(p._post_accumulate_grad_hooks for p in built[0].model.parameters())
    assert torch.isfinite(next(built[0].model.parameters())).all()
