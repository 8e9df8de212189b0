"""`events.jsonl`: what happened in a run and when, one JSON object a line."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lab.events import EpochEnd, Note, RunEnd, RunStart
from lab.store import file_io, run_folder
from lab.store.paths import shown
from lab.trackers.base import Tracker

# Events of an epoch, which are written again when it is repeated.
_OF_AN_EPOCH = ("epoch_end", "lr_change", "stop")
# Fields of a run's start and end that other files of the run hold, or the console shows.
_ELSEWHERE = {
    *("run_dir", "config", "definitions", "classes", "again"),
    *("test_samples", "loss_parameters", "loss_mean"),
}


class JsonlTracker(Tracker):
    """Writes one line an event: `time` (ISO 8601, UTC), `event`, then its own data; NaN and inf are null.

    Events: `run_start`, `epoch_end`, `lr_change` (the scheduler has set another rate), `stop` (the run is
    to end: early stopping, divergence, a pruner), `note`, `run_end`. An epoch's events are there exactly
    once, however often the run was killed: a resumed run drops the lines of the epochs that it will do
    again. Every other event stays, so the file also shows how often the run was started.
    """

    def __init__(self) -> None:
        self._path: Path | None = None

    def start(self, event: RunStart) -> None:
        """Drop the epochs that will be redone, and a torn last line; then record the start."""
        self._path = event.run_dir / run_folder.EVENTS
        kept = [line for line in _lines(self._path) if not _is_redone(json.loads(line), event.first_epoch)]
        file_io.atomic_write(self._path, "".join(f"{line}\n" for line in kept))
        self._write("run_start", **_fields(event), resumed=event.resumed)

    def epoch(self, event: EpochEnd) -> None:
        """The numbers of one epoch, and what was decided at its end."""
        names = ("epoch", "values", "improved", "best_epoch", "seconds")
        self._write("epoch_end", **{name: getattr(event, name) for name in names})
        rate = event.values.get("lr")
        if rate is not None and rate != event.next_lr:
            self._write("lr_change", epoch=event.epoch, before=rate, after=event.next_lr)
        if event.stop is not None:
            self._write("stop", epoch=event.epoch, outcome=event.stop.outcome, reason=event.stop.reason)

    def note(self, event: Note) -> None:
        """A line for a person; before the start there is no file to hold it, so it is only shown."""
        if self._path is not None:
            self._write("note", level=event.level, message=event.message, epoch=event.epoch)

    def finish(self, event: RunEnd) -> None:
        """Record the outcome; a note of a slow tracker may still follow."""
        files = {label: shown(path) for label, path in event.files.items()}
        self._write("run_end", **(_fields(event) | {"files": files}))

    def _write(self, event: str, /, **data: object) -> None:
        assert self._path is not None, "start comes first"
        line = file_io.to_json({"time": datetime.now(UTC).isoformat(), "event": event, **data})
        file_io.append(self._path, line + "\n")


def _fields(event: RunStart | RunEnd) -> dict[str, Any]:
    return {name: value for name, value in vars(event).items() if name not in _ELSEWHERE}


def read_events(folder: Path) -> list[dict[str, Any]]:
    """The events of a run folder in order; empty where there are none. A torn last line is left out.

    Raises:
        ValueError: a line before the last can't be read; the message names file and line.
    """
    path = folder / run_folder.EVENTS
    return [json.loads(line) for line in _lines(path)]


def _lines(path: Path) -> list[str]:
    """The whole lines, each of them one JSON object."""
    # Not splitlines: a message may hold U+2028.
    lines = file_io.whole_lines(path).split("\n")[:-1]
    for number, line in enumerate(lines, start=1):
        try:
            data = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: not JSON ({error})") from None
        if not isinstance(data, dict):
            raise ValueError(f"{path}, line {number}: expected an object, found {type(data).__name__}")
    return lines


def _is_redone(event: Mapping[str, Any], first_epoch: int) -> bool:
    return event.get("event") in _OF_AN_EPOCH and event["epoch"] >= first_epoch
