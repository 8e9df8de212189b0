"""Runs that were really trained, a few seconds' worth, and what is said of them afterwards."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from lab.config import RunConfig
from lab.config.validation import validate
from lab.evaluate.segmentation import (
    BEST,
    TUNED_ON_ITSELF,
    WORST,
    SegmentationEvaluation,
    SegmentationEvaluator,
)
from lab.metrics.image_scores import summarise
from lab.predict.segmentation_run import load_segmenter
from lab.store import run_folder
from lab.trackers.csv_file import read_metrics
from tests.inference_tools import train

HERE = "tests.lab.evaluate.test_segmentation"
SIZES = [(48, 64), (40, 40), (70, 90), (33, 51), (64, 48)]


class Small(nn.Module):
    """Two convolutions, enough to find what is bright."""

    def __init__(self, classes: int = 1) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, classes, 3, padding=1)
        )

    def forward(self, image: Tensor) -> Tensor:
        out: Tensor = self.layers(image)
        return out


class Sequenced(nn.Module):
    """All is foreground in images of sequence 0, and nothing in those of 1, whatever they show."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(1.0))

    def forward(self, image: Tensor, sequence: Tensor) -> Tensor:
        sign = torch.where(sequence == 0, 5.0, -5.0).reshape(-1, 1, 1, 1)
        return sign * self.weight + 0 * image[:, :1]


def disc(size: tuple[int, int], rng: np.random.Generator) -> NDArray[np.bool_]:
    rows, columns = np.ogrid[: size[0], : size[1]]
    row, column, radius = rng.uniform(0, size[0]), rng.uniform(0, size[1]), rng.uniform(5, 14)
    inside: NDArray[np.bool_] = (rows - row) ** 2 + (columns - column) ** 2 < radius**2
    return inside


def make_images(root: Path, count: int, classes: int = 1) -> Path:
    """Discs as bright as their class says, in images of five sizes; every sixth image has none."""
    rng = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        size = SIZES[number % len(SIZES)]
        mask = np.zeros(size, np.uint8)
        for _ in range(0 if number % 6 == 5 else 4):
            mask[disc(size, rng)] = rng.integers(1, classes + 1)
        image = np.clip(60 + 90 * mask + rng.normal(0, 20, size), 0, 255).astype(np.uint8)
        mask[:2] = 200  # nobody judged it
        Image.fromarray(image).save(root / "images" / f"im{number:02}.png")
        Image.fromarray(mask).save(root / "masks" / f"im{number:02}.png")
    return root


def config(root: Path, **values: Any) -> RunConfig:
    plain = {
        "device": "cpu",
        "epochs": 3,
        "batch_size": 2,
        "task": {"target": "lab.tasks.Segmentation", "tile": 64, "overlap": 16, "divisor": 8},
        "data": {
            "target": "lab.data.image_folder",
            "root": str(root),
            "ignore": 200,
            "val_share": 0.3,
            "test_share": 0.2,
            "transforms": [{"target": "albumentations.CenterCrop", "height": 32, "width": 32}],
        },
        "net": f"{HERE}.Small",
        "criterion": {"target": "lab.losses.WeightedSum", "terms": {"cross_entropy": 1.0, "dice": 0.5}},
        "metrics": {"dice": "lab.metrics.Dice", "iou": "lab.metrics.IoU", "recall": "lab.metrics.Recall"},
        "monitor": {"metric": "val_dice", "mode": "max"},
        "optimizer": {"target": "torch.optim.Adam", "lr": 0.03},
        "trackers": [],
        "pictures": {"enabled": False},
    }
    return validate(RunConfig, plain).with_values(values)


