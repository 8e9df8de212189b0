"""A bench to try faults at: a folder on the storage in question, the real command, warm processes."""

import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from multiprocessing import process as processes
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from lab.config import RunConfig, import_policy
from lab.hpo import forkserver
from lab.hpo.worker_main import Run
from selftest import sockets
from selftest.postgres import Postgres, find_postgres
from selftest.studies import small_run

T = TypeVar("T")
CONSOLE = "console.txt"
_LANES = 2  # what is tried side by side
PLANTED = "selftest.faulty_parts,selftest.stateful_parts"  # which configs may name here alone
# What forked processes would import one after the other.
_WARM = ("optuna", "sqlalchemy.dialects.sqlite", "sqlalchemy.dialects.postgresql", "alembic.config",
         "alembic.command", "lab.hpo.study", "selftest.faulty_parts", "selftest.stateful_parts",
         "jinja2", "optuna.importance", "sklearn.ensemble")  # fmt: skip  # the last three draw the report
# What each command is judged by must not depend on the console that the self-test itself was given.
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "WANDB_API_KEY": "", "PYTHONIOENCODING": "utf-8"}


@dataclass(frozen=True)
class Done:
    """The end of a process.

    Args:
        code: its exit code; negative where a signal ended it.
        out: what it printed; of a process that was forked, its console's whole text.
        late: it took too long, and was killed for that.
    """

    code: int
    out: str
    err: str
    late: bool = False

    @property
    def output(self) -> str:
        """All that it printed."""
        return self.out + self.err

    @property
    def last(self) -> str:
        """Its last words: the error that ended it, where there is one."""
        return last_line(self.err or self.out)


class Process:
    """A process of the bench, be it the real command or a fork: wait for it, send it signals, read its words.

    Args:
        console: the file that a fork prints into; the real command prints into pipes.
    """

    def __init__(self, made: "subprocess.Popen[str] | ForkServerProcess", console: Path) -> None:
        assert made.pid is not None
        self.made, self.pid = made, made.pid
        self._console = console
        self._before = console.stat().st_size if console.exists() else 0  # of those who printed there earlier

    @property
    def alive(self) -> bool:
        """True until it has ended."""
        if isinstance(self.made, subprocess.Popen):
            return self.made.poll() is None
        return self.made.is_alive()

    def done(self, seconds: float = 300.0) -> Done:
        """Wait for its end; one that takes too long is killed (-9) with its group."""
        if isinstance(self.made, subprocess.Popen):
            late = False
            try:
                out, err = self.made.communicate(timeout=seconds)
            except subprocess.TimeoutExpired:
                late = True
                end_group(self.pid)
                out, err = self.made.communicate()
            return Done(self.made.returncode, out, err, late)
        self.made.join(seconds)
        if late := self.made.is_alive():
            end_group(self.pid)
            self.made.join()
        assert self.made.exitcode is not None
        return Done(self.made.exitcode, self.output, "", late)

    @property
    def output(self) -> str:
        """All that a fork has printed so far."""
        if not self._console.exists():
            return ""
        return self._console.read_bytes()[self._before :].decode(errors="replace")

    def line(self) -> str:
        """The next line that the real command prints."""
        assert isinstance(self.made, subprocess.Popen) and self.made.stdout is not None
        return self.made.stdout.readline()

    def send(self, number: int, group: bool = False) -> None:
        """Send it a signal, or all of its group as terminals and batch systems do."""
        with suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self.pid, number)


