"""Against the real wandb, in processes of their own: what it wrote of a study, and what it could hold up."""

import json
import os
import pickle
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lab.config import RunConfig
from lab.console import shell_commands
from lab.events import Note
from lab.hpo.learning_curve import Curve
from lab.hpo.leases import Lease
from lab.hpo.trial import Trial
from lab.hpo.wandb_sync import TensorBoardHParams, table
from lab.train.callbacks.hparams import HParams
from tests.mirror_scenario import Scene
from tests.wandb_files import WandbRun, read_run
from tests.wandb_moods import wandb_server

SCENARIO = Path(__file__).parents[2] / "mirror_scenario.py"
DUMMY_KEY = "0123456789" * 4
CLOSED = "http://127.0.0.1:9"
SYNC = shell_commands.tool("wandb", "sync")
BOUND = 5.0  # seconds that W&B may hold up the end of a study, in all
EXIT = 5.0  # seconds that an interpreter with torch may take to end, on a busy machine
QUICK = 0.5  # seconds that a call may take, on a busy machine
Step = tuple[Any, ...]


@dataclass
class Done:
    """One process that mirrored a study, and what it said."""

    folder: Path
    notes: list[str]
    worst: float  # seconds of the slowest call but the last
    close: float
    exit: float  # seconds from there to the end of the process
    threads: int
    wandb: bool  # whether it was imported
    errors: str

    def runs(self, name: str) -> list[WandbRun]:
        """W&B's runs in a trial's folder, or in the study's own where the name is empty; in their order."""
        return [read_run(path) for path in sorted((self.folder / name / "wandb").glob("*run-2*"))]


def environment(folder: Path, server: str = CLOSED, key: str = "") -> dict[str, str]:
    """One in which there is nothing of W&B but this."""
    home = folder.parent / "home"
    home.mkdir(exist_ok=True)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    clean |= {"HOME": str(home), "WANDB_BASE_URL": server, "OMP_NUM_THREADS": "1"}
    return clean | ({"WANDB_API_KEY": key} if key else {})


def play(folder: Path, *steps: Step, server: str = CLOSED, key: str = "", **config: Any) -> Done:
    """Run a scene in a process of its own."""
    folder.mkdir(exist_ok=True)
    defaults = {"mode": "auto", "timeout": BOUND, "tags": ["unet"]}
    scene = {"config": defaults | config, "steps": steps}
    command = [sys.executable, str(SCENARIO), str(folder), json.dumps(scene)]
    env = environment(folder, server, key)
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=True)
    ended = time.time()
    said = json.loads(done.stdout)
    exit_seconds = ended - said.pop("ended")
    assert list((folder.parent / "home").rglob("*")) == [], "W&B wrote into the home folder"
    return Done(folder, exit=exit_seconds, errors=done.stderr, **said)


def assert_nothing_was_held_up(done: Done) -> None:
    assert done.errors == ""
    assert done.worst < QUICK
    assert done.close < BOUND and done.exit < EXIT


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """A study in which everything happens that may."""
    folder = tmp_path_factory.mktemp("mirror") / "night"
    best = folder / "best"
    best.mkdir(parents=True)
    shutil.copyfile(Path(__file__).parents[3] / "docs" / "images" / "history.png", best / "history.png")
    return play(
        folder,
        ("train", 0, 1, 2), ("end", 0, "pruned"), ("over", 0, "pruned", "val_loss 0.5 is not promising"),
        ("train", 1, 1, 4, {"seeds": 2}), ("end", 1, "completed"),
        ("train", 1, 1, 4, {"seeds": 2, "seed": 1}), ("end", 1, "completed", 1), ("over", 1, "completed"),
        ("train", 2, 1, 3, 2), ("train", 2, 3, 4),  # its process died after epoch 3, and before it told of it
        ("end", 2, "completed"), ("over", 2, "completed", {"val_loss": 2.25, "seconds": 7.0}),
        ("train", 3, 1, 2), ("over", 3, "failed", "its process was ended by SIGKILL; tried 2 times"),
        ("train", 4, 1, 1), ("end", 4, "out_of_memory"),
        ("train", 4, 1, 4, {"halvings": 1}), ("end", 4, "completed"), ("over", 4, "completed"),
        ("train", 5, 1, 2),  # the study is interrupted
        ("study", 4), ("close",),
    )  # fmt: skip


