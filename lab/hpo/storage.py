"""The study's database: Optuna's own tables, opened so that several processes can share them.

Stock settings lose workers: a database that several processes create at once, a lock held for seconds, two
processes that take the same waiting trial. Here creation and claiming happen under one lock that the kernel
(SQLite) or the server (PostgreSQL) releases when its holder dies, and SQLite runs in WAL mode with a
minute's patience. What needs the database waits while that is away (`retry_while_unavailable`), and what can
be left out is left out (`unless_unavailable`).
"""

import fcntl
import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast
from urllib.parse import quote

import optuna
import sqlalchemy
from optuna.storages import BaseStorage, RDBStorage
from sqlalchemy.engine import Engine, make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, PendingRollbackError, SQLAlchemyError

from lab.config.refused_command import Refused
from lab.console import shell_commands
from lab.hpo import queries
from lab.hpo.clock import REAL, Clock
from lab.hpo.process_watcher import birth, is_gone
from lab.hpo.trial_history import TrialHistory
from lab.store.paths import shown, start, url_expanded
from lab.store.redact import HIDDEN

T = TypeVar("T")
_PATIENCE = 60.0  # seconds that SQLite waits for another process's lock
_OUTAGE = 600.0  # seconds that a server may be gone
_UNSEEN = "0"  # the start of a process that can't read its own
_GLANCE = 0.2  # seconds between two looks for a reason not to wait for it
# A server that goes away; Optuna continues with a broken session after some of these, which is the last.
_AWAY = (OperationalError, InterfaceError, PendingRollbackError)
# What no later try changes: SQLite's primary result codes, and PostgreSQL's states of a read-only transaction
# and of damaged data and indexes.
_FINAL_CODES = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_PERM}
_FINAL_STATES = {"25006", "XX001", "XX002"}
_NETWORK = {"nfs", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "fuse.sshfs", "lustre", "gpfs", "ceph",
            "fuse.ceph", "glusterfs", "fuse.glusterfs", "beegfs", "afs", "9p"}  # fmt: skip


class StorageError(Refused, RuntimeError):
    """The database can't be used; the message says why and what to do."""


class _Connection(sqlite3.Connection):
    """A connection that syncs at checkpoints."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.execute(queries.SYNC_AT_CHECKPOINTS)


class Database:
    """A database for studies, made if it isn't there.

    Args:
        url: `sqlite:///FILE` or `postgresql[+driver]://...`.

    Raises:
        StorageError: it can't be reached, made or read, or lies on a network file system.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        file = database_file(url)
        # The file itself, not a link to it: all who open it have to hold the same lock.
        self.file = None if file is None else file.resolve()
        options: dict[str, Any] = {"pool_pre_ping": True}
        if self.file is not None:
            _refuse_network(self.file)
            # Not by the URL's path, which would count from the current folder.
            options = {
                "creator": partial(
                    sqlite3.connect,
                    self.file,
                    timeout=_PATIENCE,
                    check_same_thread=False,
                    factory=_Connection,
                )
            }
        try:
            if self.file is not None:
                self.file.parent.mkdir(parents=True, exist_ok=True)
            with self._lock_before_there_are_tables(options):
                self.backend = self._opened(options)
        except (OSError, DBAPIError, sqlite3.Error, ImportError, RuntimeError) as error:
            if isinstance(error, StorageError):
                raise
            raise StorageError(f"{shown_url(url)}: can't be opened: {_reason(error)}") from error
        self.history = TrialHistory(self.backend)
        self.storage = cast(BaseStorage, self.history)

    @property
    def engine(self) -> Engine:
        """For what Optuna has no call for."""
        return self.backend.engine

    def exclusive(self, name: str) -> AbstractContextManager[None]:
        """Hold the lock of the study `name`; its holder's death frees it.

        Create, claim and recover under it: what two processes must not do at once.
        """
        return _advisory(self.engine, name) if self.file is None else _flocked(self.file)

    def checkpoint(self) -> None:
        """Copy SQLite's log into its file, so that the file alone has everything; best effort."""
        if self.file is not None:
            with suppress(SQLAlchemyError), self.engine.connect() as connection:
                connection.execute(queries.CHECKPOINT)

    def _opened(self, options: dict[str, Any]) -> RDBStorage:
        open_storage = partial(RDBStorage, url_expanded(self.url), engine_kwargs=options)
        level = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        try:
            return open_storage()
        except RuntimeError as error:  # its tables are of another version of Optuna
            there = open_storage(skip_compatibility_check=True)
            if there.get_current_version() not in there.get_all_versions():
                raise
            raise StorageError(self._outdated()) from error
        finally:
            optuna.logging.set_verbosity(level)

    def _outdated(self) -> str:
        file, url = database_file(self.url), shown_url(url_expanded(self.url))
        copy = (
            ""
            if file is None
            else ":\n  "
            + shell_commands.copy_of_database(file, file.with_name(f"{file.stem}-copy{file.suffix}"))
        )
        upgrade = shell_commands.tool("optuna", "storage", "upgrade", "--storage", url)
        return (
            f"{shown_url(self.url)}: was made by an earlier version of Optuna. Make a copy of it{copy}\n"
            f"and upgrade it:\n  {upgrade}"
        )

    @contextmanager
    def _lock_before_there_are_tables(self, options: dict[str, Any]) -> Iterator[None]:
        if self.file is not None:
            with _flocked(self.file):
                with closing(sqlite3.connect(self.file, timeout=_PATIENCE)) as connection:
                    connection.execute(queries.WRITE_AHEAD_LOG)
                yield
            return
        engine = sqlalchemy.create_engine(self.url, **options)
        try:
            with _advisory(engine, "tables"):
                yield
        finally:
            engine.dispose()


