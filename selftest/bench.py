"""Where faults are tried: a folder on the storage in question, the real command, warm processes, a server."""

import os
import runpy
import shutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from multiprocessing import process as processes
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from lab.config import RunConfig, gate
from lab.hpo import server
from lab.hpo.trial_process import Run
from selftest.postgres import Postgres, find_postgres

CONSOLE = "console.txt"
PLANTED = "selftest.faulty_parts,selftest.stateful_parts"  # which configs may name here alone
_SMALL = {
    "data": "lab.data.function",
    "net": "model.MLP",
    "optimizer": {"target": "torch.optim.AdamW", "lr": 1e-3},
}
# What forked processes would import one after the other.
_WARM = ("optuna", "sqlalchemy.dialects.sqlite", "sqlalchemy.dialects.postgresql", "alembic.config",
         "alembic.command", "lab.hpo.study", "selftest.faulty_parts", "selftest.stateful_parts",
         "jinja2", "optuna.importance", "sklearn.ensemble")  # fmt: skip  # the last three draw the report
# What each command is judged by must not depend on the console that the self-test itself was given.
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "WANDB_API_KEY": "", "PYTHONIOENCODING": "utf-8"}


@dataclass(frozen=True)
class Done:
    """What a command came to."""

    code: int
    out: str
    err: str


class Bench:
    """A place to try faults at, and all that is needed for it; a context that ends what it has started.

    Args:
        place: an empty folder, which is removed at the end.
        main: the path of `main.py`.
        run: `util.run`.
        told: hears how far it is.
        judge_times: whether a promised time that is not kept counts as broken; on a busy machine it need not.
    """

    def __init__(
        self, place: Path, main: Path, run: Run, told: Callable[[str], None], judge_times: bool = True
    ) -> None:
        self.place, self.main, self.run, self.told = place.resolve(), main.resolve(), run, told
        self.judge_times = judge_times
        self._granted = os.environ.get(gate.VARIABLE, "")
        self._started: list[subprocess.Popen[str]] = []
        self._forked: list[ForkServerProcess] = []
        self._postgres: Postgres | None = None
        self._looked_for_postgres = self._is_warm = False

    def __enter__(self) -> "Bench":
        self.place.mkdir(parents=True, exist_ok=True)
        if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
            hear_signals()
        os.environ[gate.VARIABLE] = ",".join(filter(None, [self._granted, PLANTED]))
        return self

    def __exit__(self, *exception: object) -> None:
        os.environ[gate.VARIABLE] = self._granted
        self.end_processes()
        if self._postgres is not None:
            self._postgres.close()
        shutil.rmtree(self.place, ignore_errors=True)

    def folder(self, name: str) -> Path:
        """A new empty folder of the bench, the working folder of what is tried there."""
        for attempt in range(10_000):
            path = self.place / (f"{name}-{attempt}" if attempt else name)
            with suppress(FileExistsError):
                path.mkdir(parents=True)
                return path
        raise AssertionError(f"{self.place}: 10,000 folders of the name {name}")

    def start(
        self, folder: Path, *arguments: str, environment: Mapping[str, str] | None = None
    ) -> "subprocess.Popen[str]":
        """The real `python main.py ...` in a folder, in the background and in a process group of its own."""
        process = subprocess.Popen(
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
        self._started.append(process)
        return process

    def command(
        self,
        folder: Path,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        timeout: float = 300.0,
    ) -> Done:
        """The real `python main.py ...` in a folder, to its end; one that takes too long is killed (-9)."""
        return self.finish(self.start(folder, *arguments, environment=environment), timeout)

    def finish(self, process: "subprocess.Popen[str]", timeout: float = 300.0) -> Done:
        """Wait for a command that was started; one that takes too long is killed (-9)."""
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            end_group(process.pid)
            out, err = process.communicate()
        return Done(process.returncode, out, err)

    def fork(self, folder: Path, function: Callable[..., Any], *arguments: Any) -> ForkServerProcess:
        """A process from a server that has imported everything, in hundredths of a second.

        It runs in the folder, in a process group of its own, and prints into `console.txt` there.

        Args:
            function: of a module, with arguments that can be pickled.
        """
        self._warm_up()
        process = server.context().Process(target=_forked, args=(folder, function, arguments))
        process.start()
        # Each start polls all children. Of two threads that poll one, only the first gets its exit code.
        processes._children.discard(process)  # type: ignore[attr-defined]
        self._forked.append(process)
        return process

    def warm(self, folder: Path, *arguments: str) -> ForkServerProcess:
        """The real `python main.py ...` as `start` has it, in a process that has imported everything."""
        return self.fork(folder, as_main, self.main, arguments)

    def postgres(self) -> Postgres | None:
        """A PostgreSQL server: that of TEST_DB_URL, or one of its own; None where there is none to be had."""
        if not self._looked_for_postgres:
            self._postgres = find_postgres(self.place)
            self._looked_for_postgres = True
        return self._postgres

    def end_processes(self) -> None:
        """End whatever still runs of what was started here."""
        for command in self._started:
            if command.poll() is None:
                end_group(command.pid)
                command.communicate()
        for process in self._forked:
            if process.is_alive() and process.pid is not None:
                end_group(process.pid)
            process.join()
        self._started.clear()
        self._forked.clear()

    def _warm_up(self) -> None:
        if self._is_warm:  # what forks in a thread must not touch signals
            return
        self._is_warm = True
        server.warm_up(RunConfig.model_validate(_SMALL), self.run.__module__, *_WARM)


def end_group(pid: int) -> None:
    """Kill a process and those of its group."""
    for send in (os.killpg, os.kill):
        with suppress(ProcessLookupError, PermissionError):
            send(pid, signal.SIGKILL)


def hear_signals() -> None:
    """Let processes that begin here hear of all signals, some of which a shell or a warm server hides."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def _forked(folder: Path, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    hear_signals()
    os.setsid()
    os.chdir(folder)
    with (folder / CONSOLE).open("a", buffering=1) as log, redirect_stdout(log), redirect_stderr(log):
        try:
            function(*arguments)
        except Exception:
            traceback.print_exc()  # or it would go to the server's
            raise


def as_main(main: Path, arguments: Sequence[str]) -> None:
    """Be `python main.py ...`."""
    sys.argv = [str(main), *arguments]
    runpy.run_path(str(main), run_name="__main__")
