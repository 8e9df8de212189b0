"""Kills at random instants: a study that is started again each time ends as one that nothing happened to."""

import json
import random
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests import study_tools as tools

KILLS = 6


def _study(folder: Path) -> Path:
    pruner = {"target": "optuna.pruners.MedianPruner", "n_startup_trials": 2, "n_warmup_steps": 2}
    net: Any = {"target": "faulty.Faulty", "seconds": 0.02}
    return tools.study_file(
        folder, n_trials=6, pruner=pruner, max_attempts=KILLS + 1,
        **{"run.net": net, "run.epochs": 5, "run.seeds": [0, 1]},
    )  # fmt: skip


def _epochs(folder: Path) -> int:
    """How many epochs all trials and seeds have recorded."""
    return sum(
        tools.epochs_done(file.parent) for file in folder.glob("studies/small/trial_*/seed_*/metrics.csv")
    )


def _at_work(folder: Path) -> int | None:
    """The process that trains at the moment."""
    for file in sorted(folder.glob("studies/small/trial_*/seed_*/summary.json")):
        summary = json.loads(file.read_text())
        if summary["outcome"] == "running" and Path(f"/proc/{summary['pid']}").exists():
            return int(summary["pid"])
    return None


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[tuple[Any, ...]], int]:
    """The results, and how many epochs they took."""
    folder = tmp_path_factory.mktemp("undisturbed")
    code, out, err = tools.optimize(folder, _study(folder))
    assert (code, err) == (0, ""), out
    return tools.results(folder), _epochs(folder)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_kills_change_nothing(
    tmp_path: Path, undisturbed: tuple[list[tuple[Any, ...]], int], seed: int
) -> None:
    expected, epochs = undisturbed
    assert {row[5] for row in expected} == {"completed", "pruned"}, "both ends are tried"
    chance, path = random.Random(seed), _study(tmp_path)
    moments = sorted(chance.sample(range(1, epochs - 2), KILLS))
    whom = ["trial", "scheduler"] * (KILLS // 2)
    chance.shuffle(whom)
    process = tools.start(tmp_path, "--optimize", str(path))
    for moment, victim in zip(moments, whom, strict=True):
        _wait(process, lambda moment=moment: _epochs(tmp_path) >= moment)
        time.sleep(chance.uniform(0.0, 0.12))
        if victim == "trial":
            tools.kill(_wait(process, lambda: _at_work(tmp_path)))
        else:
            tools.kill(process.pid)
            process.communicate()
            process = tools.start(tmp_path, "--optimize", str(path))
    code, out, err = tools.finish(process)
    assert (code, err) == (0, ""), out
    assert tools.results(tmp_path) == expected
    assert sum(t.user_attrs["attempts"] - 1 for t in tools.trials(tmp_path)) >= 1
    assert _epochs(tmp_path) == epochs, "no epoch is recorded twice"


def _wait(process: "subprocess.Popen[str]", condition: Any) -> Any:
    """What the condition gives once it is true, or once the study is over."""

    def met() -> Any:
        assert process.poll() is None, process.communicate()
        return condition()

    return tools.wait_for(met)
