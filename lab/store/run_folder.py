"""The folder of a run: the names in it, its lock, its summary."""

import json
import os
import re
import socket
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from lab.store.file_io import Unwritable, atomic_write, file_lock, refuse_links, to_json
from lab.store.paths import shown, start

CONFIG = "config.yaml"
METRICS = "metrics.csv"
EVENTS = "events.jsonl"
SUMMARY = "summary.json"
PROVENANCE = "provenance.json"
CHECKPOINTS = "checkpoints"
HISTORY = "history.png"
PREDICTIONS = "predictions.png"
TRACEBACK = "traceback.txt"
EVALUATION = "evaluation"
_LOCK = ".lock"


def slug(name: str) -> str:
    """A name that is one safe path segment: letters, digits, `.`, `_`, `-`; at most 80 characters."""
    letters = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    cleaned = re.sub(r"[^A-Za-z0-9._-]+", "-", letters).strip("-.")
    return cleaned[:80].rstrip("-.") or "run"


def create(root: Path, name: str, now: datetime | None = None) -> Path:
    """Make `root/<time stamp>_<name>`; two processes never get the same folder, for mkdir is exclusive."""
    stem = f"{now or datetime.now():%Y%m%d-%H%M%S}_{slug(name)}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        for attempt in range(1, 10_000):
            folder = root / (stem if attempt == 1 else f"{stem}-{attempt}")
            with suppress(FileExistsError):
                folder.mkdir()
                return folder
    except OSError as error:
        raise Unwritable(f"{shown(root)}: runs can't be written there: {error.strerror}") from error
    raise RuntimeError(f"{root}: 10,000 runs were started in the same second under the name {stem}")


def repeats(folder: Path) -> list[Path]:
    """The folders of its single runs, where a run consists of several seeds or folds; in order."""
    found = [path for path in folder.glob("*_*/") if re.fullmatch(r"(seed|fold)_\d+", path.name)]
    return sorted(found, key=lambda path: int(path.name.partition("_")[2]))


def write_summary(folder: Path, summary: Mapping[str, object]) -> None:
    """Replace the run's summary; it is written at the start too, with outcome `running`."""
    identity = {"run_id": folder.name, "pid": os.getpid(), "host": socket.gethostname()}
    atomic_write(folder / SUMMARY, to_json({**identity, **summary}, indent=2) + "\n")


def read_summary(folder: Path) -> dict[str, Any] | None:
    """The run's summary, or None where there is none that can be read."""
    try:
        summary = json.loads((folder / SUMMARY).read_bytes())
    except (OSError, ValueError):
        return None
    return summary if isinstance(summary, dict) else None


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Hold the run folder for this process; the kernel releases it however the process ends.

    Raises:
        RunInUse: another process holds it.
        Unwritable: a link in it leads out.
    """
    refuse_links(folder)
    with file_lock(folder / _LOCK):
        yield


@contextmanager
def acquire(folder: Path | None, root: Path, name: str) -> Iterator[Path]:
    """A run folder for this process alone: the given one, or a new one that goes if it stays empty.

    Raises:
        RunInUse: another process holds it.
    """
    # Whole paths: a component may change the current folder.
    claimed_folder = create(start() / root, name) if folder is None else start() / folder
    claimed_folder.mkdir(parents=True, exist_ok=True)
    with lock(claimed_folder):
        try:
            yield claimed_folder
        finally:  # while it is held: what another process has locked is not ours to remove
            if [path.name for path in claimed_folder.iterdir()] == [_LOCK]:
                (claimed_folder / _LOCK).unlink()
                claimed_folder.rmdir()
