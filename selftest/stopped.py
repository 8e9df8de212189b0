"""What stopping programs from outside needs: signals, a terminal that closes, a count of the ends."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field
from pathlib import Path

from selftest.bench import as_main

KINDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PROMISED = 5.0  # seconds, or a step, for an orderly end
AT_ONCE = 1.0  # seconds after a second signal
_GONE = 30.0  # seconds that the processes of a command may take to notice that it is gone


@dataclass
class Tally:
    """What came of many stops; several threads add to it.

    Args:
        seconds: from each first signal to the end.
        second: the same for second signals.
    """

    stops: int = 0
    resumed: int = 0
    running: int = 0
    seconds: list[float] = field(default_factory=list)
    second: list[float] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, **counts: int) -> None:
        """Count."""
        with self._lock:
            for name, count in counts.items():
                setattr(self, name, getattr(self, name) + count)

    def judge_end(self, where: str, code: int | None, wanted: int) -> None:
        """Whether a process ended with the code of its signal."""
        if code != wanted:
            self.broken.append(f"{where}: ended with {code}, expected {wanted}")

    def figures(self) -> dict[str, int | float]:
        """As they are told."""
        return {
            "stops": self.stops,
            "resumed to the same result": self.resumed,
            "RUNNING": self.running,
            "s at most": max(self.seconds, default=0.0),
            "second signals": len(self.second),
            "s at most after those": max(self.second, default=0.0),
        }


def told(where: str, number: int) -> str:
    """`a run: SIGTERM`."""
    return f"{where}: {signal.Signals(number).name}"


def stop(pid: int, number: int, group: bool) -> None:
    """Send a signal to a process, or to all of its group as terminals and batch systems do."""
    with suppress(ProcessLookupError):
        (os.killpg if group else os.kill)(pid, number)


def timed(end: Callable[[], int | None]) -> tuple[int | None, float]:
    """The exit code that a process ends with, and how long that takes."""
    started = time.monotonic()
    return end(), time.monotonic() - started


def left_alive(group: int) -> list[int]:
    """The processes of a group that still live some time after its leader has ended."""
    deadline = time.monotonic() + _GONE
    while (found := list(_members(group))) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def _members(group: int) -> Iterator[int]:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[2]) == group and fields[0] != "Z":
                yield int(stat.parent.name)


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
        """The window is closed, the connection is lost: the kernel tells who works there."""
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
    handle = os.open(terminal, os.O_RDWR)  # of a session without a terminal, it becomes the one
    for number in (0, 1, 2):
        os.dup2(handle, number)
    out, err = (open(number, "w", encoding="utf-8", closefd=False) for number in (1, 2))  # noqa: SIM115 - they stay
    with redirect_stdout(out), redirect_stderr(err):
        yield
