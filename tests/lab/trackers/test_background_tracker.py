import time
from pathlib import Path
from threading import Event, get_ident

import numpy as np
import pytest

from lab.events import EpochEnd, Note, RunEnd, RunStart
from lab.trackers.background_tracker import MOST_WAITING, Background
from tests.run_events import epoch_end, run_end, run_start

PICTURE = np.zeros((2, 2, 3), np.uint8)


class Mute(Exception):
    def __str__(self) -> str:
        raise LookupError("no text")


class Recorder:
    """A tracker that writes down its calls, waits where it is told to, and raises where it is told to."""

    def __init__(self, fail_at: str = "", error: BaseException | None = None) -> None:
        self.calls: list[str] = []
        self.threads: set[int] = set()
        self.gate = Event()
        self.gate.set()
        self._fail_at = fail_at
        self._error = RuntimeError("out of order\nsecond line") if error is None else error

    def _called(self, name: str) -> None:
        self.gate.wait(10)
        self.calls.append(name)
        self.threads.add(get_ident())
        if name == self._fail_at:
            raise self._error

    def start(self, event: RunStart) -> None:
        self._called("start")

    def epoch(self, event: EpochEnd) -> None:
        self._called(f"epoch {event.epoch}")

    def image(self, epoch: int, name: str, image: object) -> None:
        self._called(f"image {epoch}")

    def note(self, event: Note) -> None:
        self._called("note")

    def finish(self, event: RunEnd) -> None:
        self._called("finish")


def test_calls_keep_their_order_and_come_from_one_other_thread(tmp_path: Path) -> None:
    recorder, notes = Recorder(), list[Note]()
    mirror = Background(recorder, "Mirror", notes.append)
    mirror.start(run_start(tmp_path))
    mirror.epoch(epoch_end(1))
    mirror.image(1, "panel", PICTURE)
    mirror.note(Note("hello"))
    mirror.finish(run_end())
    assert recorder.calls == ["start", "epoch 1", "image 1", "note", "finish"]
    assert len(recorder.threads) == 1 and get_ident() not in recorder.threads
    assert notes == []
    mirror.note(Note("too late"))
    time.sleep(0.05)
    assert recorder.calls[-1] == "finish"


@pytest.mark.parametrize("fail_at", ["start", "epoch 2", "image 1", "note", "finish"])
@pytest.mark.parametrize(
    ("error", "what"),
    [
        (None, "RuntimeError: out of order"),
        (SystemExit(3), "SystemExit: 3"),
        (Mute(), "Mute: <its text can't be made: LookupError>"),
    ],
)
def test_a_fault_switches_it_off_with_one_warning(
    tmp_path: Path, fail_at: str, error: BaseException | None, what: str
) -> None:
    recorder, notes, abandoned = Recorder(fail_at, error), list[Note](), list[bool]()
    mirror = Background(recorder, "Mirror", notes.append, on_abandon=lambda: abandoned.append(True))
    mirror.start(run_start(tmp_path))
    mirror.image(1, "panel", PICTURE)
    mirror.note(Note("hello"))
    for epoch in (1, 2, 3):
        mirror.epoch(epoch_end(epoch))
    mirror.finish(run_end())
    assert recorder.calls[-1] == fail_at
    (note,) = notes
    assert note.level == "warning"
    assert note.message == (
        f"Mirror failed and is disabled for the rest of this run: {what}; the run's own files are complete"
    )
    assert abandoned == [True]


def test_a_stuck_tracker_delays_nothing_but_the_end_and_that_by_its_timeout(tmp_path: Path) -> None:
    recorder, notes, abandoned = Recorder(), list[Note](), list[bool]()
    recorder.gate.clear()
    mirror = Background(recorder, "Mirror", notes.append, 0.3, lambda: abandoned.append(True))
    began = time.monotonic()
    mirror.start(run_start(tmp_path))
    for epoch in range(1, 1001):
        mirror.epoch(epoch_end(epoch))
    assert time.monotonic() - began < 0.3
    began = time.monotonic()
    mirror.finish(run_end())
    assert 0.25 < time.monotonic() - began < 0.6
    assert [note.message for note in notes] == [
        "Mirror did not finish within 0.3 s after the run and is abandoned; the run's own files are complete"
    ]
    assert abandoned == [True]
    assert not mirror.done
    recorder.gate.set()
    time.sleep(0.1)
    assert mirror.done
    assert recorder.calls == ["start"]  # what was waiting is not done any more


def test_a_fault_of_the_cleaning_up_harms_nobody(tmp_path: Path) -> None:
    def fail() -> None:
        raise OSError("no such process")

    recorder, notes = Recorder("start"), list[Note]()
    mirror = Background(recorder, "Mirror", notes.append, on_abandon=fail)
    mirror.start(run_start(tmp_path))
    mirror.finish(run_end())
    assert len(notes) == 1


def test_pictures_are_dropped_where_it_lags_far_behind(tmp_path: Path) -> None:
    recorder, notes = Recorder(), list[Note]()
    recorder.gate.clear()
    mirror = Background(recorder, "Mirror", notes.append)
    mirror.start(run_start(tmp_path))
    for epoch in range(1, 2 * MOST_WAITING):
        mirror.image(epoch, "panel", PICTURE)
        mirror.epoch(epoch_end(epoch))
    recorder.gate.set()
    mirror.finish(run_end())
    assert sum(call.startswith("epoch") for call in recorder.calls) == 2 * MOST_WAITING - 1
    assert sum(call.startswith("image") for call in recorder.calls) <= MOST_WAITING
    assert len(notes) == 1 and "images are dropped" in notes[0].message
