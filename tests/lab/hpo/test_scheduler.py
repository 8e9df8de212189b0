"""What a study does about a trial that was stopped depends on the cause, and on no text."""

import errno
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import util
from lab.config import OptimizeConfig
from lab.events import RunResult, StopCause, Stopped
from lab.hpo import queries, repeated_failures, scheduler, study, trial_errors, trial_folder, worker_main
from lab.hpo.clock import Clock
from lab.hpo.open_study import open_study
from lab.hpo.storage import Database
from lab.hpo.trial_errors import StorageFaults
from lab.hpo.trial_queue import TrialQueue
from lab.report.trial_attributes import TrialAttributes
from lab.store import file_io
from tests import study_tools as tools

TEXTS = [
    (scheduler, "TAKEN"), (trial_folder, "TAKEN"), (scheduler, "IN_USE"), (worker_main, "IN_USE"),
    (scheduler, "DIED"), (repeated_failures, "DIED"),
]  # fmt: skip


@pytest.fixture(params=["our texts", "other texts"])
def texts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each message as it is, or another one in each place that has it."""
    monkeypatch.setattr(scheduler, "patience", lambda config: 0.0)
    if request.param == "other texts":
        for number, (module, name) in enumerate(TEXTS):
            monkeypatch.setattr(module, name, f"text {number}")
        monkeypatch.setattr(file_io, "storage_message", lambda error: "text of a disk")
    return str(request.param)


@dataclass
class Ended:
    """What came of a study of one trial."""

    starts: int
    failed: bool
    attributes: dict[str, Any]
    token: int  # how often the trial was claimed


def ended(folder: Path, faults: Callable[[int], BaseException | None]) -> Ended:
    """Do the study in this process; `faults` gives what breaks the n-th start of the trial."""
    starts = 0

    def run(config: Any, **options: Any) -> RunResult:
        nonlocal starts
        starts += 1
        if (fault := faults(starts)) is not None:
            raise fault
        return util.run(config, **options)

    path = tools.study_file(folder, n_trials=1, isolation="none", max_attempts=2)
    result = study.optimize(OptimizeConfig.from_yaml(path), run, console="quiet")
    (trial,) = tools.trials(folder)
    with sqlite3.connect(folder / "studies.db") as database:
        ((token,),) = database.execute("SELECT token FROM lab_leases").fetchall()
    database.close()
    return Ended(starts, result.failed, trial.user_attrs, token)


@pytest.mark.parametrize(
    ("fault", "attempts", "claims"),
    [
        (file_io.RunInUse(), 1, 1),
        (Stopped("late", cause=StopCause.NO_ANSWER), 1, 1),
        (Stopped("another's", cause=StopCause.TAKEN_OVER), 1, 2),
        (Stopped("a signal"), 2, 1),
        *((Stopped(text), 2, 1) for text in (trial_folder.TAKEN, worker_main.IN_USE, "the disk is full: x")),
    ],
)
def test_a_trial_that_was_stopped_is_started_again(
    workplace: Path, texts: str, fault: BaseException, attempts: int, claims: int
) -> None:
    found = ended(workplace, lambda start: fault if start == 1 else None)
    assert (found.starts, found.failed, found.attributes["outcome"]) == (2, False, "completed")
    assert (found.attributes["attempts"], found.token) == (attempts, claims)


def test_a_disk_that_is_full_ends_the_study(workplace: Path, texts: str) -> None:
    found = ended(workplace, lambda start: OSError(errno.ENOSPC, "no room"))
    assert (found.starts, found.failed) == (1, True)
    assert not {"outcome", "quarantined"} & set(found.attributes), "the trial waits"


def test_a_folder_that_cannot_be_written_for_a_while_costs_no_attempt(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial_errors, "_FIRST_DELAY", 0.2)
    times: list[float] = []
    path = str(workplace / "studies" / "small" / "trial_00000" / "metrics.csv")

    def fault(start: int) -> BaseException | None:
        times.append(time.monotonic())
        return OSError(errno.EROFS, "x", path) if start < 4 else None

    found = ended(workplace, fault)
    assert (found.starts, found.failed, found.attributes["outcome"]) == (4, False, "completed")
    assert (found.attributes["attempts"], found.token) == (1, 1)
    assert all(later - earlier >= 0.2 for earlier, later in pairwise(times))


def test_a_trial_is_tried_again_until_patience_is_over() -> None:
    seconds = 0.0
    faults = StorageFaults(60.0, Clock(monotonic=lambda: seconds))
    delays = []
    while (delay := faults.delay(3, 2)) is not None:
        delays.append(delay)
        seconds += delay
    assert delays == [1.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0] and seconds == 64.0
    assert faults.delay(3, 3) == 1.0, "it has made progress"
    assert faults.delay(4, 0) == 1.0, "it is another trial"


@pytest.mark.parametrize(("losses", "starts", "outcome"), [(3, 1, "completed"), (4, 0, "failed")])
def test_a_trial_whose_process_is_lost_a_fifth_time_is_quarantined(
    workplace: Path, losses: int, starts: int, outcome: str
) -> None:
    config = OptimizeConfig.from_yaml(tools.study_file(workplace, n_trials=1))
    database = Database(config.storage)
    optuna_study = open_study(config, database)
    queue = TrialQueue(config, optuna_study, database, workplace, owner="another machine's")
    trial = queue.fetch()
    assert trial is not None
    with queue.leases.writing(trial.lease) as writer:
        writer.set_attributes(TrialAttributes(losses=losses))
    with database.engine.begin() as connection:
        connection.execute(queries.LEASES.update().values(expires=0.0))
    database.engine.dispose()
    found = ended(workplace, lambda start: None)
    assert (found.starts, found.attributes["outcome"], found.token) == (starts, outcome, 2)
    assert (found.attributes["losses"], found.attributes["deaths"]) == (losses + 1, 0)
    assert found.attributes.get("quarantined", False) is (outcome == "failed")


def test_a_trial_that_ends_its_process_again_and_again_is_quarantined(workplace: Path, texts: str) -> None:
    found = ended(workplace, lambda start: Stopped("a signal"))
    assert (found.starts, found.attributes["outcome"]) == (2, "failed")
    assert found.attributes["quarantined"] is True
