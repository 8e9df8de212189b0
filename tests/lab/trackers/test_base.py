"""The contract that every tracker keeps; what each of them writes is asserted in its own test."""

import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from lab.config.tracker_config import TensorBoardConfig, WandbConfig
from lab.events import Note, request_stop
from lab.trackers import wandb_service
from lab.trackers.background_tracker import Background
from lab.trackers.base import Tracker
from lab.trackers.csv_file import CsvTracker
from lab.trackers.jsonl_events import JsonlTracker
from lab.trackers.tensorboard import TensorBoardTracker
from lab.trackers.wandb_run import WandbTracker
from tests.run_events import epoch_end, run_end, run_start


def _ignore(note: Note) -> None:
    pass


TRACKERS: dict[str, Callable[[], Tracker]] = {
    "csv": CsvTracker,
    "jsonl": JsonlTracker,
    "tensorboard": lambda: TensorBoardTracker(TensorBoardConfig(type="tensorboard")),
    "wandb": lambda: WandbTracker(WandbConfig(type="wandb", mode="offline"), _ignore),
    "background": lambda: Background(JsonlTracker(), "record", _ignore),
}


@pytest.fixture(params=TRACKERS.values(), ids=TRACKERS)
def create(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], Tracker]]:
    for name in ("WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_ERROR_REPORTING"):
        monkeypatch.setenv(name, "false")  # so that what the tracker sets is taken back
        monkeypatch.delenv(name)
    yield request.param
    if "wandb" in sys.modules:
        sys.modules["wandb"].teardown()


def test_a_whole_run(create: Callable[[], Tracker], tmp_path: Path) -> None:
    tracker = create()
    tracker.start(run_start(tmp_path))
    tracker.epoch(epoch_end(1))
    tracker.image(1, "panel", np.zeros((4, 5, 3), np.uint8))
    tracker.note(Note("a line", epoch=1))
    tracker.epoch(epoch_end(2, {"val_loss": 1.0, "another": 2.0}, next_lr=0.5))
    tracker.finish(run_end())
    assert any(tmp_path.iterdir())


def test_a_run_that_is_killed_and_resumed(create: Callable[[], Tracker], tmp_path: Path) -> None:
    tracker = create()
    tracker.start(run_start(tmp_path))
    tracker.epoch(epoch_end(1))
    tracker.epoch(epoch_end(2))
    wandb_service.kill()  # the death of our process takes W&B's with it
    tracker = create()
    tracker.start(run_start(tmp_path, first_epoch=2))
    tracker.epoch(epoch_end(2))
    tracker.finish(run_end())


def test_a_run_without_epochs(create: Callable[[], Tracker], tmp_path: Path) -> None:
    tracker = create()
    tracker.start(run_start(tmp_path, group=None, config={}))
    tracker.finish(run_end(outcome="failed", epochs=0, best_epoch=0, best={"val_loss": math.nan}))


def test_a_run_that_diverges(create: Callable[[], Tracker], tmp_path: Path) -> None:
    tracker = create()
    values = {"train_loss": math.inf, "val_loss": math.nan, "score": -math.inf}
    tracker.start(run_start(tmp_path))
    tracker.epoch(
        epoch_end(1, values, best_epoch=0, best={}, stop=request_stop("val_loss is nan", "diverged"))
    )
    tracker.finish(run_end(outcome="diverged", value=math.inf, best_epoch=0, best=values, last=values))
