"""Whose weights stay, by real files."""

import os
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from lab.config.study_fields import RetentionConfig
from lab.hpo.retention import Retention, used
from lab.hpo.trial_folder import write_trial

NAMES = ("best.pt", "last.pt", "prev.pt", "epoch_0010.pt")


class Study:
    """A study in memory, and trial folders with weights of 100 kB each."""

    def __init__(self, folder: Path, directions: tuple[str, ...] = ("minimize",)) -> None:
        self.folder = folder
        self.study = optuna.create_study(directions=list(directions))

    def add(
        self, *values: float, state: TrialState = TrialState.COMPLETE, outcome: str = "completed"
    ) -> None:
        number = len(self.study.trials)
        done = state == TrialState.COMPLETE
        self.study.add_trial(
            create_trial(state=state, values=list(values) if done else None, user_attrs={"outcome": outcome})
        )
        place = self.folder / f"trial_{number:05d}" / "checkpoints"
        place.mkdir(parents=True)
        for name in NAMES:
            (place / name).write_bytes(os.urandom(100_000))
        (place.parent / "metrics.csv").write_text("epoch\n")

    def apply(self, **config: object) -> str:
        settings = RetentionConfig.model_validate(config)
        return Retention(self.folder, settings, self.study.directions).apply(self.study.trials)

    def left(self) -> dict[int, list[str]]:
        return {
            number: sorted(p.name for p in (self.folder / f"trial_{number:05d}" / "checkpoints").iterdir())
            for number in range(len(self.study.trials))
        }


@pytest.fixture
def study(tmp_path: Path) -> Study:
    made = Study(tmp_path)
    for value in (3.0, 1.0, 2.0, 4.0):
        made.add(value)
    made.add(state=TrialState.PRUNED, outcome="pruned")
    made.add(state=TrialState.FAIL, outcome="failed")
    made.add(state=TrialState.RUNNING)
    made.add(float("inf"), outcome="diverged")
    return made


def test_the_best_keep_their_weights_and_running_trials_are_left_alone(study: Study) -> None:
    assert study.apply(keep_best=2) == ""
    kept = {number for number, files in study.left().items() if files}
    assert kept == {1, 2, 6}
    assert all((study.folder / f"trial_{n:05d}" / "metrics.csv").exists() for n in range(8))


def test_pruned_ones_are_spared_where_that_is_asked(study: Study) -> None:
    study.apply(keep_best=1, pruned=True)
    assert {number for number, files in study.left().items() if files} == {1, 4, 6}


def test_over_the_limit_the_least_useful_goes_first_and_the_winner_never(study: Study) -> None:
    assert study.apply(keep_best=3, max_disk_gb=0.00095) == ""  # 16 files of 100 kB are too many by seven
    left = study.left()
    assert left[6] == sorted(NAMES), "it is running"
    assert left[0] == left[2] == ["best.pt"] and "best.pt" in left[1]
    message = study.apply(keep_best=3, max_disk_gb=0.0001)
    assert study.left() == {0: [], 1: ["best.pt"], 2: [], 3: [], 4: [], 5: [], 6: sorted(NAMES), 7: []}
    assert message.startswith("the study takes 0.00 GB, retention.max_disk_gb is 0.0001")


def test_where_the_last_value_counts_the_last_weights_stay(study: Study) -> None:
    for number in range(4):
        place = study.folder / f"trial_{number:05d}"
        (place / "checkpoints" / "final.pt").write_bytes(os.urandom(100_000))
        write_trial(place, {"recipe": {"monitor": {"returns": "last"}}})
    (study.folder / "trial_00002" / "checkpoints" / "final.pt").unlink()  # killed before it could be named
    message = study.apply(keep_best=3, max_disk_gb=0.00095)
    left = study.left()
    assert message == ""
    assert (left[0], left[2]) == (["final.pt"], ["best.pt"]) and "final.pt" in left[1]
    study.apply(keep_best=3, max_disk_gb=0.0001)
    assert {number: files for number, files in study.left().items() if files} == {
        1: ["final.pt"], 6: sorted(NAMES),
    }  # fmt: skip


def test_a_whole_pareto_front_stays(tmp_path: Path) -> None:
    study = Study(tmp_path, ("minimize", "maximize"))
    for values in ((1.0, 1.0), (2.0, 2.0), (3.0, 3.0), (3.0, 1.0)):
        study.add(*values)
    study.apply(keep_best=1)
    assert {number for number, files in study.left().items() if files} == {0, 1, 2}


def test_a_file_with_two_names_takes_its_place_once(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(5000))
    os.link(tmp_path / "a", tmp_path / "b")
    assert used(tmp_path) == 5000
