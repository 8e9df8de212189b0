"""Who may write to a trial, on real databases: SQLite, and PostgreSQL where one is there."""

import math
import multiprocessing
import os
import time
from dataclasses import replace
from datetime import datetime

import optuna
import pytest
import sqlalchemy
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from lab.hpo.leases import AlreadyFinished, Lease, LeaseLost, Leases, Previous
from lab.hpo.storage import Database
from lab.hpo.trial_draft import new_draft
from lab.report.trial_attributes import TrialAttributes
from tests.lab.hpo.lost_answers import lost_answers


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
    (stalled,) = other.stalled()
    assert stalled == (lease.trial_id, 0, Previous.SILENT)
    assert slow.stalled() == [], "its own are none"
    taken = other.take_over(stalled)
    assert taken is not None and (taken.owner, taken.token, taken.previous) == ("b", 2, Previous.SILENT)
    assert leases(database, study, owner="c").take_over(stalled) is None
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
    (stalled,) = mine.stalled(set())
    assert stalled == (first.trial_id, 0, Previous.SELF), "the answer never came"
    again = mine.take_over(stalled, set())
    assert again is not None and (again.previous, again.token) == (Previous.SELF, 2)
    assert leases(database, study, owner="b").stalled(set()) == []


def test_a_silent_owner_is_dead_only_on_proof(database: Database, study: optuna.Study) -> None:
    add(study)
    assert leases(database, study, seconds=-1.0, owner="a").claim_waiting() is not None

    def seen_by(dead: bool) -> list[Previous]:
        other = Leases(database, study._study_id, 60.0, "b", is_dead=lambda owner: dead)
        return [stalled.previous for stalled in other.stalled()]

    assert (seen_by(False), seen_by(True)) == ([Previous.SILENT], [Previous.DEAD])


def test_a_trial_is_created_running_and_claimed_at_once(database: Database, study: optuna.Study) -> None:
    draft = new_draft(0, {}, {"enqueued": "x"})
    draft.params, draft.distributions = {"lr": 0.1}, {"lr": FloatDistribution(0.0, 1.0)}
    lease = leases(database, study).create(draft)
    assert lease is not None and (lease.number, lease.token, lease.previous) == (0, 1, Previous.NOBODY)
    (trial,) = study.trials
    assert (trial.state, trial.params, trial.user_attrs) == (
        TrialState.RUNNING,
        {"lr": 0.1},
        {"enqueued": "x"},
    )
    assert trial.datetime_start is not None
    assert 0 <= (datetime.now() - trial.datetime_start).total_seconds() < 60


def test_a_number_that_was_taken_meanwhile_creates_no_trial(database: Database, study: optuna.Study) -> None:
    mine, other = leases(database, study), leases(database, study, owner="b")
    assert other.create(new_draft(0, {}, {})) is not None
    assert mine.create(new_draft(0, {}, {})) is None and mine.create(new_draft(2, {}, {})) is None
    assert len(study.trials) == 1
    assert mine.create(new_draft(1, {}, {})) is not None


def test_a_trial_whose_creation_was_not_answered_is_found_and_is_no_second_one(
    database: Database, study: optuna.Study
) -> None:
    mine = leases(database, study)
    with lost_answers(database, 1), pytest.raises(sqlalchemy.exc.OperationalError, match="lost"):
        mine.create(new_draft(0, {}, {}))
    assert mine.create(new_draft(0, {}, {})) is None
    (stalled,) = mine.stalled(set())
    again = mine.take_over(stalled, set())
    assert again is not None and (again.number, again.previous) == (0, Previous.SELF)
    assert len(study.trials) == 1


def test_a_result_that_was_not_answered_is_known_as_ones_own(database: Database, study: optuna.Study) -> None:
    mine, other = leases(database, study), leases(database, study, owner="b")
    lease = mine.create(new_draft(0, {}, {}))
    assert lease is not None

    def finish(value: float) -> None:
        with mine.writing(lease) as writer:
            writer.finish(TrialState.COMPLETE, [value])

    with lost_answers(database, 1), pytest.raises(sqlalchemy.exc.OperationalError, match="lost"):
        finish(0.25)
    with pytest.raises(AlreadyFinished):
        finish(0.5)
    assert study.trials[0].values == [0.25]
    with pytest.raises(LeaseLost) as error, other.writing(replace(lease, owner="b")):
        pass
    assert not isinstance(error.value, AlreadyFinished)
    assert other.stalled(set()) == mine.stalled(set()) == []


def test_renewing_keeps_a_lease(database: Database, study: optuna.Study) -> None:
    add(study)
    mine, other = leases(database, study, seconds=0.5), leases(database, study, owner="b")
    lease = mine.claim_waiting()
    assert lease is not None
    for _ in range(4):
        time.sleep(0.2)
        with mine.writing(lease):
            pass
        assert other.stalled() == []


def test_a_running_trial_without_a_lease_counts_from_its_start(
    database: Database, study: optuna.Study
) -> None:
    study.ask()  # as raw Optuna does
    assert leases(database, study, seconds=5.0).stalled() == []
    time.sleep(0.3)
    short = leases(database, study, seconds=0.2)
    (stalled,) = short.stalled()
    assert stalled[1:] == (0, Previous.SILENT) and short.take_over(stalled) is not None


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
    (stalled,) = mine.stalled()
    lease = mine.take_over(stalled)
    assert lease is not None and (lease.number, lease.token, lease.previous) == (0, 2, Previous.DEAD)


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
