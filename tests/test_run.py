"""A run from config to folder: what it leaves, how it goes on, and how it ends."""

import csv
import json
import math
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from lab import checkpoint
from lab.config import ConfigError, RunConfig
from lab.console.signals import Interrupted, Signals
from lab.events import Callback, EpochEnd, RunEnd, RunStart, StopRequest
from lab.store import file_io, run_folder
from util import run

ROOT = Path(__file__).parent.parent
IMAGES = {
    "task": "lab.tasks.Segmentation",
    "data": {
        "target": "lab.data.spheroids",
        "train_count": 10,
        "val_count": 4,
        "size": 32,
        "transforms": [
            {"target": "albumentations.HorizontalFlip", "p": 0.5},
            {"target": "albumentations.GaussNoise", "p": 0.9},
        ],
    },
    "net": {"target": "net_with_dropout.net"},
    "criterion": "lab.losses.BCEDice",
    "metrics": {"dice": "lab.metrics.Dice"},
    "monitor": {"metric": "val_dice", "mode": "max"},
    "batch_size": 4,
}


@pytest.fixture
def images(
    config: Callable[..., RunConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., RunConfig]:
    """A small image run whose network has dropout and batch norm, in a module of the user's own."""
    (tmp_path / "net_with_dropout.py").write_text(
        "from torch import nn\n"
        "def net():\n"
        "    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(),\n"
        "                         nn.Dropout(0.3), nn.Conv2d(4, 1, 1))\n"
    )
    monkeypatch.delitem(sys.modules, "net_with_dropout", raising=False)  # another test's
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    channels = {"data.channels": 1}
    return lambda **values: config(**{**IMAGES, **channels, **values})


def final(folder: Path, name: str = "final.pt") -> dict[str, Any]:
    return checkpoint.load(folder / run_folder.CHECKPOINTS / name)


def equal(a: Any, b: Any) -> bool:
    """Bit equality of nested states."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b) or (a != a and b != b)


class Stop(Callback):
    """Ends the run as an accident would, after an epoch."""

    def __init__(self, at: int, error: type[BaseException]) -> None:
        self._at, self._error = at, error

    def on_epoch_end(self, event: EpochEnd) -> StopRequest | None:
        if event.epoch == self._at:
            raise self._error("the lights went out")
        return None


def test_leaves_what_a_run_leaves(images: Callable[..., RunConfig], workplace: Path) -> None:
    result = run(
        images(**{"pictures.enabled": True, "epochs": 3, "checkpoint.every_epochs": 2}), console="quiet"
    )
    folder = result.run_dir
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert files >= {
        "config.yaml", "metrics.csv", "events.jsonl", "summary.json", "provenance.json", "history.png",
        "predictions.png", "checkpoints/last.pt", "checkpoints/best.pt", "checkpoints/final.pt",
        "checkpoints/epoch_0002.pt",
    }  # fmt: skip
    rows = list(csv.DictReader((folder / "metrics.csv").open()))
    summary = json.loads((folder / "summary.json").read_text())
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    best = max(rows, key=lambda row: float(row["val_dice"]))
    assert summary["outcome"] == "completed" and summary["epochs"] == 3
    assert summary["best_epoch"] == int(best["epoch"])
    assert summary["best"]["val_dice"] == float(best["val_dice"]) == float(result) == summary["value"]
    assert summary["best"]["val_loss"] == float(best["val_loss"])
    assert summary["last"]["val_loss"] == float(rows[-1]["val_loss"])
    assert summary["seconds"] > 0 and summary["samples_per_second"] > 0
    assert final(folder, "best.pt")["course"]["epoch"] == int(best["epoch"])
    provenance = json.loads((folder / "provenance.json").read_text())
    assert provenance["seed"] == 0 and provenance["packages"]["torch"] == torch.__version__.split("+")[0]


def test_config_in_the_folder_reproduces_the_run(images: Callable[..., RunConfig], workplace: Path) -> None:
    first = run(images(), console="quiet")
    again = run(RunConfig.from_yaml(first.run_dir / "config.yaml"), console="quiet")
    assert float(first) == float(again)
    assert equal(final(first.run_dir)["model"], final(again.run_dir)["model"])


@pytest.mark.parametrize("workers", [pytest.param(0, marks=pytest.mark.slow), 2])
@pytest.mark.parametrize(
    "extra", [{}, {"ema.decay": 0.9, "gradient_clip_norm": 1.0, "accumulate_grad_batches": 2}]
)
def test_resumed_equals_uninterrupted(
    images: Callable[..., RunConfig], workplace: Path, workers: int, extra: dict[str, Any]
) -> None:
    schedule = {"target": "torch.optim.lr_scheduler.ReduceLROnPlateau", "patience": 0, "threshold": 0.5}
    whole = images(epochs=4, scheduler=schedule, early_stopping_config={"patience": 10}, **extra)
    part = whole.with_values({"loader.workers": workers})
    uninterrupted = run(whole, console="quiet").run_dir
    folder = workplace / "runs" / "part"
    with pytest.raises(KeyboardInterrupt):
        run(part, run_dir=folder, callbacks=[Stop(2, KeyboardInterrupt)], console="quiet")
    assert run_folder.read_summary(folder)["outcome"] == "interrupted"  # type: ignore[index]
    result = run(part, run_dir=folder, resume=True, console="quiet")
    a, b = final(uninterrupted), final(folder)
    for name in ("model", "optimizer", "scheduler", "rng", "early_stopping", "ema"):
        assert equal(a.get(name), b.get(name)), name
    assert equal(a["course"]["history"], b["course"]["history"])
    assert result.outcome == "completed"
    rows = [row["epoch"] for row in csv.DictReader((folder / "metrics.csv").open())]
    assert rows == ["1", "2", "3", "4"]
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    assert [event["epoch"] for event in events if event["event"] == "epoch_end"] == [1, 2, 3, 4]


def test_killed_goes_on_to_the_same_weights(images: Callable[..., RunConfig], workplace: Path) -> None:
    config = images(epochs=40, **{"data.train_count": 40})
    uninterrupted = run(config, console="quiet").run_dir
    (workplace / "run.yaml").write_text(config.to_yaml())
    command = [sys.executable, str(ROOT / "main.py"), "--run", "run.yaml", "--set", "name=killed", "--quiet"]
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        folders = list((workplace / "runs").glob("*_killed"))
        record = folders[0] / "metrics.csv" if folders else None
        if record is not None and record.exists() and len(record.read_text().splitlines()) > 4:
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    summary = run_folder.read_summary(folders[0])
    assert summary is not None and summary["outcome"] == "running"  # it had no chance to say otherwise
    run(RunConfig.from_yaml(folders[0] / "config.yaml"), run_dir=folders[0], resume=True, console="quiet")
    assert equal(final(uninterrupted)["model"], final(folders[0])["model"])
    rows = [int(row["epoch"]) for row in csv.DictReader((folders[0] / "metrics.csv").open())]
    assert rows == list(range(1, 41))


def test_more_epochs_extend_a_run(config: Callable[..., RunConfig], workplace: Path) -> None:
    whole = run(config(epochs=4), console="quiet")
    part = run(config(epochs=2), console="quiet")
    extended = run(config(epochs=4), run_dir=part.run_dir, resume=True, console="quiet")
    assert float(whole) == float(extended) and extended.epochs == 4
    assert equal(final(whole.run_dir)["model"], final(part.run_dir)["model"])


def test_another_network_is_refused_with_the_difference(
    config: Callable[..., RunConfig], workplace: Path
) -> None:
    folder = run(config(), console="quiet").run_dir
    before = (folder / "config.yaml").read_text()
    with pytest.raises(ConfigError) as caught:
        run(config(**{"net.width": 9, "optimizer.lr": 0.5}), run_dir=folder, resume=True, console="quiet")
    text = str(caught.value)
    assert "net.width: the checkpoint" in text and "has 8, the config has 9" in text
    assert "optimizer.lr" in text and "0.5" in text
    assert (folder / "config.yaml").read_text() == before


def test_stopped_early_stays_stopped(config: Callable[..., RunConfig], workplace: Path) -> None:
    stops = config(epochs=9, early_stopping_config={"patience": 2, "min_delta": 100.0})
    first = run(stops, console="quiet")
    assert (first.outcome, first.epochs) == ("early_stopped", 3)
    again = run(stops, run_dir=first.run_dir, resume=True, console="quiet")
    assert (again.outcome, again.epochs, float(again)) == ("early_stopped", 3, float(first))
    patient = stops.with_values({"early_stopping_config.patience": 4})
    assert run(patient, run_dir=first.run_dir, resume=True, console="quiet").epochs == 5


def test_damaged_last_checkpoint_falls_back(
    config: Callable[..., RunConfig], workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = run(config(epochs=4), console="quiet")
    folder = run(config(epochs=3), console="quiet").run_dir
    last = folder / run_folder.CHECKPOINTS / "last.pt"
    damaged = bytearray(last.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    last.unlink()
    last.write_bytes(bytes(damaged))
    result = run(config(epochs=4), run_dir=folder, resume=True, console="auto")
    assert "Warning: skipped a damaged checkpoint" in capsys.readouterr().out
    assert float(result) == float(whole)


def test_several_seeds(config: Callable[..., RunConfig], workplace: Path) -> None:
    several = run(config(seeds=[3, 4, 5]), console="quiet")
    single = [run(config(seeds=[seed]), console="quiet") for seed in (3, 4, 5)]
    assert float(several) == pytest.approx(statistics.fmean(single))
    summary = run_folder.read_summary(several.run_dir)
    assert summary is not None
    assert [row["seed"] for row in summary["seeds"]] == [3, 4, 5]
    assert [row["value"] for row in summary["seeds"]] == [float(one) for one in single]
    assert summary["spread"]["val_loss"] == pytest.approx(
        statistics.stdev(one.best["val_loss"] for one in single)
    )
    assert (several.run_dir / "seed_4" / "checkpoints" / "best.pt").exists()


def test_several_seeds_go_on(config: Callable[..., RunConfig], workplace: Path) -> None:
    whole = run(config(seeds=[3, 4]), console="quiet")
    folder = workplace / "runs" / "part"
    with pytest.raises(KeyboardInterrupt):
        run(config(seeds=[3, 4]), run_dir=folder, callbacks=[Stop(1, KeyboardInterrupt)], console="quiet")
    assert run_folder.read_summary(folder)["outcome"] == "interrupted"  # type: ignore[index]
    assert float(run(config(seeds=[3, 4]), run_dir=folder, resume=True, console="quiet")) == float(whole)


class Hangup(Callback):
    """The terminal closes as the run ends."""

    def on_run_end(self, event: RunEnd) -> None:
        signal.raise_signal(signal.SIGHUP)


def test_a_signal_at_the_very_end_breaks_in_when_all_is_written(
    config: Callable[..., RunConfig], workplace: Path
) -> None:
    heard = []

    class Last(Callback):
        def on_run_end(self, event: RunEnd) -> None:
            heard.append(event.outcome)

    folder = workplace / "runs" / "whole"
    with pytest.raises(Interrupted), Signals(Interrupted):
        run(config(), run_dir=folder, callbacks=[Hangup(), Last()], console="quiet")
    assert heard == ["completed"]


def test_diverged_keeps_the_last_good_checkpoint(
    config: Callable[..., RunConfig], workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "explodes.py").write_text(
        "import torch\n"
        "class Net(torch.nn.Linear):\n"
        "    calls = 0\n"
        "    def forward(self, x):\n"
        "        type(self).calls += self.training\n"
        "        return super().forward(x) * (float('nan') if self.calls > 6 else 1.0)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    net = {"target": "explodes.Net", "in_features": 1, "out_features": 1}
    result = run(config(epochs=5, net=net), console="quiet")
    assert (result.outcome, float(result), result.epochs) == ("diverged", math.inf, 3)
    assert "train loss is nan at step 1 of epoch 3" in result.reason
    last = final(result.run_dir, "last.pt")
    assert last["course"]["epoch"] == 2 and torch.isfinite(last["model"]["weight"]).all()
    summary = json.loads((result.run_dir / "summary.json").read_text())
    assert (
        summary["outcome"] == "diverged" and summary["value"] is None and summary["last"]["val_loss"] is None
    )
    assert math.isfinite(summary["best"]["val_loss"])
    assert not (result.run_dir / run_folder.CHECKPOINTS / "final.pt").exists()


def test_failed_keeps_its_traceback(config: Callable[..., RunConfig], workplace: Path) -> None:
    folder = workplace / "runs" / "fails"
    with pytest.raises(RuntimeError, match="lights"):
        run(config(), run_dir=folder, callbacks=[Stop(1, RuntimeError)], console="quiet")
    summary = run_folder.read_summary(folder)
    assert summary is not None
    assert (summary["outcome"], summary["reason"]) == ("failed", "RuntimeError: the lights went out")
    assert "in on_epoch_end" in (folder / "traceback.txt").read_text()


def test_given_loaders(config: Callable[..., RunConfig], workplace: Path) -> None:
    x = torch.linspace(-1, 1, 64).unsqueeze(1)
    loader = DataLoader(TensorDataset(x, 2 * x), batch_size=8)
    result = run(config(epochs=3), loader, loader, console="quiet")
    assert isinstance(result, float) and result < 1.0
    with pytest.raises(ValueError, match="both dl_train and dl_val"):
        run(config(), loader, console="quiet")


def test_returns_last_where_asked(config: Callable[..., RunConfig], workplace: Path) -> None:
    result = run(config(epochs=6, **{"monitor.returns": "last", "optimizer.lr": 0.5}), console="quiet")
    assert float(result) == result.last["val_loss"]


def test_a_config_that_cannot_be_built_leaves_no_folder(
    config: Callable[..., RunConfig], workplace: Path
) -> None:
    with pytest.raises(ConfigError, match="net"):
        run(config(**{"net.width": 0}), console="quiet")
    assert list((workplace / "runs").iterdir()) == []


def test_a_folder_has_one_run_at_a_time(config: Callable[..., RunConfig], workplace: Path) -> None:
    folder = run(config(), console="quiet").run_dir
    with run_folder.lock(folder), pytest.raises(file_io.RunInUse, match="another process"):
        run(config(), run_dir=folder, resume=True, console="quiet")


def test_one_seed_does_not_become_several(config: Callable[..., RunConfig], workplace: Path) -> None:
    one, several = config(seeds=[3]), config(seeds=[3, 4])
    first, second = run(one, console="quiet").run_dir, run(several, console="quiet").run_dir
    before = sorted(path.relative_to(workplace) for path in workplace.rglob("*"))
    for folder, other, kind in ((first, several, "one seed"), (second, one, "several seeds")):
        with pytest.raises(ConfigError, match=f"seeds: the run in .* has {kind}"):
            run(other, run_dir=folder, resume=True, console="quiet")
    assert sorted(path.relative_to(workplace) for path in workplace.rglob("*")) == before
    more = run(config(seeds=[3, 4, 5]), run_dir=second, resume=True, console="quiet")
    assert float(more) == float(run(config(seeds=[3, 4, 5]), console="quiet"))


def test_averaged_weights_are_the_ones_that_were_judged(
    config: Callable[..., RunConfig], workplace: Path
) -> None:
    averaged = config(epochs=3, **{"ema": {"decay": 0.9}, "optimizer.lr": 0.05})
    result = run(averaged, console="quiet")
    model = averaged.create_model()
    model.load_state_dict(checkpoint.network_state(final(result.run_dir, "best.pt")))
    x, y = averaged.create_data()[1].tensors
    with torch.no_grad():
        assert float(torch.nn.functional.mse_loss(model(x), y)) == pytest.approx(float(result), rel=1e-6)


class Refuses(Callback):
    """A listener that can't even begin."""

    def on_run_start(self, event: RunStart) -> None:
        raise OSError("no room")


def test_a_listener_that_cannot_begin_ends_the_run_in_order(
    config: Callable[..., RunConfig], workplace: Path
) -> None:
    folder = workplace / "runs" / "fails"
    with pytest.raises(OSError, match="no room"):
        run(config(), run_dir=folder, callbacks=[Refuses()], console="quiet")
    summary = run_folder.read_summary(folder)
    assert summary is not None and (summary["outcome"], summary["epochs"]) == ("failed", 0)


def test_provenance_is_that_of_the_project(config: Callable[..., RunConfig], workplace: Path) -> None:
    """Wherever it is run from: here from an empty folder."""
    folder = run(config(), console="quiet").run_dir
    git = json.loads((folder / "provenance.json").read_text())["git"]
    head = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True)
    assert git["commit"] == head.stdout.strip()


def test_workers_for_data_in_memory_are_said_to_be_idle(
    config: Callable[..., RunConfig], workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(config(**{"loader.workers": 2}), console="quiet")
    assert "Warning: loader.workers has no effect" in capsys.readouterr().out
