"""`python main.py --optimize` with a study's file that was changed since, and with `--fork`."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import main
from tests import study_tools as tools

FAST: dict[str, Any] = {"run.epochs": 1, "n_trials": 3, "isolation": "none"}


Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def optimize(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """The command in this process, which has torch already: exit code, standard output and error."""
    monkeypatch.chdir(tmp_path)

    def call(path: Path, *arguments: str) -> tuple[int, str, str]:
        code = main.main(["--optimize", str(path), *arguments])
        return code, *capsys.readouterr()

    return call


def numbers(folder: Path, name: str = "small") -> list[int]:
    """The trials that the database holds."""
    return [trial.number for trial in tools.trials(folder, name)]


@pytest.mark.slow
def test_a_change_is_refused_with_the_way_out_and_the_way_out_works(tmp_path: Path) -> None:
    assert tools.optimize(tmp_path, tools.study_file(tmp_path, **FAST))[0] == 0
    high = "search_space/optimizer.lr/high"
    path = tools.study_file(tmp_path, **{**FAST, "n_trials": 5, high: 0.05})
    code, out, err = tools.optimize(tmp_path, path)
    assert (code, out) == (2, "")
    line = next(n for n, text in enumerate(path.read_text().splitlines(), 1) if "high: 0.05" in text)
    assert f"{path}:{line}: search_space.optimizer.lr.high: the study has 0.1, the file has 0.05" in err
    assert numbers(tmp_path) == [0, 1, 2], "no trial is burned"
    found = re.search(r"main\.py (--optimize \S+ --fork small-2)\n", err)
    assert found is not None, err
    old = [trial for trial in tools.trials(tmp_path) if trial.params["optimizer.lr"] <= 0.05]
    assert 1 <= len(old) <= 3
    for known in (0, 5):
        code, out, err = tools.finish(tools.start(tmp_path, *found[1].split()))
        assert (code, err) == (0, ""), out
        assert f"it knows {len(old)} of another study" in out
        assert ("finished trials of 'small' fit" in out or "fits" in out) == (known == 0)
        new = tools.trials(tmp_path, "small-2")
        assert [trial.user_attrs.get("forked_from") for trial in new] == [
            *(f"small {trial.number}" for trial in old), *[None] * 5,
        ]  # fmt: skip
        assert [trial.values for trial in new[: len(old)]] == [trial.values for trial in old]
    folders = sorted(each.name for each in (tmp_path / "studies" / "small-2").glob("trial_*"))
    assert folders == [f"trial_{number:05d}" for number in range(len(old), len(old) + 5)]


def test_more_trials_in_wider_bounds_with_another_sampler_and_pruner(
    tmp_path: Path, optimize: Command
) -> None:
    assert optimize(tools.study_file(tmp_path, **FAST))[0] == 0
    pruner = {"target": "optuna.pruners.MedianPruner", "n_startup_trials": 1}
    sampler = {"target": "optuna.samplers.TPESampler", "n_startup_trials": 2, "multivariate": True}
    changes = {"n_trials": 8, "pruner": pruner, "sampler": sampler, "search_space/net.width/low": 1}
    path = tools.study_file(tmp_path, **{**FAST, **changes})
    code, out, err = optimize(path)
    assert (code, err) == (0, ""), out
    assert "3 of them done already" in out and "TPESampler, MedianPruner" in out
    assert numbers(tmp_path) == list(range(8))


def test_the_best_of_a_fork_may_be_anothers(tmp_path: Path, optimize: Command) -> None:
    optimize(tools.study_file(tmp_path, **{**FAST, "n_trials": 6}))
    best = min(tools.trials(tmp_path), key=lambda trial: trial.value or 0.0)
    space = {"search_space/optimizer.lr/low": 1e-7, "seed": 4}
    path = tools.study_file(tmp_path, **{**FAST, **space, "n_trials": 1, "confirm": {"top": 2, "seeds": 2}})
    code, out, err = optimize(path, "--fork", "next")
    assert (code, err) == (0, ""), out
    assert "6 of 6 finished trials of 'small' fit and are known to the new study" in out
    new = tools.trials(tmp_path, "next")
    assert len(new) == 7 and (new[6].value or 0.0) > (best.value or 0.0)
    recipe = Path("studies") / "small" / "best" / "config.yaml"
    assert (
        f"which is trial {best.number} of the study 'small'\nAgain    " in out
        and f"main.py --run {recipe}\n" in out
    )
    assert not (tmp_path / "studies" / "next" / "best").exists()
    assert (tmp_path / "studies" / "next" / "report.html").exists()


def test_a_fork_of_nothing_and_a_fork_in_the_way(tmp_path: Path, optimize: Command) -> None:
    path = tools.study_file(tmp_path, **FAST)
    code, out, err = optimize(path, "--fork", "next")
    assert (code, out) == (2, "")
    assert "study_name: sqlite:///studies.db has no study 'small' of this program to fork" in err
    code, _, err = optimize(path, "--fork", "../next")
    assert code == 2 and "--fork ../next: found '../next' (text), expected a name for a folder" in err
    assert not (tmp_path / "next").exists() and not (tmp_path / "studies").exists()
