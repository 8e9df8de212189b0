"""Leases are renewed by a thread of their own."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import optuna
import sqlalchemy
from optuna.trial import TrialState, create_trial

from lab.hpo.leases import Lease, LeaseLost, Leases, Previous, heartbeat
from lab.hpo.storage import Database
from tests import study_tools as tools


def claimed(database: Database, study: optuna.Study, seconds: float) -> tuple[Leases, Lease]:
    """A trial of the process `a`, whose lease runs out after so long."""
    study._storage.create_new_trial(study._study_id, create_trial(state=TrialState.WAITING))
    mine = Leases(database, study._study_id, seconds, "a")
    lease = mine.claim_waiting()
    assert lease is not None
    return mine, lease


def beating(
    leases: Leases, held: Callable[[], list[Lease]], handle_lost: Callable[[list[Lease]], object]
) -> AbstractContextManager[None]:
    """A heartbeat that renews leases as a queue does."""

    def renew() -> None:
        for lease in held():
            try:
                with leases.writing(lease):
                    pass
            except LeaseLost:
                handle_lost([lease])

    return heartbeat(renew, leases.seconds / 4)


def never(lost: object) -> None:
    raise AssertionError(f"{lost} is still held")


def test_the_heartbeat_renews(database: Database, study: optuna.Study) -> None:
    mine, lease = claimed(database, study, 0.8)
    other = Leases(database, study._study_id, 0.8, "b")
    with beating(mine, lambda: [lease], never):
        deadline = time.monotonic() + 2.0
        while time.monotonic() < deadline:
            assert other.stalled() == []
            time.sleep(0.05)
    tools.wait_for(lambda: other.stalled() == [(lease.trial_id, lease.number, Previous.SILENT)], 5)


def test_the_heartbeat_tells_of_a_lost_lease(database: Database, study: optuna.Study) -> None:
    mine, lost = claimed(database, study, 0.2)
    other = Leases(database, study._study_id, 60.0, "b")
    tools.wait_for(lambda: [other.take_over(stalled) for stalled in other.stalled()], 5)
    _, held = claimed(database, study, 60.0)
    told: list[Lease] = []
    with beating(mine, lambda: [lost, held], told.extend):
        tools.wait_for(lambda: told, 5)
    assert set(told) == {lost}


def test_the_heartbeat_survives_an_error_of_the_database(database: Database, study: optuna.Study) -> None:
    mine, lease = claimed(database, study, 0.8)
    other = Leases(database, study._study_id, 0.8, "b")
    beats = []

    def held() -> list[Lease]:
        beats.append(time.monotonic())
        return [lease]

    with beating(mine, held, never):
        rename(database, "lab_leases", "away")
        seen = len(beats)
        tools.wait_for(lambda: len(beats) >= seen + 3, 10)
        rename(database, "away", "lab_leases")
        tools.wait_for(lambda: other.stalled() == [], 5)
        time.sleep(1.0)
        assert other.stalled() == []


def rename(database: Database, old: str, new: str) -> None:
    with database.engine.begin() as connection:
        connection.execute(sqlalchemy.text(f"ALTER TABLE {old} RENAME TO {new}"))


def test_a_heartbeat_ends_with_its_context(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'studies.db'}")
    study = optuna.create_study(storage=database.storage, study_name="s")
    mine, lease = claimed(database, study, 60.0)
    started = time.monotonic()
    with beating(mine, lambda: [lease], never):
        pass
    assert time.monotonic() - started < 2.0, "it doesn't sleep to its next beat, 15 s later"
    database.engine.dispose()