def evaluate_run(folder: Path, *split: Any, **settings: Any) -> SegmentationEvaluation:
    options = {name: settings.pop(name) for name in ("data", "on_progress") if name in settings}
    return SegmentationEvaluator(**settings).evaluate(folder, *split, **options)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with 20 images: 10 to train, 6 to validate and 4 to test."""
    home = tmp_path_factory.mktemp("trained")
    return train(home / "run", config(make_images(home / "data", 20)))


def best_epoch(folder: Path) -> dict[str, float]:
    return max(read_metrics(folder), key=lambda row: row["val_dice"])


def test_figures_are_those_of_the_best_epoch(trained: Path) -> None:
    found = evaluate_run(trained, "val")
    best = best_epoch(trained)
    assert best["val_dice"] > 0.5  # it has learnt something
    assert len(found.images) == 6 and len({(image.height, image.width) for image in found.images}) > 1
    for name in ("dice", "iou", "recall"):
        summary = summarise(found.images, name)
        assert summary is not None and summary.mean == pytest.approx(best[f"val_{name}"], abs=2e-4)
    assert found.thresholds == {"": 0.5} and found.classes == ["background", "foreground"]


def test_the_test_images_are_the_usual_ones(trained: Path) -> None:
    found = evaluate_run(trained)
    facts = load_segmenter(trained).facts["split"]
    assert found.split == "test" and sorted(i.name for i in found.images) == sorted(facts["test"])
    assert not {image.name for image in found.images} & {*facts["train"], *facts["val"]}
    assert found.notes == [] and found.parts == []
    assert "epoch" in found.about["weights"] and found.about["flips averaged"] == "no"


def test_cases_are_sorted_and_have_four_pictures_of_one_size(trained: Path) -> None:
    found = evaluate_run(trained, "val")
    dice = sorted(image.value("dice") or 0.0 for image in found.images)
    assert [case.scores.value("dice") for case in found.worst] == dice[:WORST]
    best = [case.scores.value("dice") for case in found.best]
    not_empty = [image.value("dice") for image in found.images if any(image.counts[1])]
    assert len(not_empty) < len(dice) and best == sorted(not_empty)[::-1][:BEST]  # type: ignore[type-var]
    for case in found.worst:
        assert len({picture.shape for picture in case.shown}) == 1
        height, width, _ = case.shown[0].shape
        assert 200 <= max(height, width) <= 420
        assert height / width == pytest.approx(case.scores.height / case.scores.width, rel=0.05)


def test_the_threshold_is_tuned_on_validation_and_kept(trained: Path) -> None:
    before = evaluate_run(trained, "val", threshold=0.5)
    try:
        found = evaluate_run(trained, "val", tune=True)
        curve = dict(found.tuning[""])
        best = found.thresholds[""]
        assert curve[best] == max(curve.values())
        for threshold, images in ((0.5, before.images), (best, found.images)):
            summary = summarise(images, "dice")
            assert summary is not None and summary.mean == pytest.approx(curve[threshold], abs=1e-6)
        assert found.notes == [TUNED_ON_ITSELF]
        kept = json.loads((trained / "threshold.json").read_text())
        assert kept["threshold"] == best == load_segmenter(trained).threshold
        assert (kept["split"], kept["images"], kept["dice"]) == ("val", 6, pytest.approx(curve[best]))
        assert evaluate_run(trained).thresholds == {"": best}
        assert evaluate_run(trained, tune=True).notes == []  # judged on other images
    finally:
        (trained / "threshold.json").unlink()


def test_settings_have_their_effect(trained: Path) -> None:
    plain = evaluate_run(trained)
    assert [i.counts for i in evaluate_run(trained, threshold=0.2).images] != [i.counts for i in plain.images]
    assert [i.counts for i in evaluate_run(trained, flips=True).images] != [i.counts for i in plain.images]
    micro = evaluate_run(trained, pixel_size=0.5)
    assert micro.unit == "µm" and micro.about["pixel size"] == "0.5 µm"
    assert [image.hd95[1] for image in micro.images] == pytest.approx([i.hd95[1] / 2 for i in plain.images])
    tiles = evaluate_run(trained, tile=32, overlap=8)  # more than the network sees
    assert [image.counts for image in tiles.images] == [image.counts for image in plain.images]


def test_progress_is_told(trained: Path) -> None:
    told: list[tuple[int, int, str]] = []
    evaluate_run(trained, on_progress=lambda done, images, what: told.append((done, images, what)))
    assert told == [(n, 4, "images") for n in range(1, 5)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"threshold": 0.4, "tune": True}, "not both"),
        ({"threshold": 1.0}, r"in \[0, 1\), found 1.0"),
        ({"pixel_size": 0.0}, "above 0"),
        ({"tile": 32, "overlap": 32}, "too large for a tile"),
    ],
)
def test_settings_that_make_no_sense(trained: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate_run(trained, **settings)


def test_images_that_are_not_there(tmp_path: Path) -> None:
    folder = train(
        tmp_path / "run", config(make_images(tmp_path / "data", 6), **{"data.test_share": 0.0, "epochs": 1})
    )
    assert evaluate_run(folder).split == "val"
    with pytest.raises(ValueError, match=r"no test images; data.test_share"):
        evaluate_run(folder, "test")


def test_cuts_by_validation_transforms_are_told(tmp_path: Path) -> None:
    crop = {"target": "albumentations.CenterCrop", "height": 16, "width": 16}
    settings = config(make_images(tmp_path / "data", 8), **{"data.val_transforms": [crop], "epochs": 1})
    found = evaluate_run(train(tmp_path / "run", settings), "val")
    assert {(image.height, image.width) for image in found.images} == {(16, 16)}
    assert found.notes == ["evaluated on crops of the images, by CenterCrop in data.val_transforms"]


def test_data_that_changed_since_the_training_is_told(tmp_path: Path) -> None:
    root = make_images(tmp_path / "data", 8)
    folder = train(tmp_path / "run", config(root, **{"data.test_share": 0.0, "epochs": 1}))
    assert evaluate_run(folder).notes == []
    before = {image.name: image.counts for image in evaluate_run(folder).images}
    make_images(root, 12)
    found = evaluate_run(folder)
    assert any("was trained on" in note for note in found.notes)
    assert any("normalisation is that of the training" in note for note in found.notes)
    same = {image.name: image.counts for image in found.images if image.name in before}
    assert same == {name: before[name] for name in same} and same


def test_folds_are_pooled(tmp_path: Path) -> None:
    root = make_images(tmp_path / "data", 9)
    settings = config(root, **{"folds": 3, "data.test_share": 0.0, "epochs": 2})
    folder = train(tmp_path / "run", settings)
    assert [path.name for path in run_folder.repeats(folder)] == ["fold_0", "fold_1", "fold_2"]
    found = evaluate_run(folder, tune=True)
    assert found.split == "val" and found.parts == ["fold_0", "fold_1", "fold_2"]
    assert sorted(image.name for image in found.images) == [f"im{n:02}" for n in range(9)]  # each once
    assert "; fold_2: best.pt, epoch " in found.about["weights"]
    assert set(found.thresholds) == set(found.tuning) == set(found.parts)
    for part in found.parts:
        assert (folder / part / "threshold.json").is_file()
        (folder / part / "threshold.json").unlink()
    for part in found.parts:
        images = [image for image in evaluate_run(folder).images if image.part == part]
        summary = summarise(images, "dice")
        assert summary is not None
        assert summary.mean == pytest.approx(best_epoch(folder / part)["val_dice"], abs=2e-4)


def test_several_classes(tmp_path: Path) -> None:
    names = {"background": 0, "dim": 1, "bright": 2}
    settings = config(
        make_images(tmp_path / "data", 12, classes=2),
        **{"data.classes": names, "net": {"target": f"{HERE}.Small", "classes": 3}, "data.test_share": 0.0},
    )
    folder = train(tmp_path / "run", settings)
    found: SegmentationEvaluation = evaluate_run(folder)
    summary = summarise(found.images, "dice")
    assert summary is not None
    assert summary.mean == pytest.approx(best_epoch(folder)["val_dice"], abs=2e-4)
    assert found.classes == ["background", "dim", "bright"] and found.thresholds == {}
    assert all(len(image.counts) == len(image.hd95) == 3 for image in found.images)
    for settings_ in ({"threshold": 0.5}, {"tune": True}):
        with pytest.raises(ValueError, match="a threshold has no effect on 3 classes"):
            evaluate_run(folder, **settings_)


def test_a_conditioned_network_is_told_the_sequence(tmp_path: Path) -> None:
    root = make_images(tmp_path / "data", 8)
    lines = [f"im{number:02},{number % 2}" for number in range(8)]
    (root / "metadata.csv").write_text("\n".join(["frame_id,sequence_id", *lines]))
    extra = {"data.metadata": "metadata.csv", "data.condition": "sequence_id", "data.test_share": 0.0}
    folder = train(tmp_path / "run", config(root, **extra, epochs=1, net=f"{HERE}.Sequenced"))
    found = evaluate_run(folder)
    summary = summarise(found.images, "dice")
    assert summary is not None
    assert summary.mean == pytest.approx(best_epoch(folder)["val_dice"], abs=2e-4)
    for image in found.images:  # the network finds all in a sequence's images, or nothing
        _, (_, pixels, _) = image.counts
        assert pixels == (0 if int(image.name[2:]) % 2 else image.height * image.width - 2 * image.width)
    (root / "metadata.csv").write_text("\n".join(["frame_id,sequence_id", *(f"{line}0" for line in lines)]))
    with pytest.raises(ValueError, match="the sequences of its data differ from those of the training"):
        evaluate_run(folder)


def test_other_tasks_are_refused(tmp_path: Path) -> None:
    settings = validate(
        RunConfig, {"data": "lab.data.function", "net": "model.MLP", "epochs": 1, "trackers": []}
    )
    folder = train(tmp_path / "run", settings)
    with pytest.raises(ValueError, match=r"lab.tasks.Segmentation, found"):
        evaluate_run(folder)
