"""The whole way from files to files, with networks whose answers are known."""

import csv
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from lab.predict.segmentation import predict
from lab.predict.segmentation_run import load_segmenter
from tests.image_files import tiff
from tests.inference_tools import PLAIN, THREE, loaded, spots, write

RNG = np.random.default_rng(0)


def read(path: Path) -> Any:
    found = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert found is not None, path
    return found


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_masks_objects_and_pictures_of_images_of_any_size(tmp_path: Path) -> None:
    sizes = {"small": (40, 60), "odd": (97, 203), "tall": (300, 33), "pixel": (1, 1)}
    boxes = {"small": [(3, 4, 5, 6)], "odd": [(60, 60, 10, 12), (0, 190, 7, 13)], "tall": [(250, 2, 20, 9)]}
    for name, size in sizes.items():
        write(tmp_path / "in" / f"{name}.png", spots(size, *boxes.get(name, [])))
    done = predict(loaded(tmp_path), tmp_path / "in", tmp_path / "out", pixel_size=0.5)
    assert (done.images, done.objects, done.failed, done.notes, dict(done.metrics)) == (4, 4, [], [], {})
    for name, size in sizes.items():
        mask = read(tmp_path / "out" / "masks" / f"{name}.png")
        assert mask.dtype == np.uint8 and np.array_equal(mask, spots(size, *boxes.get(name, [])))
        assert read(tmp_path / "out" / "overlays" / f"{name}.png").shape[2] == 3
    rows = table(tmp_path / "out" / "objects.csv")
    assert [(row["image"], row["label"], row["class"], row["area_px"]) for row in rows] == [
        ("odd", "1", "spot", "91"),
        ("odd", "2", "spot", "120"),
        ("small", "1", "spot", "30"),
        ("tall", "1", "spot", "180"),
    ]
    second = {key: float(value) for key, value in rows[1].items() if key not in ("image", "label", "class")}
    assert second == pytest.approx(
        {
            "area_px": 120, "equivalent_diameter_px": 12.36077, "circularity": second["circularity"],
            "centroid_x_px": 65.5, "centroid_y_px": 64.5, "left_px": 60, "top_px": 60, "width_px": 12,
            "height_px": 10, "area_um2": 30, "equivalent_diameter_um": 6.180387, "centroid_x_um": 32.75,
            "centroid_y_um": 32.25,
        },
        rel=1e-5,
    )  # fmt: skip
    assert 0.7 < second["circularity"] < 0.95
    assert not list((tmp_path / "out").rglob(".*")) and not (tmp_path / "out" / "metrics.csv").exists()


def test_a_trained_run_scores_on_its_validation_images_as_its_training_said(tmp_path: Path) -> None:
    import util
    from lab.config import RunConfig

    for name in map(str, range(8)):
        mask = spots((61 + int(name), 90), (int(name) * 3, 20, 20, 30))
        noise = RNG.normal(60, 30, mask.shape)
        write(
            tmp_path / "set" / "images" / f"{name}.png", np.clip(mask * 0.3 + noise, 0, 255).astype(np.uint8)
        )
        write(tmp_path / "set" / "masks" / f"{name}.png", mask)
    values: dict[str, Any] = {
        "device": "cpu",
        "epochs": 3,
        "batch_size": 1,
        "ema": {"decay": 0.5},
        "task": {"target": "lab.tasks.Segmentation", "tile": 64, "overlap": 16},
        "data": {
            "target": "lab.data.image_folder",
            "root": str(tmp_path / "set"),
            "grayscale": True,
            "val_share": 0.4,
        },
        "net": {"target": "tests.inference_tools.Small", "in_channels": "auto", "classes": "auto"},
        "criterion": "lab.losses.BCEDice",
        "metrics": {"dice": "lab.metrics.Dice"},
        "monitor": {"metric": "val_dice", "mode": "max"},
        "pictures": {"enabled": False},
    }
    trained = util.run(RunConfig.model_validate(values), run_dir=tmp_path / "run", console="quiet")
    run = load_segmenter(tmp_path / "run")
    predict(run, tmp_path / "set", tmp_path / "out")
    dice = {row["image"]: float(row["dice"]) for row in table(tmp_path / "out" / "metrics.csv")}
    judged = run.facts["split"]["val"]
    assert (len(dice), len(judged), run.channels) == (8, 3, 1) and run.facts["mean"]
    assert 0 < float(trained) < 1
    assert float(trained) == pytest.approx(sum(dice[name] for name in judged) / 3, abs=1e-5)


