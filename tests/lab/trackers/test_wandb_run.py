"""Against the real wandb, in processes of their own: what it wrote, and how long it can hold up ours."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab.console import shell_commands
from lab.trackers.csv_file import read_metrics
from tests.wandb_files import WandbRun, read_run
from tests.wandb_moods import wandb_server

SCENARIO = Path(__file__).parents[2] / "wandb_scenario.py"
DUMMY_KEY = "0123456789" * 4
CLOSED = "http://127.0.0.1:9"
BOUND = 5.0  # seconds that W&B may cost a run in all
EXIT = 1.0  # seconds that an interpreter may take to end, on a busy machine


@dataclass
class Done:
    """One process that trained, and what it said."""

    folder: Path
    notes: list[tuple[str, str]]
    worst_epoch: float
    finish: float  # seconds the tracker held up the end of the run
    exit: float  # seconds from there to the end of the process
    errors: str

    @property
    def wandb(self) -> WandbRun:
        """The last of W&B's runs in the folder."""
        return read_run(sorted((self.folder / "wandb").glob("*run-2*"))[-1])


def train(folder: Path, server: str = CLOSED, key: str = "", wandb_mode: str = "", **options: Any) -> Done:
    """Run the scenario in a process whose environment and home folder know nothing of W&B but this."""
    folder.mkdir(exist_ok=True)
    home = folder.parent / "home"
    home.mkdir(exist_ok=True)
    defaults = {"mode": "auto", "timeout": BOUND, "epochs": 3, "first_epoch": 1, "pause": 0.0}
    defaults |= {"kill_service_at": 0, "ends": True}
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    clean |= {"HOME": str(home), "WANDB_BASE_URL": server}
    clean |= {"WANDB_API_KEY": key} if key else {}
    clean |= {"WANDB_MODE": wandb_mode} if wandb_mode else {}
    command = [sys.executable, str(SCENARIO), str(folder), json.dumps(defaults | options)]
    done = subprocess.run(command, env=clean, capture_output=True, text=True, timeout=60, check=True)
    ended = time.time()
    said = json.loads(done.stdout)
    assert list(home.rglob("*")) == [], "W&B wrote into the home folder"
    notes = [(level, message) for level, message in said["notes"]]
    return Done(folder, notes, said["worst_epoch"], said["finish"], ended - said["ended"], done.stderr)


def assert_record_is_whole(done: Done, epochs: int) -> None:
    assert [row["epoch"] for row in read_metrics(done.folder)] == list(range(1, epochs + 1))
    assert done.worst_epoch < 0.5
    assert done.errors == ""


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> Done:
    return train(tmp_path_factory.mktemp("offline") / "20260101_unet")


def test_without_a_key_auto_is_offline_and_says_how_to_sync(offline: Done) -> None:
    assert_record_is_whole(offline, 3)
    login = shell_commands.tool("wandb", "login")
    upload = f"{shell_commands.tool('wandb', 'sync')} {offline.folder}/wandb/offline-run-*"
    assert offline.notes == [("info", f"W&B: offline, no key is configured ({login}); to upload: {upload}")]


def test_the_offline_run_holds_everything(offline: Done) -> None:
    run = offline.wandb
    assert (run.run.project, run.run.display_name, run.run.run_group) == ("spheroids", "unet", "sweep")
    assert list(run.run.tags) == ["unet", "small"]
    assert run.run.run_id == (offline.folder / "wandb" / "run_id.txt").read_text().strip()
    assert run.run.run_id.startswith("20260101_unet-")
    assert run.config["optimizer"] == {"target": "torch.optim.Adam", "lr": 0.1}
    assert run.config["data"] == {"token": "***"}
    assert sorted(run.history) == [1, 2, 3]
    for step, row in run.history.items():
        assert (row["epoch"], row["train_loss"], row["lr"]) == (step, 1 / step, 0.1)
    assert (run.history[1]["val_loss"], run.history[3]["val_loss"]) == (2.0, 2 / 3)
    assert run.history[2]["val_loss"] != run.history[2]["val_loss"]  # NaN
    assert run.summary["outcome"] == "completed" and run.summary["best.val_loss"] == 0.5
    assert run.summary["best_epoch"] == 4
    assert run.exit_code == 0


def test_pictures_are_in_the_run(offline: Done) -> None:
    cv2 = pytest.importorskip("cv2")
    (folder,) = (offline.folder / "wandb").glob("offline-run-*")
    for step, row in offline.wandb.history.items():
        picture = cv2.imread(str(folder / "files" / row["predictions.path"]))
        assert picture.shape == (4, 6, 3) and (picture == step).all()


def test_no_secret_is_in_any_file(offline: Done) -> None:
    for path in offline.folder.rglob("*"):
        assert path.is_dir() or b"hunter2" not in path.read_bytes(), path


def test_a_resumed_run_goes_on_under_its_id(offline: Done) -> None:
    before = offline.wandb.run.run_id
    resumed = train(offline.folder, first_epoch=3, epochs=2, mode="offline")
    assert resumed.wandb.run.run_id == before
    assert sorted(resumed.wandb.history) == [4], "the third is in the file before"
    assert_record_is_whole(resumed, 4)
    assert resumed.notes[0][1].startswith("W&B: offline, set by the config; to upload: ")


