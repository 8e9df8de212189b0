"""A trial's folder: whose it is, and what the study knows of the trial.

The database refuses a process that has lost its lease; a folder can't. So each run of a trial holds a lock on
its folder, and leaves the lease's token there. One that comes late, such as a process that was stopped before
its run had begun, finds a higher token and leaves all as it is.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from lab.events import Callback, StepsDone, StopCause, Stopped
from lab.store import file_io, run_folder
from lab.store.redact import redact

TAKEN = "another process has taken this trial over"
CONSOLE = "console.log"
TRIAL = "trial.json"
_TOKEN = ".lease"


def write_trial(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write the study's facts of a trial into the trial's own folder, without secrets."""
    file_io.atomic_write(folder / TRIAL, file_io.to_json(redact(facts), indent=2) + "\n")


def read_trial(folder: Path) -> dict[str, Any]:
    """The same; empty where there is nothing."""
    try:
        facts = json.loads((folder / TRIAL).read_bytes())
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def saved_at(folder: Path) -> float:
    """When the trial last saved its state, in seconds since 1970; 0 where it never has."""
    found = folder.rglob(f"{run_folder.CHECKPOINTS}/last.pt")
    return max((path.stat().st_mtime for path in found), default=0.0)


@contextmanager
def fenced(folder: Path, token: int) -> Iterator[None]:
    """Hold a trial's folder for the lease with this token, however the process ends.

    Raises:
        RunInUse: another process holds it.
        Stopped: it was held for a later lease since.
    """
    with file_io.file_lock(folder / _TOKEN) as file:
        file.seek(0)
        newest = [word for word in file.read().split() if word.isdecimal()][-1:]
        if newest and int(newest[0]) > token:
            raise Stopped(TAKEN, cause=StopCause.TAKEN_OVER)
        file.write(f"\n{token}\n")  # after the others: one is there at any instant, and joins no torn one
        file.flush()
        yield


def clear(folder: Path) -> None:
    """Drop what is there but for the console, which is being written, for a run that starts from scratch."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != CONSOLE and not path.name.startswith("."):
            path.unlink()


class Claim(Protocol):
    """A trial that may become another's."""

    lost: bool


class LeaseCheck(Callback):
    """Ends a run in the scheduler's own process once its trial is another's."""

    def __init__(self, trial: Claim) -> None:
        self._trial = trial

    def on_steps(self, event: StepsDone) -> None:
        """Stop where the thread that renews leases has found it lost."""
        if self._trial.lost:
            raise Stopped(TAKEN, cause=StopCause.TAKEN_OVER)
