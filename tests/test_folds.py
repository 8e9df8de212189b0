"""Cross-validation: a run whose parts are folds, its summary and resume, and a study of such runs."""

import json
import statistics
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import util
from lab.checkpoint import load
from lab.config import ConfigError, OptimizeConfig, RunConfig
from lab.config.validation import validate
from lab.evaluate.segmentation import SegmentationEvaluator
from lab.events import Callback, EpochEnd
from lab.hpo import study
from lab.predict import loaded_run, segmentation_run
from lab.report import compare
from lab.report.run_list import read_runs
from lab.store import run_folder


def draw(folder: Path, count: int = 6) -> Path:
    """Bright squares, somewhere in small images."""
    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for number in range(count):
        top, left = (int(at) for at in rng.integers(2, 20, 2))
        mask = np.zeros((32, 32), np.uint8)
        mask[top : top + 10, left : left + 10] = 255
        image = np.clip(mask * 0.5 + rng.integers(0, 90, mask.shape), 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / "images" / f"n{number}.png"), image)
        cv2.imwrite(str(folder / "masks" / f"n{number}.png"), mask)
    return folder


def recipe(root: Path, **values: Any) -> dict[str, Any]:
    return {
        "name": "folds",
        "folds": 3,
        "epochs": 2,
        "batch_size": 2,
        "device": "cpu",
        "task": "lab.tasks.Segmentation",
        "data": {"target": "lab.data.image_folder", "root": str(root), "grayscale": True},
        "net": {"target": "tests.inference_tools.Small", "in_channels": "auto"},
        "criterion": "lab.losses.BCEDice",
        "metrics": {"dice": "lab.metrics.Dice"},
        "monitor": {"metric": "val_dice", "mode": "max"},
        "optimizer": {"target": "torch.optim.Adam", "lr": 0.05},
        "pictures": {"enabled": False},
        **values,
    }


@pytest.fixture
def folds(workplace: Path) -> RunConfig:
    return validate(RunConfig, recipe(draw(workplace / "set")))


def test_each_fold_is_a_run_on_what_the_others_leave(folds: RunConfig) -> None:
    folds.check()
    result = util.run(folds, console="quiet")
    parts = run_folder.repeats(result.run_dir)
    assert [path.name for path in parts] == ["fold_0", "fold_1", "fold_2"]
    summary = json.loads((result.run_dir / run_folder.SUMMARY).read_text())
    assert [row["fold"] for row in summary["folds"]] == [0, 1, 2] and "seeds" not in summary
    values = [row["value"] for row in summary["folds"]]
    assert float(result) == pytest.approx(statistics.fmean(values))
    assert summary["spread"]["val_dice"] == pytest.approx(statistics.stdev(values))
    held_out = []
    for path in parts:
        split = load(path / run_folder.CHECKPOINTS / "best.pt")["data"]["split"]
        assert not set(split["val"]) & set(split["train"]) and len(split["train"]) == 4
        held_out += split["val"]
    assert sorted(held_out) == [f"n{number}" for number in range(6)]
    assert RunConfig.from_yaml(result.run_dir / run_folder.CONFIG) == folds
    (row,) = read_runs(Path("runs"))
    assert "(n=3)" in row.shown("value")
    assert len(compare.curve(result.run_dir)) == 2


class Leave(Callback):
    """Ends the run after so many epochs."""

    def __init__(self, epochs: int) -> None:
        self.left = epochs

    def on_epoch_end(self, event: EpochEnd) -> None:
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


def test_folds_go_on_where_they_were(folds: RunConfig, workplace: Path) -> None:
    whole = util.run(folds, console="quiet")
    folder = workplace / "runs" / "again"
    with pytest.raises(KeyboardInterrupt):
        util.run(folds, run_dir=folder, callbacks=[Leave(3)], console="quiet")
    assert float(util.run(folds, run_dir=folder, resume=True, console="quiet")) == float(whole)
    for changes, path in (({"folds": 2}, "data.folds"), ({"folds": None}, "folds")):
        with pytest.raises(ConfigError) as caught:
            util.run(folds.with_values(changes), run_dir=folder, resume=True, console="quiet")
        assert ".".join(map(str, caught.value.problems[0].path)) == path


def test_folds_are_the_seeds_of_a_trial(workplace: Path) -> None:
    data = {
        "study_name": "folds",
        "run": recipe(draw(workplace / "set"), folds=2),
        "n_trials": 2,
        "isolation": "none",
        "search_space": {"optimizer.lr": {"type": "float", "low": 0.01, "high": 0.1}},
    }
    config = validate(OptimizeConfig, data)
    result = study.optimize(config, util.run, console="quiet")
    assert result.outcomes == {"completed": 2} and result.best is not None
    repeats = result.best.user_attrs["repeats"]
    assert list(repeats) == ["fold_0", "fold_1"]
    assert result.best.value == pytest.approx(statistics.fmean(repeats.values()))
    assert sorted(result.best.intermediate_values) == [1, 2, 3, 4]
    best = loaded_run.load(workplace / "studies" / "folds" / "best")  # the weights of its best fold
    found = SegmentationEvaluator().evaluate(best.folder)
    assert sorted(image.name for image in found.images) == sorted(best.facts["split"]["val"])
    assert not any("trained on" in note for note in found.notes)
    header = (workplace / "studies" / "folds" / "leaderboard.csv").read_text().splitlines()[0]
    assert "fold 0,fold 1" in header
    page = (workplace / "studies" / "folds" / "report.html").read_text()
    assert "epoch, one fold after the other" in page


def test_too_many_folds_are_refused_with_their_number(folds: RunConfig) -> None:
    with pytest.raises(ConfigError, match="6"):
        util.run(folds.with_values({"folds": 7}), console="quiet")


def test_a_split_that_would_judge_by_what_was_learnt_is_refused(folds: RunConfig, workplace: Path) -> None:
    one = folds.with_values({"folds": None, "data.val_share": 0.3})
    folder = util.run(one, console="quiet").run_dir
    with pytest.raises(
        ConfigError, match=r"training images are now in the validation or test split, e\.g\. n"
    ):
        util.run(one.with_values({"data.seed": 3, "epochs": 3}), run_dir=folder, resume=True, console="quiet")


def test_a_threshold_of_other_weights_is_not_used(folds: RunConfig) -> None:
    folder = util.run(folds.with_values({"folds": None}), console="quiet").run_dir
    SegmentationEvaluator(tune=True).evaluate(folder, "val")
    path = folder / "threshold.json"
    record = json.loads(path.read_text())
    assert record["epoch"] == segmentation_run.load_segmenter(folder).epoch
    path.write_text(json.dumps({**record, "threshold": 0.9}))
    assert segmentation_run.load_segmenter(folder).threshold == 0.9
    path.write_text(json.dumps({**record, "threshold": 0.9, "epoch": 77}))
    again = segmentation_run.load_segmenter(folder)
    assert again.threshold == 0.5 and "of epoch 77" in again.notes[-1]


def test_validation_judges_by_the_threshold_of_the_task(folds: RunConfig) -> None:
    low = folds.with_values({"folds": None, "task": {"target": "lab.tasks.Segmentation", "threshold": 0.05}})
    result = util.run(low, console="quiet")
    found = SegmentationEvaluator().evaluate(result.run_dir, "val")
    assert statistics.fmean(image.value("dice") or 0.0 for image in found.images) == pytest.approx(
        float(result), abs=2e-4
    )
