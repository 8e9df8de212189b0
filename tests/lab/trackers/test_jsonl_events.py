import json
import math
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lab.events import Note, request_stop
from lab.store.run_folder import EVENTS
from lab.trackers.jsonl_events import JsonlTracker, read_events
from tests.run_events import epoch_end, run_end, run_start


def started(folder: Path, first_epoch: int = 1) -> JsonlTracker:
    tracker = JsonlTracker()
    tracker.start(run_start(folder, first_epoch=first_epoch))
    return tracker


def names(folder: Path) -> list[str]:
    return [event["event"] for event in read_events(folder)]


def test_every_event_is_a_line_with_its_time_in_utc(tmp_path: Path) -> None:
    before = datetime.now(UTC)
    tracker = started(tmp_path)
    tracker.epoch(epoch_end(1))
    tracker.note(Note("a fallback", level="warning", epoch=1))
    tracker.finish(run_end())
    events = [json.loads(line) for line in (tmp_path / EVENTS).read_text().splitlines()]
    assert [event["event"] for event in events] == ["run_start", "epoch_end", "note", "run_end"]
    times = [datetime.fromisoformat(event["time"]) for event in events]
    assert before <= min(times) and times == sorted(times) and times[-1] <= datetime.now(UTC)
    assert all(time.tzinfo is not None for time in times)
    start, epoch, note, end = events
    assert start["seed"] == 7 and start["resumed"] is False and start["parameters"] == 11
    assert "config" not in start
    assert epoch["values"] == {"train_loss": 1.0, "val_loss": 2.0, "lr": 0.1}
    assert (epoch["epoch"], epoch["improved"], epoch["best_epoch"], epoch["seconds"]) == (1, True, 1, 0.5)
    assert (note["message"], note["level"], note["epoch"]) == ("a fallback", "warning", 1)
    assert end["outcome"] == "completed" and end["best"] == {"val_loss": 0.5}
    assert end["files"] == {"metrics": "metrics.csv"}


def test_not_finite_is_null(tmp_path: Path) -> None:
    tracker = started(tmp_path)
    tracker.epoch(epoch_end(1, {"val_loss": math.nan, "a": math.inf}))
    assert "NaN" not in (tmp_path / EVENTS).read_text()
    assert read_events(tmp_path)[1]["values"] == {"val_loss": None, "a": None}


def test_what_was_decided_at_the_end_of_an_epoch(tmp_path: Path) -> None:
    tracker = started(tmp_path)
    tracker.epoch(epoch_end(1, next_lr=0.01))
    tracker.epoch(epoch_end(2, stop=request_stop("val_loss is nan", "diverged")))
    _, _, change, _, stop = read_events(tmp_path)
    del change["time"], stop["time"]
    assert change == {"event": "lr_change", "epoch": 1, "before": 0.1, "after": 0.01}
    assert stop == {"event": "stop", "epoch": 2, "outcome": "diverged", "reason": "val_loss is nan"}


def test_an_epoch_is_there_once_however_often_the_run_is_resumed(tmp_path: Path) -> None:
    tracker = started(tmp_path)
    for epoch in (1, 2, 3):
        tracker.epoch(epoch_end(epoch, next_lr=0.01 if epoch > 1 else 0.1))
    tracker.note(Note("said in epoch 3", epoch=3))
    with (tmp_path / EVENTS).open("a") as file:
        file.write('{"time": "2026-01-01T00:00:00+00:00", "event": "epoch_e')
    assert len(read_events(tmp_path)) == 7
    tracker = started(tmp_path, first_epoch=3)
    assert names(tmp_path) == ["run_start", "epoch_end", "epoch_end", "lr_change", "note", "run_start"]
    tracker.epoch(epoch_end(3))
    ends = [event["epoch"] for event in read_events(tmp_path) if event["event"] == "epoch_end"]
    assert ends == [1, 2, 3]
    assert read_events(tmp_path)[5]["resumed"] is True


def test_a_message_may_hold_anything(tmp_path: Path) -> None:
    tracker = started(tmp_path)
    message = 'two\nlines, "quotes", \u2028 and ±'
    tracker.note(Note(message))
    started(tmp_path, first_epoch=2)
    assert read_events(tmp_path)[1]["message"] == message


@pytest.mark.parametrize(
    ("line", "message"), [("{nope}", "line 2: not JSON"), ("3", "line 2: expected an object, found int")]
)
def test_damage_before_the_end_names_the_line(tmp_path: Path, line: str, message: str) -> None:
    tracker = started(tmp_path)
    with (tmp_path / EVENTS).open("a") as file:
        file.write(line + "\n")
    tracker.finish(run_end())
    with pytest.raises(ValueError, match=message):
        read_events(tmp_path)


def test_no_file_no_events(tmp_path: Path) -> None:
    assert read_events(tmp_path) == []