KINDS = {
    "grey.png": spots((50, 70), (10, 20, 8, 9), value=200),
    "colour.jpg": np.repeat(spots((48, 72), (8, 16, 8, 16))[..., None], 3, axis=2),
    "alpha.png": np.dstack(
        [spots((50, 70), (10, 20, 8, 9))] * 3 + [RNG.integers(0, 256, (50, 70), np.uint8)]
    ),
    "grey16.tif": spots((50, 70), (10, 20, 8, 9)).astype(np.uint16) * 200,
    "alpha16.png": np.dstack([spots((50, 70), (10, 20, 8, 9)).astype(np.uint16) * 180] * 4),
}


@pytest.mark.parametrize("name", KINDS)
def test_files_of_every_kind(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "in" / name, KINDS[name])
    predict(loaded(tmp_path), path, tmp_path / "out")
    image = KINDS[name] if KINDS[name].ndim == 2 else KINDS[name][..., 0]
    assert np.array_equal(read(tmp_path / "out" / "masks" / f"{path.stem}.png") > 0, image > 0)


def test_what_cannot_be_read_is_reported_and_skipped(tmp_path: Path) -> None:
    whole = write(tmp_path / "in" / "b.png", RNG.integers(0, 256, (50, 70), np.uint8))
    (tmp_path / "in" / "a.png").write_bytes(whole.read_bytes()[:-100])
    (tmp_path / "in" / "c.tif").write_bytes(b"")
    (tmp_path / "in" / "d.jpg").write_text("no image")
    done = predict(loaded(tmp_path), tmp_path / "in", tmp_path / "out")
    assert done.images == 1 and [failure.name for failure in done.failed] == ["a", "c", "d"]
    assert all(f"{failure.name}." in failure.reason for failure in done.failed)
    assert [path.name for path in (tmp_path / "out" / "masks").iterdir()] == ["b.png"]
    text = done.as_text()
    assert "3 failed." in text and "a.png: not a readable image" in text and "Predicted 1 image" in text
    record = json.loads((tmp_path / "out" / "prediction.json").read_text())
    assert list(record["failed"]) == ["a", "c", "d"] and record["images"] == 1


def test_nothing_is_replaced_without_force(tmp_path: Path) -> None:
    run = loaded(tmp_path)
    for name in ("a", "b"):
        write(tmp_path / "in" / f"{name}.png", spots((40, 40), (5, 5, 9, 9)))
    predict(run, tmp_path / "in" / "a.png", tmp_path / "out")
    mask = tmp_path / "out" / "masks" / "a.png"
    mask.write_text("precious")
    with pytest.raises(
        ValueError, match=r"4 files would be overwritten; .*--force:\n  .*masks/a\.png"
    ) as error:
        predict(run, tmp_path / "in", tmp_path / "out")
    assert "prediction.json" in str(error.value)
    assert mask.read_text() == "precious" and not (tmp_path / "out" / "masks" / "b.png").exists()
    assert predict(run, tmp_path / "in", tmp_path / "out", force=True).images == 2
    assert read(mask).sum() == 81 * 255


def test_what_is_read_is_never_replaced_not_even_by_force(tmp_path: Path) -> None:
    write(tmp_path / "set" / "images" / "a.png", spots((40, 40), (5, 5, 9, 9)))
    truth = write(tmp_path / "set" / "masks" / "a.png", spots((40, 40), (5, 5, 9, 9)))
    before = truth.read_bytes()
    with pytest.raises(ValueError, match=r"masks/a\.png is an input and would be overwritten"):
        predict(loaded(tmp_path), tmp_path / "set", tmp_path / "set", force=True)
    assert truth.read_bytes() == before


def test_small_objects_are_removed_and_the_threshold_is_kept_to(tmp_path: Path) -> None:
    image = spots((60, 60), (5, 5, 2, 2), (20, 20, 9, 9))
    image[40:50, 40:50] = 135  # sigmoid(40 · (135 / 255 - 0.5)) = 0.76
    path = write(tmp_path / "a.png", image)
    run = loaded(tmp_path)
    assert predict(run, path, tmp_path / "0").objects == 3
    assert predict(run, path, tmp_path / "1", min_area=5).objects == 2
    assert predict(run, path, tmp_path / "2", min_area=5, threshold=0.8).objects == 1
    assert (read(tmp_path / "2" / "masks" / "a.png") > 0).sum() == 81
    (tmp_path / "run" / "threshold.json").write_text('{"threshold": 0.8}')
    assert predict(load_segmenter(tmp_path / "run"), path, tmp_path / "3", min_area=5).objects == 1


