"""Runs and studies of commit 9de05b7, in `tests/old`: what is continued, what is refused, what is marked."""

import csv
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

import util
from lab import checkpoint
from lab.config import RunConfig
from lab.evaluate.segmentation import SegmentationEvaluator
from lab.events import RunResult
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
    draw_patients(tmp_path / "data" / "patients")
    with sqlite3.connect(tmp_path / "studies.db") as database:
        database.executescript((OLD / "studies.sql").read_text())
    database.close()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def draw_images(folder: Path) -> None:
    """The pixels that `sky` and `back` were trained on: squares of three classes, 100 apart, with noise."""
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
    assert "monitor.metric: the checkpoint in " in output
    assert "has val_dice by definition 1, and this program computes definition 2" in output
    assert "left out the first class" in output and "start a new run" in output and "Traceback" not in output
    assert (
        before.items()
        <= {p: p.read_bytes() for p in (old / "runs" / "sky").rglob("*") if p.is_file()}.items()
    )


def test_early_stopping_by_a_changed_metric_is_refused_too(
    old: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    watching = ["--set", "early_stopping_config={metric: val_dice, mode: max}"]
    assert main(["--resume", "runs/loss", "--set", "epochs=3", *watching]) == 2
    assert "has val_dice by definition 1" in capsys.readouterr().err


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


def rows_of(run: Path) -> list[dict[str, float]]:
    """The values of each epoch but for its time."""
    with (run / "metrics.csv").open(newline="") as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def test_old_runs_are_listed_with_their_values(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list", "--json"]) == 0
    rows = {row["run_id"]: row for row in json.loads(capsys.readouterr().out)}
    expected = {name: summary(old / "runs" / name) for name in ("back", "curve", "loss", "patients", "sky")}
    assert {name: (rows[name]["outcome"], rows[name]["value"]) for name in expected} == {
        name: ("completed", values["value"]) for name, values in expected.items()
    }
    assert rows["folds"]["outcome"] == "interrupted"
    assert main(["--list", "--sort", "value", "--outcome", "completed"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    ordered = sorted(expected, key=lambda name: expected[name]["value"])
    assert [name for name in names if name in rows] in (ordered, ordered[::-1])


@pytest.mark.parametrize("name", ["curve", "patients"])
def test_a_continued_run_has_the_values_of_one_that_never_stopped(old: Path, name: str) -> None:
    run = old / "runs" / name
    before = rows_of(run)
    assert main(["--resume", f"runs/{name}", "--set", "epochs=4"]) == 0
    after = rows_of(run)
    assert len(before) == 2 and after[:2] == before
    if name == "curve":  # the data of `patients` would be cut in another way today
        assert main(["--run", "curve.yaml", "--set", "name=whole", "--set", "epochs=4"]) == 0
        whole = rows_of(next((old / "runs").glob("*_whole")))
        assert [list(row) for row in whole] == [list(row) for row in after]
        for row, wanted in zip(after, whole, strict=True):
            assert row == pytest.approx(wanted, rel=1e-6)
    assert [row["epoch"] for row in after] == [1, 2, 3, 4]
    assert after[3]["train_loss"] < after[2]["train_loss"] < before[1]["train_loss"]


def test_an_old_run_without_an_evaluation_of_its_own_has_the_values_that_it_recorded(
    old: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoints = old / "runs" / "curve" / "checkpoints"
    shutil.copy(checkpoints / "last.pt", checkpoints / "best.pt")  # the second epoch was the best
    assert main(["--evaluate", "runs/curve", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    last = rows_of(old / "runs" / "curve")[1]
    assert found["split"] == "val"
    assert found["scores"]["loss"] == pytest.approx(last["val_loss"], rel=1e-6)
    assert found["scores"]["mae"] == pytest.approx(last["val_mae"], rel=1e-6)
    assert (
        json.loads(next((old / "runs" / "curve").rglob("metrics.json")).read_text())["scores"]
        == (found["scores"])
    )


def leaderboard(folder: Path) -> dict[int, dict[str, str]]:
    with (folder / "leaderboard.csv").open(newline="") as file:
        return {int(row["trial"]): row for row in csv.DictReader(file)}


@pytest.mark.parametrize(
    ("name", "metric", "outcomes"),
    [
        ("sky", "val_dice", ["completed", "completed"]),
        ("curve", "val_loss", ["completed", "completed"]),
        ("patients", "val_loss", ["completed", "waiting"]),
    ],
)
def test_an_old_study_is_reported_with_its_values(
    old: Path, capsys: pytest.CaptureFixture[str], name: str, metric: str, outcomes: list[str]
) -> None:
    stored = stored_trials(old / "studies.db", name)
    folder = old / "studies" / name
    assert main(["--report", name]) == 0
    assert Path(capsys.readouterr().out.strip()) == folder.relative_to(old) / "report.html"
    rows = leaderboard(folder)
    assert [rows[number]["outcome"] for number in sorted(rows)] == outcomes
    for number, (rate, value) in stored.items():
        assert float(rows[number]["optimizer.lr"]) == rate
        assert rows[number][metric] == ("" if value is None else repr(value))
    values = [value for _, value in stored.values() if value is not None]
    best = max(values) if metric == "val_dice" else min(values)
    ranked = [float(rows[number][metric]) for number in rows if rows[number]["rank"] == "1"]
    assert ranked == [best]
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert name in page and f"{best:.4g}"[:5] in page


def stored_trials(database: Path, study: str) -> dict[int, tuple[float, float | None]]:
    """Number -> learning rate and value, by SQL alone."""
    with sqlite3.connect(database) as connection:
        rows = connection.execute(
            "SELECT number, param_value, value FROM trials JOIN studies USING (study_id) "
            "JOIN trial_params USING (trial_id) LEFT JOIN trial_values USING (trial_id) "
            "WHERE study_name = ?",
            (study,),
        ).fetchall()
    connection.close()
    return {number: (rate, value) for number, rate, value in rows}


def test_a_continued_study_keeps_its_trials_and_names_the_best_of_all(
    old: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = stored_trials(old / "studies.db", "curve")
    assert main(["--optimize", "curve_study.yaml", "--set", "n_trials=5", *HERE]) == 0
    after = stored_trials(old / "studies.db", "curve")
    assert len(before) == 2 and len(after) == 5 and after.items() >= before.items()
    folder = old / "studies" / "curve"
    for number in (2, 3, 4):  # what is stored is what the trial's own run has
        rows, (rate, value) = rows_of(folder / f"trial_{number:05d}"), after[number]
        assert rows[0]["lr"] == rate and value == min(row["val_loss"] for row in rows)
    best = min(after, key=lambda number: after[number][1] or 0.0)
    assert f"Best     trial {best}: val_loss" in capsys.readouterr().out
    if best > 1:  # the folders of the old trials are not here
        assert json.loads((folder / "best" / "trial.json").read_text())["number"] == best


def test_the_trial_that_was_interrupted_goes_on_where_it_was(old: Path) -> None:
    trial = old / "studies" / "patients" / "trial_00001"
    before = rows_of(trial)
    assert main(["--optimize", "patients_study.yaml", *HERE]) == 0
    after = rows_of(trial)
    assert (len(before), len(after)) == (1, 2) and after[:1] == before
    rate, value = stored_trials(old / "studies.db", "patients")[1]
    assert value == min(row["val_loss"] for row in after) and after[1]["lr"] == rate


def draw_patients(folder: Path) -> None:
    """The pixels that `patients` was trained on, and a table of five patients: 3, 3, 2, 2 and 2 images."""
    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    rows = ["frame_id,patient"]
    for name in ["a0", "a1", "a2", "b0", "b1", "b2", "c0", "c1", "d0", "d1", "e0", "e1"]:
        mask = np.zeros((8, 8), np.uint8)
        top = int(rng.integers(0, 4))
        mask[top : top + 4, 2:6] = 255
        image = (mask // 2 + rng.integers(0, 90, mask.shape)).astype(np.uint8)
        Image.fromarray(image).save(folder / "images" / f"{name}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{name}.png")
        rows.append(f"{name},{name[0]}")
    (folder / "patients.csv").write_text("\n".join(rows) + "\n")


def cut_of(checkpoints: Path, name: str = "last.pt") -> dict[str, list[str]]:
    found: dict[str, list[str]] = checkpoint.load(checkpoints / name)["data"]["split"]
    return found


def test_a_new_run_has_and_keeps_the_nearest_cut_where_the_old_version_had_another(old: Path) -> None:
    before = cut_of(old / "runs" / "patients" / "checkpoints")
    assert main(["--run", "patients.yaml", "--set", "name=new"]) == 0
    run = next((old / "runs").glob("*_new"))
    after = cut_of(run / "checkpoints")
    assert (len(before["val"]), len(after["val"])) == (5, 4)
    assert set(after["val"]) & set(before["train"])  # the cut that must not be mixed with the old one
    assert main(["--resume", str(run), "--set", "epochs=3"]) == 0
    assert summary(run)["epochs"] == 3 and cut_of(run / "checkpoints") == after
    assert sorted(image.name for image in SegmentationEvaluator().evaluate(run).images) == sorted(
        after["val"]
    )


def test_a_run_with_groups_is_continued_and_judged_with_its_own_cut(
    old: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = old / "runs" / "patients"
    before = cut_of(run / "checkpoints")
    for epochs in (3, 4):  # the second time from a checkpoint of this version
        found = SegmentationEvaluator().evaluate(run)
        assert sorted(image.name for image in found.images) == sorted(before["val"])
        assert not any("was trained on" in note for note in found.notes)
        assert main(["--resume", "runs/patients", "--set", f"epochs={epochs}"]) == 0
        assert summary(run)["epochs"] == epochs and cut_of(run / "checkpoints") == before
    assert "files of the data have changed" not in capsys.readouterr().out


def test_folds_of_an_old_run_that_had_not_begun_are_those_of_its_first(old: Path) -> None:
    run = old / "runs" / "folds"
    first = cut_of(run / "fold_0" / "checkpoints")
    assert (len(first["train"]), len(first["val"])) == (5, 7)  # 6 and 6 by the rule of today
    assert not (run / "fold_1" / "checkpoints").exists()
    for epochs in (2, 3):
        assert main(["--resume", "runs/folds", "--set", f"epochs={epochs}"]) == 0
        second = cut_of(run / "fold_1" / "checkpoints")
        assert cut_of(run / "fold_0" / "checkpoints") == first
        assert (second["train"], second["val"]) == (first["val"], first["train"])


@pytest.mark.parametrize("isolation", ["none", "process"])
def test_all_trials_of_an_old_study_with_groups_have_its_cut(
    old: Path, capsys: pytest.CaptureFixture[str], isolation: str
) -> None:
    folder = old / "studies" / "patients"
    before = cut_of(folder / "best", "best.pt")
    assert len(before["val"]) == 5
    for trials in (3, 4):  # one was interrupted, the others are new
        command = ["--optimize", "patients_study.yaml", "--set", f"n_trials={trials}"]
        assert main([*command, "--set", f"isolation={isolation}"]) == 0
        for number in range(1, trials):
            assert cut_of(folder / f"trial_{number:05d}" / "checkpoints") == before
    assert main(["--evaluate", "studies/patients/best"]) == 0
    assert "was trained on" not in capsys.readouterr().out


def test_confirmation_reruns_of_an_old_study_have_its_cut(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = cut_of(old / "studies" / "patients" / "best", "best.pt")
    cuts: dict[Path, dict[str, list[str]]] = {}

    def run(config: RunConfig, *, run_dir: Path, **options: Any) -> RunResult:
        result = train(config, run_dir=run_dir, **options)
        cuts[run_dir] = cut_of(run_dir / "checkpoints")  # of a rerun they are removed later
        return result

    train = util.run
    monkeypatch.setattr(util, "run", run)
    confirm = ["--set", "confirm={top: 3, seeds: 2}", "--set", "n_trials=3"]
    assert main(["--optimize", "patients_study.yaml", *HERE, *confirm]) == 0
    reruns = [cut for folder, cut in cuts.items() if folder.name.startswith("seed_")]
    assert reruns == [before] * 4


def test_a_fork_has_the_cut_of_the_trials_that_it_takes_over(
    old: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--optimize", "patients_study.yaml", *HERE, "--set", "n_trials=1", "--fork"]
    assert main([*command, "patients-2"]) == 0
    assert "1 of 1 finished trials of 'patients' fits" in capsys.readouterr().out
    cut = cut_of(old / "studies" / "patients-2" / "trial_00001" / "checkpoints")
    assert len(cut["val"]) == 5
    assert main([*command, "patients-3", "--set", "run.data.val_share=0.32"]) == 0
    assert "0 of 1 finished trials" in capsys.readouterr().out
    cut = cut_of(old / "studies" / "patients-3" / "trial_00000" / "checkpoints")
    assert len(cut["val"]) == 4


def test_the_trials_of_a_new_study_have_the_nearest_cut(old: Path) -> None:
    assert main(["--optimize", "patients_study.yaml", *HERE, "--set", "study_name=new"]) == 0
    for number in (0, 1):
        cut = cut_of(old / "studies" / "new" / f"trial_{number:05d}" / "checkpoints")
        assert len(cut["val"]) == 4
