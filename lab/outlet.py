"""Standard output that may go away: a terminal that is closed, a reader that has seen enough."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


class Outlet:
    """A stream to write to that ends nothing: once it fails, what is written goes nowhere.

    Args:
        stream: by default standard output.
    """

    def __init__(self, stream: IO[str] | None = None) -> None:
        self._stream = stream or sys.stdout
        self.gone = False

    def write(self, text: str) -> None:
        """Write, if anybody is there."""
        try:
            self._stream.write(text)
        except OSError:
            self._leave()

    def flush(self) -> None:
        """Have it shown."""
        try:
            self._stream.flush()
        except OSError:
            self._leave()

    def isatty(self) -> bool:
        """Whether a terminal is at the other end."""
        return not self.gone and self._stream.isatty()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _leave(self) -> None:
        self.gone = True
        self._stream = Path(os.devnull).open("w")  # noqa: SIM115 - for the rest of the process
        try:
            ours = sys.stdout.fileno() == 1
        except (OSError, ValueError, AttributeError):
            ours = False
        if ours:
            os.dup2(self._stream.fileno(), 1)  # what is left in its buffer must go somewhere


@contextmanager
def status_line() -> Iterator[Callable[[str], None]]:
    """Tells a person at a terminal what is being tried; each line takes the last one's place."""
    live = sys.stderr.isatty()

    def tell(text: str) -> None:
        if live:
            width = shutil.get_terminal_size().columns - 1
            print(f"\r\x1b[K{text[:width]}", end="", file=sys.stderr, flush=True)

    try:
        yield tell
    finally:
        tell("")
