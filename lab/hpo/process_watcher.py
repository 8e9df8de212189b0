"""Ends the processes of a scheduler that is gone, where they do not end by themselves.

A trial that hangs in C code can't react to the end of its scheduler, and nobody else may end it: its parent,
the fork server, may be killed while trials are healthy, and a timer in the trial would end one that was only
stopped (SIGSTOP) for a while. So each scheduler has a watcher: this file, run as a script of its own.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import FrameType

_GRACE = 20.0  # seconds that processes may take to end by themselves
_TICK = 0.25


class ProcessWatcher:
    """The watcher of this process's children, each the leader of a process group.

    Ctrl-Z reaches the terminal's group alone: the children are suspended and continued with this process.

    Args:
        grace: seconds between this process's end and theirs.
    """

    def __init__(self, grace: float = _GRACE) -> None:
        self._grace = grace
        self._process: subprocess.Popen[bytes] | None = None
        self._pids: list[int] = []

    def watch(self, pids: Iterable[int]) -> None:
        """Watch these processes and no others; a watcher that was killed is started again."""
        self._pids = list(pids)
        if self._process is None and not self._pids:
            return
        line = f"{' '.join(map(str, self._pids))}\n".encode()
        if self._process is not None and not self._sent(self._process, line):
            self.close()
        if self._process is None:
            # A session of its own, as neither the terminal nor a signal to the group may end it.
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", __file__, str(self._grace)],
                stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True, bufsize=0,
            )  # fmt: skip
            self._sent(self._process, line)
        if threading.current_thread() is threading.main_thread() and _on_suspend() is signal.SIG_DFL:
            signal.signal(signal.SIGTSTP, self._suspend)

    def close(self) -> None:
        """End the watcher, once the processes that it watches have ended."""
        if self._process is not None:
            self._process.communicate()
            self._process = None
        if _on_suspend() == self._suspend:
            signal.signal(signal.SIGTSTP, signal.SIG_DFL)

    def _suspend(self, number: int, frame: FrameType | None) -> None:
        pids = self._pids
        for pid in pids:
            signal_group(pid, signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGSTOP)
        for pid in pids:  # by now it was continued
            signal_group(pid, signal.SIGCONT)

    @staticmethod
    def _sent(process: "subprocess.Popen[bytes]", line: bytes) -> bool:
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            process.stdin.write(line)
            return True
        return False


def birth(pid: int) -> str | None:
    """When a process started, in the kernel's ticks; empty where it has ended, None where nobody can see."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    return "" if fields[0] in "ZX" else fields[19]


def is_gone(pid: int, born: str | None) -> bool:
    """Return whether the process that started then is proven to have ended.

    Args:
        born: its `birth`.
    """
    now = birth(pid)
    if now is None:
        return not _exists(pid)
    return now == "" or (born is not None and now != born)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def signal_group(pid: int, number: signal.Signals = signal.SIGKILL) -> bool:
    """Send a signal to all processes of a group, by default to end them; returns whether there were any."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)
        return True
    return False


def end(pid: int) -> None:
    """End a process and its group, which it may not have founded yet."""
    if not signal_group(pid):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _on_suspend() -> object:
    return signal.getsignal(signal.SIGTSTP)


def _main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # they may go to all processes of a job
        signal.signal(number, signal.SIG_IGN)
    known: dict[int, str | None] = {}
    for line in sys.stdin.buffer:
        known = {pid: known.get(pid) or birth(pid) for pid in map(int, line.split())}
    # Ticks, not the clock: while the whole job is stopped, no time passes.
    left = float(sys.argv[1])
    while known:
        for pid, born in list(known.items()):
            if is_gone(pid, born):
                signal_group(pid)  # what it has left
                del known[pid]
            elif left <= 0:
                end(pid)
        time.sleep(_TICK)
        left -= _TICK


if __name__ == "__main__":
    _main()
