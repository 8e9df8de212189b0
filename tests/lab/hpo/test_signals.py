"""Signals reach a real process; leases are renewed beside whatever else goes on."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
import sqlalchemy
from optuna.trial import TrialState, create_trial

from lab.events import Stopped
from lab.hpo.leases import Lease, Leases
from lab.hpo.signals import Heartbeat, Signals
from lab.hpo.storage import Database
from tests import study_tools as tools

WAITS = """
import sys, time
from lab.hpo.signals import Signals

with Signals({at_once}) as signals:
    print("ready", flush=True)
    while signals.received is None:
        time.sleep(0.01)
    print(signals.received.reason, signals.received.code, flush=True)
    while "stay" in sys.argv:
        time.sleep(0.01)
"""


def waiting(*wrapper: str, at_once: bool = False, stay: bool = False) -> "subprocess.Popen[str]":
    """A process that waits for a signal and tells of it."""
    code = WAITS.format(at_once=at_once)
    process = subprocess.Popen(
        [*wrapper, sys.executable, "-c", code, *(["stay"] if stay else [])],
        cwd=tools.ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (signal.SIGINT, "Ctrl-C 130\n"),
        (signal.SIGTERM, "SIGTERM 143\n"),
        (signal.SIGHUP, "SIGHUP 129\n"),
    ],
)
def test_the_first_signal_is_told_and_the_second_ends_at_once(number: signal.Signals, told: str) -> None:
    process = waiting(stay=True)
    process.send_signal(number)
    assert process.stdout is not None and process.stdout.readline() == told
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert tools.finish(process, 10) == (143, "", "")


def test_at_once_it_is_raised() -> None:
    process = waiting(at_once=True)
    process.send_signal(signal.SIGTERM)
    assert tools.finish(process, 10) == (143, "", "")


def test_nohup_is_respected() -> None:
    process = waiting("nohup")
    process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    code, out, _ = tools.finish(process, 10)
    assert (code, out) == (0, "SIGTERM 143\n"), "the other signals are heard all the same"


def test_the_handlers_from_before_come_back() -> None:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    with pytest.raises(Stopped) as stopped, Signals(at_once=True) as signals:
        assert signals.received is None
        assert not set(before) & {signal.getsignal(number) for number in numbers}
        signal.raise_signal(signal.SIGTERM)
    assert signals.received is stopped.value
    assert (stopped.value.reason, stopped.value.code) == ("SIGTERM", 143)
    assert [signal.getsignal(number) for number in numbers] == before


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    result = Database(url)
    yield result
    result.engine.dispose()


@pytest.fixture
def study(database: Database) -> optuna.Study:
    return optuna.create_study(storage=database.storage, study_name="s")


def claimed(database: Database, study: optuna.Study, seconds: float) -> tuple[Leases, Lease]:
    """A trial of the process `a`, whose lease runs out after so long."""
    study._storage.create_new_trial(study._study_id, create_trial(state=TrialState.WAITING))
    mine = Leases(database, study._study_id, seconds, "a")
    lease = mine.claim_waiting()
    assert lease is not None
    return mine, lease


def never(lost: object) -> None:
    raise AssertionError(f"{lost} is still held")


def test_the_heartbeat_renews(database: Database, study: optuna.Study) -> None:
    mine, lease = claimed(database, study, 0.8)
    other = Leases(database, study._study_id, 0.8, "b")
    with Heartbeat(mine, lambda: [lease], never):
        deadline = time.monotonic() + 2.0
        while time.monotonic() < deadline:
            assert other.orphans() == []
            time.sleep(0.05)
    tools.wait_for(lambda: other.orphans() == [(lease.trial_id, lease.number)], 5)


def test_the_heartbeat_tells_of_a_lost_lease(database: Database, study: optuna.Study) -> None:
    mine, lost = claimed(database, study, 0.2)
    other = Leases(database, study._study_id, 60.0, "b")
    tools.wait_for(lambda: other.take_over(lost.trial_id, lost.number), 5)
    _, held = claimed(database, study, 60.0)
    told: list[Lease] = []
    with Heartbeat(mine, lambda: [lost, held], told.extend):
        tools.wait_for(lambda: told, 5)
    assert set(told) == {lost}


def test_the_heartbeat_survives_an_error_of_the_database(database: Database, study: optuna.Study) -> None:
    mine, lease = claimed(database, study, 0.8)
    other = Leases(database, study._study_id, 0.8, "b")
    beats = []

    def held() -> list[Lease]:
        beats.append(time.monotonic())
        return [lease]

    with Heartbeat(mine, held, never):
        rename(database, "lab_leases", "away")
        seen = len(beats)
        tools.wait_for(lambda: len(beats) >= seen + 3, 10)
        rename(database, "away", "lab_leases")
        tools.wait_for(lambda: other.orphans() == [], 5)
        time.sleep(1.0)
        assert other.orphans() == []


def rename(database: Database, old: str, new: str) -> None:
    with database.engine.begin() as connection:
        connection.execute(sqlalchemy.text(f"ALTER TABLE {old} RENAME TO {new}"))


def test_a_heartbeat_ends_with_its_context(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'studies.db'}")
    study = optuna.create_study(storage=database.storage, study_name="s")
    mine, lease = claimed(database, study, 60.0)
    started = time.monotonic()
    with Heartbeat(mine, lambda: [lease], never):
        pass
    assert time.monotonic() - started < 2.0, "it doesn't sleep to its next beat, 15 s later"
    database.engine.dispose()
