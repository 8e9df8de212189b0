"""How a study ends that is stopped, and what it leaves readable for whom."""

import json
import shlex
import signal
from pathlib import Path
from typing import Any

import pytest

import util
from lab.config import OptimizeConfig
from lab.hpo import study
from lab.hpo.storage import without_hidden
from tests import study_tools as tools
from tests.lab.hpo.small_study import config_of


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code", "name"),
    [
        (signal.SIGINT, 130, "Ctrl-C"),
        pytest.param(signal.SIGTERM, 143, "SIGTERM", marks=pytest.mark.slow),  # test_optimize.py has both
    ],
)
def test_a_stopped_study_shows_what_there_is_and_how_to_go_on(
    tmp_path: Path, number: signal.Signals, code: int, name: str
) -> None:
    path = tools.study_file(
        tmp_path, "my study.yaml", n_trials=3, search_space={"optimizer.lr": {"choices": [0.01, 0.02, 0.03]}},
        **{"run.net": {"target": "faulty.Faulty", "seconds": 0.02}, "run.epochs": 15},
    )  # fmt: skip
    process = tools.start(tmp_path, "--optimize", str(path), "--set", "seed=4")
    folder = tmp_path / "studies" / "small"
    tools.wait_for(lambda: tools.epochs_done(folder / "trial_00001") >= 2)
    process.send_signal(number)
    ended, out, err = tools.finish(process, timeout=20)
    assert (ended, err) == (code, ""), out
    tail = out.partition("Press Ctrl-C again to abort\n")[2].splitlines()
    assert f"Stopped: {name}. Trials: 1 completed, 1 waiting." in tail
    assert any(line.startswith("Best     trial 0: val_loss ") for line in tail)
    report = next(line for line in tail if line.startswith("Report   "))
    assert report.endswith("main.py --report studies/small") and not (folder / "report.html").exists()
    assert tail[-1].startswith("Continue ")
    assert tail[-1].endswith(f"main.py --optimize {shlex.quote(str(path))} --set seed=4")
    again = tools.finish(tools.start(tmp_path, *shlex.split(tail[-1])[3:]), 60)
    assert again[0] == 0 and "Continue" not in again[1]
    assert len(tools.trials(tmp_path)) == 3


def test_stopped_before_any_trial_is_done_it_says_so(tmp_path: Path) -> None:
    path = tools.study_file(
        tmp_path, isolation="none", **{"run.net": {"target": "faulty.Faulty", "seconds": 0.02},
        "run.epochs": 50}, search_space={"optimizer.lr": {"choices": [0.01]}},
    )  # fmt: skip
    process = tools.start(tmp_path, "--optimize", str(path), "--json")
    tools.wait_for(lambda: tools.epochs_done(tmp_path / "studies" / "small" / "trial_00000") >= 2)
    process.send_signal(signal.SIGINT)
    code, out, err = tools.finish(process, timeout=20)
    assert (code, err) == (130, ""), out
    last = json.loads(out.splitlines()[-1])
    assert (last["event"], last["reason"], last["outcomes"]) == ("study_end", "Ctrl-C", {"waiting": 1})
    assert last["best"] is None and last["report"] is None


@pytest.mark.parametrize(
    ("url", "without"),
    [
        ("postgresql://me:hidden@host/db", "postgresql://me@host/db"),
        ("postgresql://me@host/db?password=hidden", "postgresql://me@host/db"),
        ("postgresql://me@host/db?sslmode=require", "postgresql://me@host/db?sslmode=require"),
        ("sqlite:///studies.db", "sqlite:///studies.db"),
    ],
)
def test_a_studys_file_has_no_password(tmp_path: Path, url: str, without: str) -> None:
    config = config_of(url)
    for _ in range(2):  # the first makes it, the second finds it
        study._write_file(tmp_path / "small", config)
    assert "hidden" not in (tmp_path / "small" / "study.yaml").read_text()
    stored = OptimizeConfig.from_yaml(tmp_path / "small" / "study.yaml").storage
    assert without_hidden(stored) == without
    assert [path.name for path in (tmp_path / "small").iterdir()] == ["study.yaml"]


def run_study(folder: Path, **changes: Any) -> study.StudyResult:
    path = tools.study_file(folder, **{"isolation": "none", "n_trials": 1, "run.epochs": 1, **changes})
    return study.optimize(OptimizeConfig.from_yaml(path), util.run)


def test_a_winners_folder_that_can_not_be_written_is_a_note(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (workplace / "studies" / "small").mkdir(parents=True)
    (workplace / "studies" / "small" / "best").write_text("in the way")
    result = run_study(workplace)
    assert result.best is not None and not result.failed
    out = capsys.readouterr().out
    assert "tudies/small/best: File exists" in out and "Done. Trials: 1 completed." in out


def test_only_the_devices_that_are_used_are_shown(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_study(workplace, workers=1, devices=["cpu", "cuda:0"])
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("Search"))
    assert line.endswith("seed 3; cpu")
