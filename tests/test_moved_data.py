"""Runs whose data lies elsewhere by now: `--evaluate`, `--export`, `--resume` with `--set data.root=PATH`."""

import json
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import main as program
from tests.conftest import Say

SHARED = {"device": "cpu", "threads": 1, "batch_size": 4, "epochs": 2, "pictures": {"enabled": False}}
CLASSES = {
    **SHARED, "name": "classes", "task": "lab.tasks.Classification",
    "data": {"target": "lab.data.class_folder", "root": "set", "size": 8, "val_share": 0.3},
    "net": {"target": "model.ConvNet", "width": 4, "depth": 1, "in_channels": "auto", "classes": "auto"},
    "criterion": "torch.nn.CrossEntropyLoss", "metrics": {"accuracy": "lab.metrics.Accuracy"},
}  # fmt: skip
MASKS = {
    **SHARED, "name": "masks", "seeds": [1, 2], "task": {"target": "lab.tasks.Segmentation"},
    "data": {"target": "lab.data.image_folder", "root": "pairs", "val_share": 0.3, "grayscale": True},
    "net": {"target": "tests.inference_tools.Small", "in_channels": "auto", "classes": "auto"},
    "criterion": "lab.losses.BCEDice", "metrics": {"dice": "lab.metrics.Dice"},
}  # fmt: skip
OWN = {
    **SHARED, "name": "own", "data": {"target": "own_points.points", "table": "numbers/points.csv"},
    "net": {"target": "model.MLP", "width": 4, "layers": 1},
}  # fmt: skip
SOURCE = """
import numpy as np, torch
from torch.utils.data import TensorDataset
def points(table: str, count: int = 16):
    x = torch.tensor(np.loadtxt(table, dtype=np.float32)[:, None])
    return TensorDataset(x[:count], 2 * x[:count]), TensorDataset(x[count:], 2 * x[count:])
"""


