"""The database is locked by somebody else, or its server is gone for a while; others read on."""

import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy.exc import SQLAlchemyError

from selftest.audit import Audit, Found
from selftest.base import Verdict
from selftest.bench import Bench, Done
from selftest.crew import last_line, until
from selftest.postgres import HINT, Postgres
from selftest.servers import Server, dashboards
from selftest.sockets import request, say, status
from selftest.studies import small_study, write_file

_TRIALS, _EPOCHS = 6, 8  # of 0.1 s each
_LONGEST = 300.0  # seconds for a study of a few
_OFTEN = 0.1  # seconds between two looks of a reader
_BACK = 30.0  # seconds until a reader has to see the database again


@dataclass
class Outage:
    """What one outage came to."""

    crashes: list[str] = field(default_factory=list)
    found: Found = field(default_factory=Found)
    reads: int = 0
    pages: int = 0
    read_errors: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def broken(self, where: str) -> list[str]:
        """All that is wrong with it."""
        crashes = [f"{where}: a command crashed: {line}" for line in self.crashes]
        reads = [f"{where}: the reader failed: {line}" for line in self.read_errors]
        return [*crashes, *reads, *self.found.lines(where)]


def database_away(bench: Bench, count: int) -> Verdict:
    """The SQLite file locked for half of `count` seconds; PostgreSQL gone for all of them."""
    server = bench.postgres()  # before there are threads
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # the readers find nobody there, as they should
    untried = []
    tries: dict[str, Callable[[], Outage]] = {"SQLite": lambda: _locked(bench, count / 2)}
    if server is None:
        untried.append(HINT)
    elif not server.own:
        untried.append("PostgreSQL: the server of TEST_DB_URL is not this program's to stop")
    else:
        owned = server
        tries["PostgreSQL"] = lambda: _gone(bench, owned, float(count))
    with ThreadPoolExecutor(len(tries)) as pool:
        futures = {name: pool.submit(each) for name, each in tries.items()}
        outcomes = {name: future.result() for name, future in futures.items()}
    return verdict(outcomes, untried)


def verdict(outcomes: dict[str, Outage], untried: list[str]) -> Verdict:
    """All of them in one."""
    found = Found()
    for outcome in outcomes.values():
        found.add(outcome.found)
    figures: dict[str, int | float | str] = {
        "crashes": sum(len(outcome.crashes) for outcome in outcomes.values()),
        **found.counted(),
        "reads": sum(outcome.reads for outcome in outcomes.values()),
        "pages of the dashboard": sum(outcome.pages for outcome in outcomes.values()),
        "reads that failed": sum(len(outcome.read_errors) for outcome in outcomes.values()),
        **{f"s without {name}": outcome.seconds for name, outcome in outcomes.items()},
    }
    return Verdict(figures, [line for name, each in outcomes.items() for line in each.broken(name)], untried)


def _locked(bench: Bench, seconds: float) -> Outage:
    """Two commands share a file that a third party locks whole; readers see what is in it meanwhile."""
    folder = bench.folder("locked")
    file = folder / "studies.db"

    def lock() -> None:
        with closing(sqlite3.connect(file, timeout=60.0, isolation_level=None)) as connection:
            connection.execute("BEGIN EXCLUSIVE")
            time.sleep(seconds)
            connection.execute("ROLLBACK")

    return _with_outage(bench, folder, f"sqlite:///{file}", 2, lock, seconds, may_fail=False)


def _gone(bench: Bench, server: Postgres, seconds: float) -> Outage:
    """One command with two trials at a time loses its server, and gets it back."""

    def stop() -> None:
        server.stop()
        time.sleep(seconds)
        server.start()

    folder = bench.folder("gone")
    return _with_outage(bench, folder, server.new_database(), 1, stop, seconds, may_fail=True)


