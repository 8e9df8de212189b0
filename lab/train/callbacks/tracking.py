"""The callback that records a run: in its own files first, then in the mirrors."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from queue import SimpleQueue
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from lab.config import wandb_environment as environment
from lab.config.tracker_config import TensorBoardConfig, TrackerConfig, WandbConfig
from lab.events import Callback, EpochEnd, Note, RunEnd, RunStart
from lab.store.redact import redact, redact_text
from lab.trackers.background_tracker import Background
from lab.trackers.base import Tracker
from lab.trackers.csv_file import CsvTracker
from lab.trackers.jsonl_events import JsonlTracker


class Tracking(Callback):
    """Pass the run's events to its trackers: `record` directly and first, `mirrors` through their queues.

    An error in the record is raised, for a run without its record is worthless; mirrors can't fail or block.
    Mirrors report through `notes`, a queue that their threads fill; it is emptied on the training thread, at
    the end of every epoch and of the run, into `notify`. That passes the note to every callback, this one
    included; without it the note goes into the record only. No tracker receives a secret of the config.
    """

    def __init__(
        self,
        record: Sequence[Tracker],
        mirrors: Sequence[Background] = (),
        notes: SimpleQueue[Note] | None = None,
        notify: Callable[[Note], None] | None = None,
    ) -> None:
        self._record = record
        self._mirrors = mirrors
        self._notes: SimpleQueue[Note] = SimpleQueue() if notes is None else notes
        self._notify = self.on_note if notify is None else notify
        self._early: list[Note] = []
        self._started = False

    def on_run_start(self, event: RunStart) -> None:
        """Open the record, start the mirrors, and record earlier notes."""
        event = replace(event, config=redact(event.config))
        for tracker in (*self._record, *self._mirrors):
            tracker.start(event)
        self._started = True
        for note in self._early:
            self.on_note(note)
        self._early.clear()

    def on_epoch_end(self, event: EpochEnd) -> None:
        """Record the epoch; then pass on the notes of the mirrors."""
        for tracker in (*self._record, *self._mirrors):
            tracker.epoch(event)
        self._pass_notes()

    def on_note(self, event: Note) -> None:
        """Record a note; one that comes before the run's start waits for it."""
        if not self._started:
            self._early.append(event)
            return
        event = replace(event, message=redact_text(event.message))
        for tracker in (*self._record, *self._mirrors):
            tracker.note(event)

    def image(self, epoch: int, name: str, image: NDArray[np.uint8]) -> None:
        """Pass on a copy of an image, shape (height, width, 3)."""
        assert image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8, (image.shape, image.dtype)
        copy = image.copy()
        for tracker in (*self._record, *self._mirrors):
            tracker.image(epoch, name, copy)

    def on_run_end(self, event: RunEnd) -> None:
        """Close the record at once; then give all mirrors together the time that the slowest may take."""
        if not self._started:
            return
        since = time.monotonic()
        event = replace(event, reason=redact_text(event.reason))
        for tracker in self._record:
            tracker.finish(event)
        # Ask all before waiting for any: they finish at the same time.
        for mirror in self._mirrors:
            mirror.request_finish(event)
        for mirror in self._mirrors:
            mirror.wait(since)
        self._pass_notes()

    def _pass_notes(self) -> None:
        # This thread is the only consumer, so what isn't empty can be taken without a wait.
        while not self._notes.empty():
            self._notify(self._notes.get_nowait())


def create_tracking(
    configs: Sequence[TrackerConfig],
    notify: Callable[[Note], None] | None = None,
    extra: Sequence[Tracker] = (),
) -> Tracking:
    """Create the record, a mirror for each config, and one for each custom tracker.

    `notify` receives the mirrors' notes on the training thread and passes them to every callback.
    """
    notes: SimpleQueue[Note] = SimpleQueue()
    mirrors = [mirror for config in configs if (mirror := _create_mirror(config, notes.put)) is not None]
    mirrors += [Background(tracker, type(tracker).__name__, notes.put) for tracker in extra]
    return Tracking([CsvTracker(), JsonlTracker()], mirrors, notes, notify)


def _create_mirror(config: TrackerConfig, notify: Callable[[Note], None]) -> Background | None:
    """Create a mirror; its module is imported only here, so that an unused one costs no time at the start."""
    match config:
        case WandbConfig() if environment.mode_of(config) == "disabled":
            if config.mode == "auto":
                notify(Note(f"W&B: no run, set by {environment.mode_reason(config)}"))
            return None
        case WandbConfig():
            from lab.trackers.wandb_run import WandbTracker

            tracker = WandbTracker(config, notify)
            return Background(tracker, "W&B", notify, tracker.patience, tracker.abandon)
        case TensorBoardConfig():
            from lab.trackers.tensorboard import TensorBoardTracker

            return Background(TensorBoardTracker(config), "TensorBoard", notify)
        case _:
            assert_never(config)
