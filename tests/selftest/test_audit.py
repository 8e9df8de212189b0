"""The log that the database keeps of a study, and what is found by it."""

from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from lab.hpo.leases import Leases
from lab.hpo.trial_folder import write_trial
from lab.store import run_folder
from selftest.audit import Audit, Change, Found, judge, judge_record
from selftest.studies import small_study

BOUNDS = {"lr": FloatDistribution(0.0, 1.0)}


def trial(number: int, state: TrialState = TrialState.COMPLETE, lr: float | None = None) -> FrozenTrial:
    found = create_trial(
        state=state,
        value=0.5 if state == TrialState.COMPLETE else None,
        params={"lr": number / 10 if lr is None else lr},
        distributions=BOUNDS,
        intermediate_values={1: 0.7, 2: 0.5},
    )
    found.number = number
    return found


ENDS = [Change(number, "state", "RUNNING", "COMPLETE") for number in (0, 1)]
WELL = [trial(0), trial(1)]


@pytest.mark.parametrize(
    ("trials", "log", "kind", "line"),
    [
        (WELL[:1], ENDS[:1], "lost", "2 trials are asked for, 1 are there"),
        ([*WELL, trial(2)], ENDS, "twice", "2 trials are asked for, 3 are there"),
        ([WELL[0], trial(1, TrialState.FAIL)], ENDS, "lost", "trial 1 is FAIL (no cause)"),
        ([WELL[0], trial(1, TrialState.RUNNING)], ENDS[:1], "running", "trial 1 is RUNNING"),
        ([WELL[0], trial(1, TrialState.WAITING)], ENDS[:1], "running", "trial 1 is WAITING"),
        ([WELL[0], trial(1, lr=0.0)], ENDS, "twice", "2 trials have the values {'lr': 0.0}"),
        (WELL, [*ENDS, ENDS[1]], "twice", "trial 1 was finished 2 times"),
        (WELL, [*ENDS, Change(0, "state", "COMPLETE", "RUNNING")], "twice", "trial 0: state COMPLETE became"),
        (WELL, [*ENDS, Change(0, "value", "0.5", "0.6")], "twice", "trial 0: value 0.5 became 0.6"),
        (WELL, [*ENDS, Change(1, "parameter", "0.1", "0.2")], "changed", "trial 1: parameter 0.1 became 0.2"),
        (WELL, [*ENDS, Change(1, "parameter", "0.1", "")], "changed", "parameter 0.1 became nothing"),
    ],
)
def test_each_fault_is_found(trials: list[FrozenTrial], log: list[Change], kind: str, line: str) -> None:
    found = judge(trials, log, 2)
    assert [name for name, count in found.counted().items() if count] == [kind]
    assert any(line in said for said in found.lines("here")), found.lines("here")


def test_a_study_that_went_well_has_none() -> None:
    claims = [Change(0, "claim", "", "a"), Change(0, "claim", "a", "b"), Change(0, "value", "", "0.5")]
    assert judge(WELL, [*claims, *ENDS], 2) == Found()


@pytest.mark.parametrize(
    ("rows", "kind"),
    [
        ("1,0.7\n2,0.5\n", None),
        ("1,0.7\n", "lost"),
        ("1,0.7\n2,0.5\n2,0.5\n", "twice"),
        ("1,0.6\n2,0.5\n", "changed"),
    ],
)
def test_a_record_is_compared_with_the_database(tmp_path: Path, rows: str, kind: str | None) -> None:
    (tmp_path / run_folder.METRICS).write_text("epoch,val_loss\n" + rows)
    write_trial(tmp_path, {"params": {"lr": 0.1}})
    judge_record(trial(1), tmp_path, 2, found := Found())
    assert kind is None or found.counted()[kind]
    assert kind is not None or found == Found()


def test_a_record_of_other_values_is_found(tmp_path: Path) -> None:
    (tmp_path / run_folder.METRICS).write_text("epoch,val_loss\n1,0.7\n2,0.5\n")
    write_trial(tmp_path, {"params": {"lr": 0.2}})
    judge_record(trial(1), tmp_path, 2, found := Found())
    assert found.counted() == {"lost": 0, "twice": 0, "running": 0, "changed": 1}


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_the_database_writes_down_who_does_what(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = f"sqlite:///{tmp_path / 'studies.db'}"
    if kind == "postgresql":
        new: Callable[[], str] = request.getfixturevalue("postgres")
        url = new()
    audit = Audit(config := small_study(url, 2), tmp_path)
    study = optuna.load_study(study_name=config.study_name, storage=audit.database.backend)
    for lr in (1e-3, 2e-3):
        study.enqueue_trial({"optimizer.lr": lr})
    for owner in ("first", "second"):
        leases = Leases(audit.database, audit.study_id, -1.0 if owner == "first" else 60.0, owner=owner)
        lease = leases.claim_waiting() if owner == "first" else leases.take_over(leases.stalled()[0])
        assert lease is not None and audit.at_work() == {0: owner}
    with leases.writing(lease) as writer:
        writer.report({1: 0.5})
        writer.finish(TrialState.COMPLETE, [0.5])
    log = [change for change in audit.log() if change.becomes != "WAITING"]  # as Optuna makes a trial
    seen = [(change.number, change.what, change.was, change.becomes) for change in log]
    assert seen == [
        (0, "state", "WAITING", "RUNNING"),
        (0, "claim", "", "first"),
        (0, "claim", "first", "second"),
        (0, "report", "1", "0.5"),
        (0, "value", "", "0.5"),
        (0, "state", "RUNNING", "COMPLETE"),
    ]
    assert not audit.over()
    audit.close()