def _with_outage(
    bench: Bench,
    folder: Path,
    url: str,
    commands: int,
    outage: Callable[[], None],
    seconds: float,
    may_fail: bool,
) -> Outage:
    """Have an outage while a study runs.

    Args:
        commands: how many work on the study; two trials are at work in all.
        may_fail: whether a reader may find nobody there.
    """
    config = small_study(
        url, _TRIALS, isolation="process", workers=3 - commands, lease_seconds=max(2.0, seconds / 4),
        run__epochs=_EPOCHS,
    )  # fmt: skip
    audit, outcome = Audit(config, folder), Outage(seconds=seconds)
    path = write_file(folder, config)
    (dashboard,) = dashboards(bench, folder, (url,))
    with (
        Reader("the database", _of_database(url)) as direct,
        Reader("the dashboard", _of(dashboard)) as page,
    ):
        running = [bench.start(folder, "--optimize", str(path)) for _ in range(commands)]
        if not until(lambda: _at_work(audit) or _ended(running), _LONGEST) or _ended(running):
            outcome.crashes.append("no two trials have come to work")
        else:
            before = [reader.reads for reader in (direct, page)]
            outage()
            after = [reader.reads for reader in (direct, page)]
            if not may_fail and any(now <= then for now, then in zip(after, before, strict=True)):
                outcome.read_errors.append(f"read on expected, found {before} reads before and {after} after")
        ends = [bench.finish(command, _LONGEST) for command in running]
        for reader in (direct, page):  # the outage is over: it must see again what is there
            outcome.read_errors += reader.once_more()
    outcome.crashes += [line for done in ends for line in judge_end(done)]
    outcome.crashes += dashboard.ended(bench, complaints=may_fail)
    outcome.reads, outcome.pages = direct.reads, page.reads
    outcome.read_errors += [] if may_fail else [*direct.errors, *page.errors]
    outcome.found = audit.judge()
    audit.close()
    return outcome


def judge_end(done: Done) -> list[str]:
    """What is wrong with how a command ended."""
    if done.code != 0:
        return [f"it ended with {done.code}: {last_line(done.err or done.out)}"]
    return [f"a traceback: {last_line(done.err)}"] * ("Traceback" in done.err)


def _at_work(audit: Audit) -> bool:
    """Whether two trials have reported something."""
    return sum(bool(trial.intermediate_values) for trial in audit.trials()) >= 2


def _ended(commands: "list[subprocess.Popen[str]]") -> bool:
    return any(command.poll() is not None for command in commands)


class Unread(Exception):
    """Nobody was there to read from."""


def _of_database(url: str) -> Callable[[], None]:
    """Read all there is, as a program of the user's does."""
    storage: Any = RDBStorage(url, engine_kwargs={"pool_pre_ping": True})

    def read() -> None:
        try:
            optuna.load_study(study_name="small", storage=storage).get_trials()
        except (SQLAlchemyError, StorageInternalError) as error:
            raise Unread(f"{type(error).__name__}: {error}".splitlines()[0]) from error
        finally:
            storage.engine.dispose()  # nothing stays open, however the outage ends

    return read


def _of(dashboard: Server) -> Callable[[], None]:
    """Ask for what a page of the dashboard shows."""

    def read() -> None:
        for path, shows in (("/api/studies", b'"small"'), ("/api/studies/1", b'"trials"')):
            heard = say(dashboard.port, request(path))
            if status(heard) != 200 or shows not in heard:
                raise Unread(f"{path}: 200 expected, found {heard[:80]!r}")

    return read


class Reader:
    """Reads again and again; a context.

    Args:
        what: is read.
        read: does it; raises Unread or OSError where it fails.
    """

    def __init__(self, what: str, read: Callable[[], None]) -> None:
        self.reads, self.errors = 0, list[str]()
        self._what, self._read_once, self._over = what, read, threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> "Reader":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join()

    def once_more(self, seconds: float = _BACK) -> list[str]:
        """Wait until something is read; a line where nothing is."""
        before = self.reads
        until(lambda: self.reads > before, seconds)
        return [] if self.reads > before else [f"{self._what}: nothing is read after the outage"]

    def _read(self) -> None:
        while not self._over.wait(_OFTEN):
            try:
                self._read_once()
                self.reads += 1
            except (Unread, OSError) as error:
                self.errors.append(f"{self._what}: {error}")