def draw(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(12):
        mask = np.zeros((16, 16), np.uint8)
        cv2.circle(mask, tuple(rng.integers(5, 11, 2).tolist()), 4, 255, -1)
        image = np.clip(60 + mask // 2 + rng.normal(0, 8, mask.shape), 0, 255).astype(np.uint8)
        shade = np.full((8, 8, 3), 20 * number + rng.integers(0, 9), np.uint8)
        for name, pixels in (
            (f"pairs/images/{number}.png", image), (f"pairs/masks/{number}.png", mask),
            (f"set/{'ab'[number % 2]}/{number:02}.png", shade),
        ):  # fmt: skip
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(folder / name), pixels)
    (folder / "numbers").mkdir()
    np.savetxt(folder / "numbers" / "points.csv", rng.normal(size=24))
    (folder / "own_points.py").write_text(SOURCE)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Finished runs in another place than the one they were trained in, and their data yet elsewhere."""
    first = tmp_path_factory.mktemp("first")
    second = tmp_path_factory.mktemp("moved") / "bob's machine"
    draw(first)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(first)
        for recipe in (CLASSES, MASKS, OWN):
            (first / "run.yaml").write_text(json.dumps(recipe))
            assert program.main(["--run", "run.yaml", "--quiet"]) == 0
    sys.modules.pop("own_points")
    shutil.copytree(first / "runs", second / "runs")
    shutil.copy(first / "own_points.py", second)
    for name in ("set", "pairs", "numbers"):
        shutil.move(first / name, second / "my data" / name)
    yield second


def run_of(place: Path, name: str) -> str:
    (folder,) = (place / "runs").glob(f"*_{name}")
    return str(folder.relative_to(place))


@pytest.mark.parametrize(
    ("name", "key", "where"),
    [("classes", "root", "my data/set"), ("masks", "root", "my data/pairs"),
     ("own", "table", "my data/numbers/points.csv")],
)  # fmt: skip
def test_the_message_names_an_option_that_works(
    place: Path, say: Say, name: str, key: str, where: str
) -> None:
    run = run_of(place, name)
    error = say(2, "--evaluate", run, "--split", "val")
    assert f"if it has moved, add --set data.{key}=PATH" in error
    out = say(0, "--evaluate", run, "--split", "val", "--json", "--set", f"data.{key}={where}")
    found = json.loads(out)
    last = json.loads((place / run / "summary.json").read_text())
    figures = {"classes": "accuracy", "masks": "dice", "own": "loss"}
    assert found["split"] == "val" and figures[name] in json.dumps(found)
    if name == "own":
        assert found["scores"]["loss"] == pytest.approx(last["best"]["val_loss"], rel=1e-5)


def test_an_edited_config_is_read_for_where_the_data_lies(place: Path, say: Say) -> None:
    run = run_of(place, "classes")
    file = place / run / "config.yaml"
    before = file.read_text()
    try:
        file.write_text(before.replace("root: set", "root: my data/set"))
        assert f"data.root is my data/set, as currently set in {run}/config.yaml" in say(0, "--evaluate", run)
        file.write_text(before.replace("root: set", "root: nowhere").replace("width: 4", "width: 6"))
        assert "data.root: nowhere" in say(2, "--evaluate", run), "and of the network, the weights' own"
        say(0, "--evaluate", run, "--set", "data.root=my data/set")
    finally:
        file.write_text(before)


@pytest.mark.parametrize(
    "assignment",
    ["net.width=8", "data.val_share=0.5", "data.size=4", "epochs=3", "criterion=torch.nn.L1Loss"],
)
def test_what_was_trained_with_cannot_be_set(place: Path, say: Say, assignment: str) -> None:
    error = say(
        2, "--evaluate", run_of(place, "classes"), "--set", assignment, "--set", "data.root=my data/set"
    )
    assert f"--set {assignment}: {assignment.partition('=')[0]}: the run was trained with this value" in error
    assert "data.root" in error and "1 problem" in error


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("data.root", "="),
        ("data.root={a: 1}", "expected a path"),
        ("data.manifest=x.csv", "data.manifest: class_folder takes no 'manifest'"),
        ("data.rooot_dir=x", "takes no 'rooot_dir'"),
        (
            "data.root=$DATA/set",
            "data.root: '$DATA/set': variables are not expanded in a path, and $DATA is one",
        ),
        ("data.root=~nobody-here/set", "data.root: '~nobody-here/set': there is no user 'nobody-here'"),
    ],
)
def test_what_is_no_path_is_refused(place: Path, say: Say, assignment: str, words: str) -> None:
    error = say(2, "--evaluate", run_of(place, "classes"), "--set", assignment)
    assert words in error and f"--set {assignment}" in error


def test_other_images_than_those_of_the_training_are_named(place: Path, say: Say, tmp_path: Path) -> None:
    run = run_of(place, "classes")
    shutil.copytree(place / "my data" / "set", tmp_path / "less")
    facts = [path.stem for path in (tmp_path / "less").rglob("*.png")]
    for name in sorted(facts)[:4]:
        next((tmp_path / "less").rglob(f"{name}.png")).unlink()
    out = say(0, "--evaluate", run, "--set", f"data.root={tmp_path / 'less'}")
    assert "the val set has changed since the run was trained: " in out
    assert "the network was trained on" in out, "what was learnt from would judge"


def test_the_same_images_are_not_named(place: Path, say: Say) -> None:
    out = say(0, "--evaluate", run_of(place, "masks"), "--set", "data.root=my data/pairs")
    assert "has changed since" not in out and "was trained on" not in out


def test_an_export_is_checked_on_the_moved_images(place: Path, say: Say, tmp_path: Path) -> None:
    part = f"{run_of(place, 'masks')}/seed_1"
    command = ("--export", "safetensors", part, "--output", str(tmp_path / "net.safetensors"))
    assert "add --set data.root=PATH" in say(2, *command)
    assert "validation images of the run" in say(0, *command, "--set", "data.root=my data/pairs")
    error = say(2, *command, "--input", "my data/pairs/images", "--set", "data.root=my data/pairs")
    assert "--set has no effect with --export and --input" in error


def test_a_threshold_of_other_weights_is_tuned_anew_by_the_command_that_is_named(
    place: Path, say: Say, tmp_path: Path
) -> None:
    part = f"{run_of(place, 'masks')}/seed_1"
    record = place / part / "threshold.json"
    record.write_text(json.dumps({"threshold": 0.4, "epoch": 99}))
    try:
        out = say(0, "--predict", part, "--input", "my data/pairs/images", "--output", str(tmp_path / "out"))
        command = out.partition("; to tune it again: ")[2].partition("\n")[0]
        words = shlex.split(command)[2:]
        say(0, *words, "--set", "data.root=my data/pairs")
        assert json.loads(record.read_text())["epoch"] != 99
    finally:
        record.unlink()


def test_the_range_of_a_12_bit_camera_is_stated_by_the_option_that_is_named(
    place: Path, say: Say, tmp_path: Path
) -> None:
    part, image = f"{run_of(place, 'masks')}/seed_1", tmp_path / "camera" / "a.png"
    image.parent.mkdir()
    assert cv2.imwrite(str(image), np.arange(256, dtype=np.uint16).reshape(16, 16) * 16)
    command = ("--predict", part, "--input", str(image.parent), "--output", str(tmp_path / "out"))
    assert "state their range (--value-range)" in say(0, *command)
    assert "state their range" not in say(0, *command, "--force", "--value-range", "0", "4095")


def test_a_run_is_resumed_where_its_images_are_now(place: Path, say: Say) -> None:
    run = run_of(place, "classes")
    say(2, "--resume", run, "--set", "epochs=3")
    say(0, "--resume", run, "--set", "epochs=3", "--set", "data.root=my data/set", "--quiet")
    assert json.loads((place / run / "summary.json").read_text())["epochs"] == 3
    assert "was trained on" not in say(0, "--evaluate", run), "the record has the new place from then on"


def test_any_key_that_is_a_path_is_one() -> None:
    from lab.predict.moved_data import is_place

    places: list[tuple[str, Any]] = [
        ("root", None), ("train_dir", None), ("csv_files", None), ("metadata", None), ("cache_gb", 2.0),
        ("directories", None), ("where", "/mnt/set"),
    ]  # fmt: skip
    others: list[tuple[str, Any]] = [
        ("fold", 0),
        ("folds", 5),
        ("val_share", 0.2),
        ("classes", None),
        ("kind", "a"),
    ]
    assert [is_place(*each) for each in places] == [True] * len(places)
    assert [is_place(*each) for each in others] == [False] * len(others)
