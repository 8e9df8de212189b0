"""From images to masks by the commands alone: run, evaluate, predict, export; what each prints and leaves."""

import csv
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest

from tests.conftest import Say
from tests.test_folds import draw, recipe
from tests.test_main import main

RECIPE = {
    "folds": None,
    "epochs": 12,
    "batch_size": 3,
    "seeds": [1],
    "net": {"target": "model.segmenter", "encoder": "resnet18", "in_channels": "auto", "classes": "auto"},
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small set of images, and a finished run on them."""
    folder = tmp_path_factory.mktemp("lab")
    data = recipe(draw(folder / "set", 16), **RECIPE)
    data["data"] |= {"test_share": 0.25}
    (folder / "run.yaml").write_text(json.dumps(data))
    done = main(folder, "--run", "run.yaml")
    assert done.returncode == 0, done.stderr
    return folder


def run_of(place: Path) -> str:
    (folder,) = (place / "runs").iterdir()
    return str(folder.relative_to(place))


def test_evaluate_prints_a_table_and_writes_a_page(place: Path, say: Say) -> None:
    run = run_of(place)
    said = say(0, "--evaluate", run)
    assert "4 test images" in said and "foreground, per image" in said
    folder = place / run / "evaluation" / "test"
    assert sorted(path.name for path in folder.iterdir()) == ["images.csv", "metrics.json", "report.html"]
    said = say(0, "--evaluate", run, "--split", "val", "--tune-threshold", "--json")
    assert json.loads(said)["split"] == "val"
    threshold = json.loads((place / run / "threshold.json").read_text())["threshold"]
    assert 0 < threshold < 1
    assert f"threshold {threshold:g}" in say(0, "--evaluate", run)
    (place / run / "threshold.json").unlink()


def test_predict_writes_masks_and_measures_and_skips_what_is_broken(place: Path, say: Say) -> None:
    new = place / "new"
    new.mkdir()
    for source in sorted((place / "set" / "images").iterdir())[:2]:
        (new / source.name).write_bytes(source.read_bytes())
    (new / "cut.png").write_bytes((new / "n0.png").read_bytes()[:100])
    arguments = ["--predict", run_of(place), "--input", "new", "--output", "out", "--pixel-size", "0.5"]
    said = say(3, *arguments)
    assert "cut.png" in said and "1 failed" in said and "2 images" in said
    names = sorted(path.name for path in (place / "out" / "masks").iterdir())
    assert names == ["n0.png", "n1.png"]
    mask = cv2.imread(str(place / "out" / "masks" / "n0.png"), cv2.IMREAD_UNCHANGED)
    assert mask.shape == (32, 32) and set(np.unique(mask)) <= {0, 255}
    with (place / "out" / "objects.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sum(float(row["area_px"]) for row in rows if row["image"] == "n0") == (mask > 0).sum()
    again = say(2, *arguments)
    assert "--force" in again and "masks" in again
    say(3, *arguments, "--force", "--quiet")


def test_export_is_what_the_run_answers(place: Path, say: Say) -> None:
    said = say(0, "--export", "onnx", run_of(place))
    assert "Largest difference" in said and "3 images: validation images" in said
    path = place / run_of(place) / "export" / "model.onnx"
    session = onnxruntime.InferenceSession(path)
    (logits,) = session.run(None, {"image": np.zeros((2, 1, 64, 96), np.float32)})
    assert logits.shape == (2, 1, 64, 96)
    assert "--force" in say(2, "--export", "onnx", run_of(place))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--predict", "nothing", "--input", "set", "--output", "out2"], "there is no run 'nothing'"),
        (["--predict", "RUN", "--input", "missing", "--output", "out2"], "missing"),
        (["--evaluate", "RUN", "--threshold", "1.5"], "threshold must be in [0, 1), found 1.5"),
        (["--export", "tflite", "RUN"], "--export takes onnx, torchscript, safetensors; found 'tflite'"),
    ],
)
def test_what_cannot_be_done(place: Path, say: Say, arguments: list[str], message: str) -> None:
    given = [run_of(place) if word == "RUN" else word for word in arguments]
    assert message in say(2, *given)
    assert not (place / "out2").exists()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            "data.transforms=[{target: albumentations.RandomScale, p: 1.0}]",
            "data.transforms: a batch has items of",
        ),
        ("net.encoder=tu-nonexistent", "encoder 'tu-nonexistent': Unknown model (nonexistent)"),
    ],
)
def test_what_cannot_be_trained_is_told_without_a_traceback(
    place: Path, say: Say, setting: str, message: str
) -> None:
    before = set((place / "runs").iterdir())
    assert message in say(2, "--run", "run.yaml", "--set", setting, "--quiet")
    for folder in set((place / "runs").iterdir()) - before:
        shutil.rmtree(folder)


def test_other_tasks_are_judged_by_their_metrics(place: Path, say: Say) -> None:
    (place / "line.yaml").write_text(
        "{name: line, epochs: 1, device: cpu, data: {target: lab.data.function, train_count: 32, "
        "val_count: 8}, net: model.MLP, metrics: {mae: lab.metrics.MAE}, pictures: {enabled: false}}"
    )
    say(0, "--run", "line.yaml")
    (folder,) = (path for path in (place / "runs").iterdir() if path.name.endswith("line"))
    try:
        run = str(folder.relative_to(place))
        figures = json.loads(say(0, "--evaluate", run, "--json"))
        best = json.loads((folder / "summary.json").read_text())["best"]
        figures = figures["scores"]
        assert figures["loss"] == pytest.approx(best["val_loss"], abs=1e-6)
        assert figures["mae"] == pytest.approx(best["val_mae"], abs=1e-6)
        assert "not segmentation" in say(2, "--evaluate", run, "--flips")
        assert "lab.tasks.Regression" in say(2, "--predict", run, "--input", "set", "--output", "out2")
    finally:
        folder.rename(place / "line")
