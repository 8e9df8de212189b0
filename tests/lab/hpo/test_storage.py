"""Opening databases: several processes at once, settings, refusals; real SQLite and real PostgreSQL."""

import fcntl
import multiprocessing
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy

from lab.console import shell_commands
from lab.events import Stopped
from lab.hpo import storage
from lab.hpo.storage import Database, StorageError, database_file, is_dead, process_identity, shown_url
from tests.conftest import ROOT


def _join(url: str, barrier: Any, queue: Any) -> None:
    barrier.wait()
    database = Database(url)
    with database.exclusive("s"):
        study = optuna.create_study(storage=database.storage, study_name="s", load_if_exists=True)
    queue.put(study._study_id)


@pytest.mark.slow
def test_eight_processes_that_start_at_once_on_no_database_join_one_study(url: str) -> None:
    context = multiprocessing.get_context("spawn")
    barrier, queue = context.Barrier(8), context.Queue()
    processes = [context.Process(target=_join, args=(url, barrier, queue)) for _ in range(8)]
    for process in processes:
        process.start()
    found = [queue.get(timeout=120) for _ in processes]
    for process in processes:
        process.join()
    assert found == [1] * 8
    assert [process.exitcode for process in processes] == [0] * 8


def test_sqlite_is_in_wal_mode_and_patient(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "studies.db"
    database = Database(f"sqlite:///{file}")
    with database.engine.connect() as connection:
        values = [
            connection.execute(sqlalchemy.text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "synchronous", "busy_timeout")
        ]
    assert values == ["wal", 1, 60_000]


@pytest.mark.slow
def test_a_lock_that_another_holds_for_a_while_is_waited_for(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'studies.db'}")
    code = "import sqlite3, sys, time; c = sqlite3.connect(sys.argv[1], isolation_level=None);"
    code += "c.execute('BEGIN EXCLUSIVE'); print('held', flush=True); time.sleep(6); c.execute('COMMIT')"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "studies.db")], stdout=subprocess.PIPE
    )
    assert process.stdout is not None and process.stdout.readline() == b"held\n"
    started = time.monotonic()
    study = optuna.create_study(storage=database.storage, study_name="s")  # stock gives up after 5 s
    assert time.monotonic() - started > 4
    process.wait()
    assert study.study_name == "s"


def test_the_lock_of_a_killed_process_is_free(url: str) -> None:
    database = Database(url)
    code = "import sys, time; from lab.hpo.storage import Database; d = Database(sys.argv[1])\n"
    code += "with d.exclusive('s'): print('held', flush=True); time.sleep(600)"
    root = Path(__file__).parents[3]
    process = subprocess.Popen(
        [sys.executable, "-c", code, url], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(root)}
    )
    assert process.stdout is not None and process.stdout.readline() == b"held\n"
    process.kill()
    process.wait()
    started = time.monotonic()
    with database.exclusive("s"):
        assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql+psycopg://nobody@127.0.0.1:9/none", "can't be opened: .*refused"),
        ("sqlite:////proc/nowhere/studies.db", "can't be opened: "),
    ],
)
def test_what_can_not_be_opened_is_said(url: str, message: str) -> None:
    with pytest.raises(StorageError, match=message):
        Database(url)


def test_a_file_that_is_no_database_is_said(tmp_path: Path) -> None:
    (tmp_path / "studies.db").write_text("this is a text, and not a short one\n" * 100)
    with pytest.raises(StorageError, match="not a database"):
        Database(f"sqlite:///{tmp_path / 'studies.db'}")
    assert (tmp_path / "studies.db").read_text().startswith("this is a text")


def test_sqlite_on_a_network_file_system_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = Path("/proc/mounts").read_text().splitlines()[0].split()
    monkeypatch.setattr(storage, "_NETWORK", {*storage._NETWORK, *_kinds()})
    assert line
    with pytest.raises(StorageError, match=r"network file system.*postgresql://"):
        Database(f"sqlite:///{tmp_path / 'studies.db'}")
    assert not (tmp_path / "studies.db").exists()


def _kinds() -> set[str]:
    """Those that are mounted here: the nearest thing to a real network file system that a test has."""
    return {line.split()[2] for line in Path("/proc/mounts").read_text().splitlines()}


def test_a_password_is_never_shown() -> None:
    assert shown_url("postgresql://me:secret@host/db") == "postgresql://me:***@host/db"
    assert database_file("sqlite:///a/b.db") == Path.cwd() / "a/b.db"
    assert database_file("postgresql://host/db") is None


def test_a_server_that_comes_back_is_waited_for_and_spoken_of_once() -> None:
    calls, said = [0], list[str]()

    def action() -> str:
        calls[0] += 1
        if calls[0] < 4:
            raise sqlalchemy.exc.OperationalError("select", {}, sqlite3.OperationalError("it is away"))
        return "done"

    assert storage.retry_while_unavailable(action, said.append) == "done"
    assert calls == [4] and said == ["the database doesn't answer, trying again: it is away"]


def test_waiting_for_a_server_can_be_ended() -> None:
    def away() -> None:
        raise sqlalchemy.exc.OperationalError("select", {}, sqlite3.OperationalError("it is away"))

    looks = []

    def heed() -> None:
        looks.append(time.monotonic())
        if len(looks) == 3:
            raise Stopped("SIGTERM")

    with pytest.raises(Stopped):
        storage.retry_while_unavailable(away, check=heed)
    assert len(looks) == 3


