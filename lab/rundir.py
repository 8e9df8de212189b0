"""Where a run lives: its folder, the names in it, and files that appear whole or not at all."""

import csv
import errno
import fcntl
import io
import json
import math
import os
import re
import shutil
import socket
import time
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from lab.signs import HANDLER, can_write

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
_PATIENCE = 0.5  # seconds


_held: set[int] = set()


def _close_in_child() -> None:
    """A forked loader worker must not keep the lock of a run that is over, or killed."""
    for handle in _held:
        os.close(handle)
    _held.clear()


os.register_at_fork(after_in_child=_close_in_child)


class Unwritable(RuntimeError):
    """The folder that runs live in can't be made, or what is written to it would land elsewhere."""


def is_full(error: BaseException) -> bool:
    """Whether there was no space left to write, on the disk or of what this user may have of it."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def full(error: BaseException) -> str:
    """That a disk is full, and where."""
    place = getattr(error, "filename", None)
    return f"the disk is full: {f'{place}: ' if place else ''}{os.strerror(errno.ENOSPC)}"


class RunInUse(RuntimeError):
    """Another process is writing into this run folder."""


def slug(name: str) -> str:
    """A name that is one safe path segment: letters, digits, `.`, `_`, `-`; at most 80 characters."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    cleaned = re.sub(r"[^A-Za-z0-9._-]+", "-", plain).strip("-.")
    return cleaned[:80].rstrip("-.") or "run"


def create(root: Path, name: str, now: datetime | None = None) -> Path:
    """Make `root/<time stamp>_<name>`; two processes never get the same folder, for mkdir is exclusive."""
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unwritable(f"{root}: runs can't be written there: {error.strerror}") from error
    stem = f"{now or datetime.now():%Y%m%d-%H%M%S}_{slug(name)}"
    for attempt in range(1, 10_000):
        folder = root / (stem if attempt == 1 else f"{stem}-{attempt}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        except OSError as error:
            raise Unwritable(f"{root}: runs can't be written there: {error.strerror}") from error
        return folder
    raise RuntimeError(f"{root}: 10,000 runs were started in the same second under the name {stem}")


@contextmanager
def whole(path: Path, private: bool = False) -> Iterator[IO[bytes]]:
    """A file to write that is there whole, or is what it was before.

    It is written under another name, synced and renamed, and then its folder is synced.

    Args:
        private: whether the owner alone may read it.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    if private:
        temporary.unlink(missing_ok=True)  # left by a killed process, it would keep its mode
    try:
        with open(temporary, "wb", opener=_private if private else None) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise _of(path, error, temporary) from error
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def append(path: Path, text: str) -> None:
    """Add whole lines to a file, or leave it as it was.

    Raises:
        OSError: it can't be written; a part that was is taken back, as far as the disk lets us.
    """
    size: int | None = None
    try:
        with path.open("ab", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            content = memoryview(text.encode("utf-8", HANDLER))
            while content:
                content = content[file.write(content) :]
    except OSError as error:
        if size is not None:
            with suppress(OSError):
                os.truncate(path, size)
        raise _of(path, error, path) from error


def _of(path: Path, error: OSError, written: Path) -> OSError:
    """The error with the name of the file that was meant; the system names none where writing fails."""
    if error.errno is None or error.filename not in (None, str(written)):
        return error
    return OSError(error.errno, os.strerror(error.errno), str(path))


def atomic_write(path: Path, content: str | bytes, private: bool = False) -> None:
    """Write a small file whole or not at all, in a folder that is made if need be.

    Args:
        private: whether the owner alone may read it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path, private) as file:
        file.write(content.encode("utf-8", HANDLER) if isinstance(content, str) else content)