def test_classes_are_indices_with_probabilities_for_each(tmp_path: Path) -> None:
    image = spots((90, 130), (10, 10, 20, 30))
    image[50:60, 100:120] = 128
    path = write(tmp_path / "set" / "images" / "a.png", image)
    truth = np.digitize(image, [64, 192]).astype(np.uint8)
    wrong = truth.copy()
    wrong[50:60, 100:110] = 0
    write(tmp_path / "set" / "masks" / "a.png", wrong)
    classes = {"background": 0, "grey": 1, "white": 2}
    run = loaded(tmp_path, "Greys", facts=THREE, **{"data.classes": classes})
    done = predict(run, path, tmp_path / "out", probabilities=True)
    assert np.array_equal(read(tmp_path / "out" / "masks" / "a.png"), truth)
    likely = np.load(tmp_path / "out" / "probabilities" / "a.npy")
    assert likely.shape == (3, 90, 130) and likely.dtype == np.float16
    assert np.allclose(likely.astype(float).sum(0), 1, atol=2e-3) and np.array_equal(likely.argmax(0), truth)
    rows = table(tmp_path / "out" / "metrics.csv")
    black, both = (truth == 0).sum(), ((truth == 0) & (wrong == 0)).sum()
    assert [(row["class"], float(row["dice"]), float(row["recall"])) for row in rows] == [
        (
            "background",
            pytest.approx(2 * both / ((wrong == 0).sum() + black), abs=1e-5),
            pytest.approx(both / (wrong == 0).sum(), abs=1e-5),
        ),
        ("grey", pytest.approx(2 / 3, abs=1e-5), 1.0),
        ("white", 1.0, 1.0),
        ("mean", pytest.approx(5 / 6, abs=1e-5), 1.0),
    ]
    assert done.metrics["mean"]["dice"] == pytest.approx(5 / 6)
    assert "(means over images and 2 classes without background)" in done.as_text()
    assert [row["class"] for row in table(tmp_path / "out" / "objects.csv")] == ["grey", "white"]
    with pytest.raises(ValueError, match="a threshold has no effect on 3 classes"):
        predict(run, path, tmp_path / "more", threshold=0.5)


def test_probabilities_of_the_foreground_have_sixteen_bits(tmp_path: Path) -> None:
    image = RNG.integers(0, 256, (80, 100), np.uint8)
    predict(
        loaded(tmp_path, weight=2.0), write(tmp_path / "a.png", image), tmp_path / "out", probabilities=True
    )
    likely = read(tmp_path / "out" / "probabilities" / "a.png")
    expected = 1 / (1 + np.exp(-2 * (image / 255 - 0.5)))
    assert likely.dtype == np.uint16 and np.allclose(likely / 65535, expected, atol=2e-5)


def test_the_stored_normalisation_is_used(tmp_path: Path) -> None:
    image = spots((50, 50), (5, 5, 9, 9), value=40)
    path = write(tmp_path / "a.png", image)
    stored = {**PLAIN, "normalise": "train", "mean": [0.0] * 3, "std": [0.2] * 3}
    assert predict(loaded(tmp_path / "0"), path, tmp_path / "out0").objects == 0
    assert predict(loaded(tmp_path / "1", facts=stored), path, tmp_path / "out1").objects == 1
    own = {**PLAIN, "normalise": "image"}
    assert predict(loaded(tmp_path / "2", facts=own), path, tmp_path / "out2").objects == 1


