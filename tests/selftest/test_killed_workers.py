"""The results of many studies, taken together."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from optuna.trial import TrialState, create_trial

from selftest.audit import Found
from selftest.killed_workers import FIGURES, take_study
from selftest.verdict import Tally


def test_whatever_is_wrong_with_a_study_is_counted_and_told(tmp_path: Path) -> None:
    crew: Any = SimpleNamespace(
        kills=25, left=range(9), longest=1.5,
        broken=["a worker ended with 1: planted"], orphans=["trial 3 is RUNNING"],
        finish=lambda: None,
    )  # fmt: skip
    audit: Any = SimpleNamespace(
        judge=lambda: Found(lost=["trial 2"]), trials=lambda: [create_trial(state=TrialState.FAIL)],
        close=lambda: None,
    )  # fmt: skip
    tally = Tally(FIGURES)
    assert take_study(tally, crew, audit, "SQLite, seed 7") == 1
    take_study(tally, crew, audit, "SQLite, seed 8")
    verdict = tally.verdict()
    assert not verdict.held
    assert verdict.as_text().startswith(
        "2 lost, 0 twice, 2 running, 0 changed, 50 kills, 18 trials left behind by the dead, 2 trials"
    )
    assert verdict.broken[:3] == [
        "SQLite, seed 7: a worker ended with 1: planted",
        "SQLite, seed 7: lost: trial 2",
        "SQLite, seed 7: running: trial 3 is RUNNING",
    ]
