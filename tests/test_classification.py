"""From images to classes by the commands alone: what each prints and leaves."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

import main as program
from tests.conftest import Say

SIDE = 12


def picture(kind: str, rng: np.random.Generator) -> np.ndarray:
    """Noise with a bright left half, or a bright top half."""
    image = rng.integers(0, 90, (SIDE, SIDE, 3))
    half = np.s_[:, : SIDE // 2] if kind == "left" else np.s_[: SIDE // 2]
    image[half] += 120
    return image.astype(np.uint8)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder a class, a recipe for it, and a finished run."""
    folder, rng = tmp_path_factory.mktemp("lab"), np.random.default_rng(0)
    for kind in ("left", "top"):
        for number in range(20):
            path = folder / "set" / kind / f"{number:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(path), picture(kind, rng))
    recipe = {
        "name": "halves",
        "epochs": 12,
        "batch_size": 8,
        "device": "cpu",
        "task": "lab.tasks.Classification",
        "data": {"target": "lab.data.class_folder", "root": "set", "size": 8, "test_share": 0.2},
        "net": {"target": "model.ConvNet", "width": 8, "in_channels": "auto", "classes": "auto"},
        "criterion": {"target": "lab.losses.CrossEntropy", "class_weights": "auto"},
        "metrics": {"accuracy": "lab.metrics.Accuracy"},
        "optimizer": {"target": "torch.optim.AdamW", "lr": 0.01},
    }
    (folder / "run.yaml").write_text(json.dumps(recipe))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert program.main(["--run", "run.yaml", "--quiet"]) == 0
    return folder


def run_of(place: Path) -> str:
    (folder,) = (place / "runs").iterdir()
    return str(folder.relative_to(place))


def test_a_check_runs_a_batch(say: Say) -> None:
    assert "input 8x3x8x8 float32, target 8 int64" in say(0, "--check", "run.yaml")


def test_a_run_is_judged_on_its_test_images(place: Path, say: Say) -> None:
    run = run_of(place)
    said = say(0, "--evaluate", run)
    assert "8 test images" in said and "accuracy 1.000" in said and "macro mean" in said
    folder = place / run / "evaluation" / "test"
    figures = json.loads((folder / "metrics.json").read_text())
    assert (figures["split"], figures["images"], figures["classes"]) == ("test", 8, ["left", "top"])
    with (folder / "confusion.csv").open() as file:
        assert list(csv.reader(file))[1:] == [["left", "4", "0"], ["top", "0", "4"]]
    for name in ("confusion.png", "reliability.png", "roc.png", "mistakes.png", "report.html"):
        assert (folder / name).is_file() or name == "mistakes.png", name  # there was no mistake
    assert json.loads(say(0, "--evaluate", run, "--json", "--split", "val"))["split"] == "val"


def test_new_images_get_a_class_and_the_broken_ones_are_told(place: Path, say: Say) -> None:
    new, rng = place / "new", np.random.default_rng(1)
    for kind in ("left", "top"):
        (new / "deeper").mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(new / f"{kind}.png"), picture(kind, rng))
    (new / "broken.png").write_bytes(b"\x89PNG")
    said = say(3, "--predict", run_of(place), "--input", "new", "--output", "said")
    assert "new/broken.png" in said and "1 failed" in said
    with (place / "said" / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == ["left", "top"]
    assert all(float(row["p_left"]) + float(row["p_top"]) == pytest.approx(1, abs=1e-5) for row in rows)
    again = say(2, "--predict", run_of(place), "--input", "new", "--output", "said")
    assert "--force" in again


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--predict", "RUN", "--input", "set", "--output", "x", "--tile", "64"], "--tile can't be used"),
        (["--evaluate", "RUN", "--threshold", "0.3"], "--threshold can't be used: the run's task is not"),
        (["--export", "onnx", "RUN"], "found lab.tasks.Classification"),
        (["--evaluate", "nothing"], "nothing"),
    ],
)
def test_what_makes_no_sense_is_refused(place: Path, say: Say, arguments: list[str], message: str) -> None:
    run = run_of(place)
    assert message in say(2, *(run if each == "RUN" else each for each in arguments))


def test_all_broken_images_are_told_before_the_training(place: Path, say: Say) -> None:
    broken = [place / "set" / "left" / "98.png", place / "set" / "top" / "99.png"]
    for path in broken:
        path.write_bytes(b"no image")
    try:
        said = say(2, "--run", "run.yaml", "--quiet")
    finally:
        for path in broken:
            path.unlink()
    assert "left/98.png" in said and "top/99.png" in said and "2 problems" in said
