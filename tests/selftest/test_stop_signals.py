"""The ruler of stopped programs: what an orderly end leaves, and whether going on came to the same."""

import signal
from pathlib import Path

import pytest

import util
from lab.hpo.open_study import open_study
from lab.hpo.storage import Database
from selftest.bench import Bench
from selftest.killed_runs import differences
from selftest.stop_signals import StoppedStudy, judge_stopped, new_tally, results, verdict
from selftest.stopped_commands import Command, Stop, judge_end
from tests.lab.hpo.small_study import config_of, search


@pytest.mark.parametrize(
    ("outcome", "text", "said"),
    [
        ("interrupted", "Interrupted: SIGHUP", ""),
        ("running", "", "filed as running, expected interrupted"),
        ("failed", "", "filed as failed, expected interrupted"),
        ("interrupted", "Traceback (most recent call last)", "a traceback"),
    ],
)
def test_what_a_stopped_run_leaves(outcome: str, text: str, said: str) -> None:
    found = list(judge_stopped({"outcome": outcome}, text))
    assert len(found) == bool(said) and all(said in line for line in found)


def test_two_studies_are_compared_trial_by_trial(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'studies.db'}"
    config = config_of(url)
    study = open_study(config, Database(url))
    search(config, study, 3)
    wanted, stopped = results(study.trials), StoppedStudy.__new__(StoppedStudy)
    assert list(differences(wanted, results(study.trials))) == []
    assert stopped.running(tmp_path) == []
    study.ask()
    assert stopped.running(tmp_path) == [3]
    assert "trial 3: state: expected nothing, found RUNNING" in differences(wanted, results(study.trials))
    was = wanted["trial 0: values"]
    other = {**wanted, "trial 0: values": "[7.0]"}
    assert list(differences(wanted, other)) == [f"trial 0: values: expected {was}, found [7.0]"]


class Nothing(Command):
    """A command of which only the end is judged."""

    title = "studies"
    made = arguments = progress = judge = differences = None  # type: ignore[assignment]


def test_a_wrong_exit_code_and_what_was_not_tried_are_told(bench: Bench) -> None:
    tally, command = new_tally(), Nothing(bench)
    for kind, where in (("runs", "a run"), ("studies", "a study")):
        command.title = kind
        code = 143 if kind == "runs" else -15
        judge_end(tally, where, Stop(signal.SIGTERM), code, 0.5, command)
    judge_end(tally, "a study", Stop(signal.SIGTERM, signal.SIGINT), 130, 1.5, command)
    assert tally.broken == ["a study: ended with -15, expected 143"]
    tally.add("RUNNING")
    made = verdict(tally, {"runs": 1, "studies": 2, "studies without processes": 4})
    assert dict(made.figures) == {
        "runs stopped": 1, "studies stopped": 1, "resumed to the same result": 0, "RUNNING": 1,
        "s at most": 0.5, "second signals": 1, "s at most after a second": 1.5,
    }  # fmt: skip
    assert made.broken == [
        "a study: ended with -15, expected 143", "expected 2 studies that were stopped, 1 came about",
        "expected 4 studies without processes that were stopped, 0 came about",
    ]  # fmt: skip


def test_an_end_that_takes_too_long_is_told_where_times_are_judged() -> None:
    tally, slow = new_tally(), Nothing(Bench(Path(), Path(), util.run, print))
    judge_end(tally, "a run", Stop(signal.SIGHUP), 129, 5.1, slow)
    judge_end(tally, "a run", Stop(signal.SIGHUP, signal.SIGINT), 130, 1.1, slow)
    assert tally.broken == ["a run: took 5.1 s", "a run: took 1.1 s"]