def database_file(url: str) -> Path | None:
    """The whole path of an SQLite URL's file; None for a server."""
    parsed = make_url(url_expanded(url))
    return start() / (parsed.database or "") if parsed.get_backend_name() == "sqlite" else None


def without_folder(name: str, url: str) -> str:
    """The end of a message that there is no folder of a study, where an SQLite database knows the study."""
    file = database_file(url)
    if file is None or not file.is_file():
        return ""
    try:
        with closing(sqlite3.connect(f"file:{quote(str(file))}?mode=ro", uri=True)) as connection:
            known = connection.execute(queries.STUDY_EXISTS, (name,)).fetchone()
    except sqlite3.Error:
        return ""
    if known is None:
        return ""
    return (
        f"; {shown_url(url)} has a study of this name, whose folder is gone: --optimize with its file makes "
        f"it again, and {shell_commands.main('--dashboard', shown_url(url))} shows its values"
    )


def shown_url(url: str) -> str:
    """The URL without its password."""
    return make_url(url).render_as_string(hide_password=True)


def without_hidden(url: str) -> str:
    """The URL of a study's file, which keeps no password: the driver then asks PGPASSWORD or ~/.pgpass."""
    parsed = make_url(url)
    if parsed.password == HIDDEN:
        parsed = parsed._replace(password=None)
    kept = {name: value for name, value in parsed.query.items() if value != HIDDEN}
    return parsed.set(query=kept).render_as_string(hide_password=False)


def retry_while_unavailable(
    action: Callable[[], T],
    on_wait: Callable[[str], None] = lambda text: None,
    check: Callable[[], None] = lambda: None,
    clock: Clock = REAL,
) -> T:
    """Do something with the database again and again while its server is away, for ten minutes at most.

    Args:
        on_wait: is called once, with the reason.
        check: is called again and again while it waits; what it raises ends the waiting.

    Raises:
        StorageError: it has not come back, or is read-only or damaged.
    """
    deadline, pause, reported = clock.monotonic() + _OUTAGE, 0.1, False
    while True:
        try:
            return action()
        except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
            cause = error if isinstance(error, SQLAlchemyError) else error.__cause__
            if _is_final(cause):
                raise StorageError(f"the database can't be used any more: {_reason(error)}") from error
            if not isinstance(cause, _AWAY):
                raise
            if clock.monotonic() > deadline:
                raise StorageError(f"the database has not come back: {_reason(error)}") from error
            if not reported:
                on_wait(f"the database doesn't answer, trying again: {_reason(error)}")
                reported = True
            again = clock.monotonic() + pause
            while (left := again - clock.monotonic()) > 0:
                check()
                clock.sleep(min(left, _GLANCE))
            pause = min(2 * pause, 5.0)


def unless_unavailable(action: Callable[[], T], default: T) -> T:
    """Do something with the database that can be left out: once, and not at all while it is away."""
    try:
        return action()
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError, OSError):
        return default


@contextmanager
def _flocked(database: Path) -> Iterator[None]:
    with database.with_name(f"{database.name}.lock").open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextmanager
def _advisory(engine: Engine, name: str) -> Iterator[None]:
    key = int.from_bytes(hashlib.sha256(f"lab {name}".encode()).digest()[:8], "big", signed=True)
    with engine.connect() as connection:
        connection.execute(queries.LOCK, {"key": key})
        try:
            yield
        finally:
            connection.execute(queries.UNLOCK, {"key": key})


def _refuse_network(file: Path) -> None:
    """SQLite's locks don't hold on network file systems, and the database would be damaged in the end."""
    mounts = Path("/proc/mounts")
    if not mounts.exists():
        return
    place = file.parent
    while not place.exists():
        place = place.parent
    place = place.resolve()
    best, kind = "", ""
    for line in mounts.read_text(encoding="utf-8", errors="replace").splitlines():
        point, found = [*line.split(), "", "", ""][1:3]
        point = point.replace("\\040", " ")
        if (place == Path(point) or Path(point) in place.parents) and len(point) >= len(best):
            best, kind = point, found
    if kind in _NETWORK:
        raise StorageError(
            f"{shown(file)} lies on a network file system ({kind}), where SQLite's locks don't hold; "
            "put it on a local disk, or use storage: postgresql://..."
        )


def _is_final(error: BaseException | None) -> bool:
    """Return whether a database is read-only or damaged, by the code of its driver's exception."""
    cause = getattr(error, "orig", None)
    code = getattr(cause, "sqlite_errorcode", None)
    state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    return state in _FINAL_STATES if code is None else code & 0xFF in _FINAL_CODES


def _reason(error: BaseException) -> str:
    cause = cast(BaseException, getattr(error, "orig", None) or error.__cause__ or error)
    text = str(getattr(cause, "orig", None) or cause).strip()
    return text.splitlines()[0] if text else type(cause).__name__


def process_identity() -> str:
    """Identify this process, so that another one on the same machine can check whether it is alive."""
    return f"{_namespace()}:{os.getpid()}:{birth(os.getpid()) or _UNSEEN}"


def is_dead(identity: str) -> bool:
    """Return whether a process is proven to be gone.

    False if it is alive, ran on another machine, or can't be seen: `/proc` may hide other users' processes,
    and a process without free file descriptors can't read it. Its lease then decides.
    """
    namespace, _, rest = identity.rpartition(":")[0].rpartition(":")
    if namespace != _namespace() or not rest.isdecimal():
        return False
    known = identity.rpartition(":")[2]
    return is_gone(int(rest), None if known == _UNSEEN else known)


def _namespace() -> str:
    """The machine since its start, and the process numbers that are valid in it."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        return f"{os.uname().nodename}/{boot}/{Path('/proc/self/ns/pid').readlink().name}"
    except OSError:
        return os.uname().nodename
