"""Who may write to a trial, on real databases: SQLite, and PostgreSQL where one is there."""

import math
import multiprocessing
import os
import time

import optuna
import pytest
import sqlalchemy
from optuna.trial import TrialState, create_trial

from lab.hpo.leases import Lease, LeaseLost, Leases
from lab.hpo.storage import Database
from lab.report.trial_attributes import TrialAttributes


def add(study: optuna.Study) -> None:
    study._storage.create_new_trial(study._study_id, create_trial(state=TrialState.WAITING))


def leases(database: Database, study: optuna.Study, seconds: float = 60.0, owner: str = "a") -> Leases:
    return Leases(database, study._study_id, seconds, owner)


def test_a_claim_makes_the_first_waiting_trial_run(database: Database, study: optuna.Study) -> None:
    add(study)
    add(study)
    mine, other = leases(database, study), leases(database, study, owner="b")
    first, second = mine.claim_waiting(), other.claim_waiting()
    assert first is not None and second is not None
    assert (first.number, first.token, second.number) == (0, 1, 1)
    assert [trial.state for trial in study.trials] == [TrialState.RUNNING] * 2
    assert mine.claim_waiting() is None


def test_what_is_written_is_there_at_once_and_together(database: Database, study: optuna.Study) -> None:
    add(study)
    mine = leases(database, study)
    lease = mine.claim_waiting()
    assert lease is not None
    with mine.writing(lease) as writer:
        writer.report({1: 0.5, 2: 0.25})
    with pytest.raises(ZeroDivisionError), mine.writing(lease) as writer:
        writer.report({3: 0.125})
        raise ZeroDivisionError
    with mine.writing(lease) as writer:
        writer.set_attributes(
            TrialAttributes(outcome="completed", repeats={"seed_0": 0.25, "seed_1": math.nan})
        )
        writer.finish(TrialState.COMPLETE, [0.25])
    (trial,) = study.trials
    assert trial.state == TrialState.COMPLETE and trial.values == [0.25]
    assert trial.intermediate_values == {1: 0.5, 2: 0.25}
    assert trial.user_attrs == {"outcome": "completed", "repeats": {"seed_0": 0.25, "seed_1": None}}
    assert trial.datetime_complete is not None and trial.datetime_start is not None
    assert 0 <= (trial.datetime_complete - trial.datetime_start).total_seconds() < 60
    with pytest.raises(LeaseLost):
        _write(mine, lease)


def test_a_violated_constraint_is_stored_as_optuna_reads_it(database: Database, study: optuna.Study) -> None:
    add(study)
    mine = leases(database, study)
    lease = mine.claim_waiting()
    assert lease is not None
    with mine.writing(lease) as writer:
        writer.system_attribute("constraints:feasible", 1.0)
        writer.finish(TrialState.PRUNED)
    (trial,) = study.trials
    assert (trial.state, trial.constraints) == (TrialState.PRUNED, {"feasible": 1.0})


def _write(mine: Leases, lease: Lease) -> None:
    with mine.writing(lease) as writer:
        writer.report({9: 9.0})


def test_a_trial_given_back_waits_and_keeps_everything(database: Database, study: optuna.Study) -> None:
    add(study)
    mine, other = leases(database, study), leases(database, study, owner="b")
    lease = mine.claim_waiting()
    assert lease is not None
    with mine.writing(lease) as writer:
        writer.report({1: 0.5})
        writer.set_attributes(TrialAttributes(deaths=1))
        writer.release()
    assert study.trials[0].state == TrialState.WAITING
    again = other.claim_waiting()
    assert again is not None and (again.number, again.token) == (0, 2)
    assert study.trials[0].intermediate_values == {1: 0.5} and study.trials[0].user_attrs == {"deaths": 1}
    with pytest.raises(LeaseLost, match="belongs to another"):
        _write(mine, lease)


