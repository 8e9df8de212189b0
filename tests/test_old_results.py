"""Runs and studies of commit 9de05b7, in `tests/old`: what is continued, what is refused, what is marked."""

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from PIL import Image

from lab import checkpoint
from main import main

OLD = Path(__file__).parent / "old"
HERE = ["--set", "isolation=none"]  # trials in this process, which has torch already


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as that version left it."""
    for source in OLD.glob("*.yaml"):
        shutil.copy(source, tmp_path)
    for name, place in (("trained", "runs"), ("searched", "studies")):
        shutil.copytree(OLD / name, tmp_path / place)
    draw_images(tmp_path / "data")
    with sqlite3.connect(tmp_path / "studies.db") as database:
        database.executescript((OLD / "studies.sql").read_text())
    database.close()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def draw_images(folder: Path) -> None:
    """The pixels that the runs were trained on: squares of three classes, 100 apart, and noise up to 39."""
    rng = np.random.default_rng(0)
    for name in ("sky", "back"):
        for kind in ("images", "masks"):
            (folder / name / kind).mkdir(parents=True)
        for number in range(4):
            mask = np.kron(rng.integers(0, 3, (4, 4), dtype=np.uint8), np.ones((4, 4), np.uint8))
            image = (100 * mask + rng.integers(0, 40, mask.shape)).astype(np.uint8)
            Image.fromarray(image).save(folder / name / "images" / f"{number}.png")
            Image.fromarray(mask).save(folder / name / "masks" / f"{number}.png")


def summary(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "summary.json").read_text())
    return found


@pytest.mark.parametrize(
    ("name", "monitored", "notes"),
    [
        ("curve", {"loss": 1, "mae": 1}, []),
        ("back", {"dice": 1, "dice_car": 1}, ["loss_dice"]),  # background was left out of Dice before
        ("loss", {"loss_cross_entropy": 1, "dice_car": 1}, ["dice"]),  # Dice changed, and decides nothing
    ],
)
def test_a_run_is_continued_where_what_decides_has_kept_its_definition(
    old: Path, capsys: pytest.CaptureFixture[str], name: str, monitored: dict[str, int], notes: list[str]
) -> None:
    before = summary(old / "runs" / name)
    assert "definitions" not in before
    assert main(["--resume", f"runs/{name}", "--set", "epochs=3"]) == 0
    after, output = summary(old / "runs" / name), capsys.readouterr().out
    assert (after["epochs"], after["outcome"]) == (3, "completed")
    assert after["definitions"].items() >= monitored.items()
    for metric in notes:
        assert f"Warning: {metric} has another definition than before the checkpoint" in output
        assert after["definitions"][metric] == 1  # some of its values are by the first one
    assert ("another definition" in output) == bool(notes)


def test_a_run_whose_monitored_metric_has_changed_is_refused_with_the_reason(
    old: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in (old / "runs" / "sky").rglob("*") if path.is_file()}
    assert main(["--resume", "runs/sky", "--set", "epochs=3"]) == 2
    output = capsys.readouterr().err
    assert "monitor.metric: the epochs of the checkpoint" in output
    assert "have val_dice by definition 1, and this program computes definition 2" in output
    assert "left out the first class" in output and "train anew" in output and "Traceback" not in output
    assert (
        before.items()
        <= {p: p.read_bytes() for p in (old / "runs" / "sky").rglob("*") if p.is_file()}.items()
    )


def test_early_stopping_by_a_changed_metric_is_refused_too(
    old: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    watching = ["--set", "early_stopping_config={metric: val_dice, mode: max}"]
    assert main(["--resume", "runs/loss", "--set", "epochs=3", *watching]) == 2
    assert "have val_dice by definition 1" in capsys.readouterr().err


def test_a_new_run_records_definitions_and_old_values_beside_it_are_marked(
    old: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--list"]) == 0 and "*" not in capsys.readouterr().out
    assert main(["--run", "sky.yaml", "--set", "name=new"]) == 0
    new = next((old / "runs").glob("*_new"))
    expected = {"dice": 2, "dice_car": 1, "loss": 1, "loss_dice": 1, "loss_cross_entropy": 1, "one_class": 1}
    assert summary(new)["definitions"] == expected
    assert checkpoint.load(new / "checkpoints" / "last.pt")["definitions"] == expected
    capsys.readouterr()
    assert main(["--list", "--sort", "val_dice"]) == 0
    output = capsys.readouterr().out.splitlines()
    marked = {line.split()[0]: "*" in line for line in output if line.startswith(("sky", "back", new.name))}
    assert marked == {"sky": True, "back": False, new.name: False}  # that of `back` has not changed
    assert output[-1].startswith("* val_dice by definition 1, the others here by a newer one: not comparable")
    assert main(["--compare", "runs/sky", str(new)]) == 0
    output = capsys.readouterr().out.splitlines()
    assert [line.count("*") for line in output if line.startswith(("A ", "B "))] == [1, 0]
    assert any(line.startswith("* val_dice by definition 1") for line in output)
    assert main(["--resume", str(new), "--set", "epochs=3"]) == 0  # its own definition is the present one


def test_an_old_run_is_evaluated_by_the_present_definition(
    old: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--evaluate", "runs/sky"]) == 0
    output = capsys.readouterr().out
    assert "mean of 3 classes, per image" in output and "sky, per image" in output
    found = json.loads(next((old / "runs" / "sky").rglob("metrics.json")).read_text())
    weights = checkpoint.load(old / "runs" / "sky" / "checkpoints" / "best.pt")
    facts, state = weights["data"], weights["model"]
    per_image = []
    for name in facts["split"]["val"]:
        image, truth = (
            np.asarray(Image.open(old / "data/sky" / kind / f"{name}.png")) for kind in ("images", "masks")
        )
        scaled = (image / 255 - facts["mean"][0]) / facts["std"][0]
        logits = state["weight"][:, 0, 0, 0, None, None] * torch.tensor(scaled) + state["bias"][:, None, None]
        predicted = logits.argmax(0).numpy()
        dice = [
            2 * ((predicted == k) & (truth == k)).sum() / ((predicted == k).sum() + (truth == k).sum())
            for k in range(3)
        ]
        per_image.append(np.mean(dice))
    assert found["scores"]["mean"]["dice"]["mean"] == pytest.approx(np.mean(per_image), abs=1e-4)
    assert found["mean_over"] == "3 classes" and list(found["scores"]) == ["mean", "sky", "road", "car"]


def test_a_study_whose_objective_has_changed_names_a_fork_which_begins_without_its_trials(
    old: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--optimize", "sky_study.yaml", "--set", "n_trials=3", *HERE]
    assert main(command) == 2
    output = capsys.readouterr().err
    assert "monitor.metric: the study's trials have val_dice by definition 1 or older" in output
    assert "computes definition 2" in output and "--fork sky-2" in output and "Traceback" not in output
    storage = "sqlite:///studies.db"
    assert len(optuna.load_study(study_name="sky", storage=storage).trials) == 2
    assert main([*command, "--set", "n_trials=1", "--fork", "sky-2"]) == 0
    output = capsys.readouterr().out
    assert "0 of 2 finished trials of 'sky' fit" in output and "val_dice by definition 1" in output
    fork = optuna.load_study(study_name="sky-2", storage=storage)
    assert [trial.user_attrs["definitions"]["dice"] for trial in fork.trials] == [2]
    assert fork.user_attrs["definitions"] == 2


def test_a_study_whose_objective_has_not_changed_is_continued(
    old: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--optimize", "curve_study.yaml", "--set", "n_trials=3", *HERE]) == 0
    study = optuna.load_study(study_name="curve", storage="sqlite:///studies.db")
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 3
    assert study.trials[2].user_attrs["definitions"] == {"loss": 1, "mae": 1}
    assert study.user_attrs["definitions"] == 2
    assert "definition" not in (old / "studies" / "curve" / "leaderboard.csv").read_text()
    assert main(["--optimize", "curve_study.yaml", "--set", "n_trials=4", *HERE]) == 0