def test_nothing_is_held_up_and_the_way_to_upload_is_said_once(night: Done) -> None:
    assert_nothing_was_held_up(night)
    assert night.threads == 1
    assert night.notes == [
        f"W&B: offline, no key is configured ({shell_commands.tool('wandb', 'login')}); "
        f"to upload: find {night.folder} -name 'offline-run-*' -exec {SYNC} {{}} +"
    ]


def test_a_trial_is_a_run_in_the_studys_group(night: Done) -> None:
    (run,) = night.runs("trial_00000")
    assert (run.run.project, run.run.display_name) == ("spheroids", "trial_00000")
    assert (run.run.run_group, run.run.job_type, list(run.run.tags)) == ("night", "trial", ["unet"])
    assert run.run.run_id == (night.folder / "trial_00000/wandb/run_id.txt").read_text().strip()
    assert run.config["optimizer"] == {"target": "torch.optim.Adam", "lr": 0.1}
    assert run.config["params"] == {"optimizer.lr": 0.0}
    assert run.config["data"] == {"token": "***"}
    assert {step: row["val_loss"] for step, row in run.history.items()} == {1: 1.0, 2: 0.5}
    assert (run.summary["outcome"], run.summary["reason"]) == ("pruned", "val_loss 0.5 is not promising")
    assert (run.summary["value"], run.exit_code) == (0.25, 0)


def test_each_seed_is_a_run(night: Done) -> None:
    assert night.runs("trial_00001") == []
    ids = set()
    for seed in (0, 1):
        (run,) = night.runs(f"trial_00001/seed_{seed}")
        assert (run.run.display_name, run.run.run_group) == (f"trial_00001-seed_{seed}", "night")
        assert sorted(run.history) == [1, 2, 3, 4] and run.summary["outcome"] == "completed"
        ids.add(run.run.run_id)
    assert len(ids) == 2


def test_a_trial_whose_process_died_goes_on_in_the_same_run(night: Done) -> None:
    (run,) = night.runs("trial_00002")
    assert {step: row["val_loss"] for step, row in run.history.items()} == {
        1: 3,
        2: 2.5,
        3: 2 + 1 / 3,
        4: 2.25,
    }
    assert run.steps == [1, 2, 3, 4]  # each of them once
    assert (run.summary["best.val_loss"], run.summary["best.seconds"]) == (2.25, 7.0)


def test_a_trial_that_never_said_how_it_ended_has_its_outcome_and_cause(night: Done) -> None:
    (run,) = night.runs("trial_00003")
    assert (run.summary["outcome"], run.exit_code) == ("failed", 1)
    assert run.summary["reason"] == "its process was ended by SIGKILL; tried 2 times"


def test_another_batch_size_is_another_run(night: Done) -> None:
    first, second = sorted(night.runs("trial_00004"), key=lambda run: len(run.history))
    assert second.run.run_id == f"{first.run.run_id}-half1"
    assert (first.summary["outcome"], sorted(first.history)) == ("out_of_memory", [1])
    assert (second.summary["outcome"], sorted(second.history)) == ("completed", [1, 2, 3, 4])


def test_what_was_at_work_when_the_study_ended_is_interrupted(night: Done) -> None:
    (run,) = night.runs("trial_00005")
    assert (run.summary["outcome"], sorted(run.history)) == ("interrupted", [1, 2])


