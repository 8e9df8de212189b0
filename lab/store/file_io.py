"""Files that appear whole or not at all, locks, and JSON and CSV as every reader accepts them."""

import csv
import errno
import fcntl
import io
import json
import math
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO, Any

from lab.store.ascii_fallback import HANDLER, can_write
from lab.store.paths import shown

_PATIENCE = 0.5  # seconds
_FULL = (errno.ENOSPC, errno.EDQUOT)
_REFUSED = (
    errno.EPERM, errno.EACCES, errno.EROFS, errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE
)  # fmt: skip
_held: set[int] = set()


def _close_in_child() -> None:
    """A forked loader worker must not keep the lock of a run that is over, or killed."""
    for handle in _held:
        os.close(handle)
    _held.clear()


os.register_at_fork(after_in_child=_close_in_child)


class Unwritable(RuntimeError):
    """The folder that runs live in can't be made, or what is written to it would land elsewhere."""


def is_storage_fault(error: BaseException | None, *folders: Path) -> bool:
    """Return whether the system kept this program from its own files, which is no fault of what runs.

    Args:
        folders: that the program writes to. Errors on other paths, such as those of the user's data, count
            only where there is no space left.
    """
    if not isinstance(error, OSError):
        return False
    if error.errno not in _REFUSED or not isinstance(error.filename, (str, bytes)):
        return error.errno in _FULL
    path = Path(os.path.realpath(os.fsdecode(error.filename)))
    return _is_temporary(path) or any(path.is_relative_to(os.path.realpath(folder)) for folder in folders)


def _is_temporary(path: Path) -> bool:
    """Return whether Python has named it; the folder of such files may hold the user's data as well."""
    with suppress(OSError):
        place = os.path.realpath(tempfile.gettempdir())
        name = "".join(path.relative_to(place).parts[:1]) if path.is_relative_to(place) else ""
        return name.startswith((tempfile.gettempprefix(), "pymp-"))
    return False


def storage_message(error: BaseException) -> str:
    """A message that files can't be written or read, and which."""
    assert isinstance(error, OSError)
    full = error.errno in _FULL
    place = f"{error.filename}: " if error.filename else ""
    text = os.strerror(errno.ENOSPC if full else error.errno or 0)
    return f"{'the disk is full' if full else 'storage fails'}: {place}{text}"


class RunInUse(RuntimeError):
    """Another process is writing into this run folder."""


@contextmanager
def atomic_open(path: Path, private: bool = False) -> Iterator[IO[bytes]]:
    """Open a file that is replaced as a whole, or stays as it was.

    It is written under another name, synced and renamed, and then its folder is synced.

    Args:
        private: whether the owner alone may read it.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    if private:
        temporary.unlink(missing_ok=True)  # left by a killed process, it would keep its mode
    try:
        with open(temporary, "wb", opener=partial(os.open, mode=0o600) if private else None) as file:
            yield file
            # Before the rename: after a power cut the name must not lead to an empty file.
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise _of(path, error, temporary) from error
    finally:
        temporary.unlink(missing_ok=True)
    # The rename itself is durable once the folder is.
    sync_folder(path.parent)


def append(path: Path, text: str) -> None:
    """Add whole lines to a file, or leave it as it was.

    Raises:
        OSError: it can't be written; a part that was is taken back, as far as the disk lets us.
    """
    size: int | None = None
    try:
        # Unbuffered, so that a partial write shows here, and not when the file is closed.
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


def whole_lines(path: Path) -> str:
    """Return a file's text without a last line that has no end; empty where there is no file."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    return text[: text.rfind("\n") + 1]


def read_regular(path: str) -> bytes:
    """Read a regular file.

    Raises:
        OSError: there is none, or it is something else, such as a pipe that nobody writes to.
    """
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        return file.read()


def atomic_write(path: Path, content: str | bytes, private: bool = False) -> None:
    """Write a small file whole or not at all, in a folder that is made if need be.

    Args:
        private: whether the owner alone may read it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_open(path, private) as file:
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
        # Links are not followed, so one that leads out is found before anything behind it.
        entries = [Path(entry) for level in levels if level.is_dir() for entry in os.scandir(level)]
        for path in entries:
            if path.is_symlink() and not path.resolve().is_relative_to(root):
                raise Unwritable(
                    f"{shown(path)}: is a link that leads out of {shown(folder)}; nothing is written there"
                )
        levels = [path for path in entries if path.is_dir() and not path.is_symlink()]


def link(source: Path, path: Path) -> None:
    """Give a finished file a second name, replacing what had it; free where links exist."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        try:
            os.link(source, temporary)
        except OSError:  # a file system without hard links
            with atomic_open(temporary) as file, source.open("rb") as content:
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


def to_json(data: object, indent: int | None = None) -> str:
    """JSON for a file, as every reader accepts it: NaN and infinities become null, paths and tuples plain."""
    text = json.dumps(as_json_values(data), indent=indent, ensure_ascii=False, allow_nan=False)
    return text if can_write(text, "utf-8") else printed_json(data, indent)


def printed_json(data: object, indent: int | None = None) -> str:
    """The same for a console: of ASCII alone, so that the values are the same whatever it can write."""
    return json.dumps(as_json_values(data), indent=indent, allow_nan=False)


def as_json_values(data: Any) -> Any:
    """Nested data as JSON can hold it: NaN and infinities become null, paths text, tuples lists."""
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if isinstance(data, Mapping):
        return {str(key): as_json_values(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [as_json_values(value) for value in data]
    return data if isinstance(data, (str, int, bool)) or data is None else str(data)


def to_csv(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table and its head as CSV: six digits of a float, nothing for None."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows([f"{cell:.6g}" if isinstance(cell, float) else cell for cell in row] for row in rows)
    return text.getvalue()


@contextmanager
def file_lock(path: Path) -> Iterator[IO[str]]:
    """Hold a lock file, open for reading and appending, which stands for the folder it lies in.

    Raises:
        RunInUse: another process holds it.
    """
    # Opened for appending: another process's lock file must not be truncated.
    with path.open("a+", encoding="utf-8") as file:
        if not _taken(file.fileno()):
            raise RunInUse(f"{shown(path.parent)}: another process is running in this folder")
        _held.add(file.fileno())
        try:
            yield file
        finally:
            _held.discard(file.fileno())


def _taken(handle: int) -> bool:
    """Return whether the lock was acquired; waits a moment for a run that was just killed."""
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
