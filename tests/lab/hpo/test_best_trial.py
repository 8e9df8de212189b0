"""`best/`: complete or not there, and always the one it says."""

import json
from pathlib import Path

import pytest
from optuna.trial import FrozenTrial, create_trial

from lab.config import RunConfig
from lab.hpo.best_trial import keep_best
from lab.hpo.trial_folder import read_trial, write_trial
from lab.store import run_folder

RECIPE = {"data": {"target": "lab.data.function"}, "net": {"target": "model.MLP", "width": 12}}


def leave(
    folder: Path, number: int, *, seeds: dict[str, float] | None = None, returns: str = "best"
) -> FrozenTrial:
    trial = folder / f"trial_{number:05d}"
    for run in [trial / name for name in seeds] if seeds else [trial]:
        (run / "checkpoints").mkdir(parents=True)
        (run / "checkpoints" / "best.pt").write_text(f"weights of {run.name}")
        (run / "metrics.csv").write_text(f"metrics of {run.name}")
        (run / "checkpoints" / "final.pt").write_text(f"last weights of {run.name}")
    recipe = {**RECIPE, "monitor": {"metric": "val_loss", "mode": "min", "returns": returns}}
    write_trial(trial, {"number": number, "recipe": recipe})
    made = create_trial(value=0.125, user_attrs={"repeats": seeds} if seeds else {})
    made.number = number
    return made


def test_it_holds_what_reruns_the_trial(tmp_path: Path) -> None:
    best = keep_best(tmp_path, leave(tmp_path, 7), ["val_loss"])
    assert best == tmp_path / "best"
    text = (best / "config.yaml").read_text()
    assert text.startswith("# Trial 7 of the study ") and "val_loss 0.125." in text
    assert RunConfig.from_yaml(best / "config.yaml").net.arguments == {"width": 12}
    assert (best / "best.pt").read_text() == "weights of trial_00007"
    assert (best / "best.pt").stat().st_ino == (tmp_path / "trial_00007/checkpoints/best.pt").stat().st_ino
    assert read_trial(best)["number"] == 7


def test_a_better_one_takes_its_place_wholly(tmp_path: Path) -> None:
    keep_best(tmp_path, leave(tmp_path, 0), ["val_loss"])
    (tmp_path / "best" / "predictions.png").write_text("of trial 0")
    second = leave(tmp_path, 1)
    keep_best(tmp_path, second, ["val_loss"])
    assert read_trial(tmp_path / "best")["number"] == 1
    assert not (tmp_path / "best" / "predictions.png").exists()
    before = (tmp_path / "best" / "config.yaml").stat().st_mtime_ns
    keep_best(tmp_path, second, ["val_loss"])
    assert (tmp_path / "best" / "config.yaml").stat().st_mtime_ns == before, "nothing is done twice"


def test_of_several_seeds_it_shows_the_best_one(tmp_path: Path) -> None:
    keep_best(tmp_path, leave(tmp_path, 0, seeds={"seed_4": 0.25, "seed_5": 0.0625}), ["val_loss"])
    assert (tmp_path / "best" / "metrics.csv").read_text() == "metrics of seed_5"


def test_a_trial_without_a_recipe_leaves_the_old_one(tmp_path: Path) -> None:
    keep_best(tmp_path, leave(tmp_path, 0), ["val_loss"])
    other = create_trial(value=0.0)
    other.number = 1
    assert keep_best(tmp_path, other, ["val_loss"]) is None
    assert read_trial(tmp_path / "best")["number"] == 0


@pytest.mark.parametrize("content", ["", "{", "[1]", "null"])
def test_a_torn_file_is_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / "trial.json").write_text(content)
    assert read_trial(tmp_path) == {} and read_trial(tmp_path / "none") == {}
    write_trial(tmp_path, {"values": {"val_loss": float("nan")}})
    assert json.loads((tmp_path / "trial.json").read_text()) == {"values": {"val_loss": None}}


@pytest.mark.parametrize("seeds", [None, {"seed_4": 0.25, "seed_5": 0.0625}])
def test_the_weights_are_those_that_reached_the_value(tmp_path: Path, seeds: dict[str, float] | None) -> None:
    """`best.pt` is of the best epoch, and the value of the last."""
    run = "seed_5" if seeds else "trial_00000"
    trial = leave(tmp_path, 0, seeds=seeds, returns="last")
    keep_best(tmp_path, trial, ["val_loss"])
    assert (tmp_path / "best" / "best.pt").read_text() == f"last weights of {run}"


def test_without_a_last_checkpoint_it_is_the_best_one(tmp_path: Path) -> None:
    trial = leave(tmp_path, 0, returns="last")
    (tmp_path / "trial_00000" / "checkpoints" / "final.pt").unlink()
    keep_best(tmp_path, trial, ["val_loss"])
    assert (tmp_path / "best" / "best.pt").read_text() == "weights of trial_00000"


def test_while_another_process_fills_it_nothing_is_done(tmp_path: Path) -> None:
    keep_best(tmp_path, leave(tmp_path, 0), ["val_loss"])
    better = leave(tmp_path, 1)
    with run_folder.lock(tmp_path / "best"):
        assert keep_best(tmp_path, better, ["val_loss"]) is None
        assert read_trial(tmp_path / "best")["number"] == 0
        assert (tmp_path / "best" / "best.pt").read_text() == "weights of trial_00000"
    assert keep_best(tmp_path, better, ["val_loss"]) == tmp_path / "best"
    assert (tmp_path / "best" / "best.pt").read_text() == "weights of trial_00001"