def test_a_truth_of_another_size_is_reported_beside_its_mask(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write(tmp_path / "set" / "images" / f"{name}.png", spots((40, 40), (5, 5, 9, 9)))
    write(tmp_path / "set" / "masks" / "a.png", spots((40, 41)))
    write(tmp_path / "set" / "masks" / "b.png", spots((40, 40), (5, 5, 9, 9)))
    done = predict(loaded(tmp_path), tmp_path / "set", tmp_path / "out")
    assert done.images == 3 and [failure.name for failure in done.failed] == ["a"]
    assert "masks/a.png: image and truth differ in size: 40 × 40 and 41 × 40" in done.failed[0].reason
    assert [row["image"] for row in table(tmp_path / "out" / "metrics.csv")] == ["b"]
    assert done.metrics == {"spot": {"dice": 1.0, "iou": 1.0, "precision": 1.0, "recall": 1.0}}


def test_a_truth_that_cannot_be_read_is_reported_beside_its_mask(tmp_path: Path) -> None:
    image = write(tmp_path / "a.png", spots((40, 40), (5, 5, 9, 9)))
    (tmp_path / "set.csv").write_text("basename,image_path,mask_path\na,a.png,gone.png\nb,none.png,\n")
    done = predict(loaded(tmp_path), tmp_path / "set.csv", tmp_path / "out")
    assert image.exists() and [(each.name, done.images) for each in done.failed] == [("a", 1), ("b", 1)]
    assert "gone.png: can't be read" in done.failed[0].reason and "none.png" in done.failed[1].reason
    assert read(tmp_path / "out" / "masks" / "a.png").any()


def test_metrics_of_images_that_were_learnt_from_are_told(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / "set" / "images" / f"{name}.png", spots((40, 40), (5, 5, 9, 9)))
        write(tmp_path / "set" / "masks" / f"{name}.png", spots((40, 40), (5, 5, 9, 9)))
    known = {**PLAIN, "split": {"train": ["b", "c"], "val": ["a"]}}
    done = predict(loaded(tmp_path, facts=known), tmp_path / "set", tmp_path / "out")
    assert done.notes == ["the metrics include 1 images that the network was trained on"]


def test_measures_of_an_earlier_prediction_do_not_stay(tmp_path: Path) -> None:
    write(tmp_path / "set" / "images" / "a.png", spots((40, 40), (5, 5, 9, 9)))
    truth = write(tmp_path / "set" / "masks" / "a.png", spots((40, 40), (5, 5, 9, 9)))
    predict(loaded(tmp_path), tmp_path / "set", tmp_path / "out")
    assert (tmp_path / "out" / "metrics.csv").exists()
    truth.unlink()
    predict(loaded(tmp_path / "again"), tmp_path / "set", tmp_path / "out", force=True)
    assert not (tmp_path / "out" / "metrics.csv").exists()


def test_an_output_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    image = write(tmp_path / "a.png", spots((40, 40)))
    with pytest.raises(ValueError, match="can't be written"):
        predict(loaded(tmp_path), image, image / "out")


def test_data_of_a_users_own_may_call_anything_classes(tmp_path: Path) -> None:
    write(tmp_path / "set" / "images" / "a.png", spots((40, 40), (5, 5, 9, 9)))
    write(tmp_path / "set" / "masks" / "a.png", spots((40, 40), (5, 5, 9, 9), value=2))
    run = loaded(tmp_path, "Greys", facts=THREE, **{"data.classes": 3, "data.ignore": [1]})
    assert predict(run, tmp_path / "set", tmp_path / "out").metrics["white"]["dice"] == 1.0


def test_all_one_class_is_told(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / "in" / f"{name}.png", spots((40, 40)))
    done = predict(loaded(tmp_path), tmp_path / "in", tmp_path / "out")
    assert done.notes == ["every pixel of all 2 images is predicted to be background"]


def test_sequences_condition_the_answer_and_unknown_ones_are_told_once(tmp_path: Path) -> None:
    facts = {**PLAIN, "sequences": {"north": 0, "south": 1}}
    run = loaded(tmp_path, "Conditioned", facts=facts)
    image = write(tmp_path / "a.png", spots((40, 40), (5, 5, 9, 9)))
    rows = [("n", "north"), ("s", "south"), ("w", "west"), ("v", "west"), ("u", "")]
    lines = ["basename,image_path,sequence_id", *(f"{name},a.png,{sequence}" for name, sequence in rows)]
    (tmp_path / "set.csv").write_text("\n".join(lines))
    done = predict(run, tmp_path / "set.csv", tmp_path / "out")
    sums = {name: int((read(tmp_path / "out" / "masks" / f"{name}.png") > 0).sum()) for name, _ in rows}
    assert sums == {"n": 81, "s": 1600 - 81, "w": 0, "v": 0, "u": 0}
    assert len(done.notes) == 2
    assert "no sequence west: 2 images are predicted without a condition" in done.notes[0]
    assert "1 of 5 images have no sequence id" in done.notes[1]
    again = predict(run, image, tmp_path / "more", sequence="south")
    assert again.notes == [] and (read(tmp_path / "more" / "masks" / "a.png") > 0).sum() == 1600 - 81
    with pytest.raises(ValueError, match="a sequence has no effect"):
        predict(loaded(tmp_path / "plain"), image, tmp_path / "x", sequence="south")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 1.5}, "threshold must be in"),
        ({"min_area": -1}, "min_area must be at least 0"),
        ({"pixel_size": 0.0}, "pixel_size must be above 0"),
        ({"overlap": 64}, "an overlap of 64 is too large for a tile of 64"),
        ({"tile": 0}, "tile and divisor must be at least 1"),
    ],
)
def test_senseless_settings_are_refused_before_anything_is_written(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    path = write(tmp_path / "a.png", spots((40, 40)))
    with pytest.raises(ValueError, match=message):
        predict(loaded(tmp_path), path, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


# --- files that are unlike those of the training ----------------------------------------------------------


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_masks_lie_on_the_image_as_viewers_show_it(tmp_path: Path, orientation: int) -> None:
    stored = spots((40, 60), (3, 4, 15, 16))
    turned = np.rot90(stored, {3: 2, 6: 3, 8: 1}[orientation])  # as EXIF 2.32 defines 3, 6 and 8
    information = Image.Exif()
    information[274] = orientation
    for name, kind in (("jpg", "JPEG"), ("png", "PNG"), ("tif", "TIFF")):
        path = tmp_path / "in" / "images" / f"{name}.{name}"
        path.parent.mkdir(parents=True, exist_ok=True)
        how = {"quality": 100} if kind == "JPEG" else {}
        Image.fromarray(stored).save(path, kind, exif=information, **how)
        write(tmp_path / "in" / "masks" / f"{name}.png", turned)
    done = predict(loaded(tmp_path), tmp_path / "in", tmp_path / "out")
    for name in ("jpg", "png", "tif"):
        assert np.array_equal(read(tmp_path / "out" / "masks" / f"{name}.png"), turned)
    assert done.failed == [] and done.metrics["spot"]["dice"] == 1.0


def test_images_of_another_depth_are_reported_and_their_range_can_be_stated(tmp_path: Path) -> None:
    drawn = spots((40, 60), (3, 4, 15, 16))
    write(tmp_path / "in" / "a.png", drawn.astype(np.uint16) * 16)  # 12 bits: up to 4,080
    run = loaded(tmp_path, facts={**PLAIN, "depths": {"uint8": 255.0}})
    done = predict(run, tmp_path / "in", tmp_path / "out")
    assert not read(tmp_path / "out" / "masks" / "a.png").any()
    (unlike,) = [note for note in done.notes if "16 bits of which 12 are used" in note]
    assert unlike.startswith(f"1 image (such as {tmp_path / 'in' / 'a.png'})") and "8 bits" in unlike
    assert f"Warning: {unlike}" in done.as_text()
    done = predict(run, tmp_path / "in", tmp_path / "scaled", value_range=[0, 4080])
    assert np.array_equal(read(tmp_path / "scaled" / "masks" / "a.png"), drawn) and not done.notes
    assert json.loads((tmp_path / "scaled" / "prediction.json").read_text())["settings"]["value_range"] == [
        0,
        4080,
    ]
    done = predict(run, tmp_path / "in", tmp_path / "narrow", value_range=[0, 1000])
    assert "outside of data.value_range [0.0, 1000.0]" in done.failed[0].reason


def test_the_range_of_the_training_is_that_of_a_prediction(tmp_path: Path) -> None:
    drawn = spots((40, 60), (3, 4, 15, 16))
    path = tmp_path / "in" / "a.tif"
    path.parent.mkdir()
    path.write_bytes(tiff(drawn.astype(np.int16) * 4 - 100))  # -100 to 920
    facts = {**PLAIN, "depths": {"int16": 920.0}, "value_range": [-100.0, 920.0]}
    done = predict(loaded(tmp_path, facts=facts), tmp_path / "in", tmp_path / "out")
    assert np.array_equal(read(tmp_path / "out" / "masks" / "a.png"), drawn) and done.notes == []


def test_truths_hold_the_values_of_the_layout_that_was_trained_on(tmp_path: Path) -> None:
    """Such as label ids of Cityscapes, where 7 is the first class and most others are ignored."""
    image = spots((40, 60), (10, 10, 20, 30))
    image[32:38, 50:58] = 128
    path = write(tmp_path / "set" / "images" / "a.png", image)
    classes = np.digitize(image, [64, 192])
    truth = np.array([7, 8, 0])[classes].astype(np.uint8)  # white is of none of the judged classes
    truth[0] = 8  # and a row of black is wrong
    write(tmp_path / "set" / "masks" / "a.png", truth)
    stated = {"background": 7, "grey": 8, "white": 11}
    facts = {**THREE, "mask_values": {"classes": stated, "ignore": None, "ignore_others": True}}
    done = predict(loaded(tmp_path, "Greys", facts=facts), path, tmp_path / "out")
    black, grey = int((classes == 0).sum()), int((classes == 1).sum())
    rows = {row["class"]: row for row in table(tmp_path / "out" / "metrics.csv")}
    assert done.failed == []
    assert float(rows["background"]["dice"]) == pytest.approx(2 * (black - 60) / (2 * black - 60), abs=1e-5)
    assert float(rows["grey"]["dice"]) == pytest.approx(2 * grey / (2 * grey + 60), abs=1e-5)
