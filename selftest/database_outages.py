"""The database is locked by somebody else, or its server is gone for a while; others read on."""

import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy.exc import SQLAlchemyError

from selftest.audit import Audit, Found
from selftest.bench import Bench, side_by_side, until
from selftest.postgres import HINT, Postgres
from selftest.servers import Server, dashboards
from selftest.sockets import exchange, request, status
from selftest.studies import small_study, write_file
from selftest.verdict import Tally, Verdict, judge_command

_TRIALS, _EPOCHS = 6, 8  # of 0.1 s each
_LONGEST = 300.0  # seconds for a study of a few
_OFTEN = 0.1  # seconds between two looks of a reader
_BACK = 30.0  # seconds until a reader has to see the database again


def database_away(bench: Bench, count: int) -> Verdict:
    """The SQLite file locked for half of `count` seconds; PostgreSQL gone for all of them."""
    server = bench.postgres()  # before there are threads
    # The readers find nobody there, as they should.
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    tally = new_tally()
    tries: list[Callable[[], None]] = [lambda: _locked(bench, count / 2, tally)]
    if server is None:
        tally.untried.append(HINT)
    elif not server.own:
        tally.untried.append("PostgreSQL: the server of TEST_DB_URL is not this program's to stop")
    else:
        owned = server
        tries.append(lambda: _gone(bench, owned, float(count), tally))
    side_by_side(tries)
    return tally.verdict()


def new_tally() -> Tally:
    """All figures but the seconds of each outage."""
    read = {"reads": 0, "pages of the dashboard": 0, "reads that failed": 0}
    return Tally({"crashes": 0, **Found().counted(), **read})


def _locked(bench: Bench, seconds: float, tally: Tally) -> None:
    """Two commands share a file that a third party locks whole; readers see what is in it meanwhile."""
    folder = bench.folder("locked")
    file = folder / "studies.db"

    def lock() -> None:
        with closing(sqlite3.connect(file, timeout=60.0, isolation_level=None)) as connection:
            connection.execute("BEGIN EXCLUSIVE")
            time.sleep(seconds)
            connection.execute("ROLLBACK")

    _with_outage(bench, "SQLite", folder, f"sqlite:///{file}", lock, seconds, tally)


def _gone(bench: Bench, server: Postgres, seconds: float, tally: Tally) -> None:
    """One command with two trials at a time loses its server, and gets it back."""

    def stop() -> None:
        server.stop()
        time.sleep(seconds)
        server.start()

    url = server.new_database()
    _with_outage(bench, "PostgreSQL", bench.folder("gone"), url, stop, seconds, tally)


def _with_outage(
    bench: Bench,
    storage: str,
    folder: Path,
    url: str,
    outage: Callable[[], None],
    seconds: float,
    tally: Tally,
) -> None:
    """Have an outage while a study runs, with two trials at work in all."""
    # SQLite's readers still read under the lock; of PostgreSQL nobody is there.
    locked = storage == "SQLite"
    commands = 2 if locked else 1
    config = small_study(
        url, _TRIALS, isolation="process", workers=3 - commands, lease_seconds=max(2.0, seconds / 4),
        run__epochs=_EPOCHS,
    )  # fmt: skip
    audit, crashes, unread = Audit(config, folder), list[str](), list[str]()
    path = write_file(folder, config)
    (dashboard,) = dashboards(bench, folder, (url,))
    database: Any = RDBStorage(url, engine_kwargs={"pool_pre_ping": True})
    with (
        Reader("the database", partial(_read_database, database)) as direct,
        Reader("the dashboard", partial(_read_page, dashboard)) as page,
    ):
        running = [bench.start(folder, "--optimize", str(path)) for _ in range(commands)]

        def ended() -> bool:
            return not all(command.alive for command in running)

        def at_work() -> bool:
            return sum(bool(trial.intermediate_values) for trial in audit.trials()) >= 2

        # The outage has to hit trials in progress.
        if not until(lambda: at_work() or ended(), _LONGEST) or ended():
            crashes.append("no two trials have come to work")
        else:
            before = [reader.reads for reader in (direct, page)]
            outage()
            after = [reader.reads for reader in (direct, page)]
            if locked and any(now <= then for now, then in zip(after, before, strict=True)):
                unread.append(f"read on expected, found {before} reads before and {after} after")
        crashes += [line for command in running for line in judge_command(command.done(_LONGEST), (0,))]
        # The outage is over: it must see again what is there.
        for reader in (direct, page):
            unread += reader.once_more()
    crashes += dashboard.ended(complaints=not locked)
    unread += [*direct.errors, *page.errors] if locked else []
    take(tally, storage, crashes, unread, audit.judge())
    tally.add("reads", direct.reads)
    tally.add("pages of the dashboard", page.reads)
    tally.figures[f"s without {storage}"] = seconds
    audit.close()


def take(tally: Tally, storage: str, crashes: list[str], unread: list[str], found: Found) -> None:
    """Take in all that is wrong after an outage."""
    tally.add("crashes", len(crashes))
    tally.add("reads that failed", len(unread))
    tally.take(f"{storage}: a command crashed", crashes)
    tally.take(f"{storage}: the reader failed", unread)
    tally.take(storage, found)


class Unread(Exception):
    """Nobody was there to read from."""


def _read_database(storage: Any) -> None:
    """Read all there is, as a program of the user's does."""
    try:
        optuna.load_study(study_name="small", storage=storage).get_trials()
    except (SQLAlchemyError, StorageInternalError) as error:
        raise Unread(f"{type(error).__name__}: {error}".splitlines()[0]) from error
    finally:
        # Nothing stays open, however the outage ends.
        storage.engine.dispose()


def _read_page(dashboard: Server) -> None:
    """Ask for what a page of the dashboard shows."""
    for path, shows in (("/api/studies", b'"small"'), ("/api/studies/1", b'"trials"')):
        response = exchange(dashboard.port, request(path))
        if status(response) != 200 or shows not in response:
            raise Unread(f"{path}: 200 expected, found {response[:80]!r}")


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