class Bench:
    """A place to try faults at, and all that is needed for it; a context that ends what it has started.

    Args:
        place: an empty folder, which is removed at the end.
        main: the path of `main.py`.
        run: `util.run`.
        report: receives lines on the progress.
        judge_times: whether a promised time that is not kept counts as broken; on a busy machine it need not.
    """

    def __init__(
        self, place: Path, main: Path, run: Run, report: Callable[[str], None], judge_times: bool = True
    ) -> None:
        self.place, self.main, self.run, self.report = place.resolve(), main.resolve(), run, report
        self.judge_times = judge_times
        self._granted = os.environ.get(import_policy.VARIABLE, "")
        self._started: list[Process] = []
        self._postgres: Postgres | None = None
        self._looked_for_postgres = self._is_warm = False

    def __enter__(self) -> "Bench":
        self.place.mkdir(parents=True, exist_ok=True)
        if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
            restore_signals()
        os.environ[import_policy.VARIABLE] = ",".join(filter(None, [self._granted, PLANTED]))
        return self

    def __exit__(self, *exception: object) -> None:
        os.environ[import_policy.VARIABLE] = self._granted
        self.end_processes()
        if self._postgres is not None:
            self._postgres.close()
        shutil.rmtree(self.place, ignore_errors=True)

    def in_time(self, seconds: float, limit: float) -> bool:
        """True where a promised time was kept, or isn't judged."""
        return seconds <= limit or not self.judge_times

    def folder(self, name: str) -> Path:
        """A new empty folder of the bench, the working folder of what is tried there."""
        # mkdir decides, for threads that ask for the same name at once.
        for attempt in range(10_000):
            path = self.place / (f"{name}-{attempt}" if attempt else name)
            with suppress(FileExistsError):
                path.mkdir(parents=True)
                return path
        raise AssertionError(f"{self.place}: 10,000 folders of the name {name}")

    def start(self, folder: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> Process:
        """The real `python main.py ...` in a folder, in the background and in a process group of its own."""
        command = subprocess.Popen(
            [sys.executable, str(self.main), *arguments],
            cwd=folder,
            env={**os.environ, **_ENVIRONMENT, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
        return self._with(Process(command, folder / CONSOLE))

    def fork(self, folder: Path, function: Callable[..., object], *arguments: object) -> Process:
        """A process from a server that has imported everything, in hundredths of a second.

        It runs in the folder, in a process group of its own, and prints into `console.txt` there.

        Args:
            function: of a module, with arguments that can be pickled.
        """
        if not self._is_warm:
            # What forks in a thread must not touch signals.
            self._is_warm = True
            forkserver.warm_up(RunConfig.model_validate(small_run()), self.run.__module__, *_WARM)
        # The server may be older than this bench, and then have been started without what is granted here.
        granted = os.environ.get(import_policy.VARIABLE, "")
        fork = forkserver.context().Process(target=_forked, args=(folder, granted, function, arguments))
        fork.start()
        # Each start polls all children. Of two threads that poll one, only the first gets its exit code.
        processes._children.discard(fork)  # type: ignore[attr-defined]
        return self._with(Process(fork, folder / CONSOLE))

    def warm(self, folder: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> Process:
        """The real `python main.py ...` as `start` has it, in a process that has imported everything."""
        return self.fork(folder, as_main, self.main, arguments, environment or {})

    def postgres(self) -> Postgres | None:
        """A PostgreSQL server: that of TEST_DB_URL, or one of its own; None where there is none to be had."""
        if not self._looked_for_postgres:
            self._postgres = find_postgres(self.place)
            self._looked_for_postgres = True
        return self._postgres

    def end_processes(self) -> None:
        """End whatever still runs of what was started here."""
        for process in self._started:
            if process.alive:
                end_group(process.pid)
            process.done()
        self._started.clear()

    def _with(self, process: Process) -> Process:
        self._started.append(process)
        return process


def until(condition: Callable[[], bool], seconds: float, pause: float = 0.05) -> bool:
    """Wait for something; True where it has come."""
    deadline = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < deadline:
        time.sleep(pause)
    return met


def in_order(begun: Iterable[tuple[T, Process]], seconds: float = 300.0) -> Iterator[tuple[T, Done]]:
    """Wait for processes in the order in which they begin, two of which run side by side."""
    waiting: deque[tuple[T, Process]] = deque()
    for each in begun:
        waiting.append(each)
        if len(waiting) == _LANES:
            what, process = waiting.popleft()
            yield what, process.done(seconds)
    for what, process in waiting:
        yield what, process.done(seconds)


def side_by_side(tries: Sequence[Callable[[], object]]) -> None:
    """Try all of them, two at a time, each in a thread."""
    with ThreadPoolExecutor(_LANES) as pool:
        for future in [pool.submit(each) for each in tries]:
            future.result()


def left_alive(group: int, seconds: float = 30.0, others: Collection[int] = ()) -> list[int]:
    """The processes of a group, and others, that live so long after its leader has ended; no zombies."""

    def members() -> list[int]:
        found = [(pid, its) for pid, state, _, its in sockets.processes() if state != "Z"]
        return [pid for pid, its in found if its == group or pid in others]

    until(lambda: not members(), seconds)
    return members()


def last_line(text: str) -> str:
    """The last words of a process: the error that ended it, where there is one."""
    head, found, tail = text.rpartition("Traceback (most recent call last):\n")
    lines = [line for line in (tail if found else head + tail).splitlines() if line.strip()]
    errors = [line for line in lines if found and not line.startswith(" ")]
    return next(iter(errors or reversed(lines)), "no output")


def end_group(pid: int) -> None:
    """Kill a process and those of its group."""
    for send in (os.killpg, os.kill):
        with suppress(ProcessLookupError, PermissionError):
            send(pid, signal.SIGKILL)


def restore_signals() -> None:
    """Let processes that start here receive all signals, some of which a shell or a warm server ignores."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def _forked(
    folder: Path, granted: str, function: Callable[..., object], arguments: tuple[object, ...]
) -> None:
    os.environ[import_policy.VARIABLE] = granted
    restore_signals()
    os.setsid()
    os.chdir(folder)
    with (folder / CONSOLE).open("a", buffering=1) as log, redirect_stdout(log), redirect_stderr(log):
        try:
            function(*arguments)
        except Exception:
            traceback.print_exc()  # or it would go to the server's
            raise


def as_main(
    main: Path, arguments: Sequence[str], environment: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Run `python main.py ...` in this process, with more variables of the environment."""
    os.environ.update(environment)
    sys.argv = [str(main), *arguments]
    runpy.run_path(str(main), run_name="__main__")
