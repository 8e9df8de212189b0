"""Every config that ships runs: small, through the real path, with its own components and trackers."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from lab import checkpoint
from lab.config import ConfigError, RunConfig, config_file, is_study
from lab.config.signatures import signature_of
from lab.store import run_folder
from lab.train.preflight import preflight
from util import Trainer, run

FOLDER = Path(__file__).parent.parent / "configs"
FILES = sorted(path for path in FOLDER.rglob("*.yaml") if not is_study(config_file.read(path)))
COUNTS = {"train_count": 8, "val_count": 4, "size": 32, "sample_size": 6, "sequences": 2}
PLATES = {"count": 2, "size": 128, "wells": 2, "patches.size": 32, "patches.per_image": 6,
          "patches.jitter": 8}  # fmt: skip
CROP = {"height": 32, "width": 32}


def small_images(nuclei: Path, folder: Path) -> Path:
    """A few of the real images, of two sizes, in a folder of the same shape."""
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    names = sorted(path.name for path in (nuclei / "images").iterdir())[:10]
    for name in names:
        for kind in ("images", "masks"):
            shutil.copy(nuclei / kind / name, folder / kind / name)
    return folder


def drawn_frames(folder: Path, sequences: int = 5, frames: int = 4) -> Path:
    """A folder laid out as CVC-ClinicDB: frames of several sequences, each with a bright disc."""
    for kind in ("Original", "Ground Truth"):
        (folder / kind).mkdir(parents=True)
    rng, rows = np.random.default_rng(0), ["frame_id,sequence_id"]
    for number in range(1, sequences * frames + 1):
        image = rng.integers(60, 120, (96, 128, 3), np.uint8)
        mask = np.zeros((96, 128), np.uint8)
        centre = [int(at) for at in rng.integers(30, 66, 2)]
        for array, value in ((image, (200, 180, 170)), (mask, 255)):
            cv2.circle(array, centre, 18, value, -1)
        cv2.imwrite(str(folder / "Original" / f"{number}.png"), image)
        cv2.imwrite(str(folder / "Ground Truth" / f"{number}.png"), mask)
        rows.append(f"{number},{(number - 1) // frames + 1}")
    (folder / "metadata.csv").write_text("\n".join(rows) + "\n")
    return folder


def given_data(config: RunConfig, path: Path, request: pytest.FixtureRequest, folder: Path) -> dict[str, Any]:
    """Little data for a config, under the names that its source has for it."""
    taken = signature_of(config.data.resolve()).parameters
    if "wells" in taken:
        return {f"data.{name}": small for name, small in PLATES.items()} | {
            "task.tile": 96,
            "task.overlap": 32,
        }
    values = {f"data.{name}": small for name, small in COUNTS.items() if name in taken}
    if config.data.arguments.get("root", "given") is None:
        drawn = path.stem == "polyps"
        root = drawn_frames(folder) if drawn else small_images(request.getfixturevalue("nuclei"), folder)
        values["data.root"] = str(root)
    return values


@pytest.fixture(params=FILES, ids=lambda path: str(path.relative_to(FOLDER)))
def small(request: pytest.FixtureRequest, tmp_path: Path) -> RunConfig:
    """The shipped config on little data; what it is made of stays."""
    path: Path = request.param
    config = RunConfig.from_yaml(path)
    arguments = config.data.arguments
    values: dict[str, Any] = {"epochs": 2, "batch_size": 4, "device": "cpu", "checkpoint.every_epochs": 2}
    values |= given_data(config, path, request, tmp_path / "images")
    for key in ("transforms", "val_transforms"):
        for index, transform in enumerate(arguments.get(key, [])):
            values |= {f"data.{key}.{index}.{n}": pixels for n, pixels in CROP.items() if n in transform}
    for index, tracker in enumerate(config.trackers):
        if getattr(tracker, "type", "") == "wandb":
            values[f"trackers.{index}.mode"] = "offline"
    if config.folds is not None:  # the first of two
        values |= {"folds": None, "data.folds": 2, "data.fold": 0}
    return config.with_values(values)


def test_it_runs(small: RunConfig, workplace: Path) -> None:
    small.check()
    result = run(small, console="quiet")
    folder = result.run_dir
    assert (result.outcome, result.epochs) == ("completed", 2)
    assert math.isfinite(result) and math.isfinite(result.best["val_loss"])
    assert {f"val_{name}" for name in small.metrics} <= result.best.keys()
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    names = ["last.pt", "prev.pt", "best.pt", "final.pt", "epoch_0002.pt"]
    assert files >= {
        run_folder.CONFIG,
        run_folder.METRICS,
        run_folder.EVENTS,
        run_folder.PROVENANCE,
        run_folder.SUMMARY,
    }
    assert files >= {
        run_folder.HISTORY,
        run_folder.PREDICTIONS,
        *(f"{run_folder.CHECKPOINTS}/{name}" for name in names),
    }
    summary = json.loads((folder / run_folder.SUMMARY).read_text())
    assert (summary["project"], summary["name"]) == (small.project, small.name)
    assert summary["best"][small.monitor.metric] == float(result)
    assert any("tfevents" in name for name in files)
    wandb = any(getattr(tracker, "type", "") == "wandb" for tracker in small.trackers)
    assert any(workplace.rglob("*.wandb")) == wandb
    events = [json.loads(line) for line in (folder / run_folder.EVENTS).read_text().splitlines()]
    warnings = [event for event in events if event["event"] == "note" and event.get("level") == "warning"]
    assert warnings == []
    again = RunConfig.from_yaml(folder / run_folder.CONFIG)
    assert again == small
    assert checkpoint.load(folder / run_folder.CHECKPOINTS / "final.pt")["config"] == small.as_data()


def test_its_check_passes(small: RunConfig, workplace: Path) -> None:
    report = preflight(small, Trainer.from_config)
    assert report.passed, report.faults
    total = report.figures["gradients reach"].split()
    assert total[0] == total[2]  # every parameter is trained
    assert not (workplace / "runs").exists()


@pytest.mark.parametrize("name", ["nuclei.yaml", "polyps.yaml"])
def test_without_its_data_it_says_what_is_missing(name: str, workplace: Path) -> None:
    with pytest.raises(ConfigError, match=r"--set data\.root=PATH") as caught:
        run(RunConfig.from_yaml(FOLDER / name), console="quiet")
    assert caught.value.problems[0].path[0] == "data"