def test_a_resumed_run_gives_what_was_not_written_yet(tmp_path: Path) -> None:
    done = train(tmp_path / "run", mode="offline", epochs=2)
    for file in (tmp_path / "run" / "wandb").glob("*/*.wandb"):
        file.write_bytes(file.read_bytes()[:7])  # as if it had been killed before the first write
    resumed = train(tmp_path / "run", first_epoch=3, epochs=1, mode="offline")
    assert resumed.wandb.steps == [1, 2, 3]
    assert len(list((tmp_path / "run" / "wandb").glob("offline-run-*"))) == 1, "sync fails at an empty one"
    assert resumed.wandb.history[2]["train_loss"] == 0.5
    assert_record_is_whole(resumed, 3)
    assert done.errors == ""


def test_online_against_a_server(tmp_path: Path) -> None:
    with wandb_server() as server:
        done = train(tmp_path / "run", server.url, DUMMY_KEY)
    assert_record_is_whole(done, 3)
    run_id = (tmp_path / "run" / "wandb" / "run_id.txt").read_text().strip()
    assert done.notes == [("info", f"W&B: online at {server.url}/lab/spheroids/runs/{run_id}")]
    rows = {row["_step"]: row for row in server.streamed["wandb-history.jsonl"]}
    assert [(step, rows[step]["train_loss"]) for step in sorted(rows)] == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    bucket = next(variables for name, variables in server.asked if name == "UpsertBucket")
    assert (bucket["project"], bucket["displayName"], bucket["groupName"]) == ("spheroids", "unet", "sweep")
    assert json.loads(bucket["config"])["optimizer"]["value"]["lr"] == 0.1
    assert json.loads(server.uploaded["wandb-summary.json"])["outcome"] == "completed"
    assert sum(name.startswith("media/images/predictions") for name in server.uploaded) == 3
    assert done.finish < BOUND and done.exit < EXIT


def test_a_dead_server_means_offline(tmp_path: Path) -> None:
    done = train(tmp_path / "run", CLOSED, DUMMY_KEY, mode="online")
    assert_record_is_whole(done, 3)
    ((level, message),) = done.notes
    assert level == "warning" and "Connection refused" in message and "wandb sync " in message
    assert sorted(done.wandb.history) == [1, 2, 3]
    assert done.finish < BOUND and done.exit < EXIT


def test_a_server_that_never_answers_means_offline(tmp_path: Path) -> None:
    with wandb_server("mute") as server:
        done = train(tmp_path / "run", server.url, DUMMY_KEY, pause=0.5)
    assert_record_is_whole(done, 3)
    ((level, message),) = done.notes
    assert level == "warning" and "timed out" in message and "wandb sync " in message
    assert sorted(done.wandb.history) == [1, 2, 3]
    assert done.finish < BOUND and done.exit < EXIT


@pytest.mark.parametrize("ends", [True, False])  # False: an exception ended the process
def test_a_server_that_goes_silent_is_left_behind(tmp_path: Path, ends: bool) -> None:
    with wandb_server("half") as server:
        done = train(tmp_path / "run", server.url, DUMMY_KEY, timeout=2.5, ends=ends, pause=0.5)
    assert_record_is_whole(done, 3)
    assert done.finish + done.exit < 2.5 + EXIT
    if ends:
        assert done.notes[0] == (
            "warning",
            "W&B did not finish within 1.5 s after the run and is abandoned; "
            "the run's own files are complete",
        )


@pytest.mark.slow
def test_a_server_that_dies_in_the_middle(tmp_path: Path) -> None:
    with wandb_server("falls silent") as server:
        done = train(tmp_path / "run", server.url, DUMMY_KEY, epochs=20, pause=0.1)
    assert server.mood == "half"
    assert_record_is_whole(done, 20)
    assert done.finish + done.exit < BOUND + EXIT
    assert done.notes[0][1].startswith("W&B: online at")
    assert any("wandb sync " in message for _, message in done.notes)


def test_wandbs_process_is_killed(tmp_path: Path) -> None:
    done = train(tmp_path / "run", mode="offline", epochs=5, pause=0.7, kill_service_at=4)
    assert_record_is_whole(done, 5)
    (_, first), (level, second), (_, third) = done.notes
    assert first.startswith("W&B: offline, set by the config")
    assert level == "warning" and second.startswith("W&B failed and is disabled for the rest of this run: ")
    assert "wandb sync " in third
    assert done.finish < 0.5 and done.exit < EXIT


def test_a_key_that_is_none_means_offline(tmp_path: Path) -> None:
    done = train(tmp_path / "run", CLOSED, key := "too short")
    ((level, message),) = done.notes
    assert level == "warning" and message.startswith("W&B: offline, the configured key is not usable")
    assert key not in message


def test_wandb_mode_of_the_environment_is_heard(tmp_path: Path) -> None:
    done = train(tmp_path / "run", CLOSED, DUMMY_KEY, wandb_mode="offline")
    assert done.notes[0][1].startswith("W&B: offline, set by WANDB_MODE=")