def test_a_lease_that_ran_out_is_taken_over_and_its_owner_can_write_no_more(
    database: Database, study: optuna.Study
) -> None:
    add(study)
    slow, other = leases(database, study, seconds=0.2), leases(database, study, owner="b")
    lease = slow.claim_waiting()
    assert lease is not None and other.stalled() == []
    time.sleep(0.3)
    assert other.stalled() == [(lease.trial_id, 0)]
    assert slow.stalled() == [], "its own are none"
    taken = other.take_over(lease.trial_id, 0)
    assert taken is not None and (taken.owner, taken.token) == ("b", 2)
    assert leases(database, study, owner="c").take_over(lease.trial_id, 0) is None
    assert slow.renew([lease]) == [lease]
    with pytest.raises(LeaseLost):
        _write(slow, lease)
    assert study.trials[0].intermediate_values == {}
    _write(other, taken)
    assert study.trials[0].intermediate_values == {9: 9.0}


def test_a_claim_that_broke_off_is_made_again_by_the_same_process(
    database: Database, study: optuna.Study
) -> None:
    add(study)
    mine = leases(database, study)
    first = mine.claim_waiting()
    assert first is not None and mine.stalled({first.trial_id}) == []
    assert mine.stalled(set()) == [(first.trial_id, 0)], "the answer never came"
    again = mine.take_over(first.trial_id, 0, set())
    assert again is not None and again.again and again.token == 2
    assert leases(database, study, owner="b").stalled(set()) == []


def test_renewing_keeps_a_lease(database: Database, study: optuna.Study) -> None:
    add(study)
    mine, other = leases(database, study, seconds=0.5), leases(database, study, owner="b")
    lease = mine.claim_waiting()
    assert lease is not None
    for _ in range(4):
        time.sleep(0.2)
        assert mine.renew([lease]) == []
        assert other.stalled() == []


def test_a_running_trial_without_a_lease_counts_from_its_start(
    database: Database, study: optuna.Study
) -> None:
    study.ask()  # as raw Optuna does
    assert leases(database, study, seconds=5.0).stalled() == []
    time.sleep(0.3)
    short = leases(database, study, seconds=0.2)
    assert [number for _, number in short.stalled()] == [0]
    assert short.take_over(*short.stalled()[0]) is not None


def _die_with_a_trial(url: str) -> None:
    database = Database(url)
    study = optuna.load_study(study_name="s", storage=database.storage)
    assert Leases(database, study._study_id, 3600.0).claim_waiting() is not None
    os._exit(9)


def test_a_dead_owner_on_this_machine_is_noticed_at_once(
    url: str, database: Database, study: optuna.Study
) -> None:
    add(study)
    process = multiprocessing.get_context("spawn").Process(target=_die_with_a_trial, args=(url,))
    process.start()
    process.join()
    assert process.exitcode == 9
    mine = Leases(database, study._study_id, 3600.0)
    assert [number for _, number in mine.stalled()] == [0]
    lease = mine.take_over(*mine.stalled()[0])
    assert lease is not None and lease.token == 2


def _claim_all(url: str, queue: "multiprocessing.Queue[list[int]]", barrier: object) -> None:
    database = Database(url)
    study = optuna.load_study(study_name="s", storage=database.storage)
    mine = Leases(database, study._study_id, 60.0)
    barrier.wait()  # type: ignore[attr-defined]
    found = []
    while True:
        with database.exclusive("s"):
            lease = mine.claim_waiting()
        if lease is None:
            break
        found.append(lease.number)
    queue.put(found)


def test_four_processes_in_lock_step_claim_each_trial_once(
    url: str, database: Database, study: optuna.Study
) -> None:
    for _ in range(24):
        add(study)
    context = multiprocessing.get_context("spawn")
    queue, barrier = context.Queue(), context.Barrier(4)
    processes = [context.Process(target=_claim_all, args=(url, queue, barrier)) for _ in range(4)]
    for process in processes:
        process.start()
    claimed = [queue.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    assert sorted(number for found in claimed for number in found) == list(range(24))


def test_the_lease_table_is_one_table_beside_optunas(database: Database, study: optuna.Study) -> None:
    leases(database, study)
    leases(database, study)
    names = sqlalchemy.inspect(database.engine).get_table_names()
    assert names.count("lab_leases") == 1 and "trials" in names