def test_the_study_is_a_run_with_a_table_and_the_winner(night: Done) -> None:
    (run,) = night.runs("")
    assert (run.run.display_name, run.run.run_group, run.run.job_type) == ("night", "night", "study")
    assert run.run.run_id == (night.folder / "wandb/run_id.txt").read_text().strip()
    assert run.config["search_space"]["optimizer.lr"]["high"] == 1.0
    assert run.summary["best_trial"] == 1
    assert run.summary["best_params"] == {"optimizer.lr": 0.1}
    assert run.summary["best_values"] == {"val_loss": 1.25}
    (file,) = (night.folder / "wandb").glob("offline-run-2*/files/media/table/trials_*.table.json")
    assert json.loads(file.read_text()) == {
        "columns": ["trial", "outcome", "val_loss", "optimizer.lr", "epochs", "seconds"],
        "data": [
            [0, "pruned", None, 0.0, 4, 2.5],
            [1, "complete", 1.25, 0.1, 4, 2.5],
            [2, "complete", 2.25, 0.2, 4, 2.5],
            [3, "fail", None, 0.3, 4, 2.5],
        ],
    }
    (picture,) = (night.folder / "wandb").glob("offline-run-2*/files/media/images/history_*.png")
    assert picture.read_bytes() == (night.folder / "best/history.png").read_bytes()


def test_no_secret_is_in_any_file(night: Done) -> None:
    for path in night.folder.rglob("*"):
        assert path.is_dir() or b"hunter2" not in path.read_bytes(), path


@pytest.mark.slow
def test_a_study_that_goes_on_does_so_in_the_same_runs(tmp_path: Path) -> None:
    """Epoch 3 was recorded and never told, and epoch 4 told but lost with its checkpoint."""
    folder = tmp_path / "night"
    first = play(folder, ("train", 0, 1, 3, 2), ("over", 0, "interrupted"), ("study", 3), ("close",))
    time.sleep(1.1)  # W&B's folders are named by the second
    second = play(folder, ("train", 0, 4, 4), ("over", 0, "interrupted"), ("close",))
    time.sleep(1.1)
    third = play(folder, ("train", 0, 4, 5), ("over", 0, "completed"), ("study", 5), ("close",))
    for done in (first, second, third):
        assert_nothing_was_held_up(done)
    runs = third.runs("trial_00000")
    assert [run.steps for run in runs] == [[1, 2], [3, 4], [5]]
    assert runs[1].history[3]["val_loss"] == 1 / 3
    assert len({run.run.run_id for run in runs}) == 1
    assert [run.summary["outcome"] for run in runs] == ["interrupted", "interrupted", "completed"]
    before, after = third.runs("")
    assert before.run.run_id == after.run.run_id
    assert (before.steps, after.steps) == ([3], [5])  # as many trials as were finished


@pytest.mark.parametrize("has_command", [False, True])
def test_a_warning_without_the_way_to_upload_gets_it(tmp_path: Path, has_command: bool) -> None:
    """Whatever its text: the note itself tells."""
    scene = Scene(tmp_path, {"mode": "offline"})
    message = "it broke" if has_command else "it broke; to upload: by hand"
    scene.mirror._notes.put(Note(message, "warning", has_upload_command=has_command))
    scene.mirror._tell()
    (note,) = scene.notes
    assert note.startswith(message)
    assert ("; further W&B runs are offline, to upload: find " in note) is not has_command


def test_wandbs_process_is_killed(tmp_path: Path) -> None:
    """The runs that were open are lost; what begins later has a process of its own; one warning in all."""
    done = play(
        tmp_path / "night",
        ("whole", [0]), ("train", 1, 1, 2), ("train", 2, 1, 2), ("logged", 1, 2), ("kill_service",),
        ("train", 1, 3, 4), ("train", 2, 3, 4), ("over", 1, "completed"), ("over", 2, "completed"),
        ("whole", [3]), ("study", 3), ("close",), mode="offline",
    )  # fmt: skip
    assert_nothing_was_held_up(done)
    assert len(done.notes) == 2 and done.notes[0].startswith("W&B: offline, set by the config; ")
    assert "failed and is disabled for the rest of this run" in done.notes[1]
    assert done.notes[1].endswith("; further W&B runs are offline, " + done.notes[0].partition("config; ")[2])
    assert sorted(done.runs("trial_00001")[0].history) == [1, 2]
    (after,) = done.runs("trial_00003")
    assert (after.summary["outcome"], sorted(after.history)) == ("completed", [1, 2, 3, 4])
    (study,) = done.runs("")
    assert study.summary["best_trial"] == 1


