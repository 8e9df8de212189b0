"""Trials whose folder another process has not let go of yet."""

from pathlib import Path
from typing import Any

import pytest

import util
from lab.config import OptimizeConfig
from lab.events import RunResult
from lab.hpo import scheduler, study
from lab.store import file_io
from tests import study_tools as tools


def test_it_waits_and_what_was_trained_meanwhile_is_reported(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The former process trains on until it lets go; none of it is lost, and no attempt is counted."""
    monkeypatch.setattr(scheduler, "patience", lambda config: 0.0)
    calls: list[bool] = []

    def run(config: Any, **options: Any) -> RunResult:
        calls.append(options["resume"])
        if len(calls) <= 2:  # the former process does one epoch more
            former = {**options, "callbacks": []}
            util.run(config.with_values({"epochs": len(calls)}), **former)
        if len(calls) == 1:
            raise file_io.RunInUse
        return util.run(config, **options)

    _optimize(workplace, run)
    (trial,) = tools.trials(workplace)
    assert calls == [False, True]
    assert sorted(trial.intermediate_values) == [1, 2, 3, 4]
    assert trial.user_attrs["attempts"] == 1 and trial.user_attrs["outcome"] == "completed"


def _optimize(folder: Path, run: Any) -> None:
    path = tools.study_file(folder, n_trials=1, isolation="none")
    study.optimize(OptimizeConfig.from_yaml(path), run, console="quiet")
