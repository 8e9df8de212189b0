import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from lab.config.tracker_config import TensorBoardConfig, TrackerConfig, WandbConfig
from lab.events import EpochEnd, Note, RunEnd, RunStart
from lab.trackers.csv_file import read_metrics
from lab.trackers.jsonl_events import read_events
from lab.train.callbacks.tracking import create_tracking
from tests.run_events import epoch_end, run_end, run_start


class Recorder:
    """The user's own tracker: keeps what it is told, and may raise at an epoch."""

    def __init__(self, fail_at: int = 0) -> None:
        self.told: list[object] = []
        self._fail_at = fail_at

    def start(self, event: RunStart) -> None:
        self.told.append(event)

    def epoch(self, event: EpochEnd) -> None:
        if event.epoch == self._fail_at:
            raise ConnectionResetError(104, "gone")
        self.told.append(event)

    def image(self, epoch: int, name: str, image: object) -> None:
        self.told.append((epoch, name, image))

    def note(self, event: Note) -> None:
        self.told.append(event)

    def finish(self, event: RunEnd) -> None:
        self.told.append(event)


def test_every_tracker_hears_everything_without_secrets(tmp_path: Path) -> None:
    recorder = Recorder()
    tracking = create_tracking([], extra=[recorder])
    start, epoch = run_start(tmp_path), epoch_end(1)
    tracking.on_note(Note("early"))
    tracking.on_run_start(start)
    tracking.on_epoch_end(epoch)
    picture = np.full((2, 3, 3), 9, np.uint8)
    tracking.image(1, "panel", picture)
    picture[:] = 0  # the loop may use its buffer again
    tracking.on_note(Note("lost postgresql://me:pw@host/db", epoch=1))
    tracking.on_run_end(run_end(reason="lost http://h/?token=abc"))
    begun, early, first, (step, name, shown), note, end = recorder.told
    assert begun.config == {
        "optimizer": {"target": "torch.optim.Adam", "lr": 0.1},
        "data": {"token": "***"},
    }
    assert start.config["data"] == {"token": "hunter2"}
    assert early == Note("early") and first is epoch
    assert (step, name) == (1, "panel") and np.all(shown == 9) and shown.shape == (2, 3, 3)
    assert note == Note("lost postgresql://me:***@host/db", epoch=1)
    assert end == run_end(reason="lost http://h/?token=***")
    assert [event["event"] for event in read_events(tmp_path)] == [
        "run_start", "note", "epoch_end", "note", "run_end"
    ]  # fmt: skip
    assert read_metrics(tmp_path) == [
        {"epoch": 1, "train_loss": 1.0, "val_loss": 2.0, "lr": 0.1, "seconds": 0.5}
    ]
    written = "".join(path.read_text() for path in tmp_path.iterdir())
    assert "hunter2" not in written and ":pw@" not in written and "abc" not in written


def test_a_mirrors_fault_reaches_every_callback_as_a_note_on_the_training_thread(tmp_path: Path) -> None:
    heard: list[Note] = []

    def notify(note: Note) -> None:
        heard.append(note)
        tracking.on_note(note)

    broken, whole = Recorder(fail_at=2), Recorder()
    tracking = create_tracking([], notify, extra=[broken, whole])
    tracking.on_run_start(run_start(tmp_path))
    for epoch in (1, 2, 3, 4):
        tracking.on_epoch_end(epoch_end(epoch))
    tracking.on_run_end(run_end())
    (note,) = heard
    assert note.level == "warning"
    assert note.message.startswith(
        "Recorder failed and is disabled for the rest of this run: ConnectionResetError"
    )
    assert [row["epoch"] for row in read_metrics(tmp_path)] == [1, 2, 3, 4]
    assert [event["message"] for event in read_events(tmp_path) if event["event"] == "note"] == [note.message]
    assert [event.epoch for event in broken.told if isinstance(event, EpochEnd)] == [1]
    assert [event.epoch for event in whole.told if isinstance(event, EpochEnd)] == [1, 2, 3, 4]


def test_without_notify_the_note_is_in_the_record(tmp_path: Path) -> None:
    tracking = create_tracking([], extra=[Recorder(fail_at=1)])
    tracking.on_run_start(run_start(tmp_path))
    tracking.on_epoch_end(epoch_end(1))
    tracking.on_run_end(run_end())
    assert "note" in [event["event"] for event in read_events(tmp_path)]


def test_a_fault_of_the_record_is_raised(tmp_path: Path) -> None:
    tracking = create_tracking([])
    tracking.on_run_start(run_start(tmp_path))
    (tmp_path / "metrics.csv").unlink()
    (tmp_path / "metrics.csv").mkdir()
    with pytest.raises(IsADirectoryError):
        tracking.on_epoch_end(epoch_end(1))


def test_a_run_that_never_started_can_end(tmp_path: Path) -> None:
    recorder = Recorder()
    create_tracking([], extra=[recorder]).on_run_end(run_end(outcome="failed"))
    assert recorder.told == []


def test_every_kind_of_config_is_built() -> None:
    assert set(get_args(TrackerConfig)) == {WandbConfig, TensorBoardConfig}
    configs = [WandbConfig(type="wandb"), TensorBoardConfig(type="tensorboard")]
    assert len(create_tracking(configs)._mirrors) == 2
    assert create_tracking([WandbConfig(type="wandb", mode="disabled")])._mirrors == []


@pytest.mark.parametrize("configs", ["", 'WandbConfig(type="wandb"), TensorBoardConfig(type="tensorboard")'])
def test_creating_trackers_imports_nothing_heavy(configs: str) -> None:
    code = f"""
import sys
from lab.train.callbacks.tracking import create_tracking
from lab.config.tracker_config import TensorBoardConfig, WandbConfig
create_tracking([{configs}])
print(sorted({{"torch", "wandb", "tensorboard", "PIL", "pandas"}} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