def refuse_links(folder: Path, depth: int = 3) -> None:
    """See that what is written below a folder stays there: it may have come from a stranger.

    A link that stays within is good, and so is the folder itself as one.

    Args:
        depth: how many levels are looked at.

    Raises:
        Unwritable: a link leads out; it is named.
    """
    root, levels = folder.resolve(), [folder]
    for _ in range(depth):
        entries = [Path(entry) for level in levels if level.is_dir() for entry in os.scandir(level)]
        for path in entries:
            if path.is_symlink() and not path.resolve().is_relative_to(root):
                raise Unwritable(f"{path}: is a link that leads out of {folder}; nothing is written there")
        levels = [path for path in entries if path.is_dir() and not path.is_symlink()]


def repeats(folder: Path) -> list[Path]:
    """The folders of its single runs, where a run consists of several seeds or folds; in order."""
    found = [path for path in folder.glob("*_*/") if re.fullmatch(r"(seed|fold)_\d+", path.name)]
    return sorted(found, key=lambda path: int(path.name.partition("_")[2]))


def link(source: Path, path: Path) -> None:
    """Give a finished file a second name, replacing what had it; free where links exist."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        try:
            os.link(source, temporary)
        except OSError:  # a file system without hard links
            with whole(temporary) as file, source.open("rb") as content:
                shutil.copyfileobj(content, file)
        temporary.replace(path)
    finally:  # where both names are one file already, replacing does nothing and leaves the third
        temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def to_json(data: Any, indent: int | None = None) -> str:
    """JSON for a file, as every reader accepts it: NaN and infinities become null, paths and tuples plain."""
    text = json.dumps(plain(data), indent=indent, ensure_ascii=False, allow_nan=False)
    return text if can_write(text, "utf-8") else printed_json(data, indent)


def printed_json(data: Any, indent: int | None = None) -> str:
    """The same for a console: of ASCII alone, so that the values are the same whatever it can write."""
    return json.dumps(plain(data), indent=indent, allow_nan=False)


def plain(data: Any) -> Any:
    """Nested data as JSON can hold it: NaN and infinities become null, paths text, tuples lists."""
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if isinstance(data, Mapping):
        return {str(key): plain(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [plain(value) for value in data]
    return data if isinstance(data, (str, int, bool)) or data is None else str(data)


def to_csv(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table and its head as CSV: six digits of a float, nothing for None."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows([f"{cell:.6g}" if isinstance(cell, float) else cell for cell in row] for row in rows)
    return text.getvalue()


def write_summary(folder: Path, summary: Mapping[str, Any]) -> None:
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
def locked(folder: Path) -> Iterator[None]:
    """Hold the run folder for this process; the kernel lets go of it however the process ends.

    Raises:
        RunInUse: another process holds it.
        Unwritable: a link in it leads out.
    """
    refuse_links(folder)
    with held(folder / _LOCK):
        yield


@contextmanager
def held(path: Path) -> Iterator[IO[str]]:
    """Hold a lock file, open for reading and appending, which stands for the folder it lies in.

    Raises:
        RunInUse: another process holds it.
    """
    with path.open("a+", encoding="utf-8") as file:
        if not _taken(file.fileno()):
            raise RunInUse(f"{path.parent}: another process is running in this folder")
        _held.add(file.fileno())
        try:
            yield file
        finally:
            _held.discard(file.fileno())


def _taken(handle: int) -> bool:
    """Whether the lock could be had, after a moment's patience for a run that was just killed."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        else:
            return True


@contextmanager
def claimed(folder: Path | None, root: Path, name: str) -> Iterator[Path]:
    """A run folder for this process alone: the given one, or a new one that goes if it stays empty.

    Raises:
        RunInUse: another process holds it.
    """
    claimed_folder = create(root, name) if folder is None else folder
    claimed_folder.mkdir(parents=True, exist_ok=True)
    with locked(claimed_folder):
        try:
            yield claimed_folder
        finally:  # while it is held: what another process has locked is not ours to remove
            if [path.name for path in claimed_folder.iterdir()] == [_LOCK]:
                (claimed_folder / _LOCK).unlink()
                claimed_folder.rmdir()
