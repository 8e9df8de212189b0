"""Consoles that may write little, or go away: a terminal that is closed, a reader that has seen enough."""

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from io import TextIOWrapper
from pathlib import Path
from typing import IO, Any, TextIO, cast

from lab.store.ascii_fallback import HANDLER, writable

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_COLUMNS = 80
_STANDARD = (0, 1, 2)  # input, output, errors
# Bytes of a log's beginning and end that are kept, and its size from which the rest is left out.
_HEAD, _TAIL, _LONGEST = 2**20, 2**22, 2**23


class SafeStream:
    """A stream to write to that ends nothing.

    Signs that its encoding lacks are replaced. Once it is gone, what is written goes nowhere; a disk that is
    full may have space again, and is tried again.

    Args:
        stream: by default standard output; where that is closed, nothing is written.

    Attributes:
        gone: whether the reader is gone.
        failure: the error by which output was lost that a reader still waits for, or None.
    """

    def __init__(self, stream: IO[str] | None = None) -> None:
        self._stream = stream or sys.stdout or _nowhere()
        self.gone = False
        self.failure: OSError | None = None

    def write(self, text: str) -> int:
        """Write, if anybody is there."""
        self._try(lambda: self._write(text))
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """Write each."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Have it shown."""
        self._try(self._stream.flush)

    def isatty(self) -> bool:
        """Return whether a terminal is at the other end."""
        return not self.gone and self._stream.isatty()

    @property
    def live(self) -> bool:
        """True for a terminal on which a line can be rewritten."""
        return self.isatty() and os.environ.get("TERM", "dumb") not in ("", "dumb")

    def settle(self) -> None:
        """Write what is left, or drop it: the interpreter's last flush must not fail."""
        # Python flushes the standard streams at exit, and a failure there would be exit code 120.
        self.flush()
        if self.failure is not None:
            self._leave()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
        except UnicodeEncodeError as error:
            self._stream.write(writable(text, getattr(self._stream, "encoding", None) or error.encoding))

    def _try(self, action: Callable[[], object]) -> None:
        try:
            action()
        except OSError as error:
            if error.errno in _NO_SPACE:
                self.failure = error
            elif error.errno == errno.EAGAIN:  # a reader that is slow, of a stream that doesn't wait for it
                return
            else:
                self._leave()
        except ValueError:  # it was closed by the program itself
            if not getattr(self._stream, "closed", False):
                raise
            self._leave()

    def _leave(self) -> None:
        self.gone = True
        before, self._stream = self._stream, _nowhere()
        with suppress(OSError, ValueError, AttributeError):
            if before.fileno() in _STANDARD:
                # What is left in its buffer must go somewhere.
                os.dup2(self._stream.fileno(), before.fileno())


class LogStream(SafeStream):
    """A stream into a log file, of which only the beginning and the end are kept where it gets long."""

    _unchecked = 0

    def write(self, text: str) -> int:
        """Write, and look at the file's size now and then: others write to it as well."""
        self._unchecked += super().write(text)
        if self._unchecked >= _HEAD:
            self._unchecked = 0
            self.flush()
            with suppress(OSError):
                _leave_out_the_middle(self.fileno())
        return len(text)


def _leave_out_the_middle(handle: int) -> None:
    if os.fstat(handle).st_size <= _LONGEST:
        return
    with Path(f"/proc/self/fd/{handle}").open("r+b") as file:  # the handle itself is for writing alone
        head = file.read(_HEAD)
        head = head[: head.rfind(b"\n") + 1]
        file.seek(-_TAIL, os.SEEK_END)
        tail = file.read().partition(b"\n")[2]
        left_out = file.tell() - len(head) - len(tail)
        file.seek(len(head))
        file.write(f"[... {left_out:,} bytes are left out here ...]\n".encode() + tail)
        file.truncate()


def _nowhere() -> IO[str]:
    return Path(os.devnull).open("w", encoding="utf-8")  # for the rest of the process


@contextmanager
def standard_streams() -> Iterator[None]:
    """Make standard output and errors streams that end nothing, in this process and those it starts."""
    # Open those that were closed, for the next file opened would take their numbers.
    for number in _STANDARD:
        try:
            os.fstat(number)
        except OSError:
            handle = os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
            os.set_inheritable(handle, True)
    for number in _STANDARD[1:]:
        with suppress(OSError):
            os.set_blocking(number, True)  # another program on this terminal may have changed it
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # else errors would be full of escapes, for Python's own way
            stream.reconfigure(errors=HANDLER)
    out, err = SafeStream(sys.stdout), SafeStream(sys.stderr or _nowhere())
    with redirect_stdout(cast(TextIO, out)), redirect_stderr(cast(TextIO, err)):
        try:
            yield
        finally:
            out.settle()
            if out.failure is not None:
                err.write(f"main.py: standard output: not all could be written: {out.failure.strerror}\n")
            err.settle()


def into_files() -> None:
    """Make the standard streams, which were just led into files, write UTF-8 there, each line at once."""
    out, err = (
        LogStream(open(number, "w", encoding="utf-8", buffering=1, closefd=False))  # noqa: SIM115
        for number in _STANDARD[1:]
    )
    sys.stdout, sys.stderr = cast(TextIO, out), cast(TextIO, err)


def failure() -> OSError | None:
    """The error by which something is lost of what was printed to standard output until now."""
    sys.stdout.flush()
    found: OSError | None = getattr(sys.stdout, "failure", None)
    return found


def writable_here(text: str) -> str:
    """The text as standard output can show it, for who has to know how long it is."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return text if text.isascii() else writable(text, encoding)


def columns(stream: "SafeStream | TextIO | None" = None) -> int:
    """The columns of a terminal, by default standard output's: by COLUMNS, else its own, else 80."""
    wanted = os.environ.get("COLUMNS", "")
    if wanted.isdecimal() and int(wanted) > 0:
        return int(wanted)
    with suppress(OSError, ValueError, AttributeError):
        return os.get_terminal_size((stream or sys.stdout).fileno()).columns or _COLUMNS
    return _COLUMNS


@contextmanager
def status_line() -> Iterator[Callable[[str], None]]:
    """Show a person at a terminal what is being tried; each line takes the last one's place."""
    err = SafeStream(sys.stderr or _nowhere())

    def tell(text: str) -> None:
        if err.live:
            err.write(f"\r\x1b[K{text[: columns(err) - 1]}")
            err.flush()

    try:
        yield tell
    finally:
        tell("")
