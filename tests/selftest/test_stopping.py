"""The ruler of stopped programs: what an orderly end leaves, and whether going on came to the same."""

from pathlib import Path

import pytest

from lab.hpo.opening import open_study
from lab.hpo.storage import Database
from selftest.stopped import Tally
from selftest.stopped_runs import judge_stopped
from selftest.stopped_studies import differences, results, running
from selftest.stopping import verdict
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
    found = judge_stopped("run", {"outcome": outcome}, text)
    assert len(found) == bool(said) and all(said in line for line in found)


def test_two_studies_are_compared_trial_by_trial(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'studies.db'}"
    config = config_of(url)
    study = open_study(config, Database(url))
    search(config, study, 3)
    wanted = results(study.trials)
    assert differences(results(study.trials), wanted) == []
    assert running(study.trials) == []
    study.ask()
    assert running(study.trials) == [3]
    assert differences(results(study.trials), wanted) == ["4 trials, expected 3"]
    other = [{**wanted[0], "values": [7.0]}, *wanted[1:]]
    assert differences(other, wanted) == [f"trial 0: values [7.0], expected {wanted[0]['values']}"]


def test_a_wrong_exit_code_is_told() -> None:
    tally = Tally()
    tally.judge_end("a run", 143, 143)
    tally.judge_end("a study", -15, 143)
    assert tally.broken == ["a study: ended with -15, expected 143"]
    made = verdict(Tally(stops=2, resumed=2, seconds=[0.5, 1.5]), tally, Tally(running=1, stops=3), (2, 2, 4))
    assert (made.figures["s at most"], made.figures["RUNNING"]) == (1.5, 1)
    assert made.broken == [
        "a study: ended with -15, expected 143", "expected 2 studies that were stopped, 0 came about",
        "expected 4 studies without processes that were stopped, 3 came about",
    ]  # fmt: skip