def test_online_against_a_server(tmp_path: Path) -> None:
    with wandb_server() as server:
        done = play(
            tmp_path / "night", ("whole", [0, 1]), ("study", 3), ("close",), server=server.url, key=DUMMY_KEY
        )
    assert_nothing_was_held_up(done)
    assert done.notes == [f"W&B: online at {server.url}/lab/spheroids/groups/night"]
    buckets = {
        (asked["displayName"], asked["groupName"], asked["jobType"])
        for name, asked in server.asked
        if name == "UpsertBucket" and asked.get("displayName")
    }
    assert buckets == {
        ("trial_00000", "night", "trial"),
        ("trial_00001", "night", "trial"),
        ("night", "night", "study"),
    }
    losses = sorted(
        (row["_step"], row["val_loss"]) for row in server.streamed["wandb-history.jsonl"] if "val_loss" in row
    )
    assert losses == sorted((epoch, number + 1 / epoch) for number in (0, 1) for epoch in (1, 2, 3, 4))


def test_a_dead_server_means_offline_and_the_printed_command_uploads_it(tmp_path: Path) -> None:
    folder = tmp_path / "night"
    done = play(folder, ("whole", list(range(12))), ("study", 3), ("close",), key=DUMMY_KEY, mode="online")
    assert_nothing_was_held_up(done)
    (note,) = done.notes
    assert note.startswith(f"W&B: offline, {CLOSED} can't be reached (")
    assert all(len(done.runs(f"trial_{number:05d}")[0].history) == 4 for number in range(12))
    command = note.partition("to upload: ")[2]
    with wandb_server() as server:
        env = environment(folder, server.url, DUMMY_KEY)
        env |= {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"}
        env["WANDB_DIR"] = str(tmp_path)  # else its log lies in this folder
        # From this folder, for the command may lead to wandb from where it was printed.
        subprocess.run(command, shell=True, env=env, capture_output=True, timeout=60, check=True)
    names = {asked.get("displayName") for name, asked in server.asked if name == "UpsertBucket"}
    assert {"night", *(f"trial_{number:05d}" for number in range(12))} <= names


def test_a_server_that_goes_silent_holds_up_nothing_but_the_end(tmp_path: Path) -> None:
    with wandb_server("falls silent") as server:
        done = play(
            tmp_path / "night",
            ("whole", [0]), ("logged", 0, 4), ("whole", [1, 2, 3]), ("study", 3), ("close",),
            server=server.url, key=DUMMY_KEY, timeout=2.5,
        )  # fmt: skip
    assert done.errors == "" and done.worst < QUICK
    assert done.close + done.exit < 2.5 + EXIT
    assert done.notes[0].startswith("W&B: online at ")
    assert done.notes[1:] == [
        "W&B was not done 1.5 s after the study; to upload: "
        f"find {done.folder} -name '*run-2*' -exec {SYNC} --include-online {{}} +"
    ]


def test_what_wandb_is_behind_with_has_a_bound(tmp_path: Path) -> None:
    """The first 64 wait to hear whether the server answers; nobody waits for them."""
    with wandb_server("mute") as server:
        done = play(
            tmp_path / "night", ("whole", list(range(70))), ("close",),
            server=server.url, key=DUMMY_KEY, timeout=60.0,
        )  # fmt: skip
    assert done.worst < QUICK and done.errors == ""
    (note,) = done.notes
    assert note.startswith("W&B lags behind: trial 64 is left out, as are others until it has caught up; ")
    runs = [path.parents[2].name for path in done.folder.glob("trial_*/wandb/offline-run-*/*.wandb")]
    assert sorted(runs) == [f"trial_{number:05d}" for number in range(64)]


def test_without_the_tracker_there_is_nothing_of_wandb(tmp_path: Path) -> None:
    done = play(tmp_path / "night", ("whole", [0]), ("study", 3), ("close",), mode="disabled")
    assert not done.wandb and done.notes == []
    assert sorted(path.name for path in done.folder.rglob("*")) == [
        "metrics.csv",
        "trial_00000",
    ]


def test_the_table_of_a_study_with_several_objectives_and_conditions() -> None:
    lr, kind = FloatDistribution(0.0, 1.0), CategoricalDistribution(["a", "b"])
    trials = [
        create_trial(
            params={"lr": 0.5, "net.api_key": "a"},
            distributions={"lr": lr, "net.api_key": kind},
            values=[0.25, 7.0],
            user_attrs={"outcome": "completed", "epochs": 4, "seconds": 1.5},
        ),
        create_trial(params={"lr": 0.125}, distributions={"lr": lr}, state=TrialState.PRUNED),
        create_trial(state=TrialState.WAITING),
    ]
    study = optuna.create_study(directions=["minimize", "minimize"])
    study.add_trials(trials)
    columns, rows = table(study.get_trials(), ["val_loss", "seconds"])
    assert columns == ["trial", "outcome", "val_loss", "seconds", "lr", "net.api_key", "epochs", "seconds"]
    assert rows == [
        [0, "completed", 0.25, 7.0, 0.5, "***", 4, 1.5],
        [1, "pruned", None, None, 0.125, None, None, None],
        [2, "waiting", None, None, None, None, None, None],
    ]


@pytest.mark.parametrize(("trackers", "expected"), [(["tensorboard"], 1), (["wandb"], 0), ([], 0)])
def test_tensorboards_listener_travels_to_the_trials_process(
    config: Callable[..., RunConfig], trackers: list[str], expected: int
) -> None:
    recipe = config(trackers=[{"type": name} for name in trackers])
    lease = Lease(3, 3, "me", 1)
    trial = Trial(lease, {"lr": 0.5}, recipe, "", Path("trial_00003"), False, Curve(4))
    factories = TensorBoardHParams(["val_loss"]).run_callbacks(trial)
    made = [make() for make in pickle.loads(pickle.dumps(factories))]
    assert len(made) == expected
    assert all(isinstance(listener, HParams) for listener in made)


@pytest.mark.slow
def test_a_real_study_leaves_both(
    tmp_path: Path, main_py: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """Trials in processes of their own: W&B hears of them from here, TensorBoard from there."""
    (tmp_path / "run.yaml").write_text(
        "epochs: 3\ndevice: cpu\npictures: {enabled: false}\n"
        "data: {target: lab.data.function, train_count: 48, val_count: 16}\n"
        "net: {target: model.MLP, width: 8, layers: 1}\n"
        "trackers: [{type: wandb, mode: offline}, {type: tensorboard}]\n"
    )
    (tmp_path / "opt.yaml").write_text(
        "study_name: night\nrun: run.yaml\nn_trials: 2\npreflight: 'off'\n"
        "search_space: {optimizer.lr: {type: float, low: 0.001, high: 0.1}}\n"
    )
    done = main_py("--optimize", "opt.yaml")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("W&B: offline, set by the config; to upload: find studies/night") == 1
    study = tmp_path / "studies" / "night"
    trials = optuna.load_study(study_name="night", storage=f"sqlite:///{tmp_path}/studies.db").get_trials()
    for trial in trials:
        folder = study / f"trial_{trial.number:05d}"
        (run,) = [read_run(path) for path in (folder / "wandb").glob("offline-run-*")]
        assert (run.run.run_group, run.config["params"]) == ("night", trial.params)
        reported = {step: row["val_loss"] for step, row in run.history.items()}
        assert reported == trial.intermediate_values
        events = EventAccumulator(str(folder / "tensorboard")).Reload()
        (best,) = events.Scalars("best/val_loss")
        assert best.value == pytest.approx(trial.value)
        assert "_hparams_/session_start_info" in events.summary_metadata
    (run,) = [read_run(path) for path in (study / "wandb").glob("offline-run-*")]
    best_value = min(trial.value for trial in trials)
    assert run.summary["best_values"] == {"val_loss": best_value}
    assert run.history[2]["trials.nrows"] == 2
