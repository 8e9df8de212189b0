"""Commands that are stopped from outside at random instants, and continued to the same result."""

import os
import random
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from selftest.bench import Bench, Done, Process, as_main, left_alive, until
from selftest.sockets import family
from selftest.verdict import Tally

PROMISED = 5.0  # seconds, or a step, for an orderly end
AT_ONCE = 1.0  # seconds after a second signal
LONGEST = 120.0  # seconds for a command


@dataclass(frozen=True)
class Stop:
    """One stop of a command.

    Args:
        first: a signal.
        second: another, on the way to its end.
        terminal: the terminal that it runs in is closed, by which the kernel sends the first.
    """

    first: signal.Signals
    second: signal.Signals | None = None
    terminal: bool = False

    @property
    def title(self) -> str:
        """Its name."""
        second = "" if self.second is None else f", then {self.second.name}"
        return "terminal closed" if self.terminal else self.first.name + second

    @property
    def code(self) -> int:
        """The exit code of a command that was stopped so."""
        return 128 + (self.second or self.first)


class Terminal:
    """A terminal whose window nobody looks at, and that can be closed; a context."""

    def __enter__(self) -> "Terminal":
        ours, self._theirs = os.openpty()
        self.name = os.ttyname(self._theirs)
        # The window has the only handle of its end.
        self._window = subprocess.Popen(["cat"], stdin=ours, stdout=subprocess.DEVNULL)
        os.close(ours)
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
        os.close(self._theirs)

    def close(self) -> None:
        """The window is closed, the connection is lost: the kernel signals its processes."""
        self._window.kill()
        self._window.wait()


def as_main_in_terminal(main: Path, arguments: Sequence[str], terminal: str) -> None:
    """`python main.py ...` with this terminal as its own."""
    # Of a session without a terminal, it becomes the one.
    handle = os.open(terminal, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(handle, number)
    out, err = (open(number, "w", encoding="utf-8", closefd=False) for number in (1, 2))  # noqa: SIM115 - they stay
    with redirect_stdout(out), redirect_stderr(err):
        as_main(main, arguments)


class Command(ABC):
    """A run or a study that is stopped.

    Attributes:
        title: its name, by which its stops are counted.
        real: it is the real command, which is not over before it is stopped; else a warm process.
        within: seconds after its beginning in which it is stopped.
        pause: seconds between two signals.
        step: seconds that it may need beyond what is promised.
    """

    title: str
    real = False
    within = 0.5
    pause = 0.05
    step = 0.0

    def __init__(self, bench: Bench) -> None:
        self.bench = bench

    @abstractmethod
    def made(self) -> Path:
        """A new folder with the command's files."""

    @abstractmethod
    def arguments(self, folder: Path) -> tuple[str, ...]:
        """The command that begins, or continues after a stop."""

    def last_arguments(self, folder: Path) -> tuple[str, ...]:
        """The command that continues to the end."""
        return self.arguments(folder)

    @abstractmethod
    def progress(self, folder: Path) -> int:
        """A number that is another one as soon as a command has begun."""

    def over(self, folder: Path, each: Stop, done: Done) -> bool:
        """True where it came to its end before the stop."""
        return done.code == 0 and not self.real

    @abstractmethod
    def judge(self, folder: Path, done: Done) -> Iterable[str]:
        """Judge what a stop leaves."""

    def running(self, folder: Path) -> list[int]:
        """The trials that are recorded as running."""
        return []

    @abstractmethod
    def differences(self, folder: Path) -> Iterable[str]:
        """Return the differences between its result and that of an undisturbed one."""

    def begin(self, folder: Path, arguments: Sequence[str], terminal: Terminal | None = None) -> Process:
        """Start it, or continue it."""
        if terminal is not None:
            return self.bench.fork(folder, as_main_in_terminal, self.bench.main, arguments, terminal.name)
        return (self.bench.start if self.real else self.bench.warm)(folder, *arguments)


def stop(command: Command, stops: Sequence[Stop], seed: int, tally: Tally) -> int:
    """Start a command, stop it, and so on; in the end all has to be as if nobody had.

    Returns:
        How often it was stopped; less often than wanted where it came to its end before.
    """
    chance, folder, count = random.Random(seed), command.made(), 0
    for index, each in enumerate(stops):
        where = f"{command.title}, seed {seed}.{index}: {each.title}"
        before = command.progress(folder)
        with ExitStack() as stack:
            terminal = stack.enter_context(Terminal()) if each.terminal else None
            process = command.begin(folder, command.arguments(folder), terminal)
            until(lambda: command.progress(folder) != before or not process.alive, LONGEST, 0.005)  # noqa: B023 - it is called here
            if command.real and not process.alive:
                tally.take(where, [f"ended by itself: {process.done().output[-300:]}"])
                return count
            time.sleep(chance.uniform(0.0, command.within))
            below = family(process.pid)  # trials have groups of their own
            if terminal is not None:
                terminal.close()
            else:
                process.send(each.first, group=each.second is None and chance.random() < 0.5)
            # The second signal only means something while the first is still being handled.
            if each.second is not None:
                time.sleep(command.pause)
                if not tally.expect(process.alive, f"{where}: ended before the second"):
                    return count
                process.send(each.second)
            started = time.monotonic()
            done = process.done(LONGEST)
        if command.over(folder, each, done):
            break
        count += 1
        judge_end(tally, where, each, done.code, time.monotonic() - started, command)
        if each.second is None:
            tally.take(where, command.judge(folder, done))
            tally.add("RUNNING", len(command.running(folder)))
        if alive := left_alive(process.pid, others=below):
            tally.take(where, [f"{len(alive)} processes are left behind"])
    # Continue to the end: nothing of the stops may be visible in the result.
    if count:
        where = f"{command.title}, seed {seed}"
        done = command.begin(folder, command.last_arguments(folder)).done(LONGEST)
        ended = tally.expect(
            done.code == 0, f"{where}: continued, it ended with {done.code}: {done.output[-300:]}"
        )
        if ended and tally.take(where, command.differences(folder)):
            tally.add("resumed to the same result", count)
    return count


def judge_end(tally: Tally, where: str, each: Stop, code: int, seconds: float, command: Command) -> None:
    """Take in how a command ended, and how long that took."""
    first = each.second is None
    tally.add(command.title if first else "second signals")
    tally.most("s at most" if first else "s at most after a second", seconds)
    tally.expect(code == each.code, f"{where}: ended with {code}, expected {each.code}")
    limit = PROMISED + command.step if first else AT_ONCE
    tally.expect(command.bench.in_time(seconds, limit), f"{where}: took {seconds:.1f} s")
