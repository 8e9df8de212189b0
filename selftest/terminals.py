"""A terminal that can be closed while a command runs in it."""

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path

from selftest.bench import as_main


class Terminal:
    """A terminal that nobody looks at, and that can be closed; a context."""

    def __enter__(self) -> "Terminal":
        self._ours, self._theirs = os.openpty()
        self.name = os.ttyname(self._theirs)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._over = threading.Event()
        self._reader.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """The window is closed, the connection is lost: the kernel signals its processes."""
        if not self._over.is_set():
            self._over.set()
            self._reader.join()
            os.close(self._theirs)
            os.close(self._ours)

    def _read(self) -> None:
        os.set_blocking(self._ours, False)
        while not self._over.is_set():
            with suppress(BlockingIOError):
                os.read(self._ours, 4096)
            time.sleep(0.01)


def as_main_in_terminal(main: Path, arguments: Sequence[str], terminal: str) -> None:
    """`python main.py ...` with this terminal as its own."""
    with _controlled_by(terminal):
        as_main(main, arguments)


@contextmanager
def _controlled_by(terminal: str) -> Iterator[None]:
    # Of a session without a terminal, it becomes the one.
    handle = os.open(terminal, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(handle, number)
    out, err = (open(number, "w", encoding="utf-8", closefd=False) for number in (1, 2))  # noqa: SIM115 - they stay
    with redirect_stdout(out), redirect_stderr(err):
        yield