def test_a_read_only_database_is_not_waited_for(database: Database) -> None:
    sqlite = database.file is not None
    statement = "PRAGMA query_only = ON" if sqlite else "SET default_transaction_read_only = on"

    @sqlalchemy.event.listens_for(database.engine, "connect")
    def read_only(connection: Any, record: object) -> None:
        connection.cursor().execute(statement)
        connection.commit()

    database.engine.dispose()
    messages, started = list[str](), time.monotonic()
    with pytest.raises(StorageError, match=r"can't be used any more: .*read-?only"):
        storage.retry_while_unavailable(
            lambda: optuna.create_study(storage=database.backend, study_name="s"), messages.append
        )
    assert not messages and time.monotonic() - started < 5


def test_a_damaged_database_is_not_waited_for(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'studies.db'}")
    optuna.create_study(storage=database.storage, study_name="s")
    for file in tmp_path.glob("studies.db*"):
        file.write_bytes(os.urandom(file.stat().st_size))
    with pytest.raises(StorageError, match="can't be used any more: file is not a database"):
        storage.retry_while_unavailable(database.backend.get_all_studies)


def test_a_checkpoint_makes_the_file_whole(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'studies.db'}")
    other = Database(database.url)  # such as a dashboard: nobody is the last to close the file
    optuna.create_study(storage=database.storage, study_name="s")
    database.checkpoint()
    assert [each.study_name for each in other.backend.get_all_studies()] == ["s"]
    shutil.copy(tmp_path / "studies.db", tmp_path / "copy.db")
    copied = Database(f"sqlite:///{tmp_path / 'copy.db'}")
    assert [each.study_name for each in copied.backend.get_all_studies()] == ["s"]


def test_the_copy_of_a_database_in_use_is_whole_and_restores_it(tmp_path: Path) -> None:
    file, copy = tmp_path / "studies.db", tmp_path / "a copy.db"
    database = Database(f"sqlite:///{file}")
    optuna.create_study(storage=database.storage, study_name="s")
    assert (tmp_path / "studies.db-wal").stat().st_size > 0
    subprocess.run(shell_commands.copy_of_database(file, copy), shell=True, check=True)
    optuna.delete_study(storage=database.storage, study_name="s")
    subprocess.run(shell_commands.copy_of_database(copy, file), shell=True, check=True)
    assert [each.study_name for each in database.backend.get_all_studies()] == ["s"]
    missing = shell_commands.copy_of_database(tmp_path / "missing.db", file)
    assert subprocess.run(missing, shell=True, capture_output=True).returncode == 1
    assert [each.study_name for each in database.backend.get_all_studies()] == ["s"]


def test_a_link_to_a_database_has_its_lock(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    link = tmp_path / "here" / "link.db"
    link.symlink_to(tmp_path / "real.db")
    database, other = Database(f"sqlite:///{link}"), Database(f"sqlite:///{tmp_path / 'real.db'}")
    with (
        database.exclusive("s"),
        (tmp_path / "real.db.lock").open() as file,
        pytest.raises(BlockingIOError),
    ):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert other.file == database.file == tmp_path / "real.db"
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["link.db"]


def test_other_errors_are_not_waited_for() -> None:
    with pytest.raises(ZeroDivisionError):
        storage.retry_while_unavailable(lambda: 1 / 0)


def test_a_process_knows_the_living_from_the_dead() -> None:
    me = process_identity()
    assert not is_dead(me)
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    place, _, _ = me.rpartition(":")[0].rpartition(":")
    assert is_dead(f"{place}:{process.pid}:1")
    assert is_dead(f"{place}:{os.getpid()}:1"), "its number has been given to another"
    assert not is_dead(f"elsewhere/boot/pid:{process.pid}:1"), "nothing is known of another machine"
    assert not is_dead("nonsense")
    assert not is_dead(f"{place}:{os.getpid()}:0"), "it could not read its own start"
    assert is_dead(f"{place}:{process.pid}:0")


def test_a_process_that_has_ended_and_waits_for_its_parent_is_dead() -> None:
    place, _, _ = process_identity().rpartition(":")[0].rpartition(":")
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert is_dead(f"{place}:{process.pid}:1")
    process.wait()


def test_who_cannot_look_declares_nobody_dead() -> None:
    """Without a file descriptor left `/proc` can't be read, which says nothing about a process."""
    program = """
import os, resource, sys
from lab.hpo.storage import is_dead, process_identity
process_identity()
living, gone = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) - 1, 100))
print(is_dead(living), is_dead(gone))
"""
    place, number, born = process_identity().rsplit(":", 2)
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    arguments = [f"{place}:{number}:{born}", f"{place}:{process.pid}:{born}"]
    ran = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert ran.stdout == "False False\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount /proc with hidepid")
def test_a_process_that_proc_hides_is_not_dead() -> None:
    """A process of another user's, as `mount -o hidepid=2` hides it."""
    program = """
import ctypes, os
from lab.hpo.storage import is_dead, process_identity
place, number, born = process_identity().rsplit(":", 2)
os.setgroups([])
os.setgid(65534)  # members of group 0 see everything
os.setuid(65534)
ctypes.CDLL(None).prctl(4, 1)  # as after exec: it may read of itself again
print(os.path.exists(f"/proc/{number}"), is_dead(f"{place}:{os.getppid()}:1"), is_dead(f"{place}:4194303:1"))
"""
    mount = f"mount -t proc -o hidepid=2 proc /proc && exec {sys.executable} -c '{program}'"
    ran = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", mount],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "mount" in ran.stderr or "unshare" in ran.stderr:
        pytest.skip(f"no /proc can be mounted here: {ran.stderr.strip()}")
    assert ran.stdout == "True False True\n", ran.stderr
