"""`python main.py --optimize`, with real processes on a real database."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from tests import study_tools as tools


def test_a_study_searches_prunes_and_leaves_a_winner_that_can_be_rerun(tmp_path: Path) -> None:
    pruner = {"target": "optuna.pruners.MedianPruner", "n_startup_trials": 2, "n_warmup_steps": 1}
    path = tools.study_file(tmp_path, n_trials=8, workers=2, pruner=pruner)
    code, out, err = tools.optimize(tmp_path, path)
    assert (code, err) == (0, ""), (out, err)
    found = tools.trials(tmp_path)
    assert len(found) == 8 and len({str(t.params) for t in found}) == 8
    states = Counter(t.state for t in found)
    assert states[TrialState.PRUNED] >= 1 and states[TrialState.COMPLETE] >= 3
    folder = tmp_path / "studies" / "small"
    best = min((t for t in found if t.state == TrialState.COMPLETE), key=lambda t: t.value or 0.0)
    assert f"Best     trial {best.number}: val_loss" in out
    for trial in found:
        left = {file.name for file in (folder / f"trial_{trial.number:05d}").iterdir()}
        assert {"config.yaml", "metrics.csv", "summary.json", "trial.json", "console.log"} <= left
        steps = len(trial.intermediate_values)
        assert steps == trial.user_attrs["epochs"] == tools.epochs_done(folder / f"trial_{trial.number:05d}")
    assert {file.name for file in (folder / "best").iterdir()} >= {"config.yaml", "best.pt", "trial.json"}
    again = tools.finish(tools.start(tmp_path, "--run", str(folder / "best" / "config.yaml"), "--json"))
    last = json.loads(again[1].splitlines()[-1])
    assert (again[0], last["value"]) == (0, best.value), "the very same value"
    assert (folder / "report.html").stat().st_size > 10_000
    assert len((folder / "leaderboard.csv").read_text().splitlines()) == 9


@pytest.mark.slow
@pytest.mark.parametrize("workers", [2, 8])
def test_n_workers_make_exactly_n_trials(tmp_path: Path, workers: int) -> None:
    path = tools.study_file(tmp_path, n_trials=12, workers=workers, **{"run.epochs": 2})
    assert tools.optimize(tmp_path, path)[0] == 0
    found = tools.trials(tmp_path)
    assert [t.state for t in found] == [TrialState.COMPLETE] * 12
    assert len({str(t.params) for t in found}) == 12


@pytest.mark.slow
def test_two_commands_on_one_storage_share_the_work(tmp_path: Path) -> None:
    net = {"target": "faulty.Faulty", "seconds": 0.02}
    path = tools.study_file(tmp_path, n_trials=10, **{"run.net": net})
    both = [tools.start(tmp_path, "--optimize", str(path)) for _ in range(2)]
    ends = [tools.finish(process) for process in both]
    assert [end[0] for end in ends] == [0, 0], ends
    found = tools.trials(tmp_path)
    assert [t.state for t in found] == [TrialState.COMPLETE] * 10
    assert len({str(t.params) for t in found}) == 10
    lines = [[line for line in out.splitlines() if line.startswith("Trial")] for _, out, _ in ends]
    assert len(lines[0]) + len(lines[1]) == 10 and min(map(len, lines)) >= 1


@pytest.mark.slow
def test_the_same_command_again_goes_on_to_n_trials_in_total(tmp_path: Path) -> None:
    at_once, in_parts = tmp_path / "a", tmp_path / "b"
    for folder in (at_once, in_parts):
        folder.mkdir()
    sampler = {"sampler": {"target": "optuna.samplers.TPESampler", "n_startup_trials": 3}}
    tools.optimize(at_once, tools.study_file(at_once, n_trials=8, **sampler))
    for count in (3, 8, 8):
        code, out, _ = tools.optimize(in_parts, tools.study_file(in_parts, n_trials=count, **sampler))
        assert code == 0
    assert "8 of them done already" in out
    assert tools.results(in_parts) == tools.results(at_once)


SLOW: dict[str, Any] = {"run.net": {"target": "faulty.Faulty", "seconds": 0.02}, "run.epochs": 6}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Any, ...]]:
    """A study of one worker that nothing happened to."""
    folder = tmp_path_factory.mktemp("undisturbed")
    assert tools.optimize(folder, _slow(folder))[0] == 0
    return tools.results(folder)


def _slow(folder: Path) -> Path:
    pruner = {"target": "optuna.pruners.MedianPruner", "n_startup_trials": 1, "n_warmup_steps": 2}
    return tools.study_file(folder, n_trials=4, pruner=pruner, **SLOW)


def test_a_killed_trial_goes_on_to_the_same_values(
    tmp_path: Path, undisturbed: list[tuple[Any, ...]]
) -> None:
    process = tools.start(tmp_path, "--optimize", str(_slow(tmp_path)))
    trial = tmp_path / "studies" / "small" / "trial_00001"
    tools.wait_for(lambda: tools.epochs_done(trial) == 1)
    tools.kill(tools.pid_of(trial))
    code, out, err = tools.finish(process)
    assert code == 0, (out, err)
    assert "Trial 1: its process was ended by SIGKILL" in out and "Trial   1  continues" in out
    assert tools.results(tmp_path) == undisturbed
    assert tools.trials(tmp_path)[1].user_attrs["attempts"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("mode", [0o500, 0o000])
def test_folders_that_cannot_be_used_for_a_while_change_nothing(
    tmp_path: Path, undisturbed: list[tuple[Any, ...]], mode: int
) -> None:
    prefix = []
    if os.geteuid() == 0:  # who may do everything, unless this is taken away
        prefix = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
        if shutil.which(prefix[0]) is None:
            pytest.skip("needs setpriv, or another user than root")
    process = tools.start(tmp_path, "--optimize", str(_slow(tmp_path)), prefix=prefix)
    study = tmp_path / "studies" / "small"
    tools.wait_for(lambda: tools.epochs_done(study / "trial_00001") == 1)
    folders = [study, *(path for path in study.rglob("*") if path.is_dir())]
    for folder in reversed(folders):
        folder.chmod(mode)
    time.sleep(2.5)
    for folder in folders:
        folder.chmod(0o755)
    code, out, err = tools.finish(process)
    assert (code, err) == (0, "") and "Trial 1: storage fails: " in out
    assert tools.results(tmp_path) == undisturbed
    assert tools.trials(tmp_path)[1].user_attrs["attempts"] == 1


@pytest.mark.slow
def test_a_study_that_is_killed_again_and_again_goes_on_to_the_same_values(
    tmp_path: Path, undisturbed: list[tuple[Any, ...]]
) -> None:
    """Three times in the same trial, which gets on each time: it is not the trial that kills it."""
    path = _slow(tmp_path)
    trial = tmp_path / "studies" / "small" / "trial_00000"
    for epoch in (1, 3, 5):
        process = tools.start(tmp_path, "--optimize", str(path))
        tools.wait_for(lambda epoch=epoch: tools.epochs_done(trial) >= epoch)
        tools.kill(process.pid)
        process.communicate()
        assert tools.running(tmp_path) == [0]
    code, out, err = tools.optimize(tmp_path, path)
    assert code == 0, (out, err)
    assert "Trial   0  continues" in out
    assert tools.results(tmp_path) == undisturbed
    assert tools.trials(tmp_path)[0].user_attrs["attempts"] == 4


@pytest.mark.slow
def test_a_trial_that_gets_on_within_an_epoch_is_not_given_up(tmp_path: Path) -> None:
    """Its process dies every eight batches, of an epoch of twenty with a checkpoint every five."""
    changes: dict[str, Any] = {
        "n_trials": 1, "max_attempts": 2, "run.epochs": 1, "run.data.train_count": 640,
        "run.net": {"target": "faulty.Faulty", "fault": "exit_often"}, "run.checkpoint": {"every_n_steps": 5},
    }  # fmt: skip
    code, out, err = tools.optimize(tmp_path, tools.study_file(tmp_path, **changes))
    assert (code, err) == (0, ""), out
    (trial,) = tools.trials(tmp_path)
    assert (trial.state, trial.user_attrs["attempts"]) == (TrialState.COMPLETE, 4)


@pytest.mark.parametrize(
    ("number", "code"),
    [pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow), (signal.SIGTERM, 143)],
)
def test_a_stopped_study_leaves_its_trials_resumable(
    tmp_path: Path, undisturbed: list[tuple[Any, ...]], number: signal.Signals, code: int
) -> None:
    path = _slow(tmp_path)
    process = tools.start(tmp_path, "--optimize", str(path))
    trial = tmp_path / "studies" / "small" / "trial_00000"
    tools.wait_for(lambda: tools.epochs_done(trial) == 3)
    process.send_signal(number)
    ended, out, err = tools.finish(process, timeout=20)
    assert (ended, err) == (code, ""), out
    assert [t.state for t in tools.trials(tmp_path)] == [TrialState.WAITING]
    assert json.loads((trial / "summary.json").read_text())["outcome"] == "interrupted"
    assert tools.optimize(tmp_path, path)[0] == 0
    assert tools.results(tmp_path) == undisturbed


@pytest.mark.slow
def test_a_second_ctrl_c_ends_at_once(tmp_path: Path) -> None:
    fault = {"target": "faulty.Faulty", "fault": "sleep"}
    path = tools.study_file(tmp_path, **{"run.net": fault})
    process = tools.start(tmp_path, "--optimize", str(path))
    trial = tmp_path / "studies" / "small" / "trial_00000"
    tools.wait_for(lambda: (trial / "summary.json").exists())
    pid = tools.pid_of(trial)
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None
    while "Press Ctrl-C again to abort" not in process.stdout.readline():
        pass
    process.send_signal(signal.SIGINT)
    assert tools.finish(process, timeout=10)[0] in (130, -2)
    tools.wait_for(lambda: not Path(f"/proc/{pid}").exists(), 30)


FAULTS = {
    "none": ("completed", TrialState.COMPLETE),
    "type_error": ("failed", TrialState.FAIL),
    "nan": ("diverged", TrialState.COMPLETE),
    "oom": ("out_of_memory", TrialState.COMPLETE),
    "memory_error": ("out_of_memory", TrialState.COMPLETE),
    "exit": ("failed", TrialState.FAIL),
    "segfault": ("failed", TrialState.FAIL),
    "sleep": ("timed_out", TrialState.FAIL),
}


@pytest.mark.slow
def test_each_fault_ends_in_its_own_outcome(tmp_path: Path) -> None:
    space = {"net.fault": {"type": "categorical", "choices": list(FAULTS)}}
    path = tools.study_file(
        tmp_path, search_space=space, sampler="optuna.samplers.GridSampler", n_trials=None, workers=4,
        trial_timeout=6, **{"run.net": {"target": "faulty.Faulty"}},
    )  # fmt: skip
    code, out, err = tools.optimize(tmp_path, path)
    assert (code, err) == (0, ""), (out, err)
    found = {t.params["net.fault"]: t for t in tools.trials(tmp_path)}
    ends = {name: (t.user_attrs["outcome"], t.state) for name, t in found.items()}
    assert ends == FAULTS
    assert found["type_error"].user_attrs["cause"] == "TypeError: planted: unsupported operand"
    assert found["nan"].values == found["oom"].values == [float("inf")]
    cause = "its process ended with exit code 7; tried 2 times, and quarantined"
    assert found["exit"].user_attrs["cause"] == cause
    assert "SIGSEGV" in found["segfault"].user_attrs["cause"]
    folder = tmp_path / "studies" / "small" / f"trial_{found['type_error'].number:05d}"
    assert "raise TypeError" in (folder / "traceback.txt").read_text()
    assert f"trial {found['none'].number}: val_loss" in out, "the only good one is the best"


def test_a_bug_stops_the_study_and_is_shown(tmp_path: Path) -> None:
    path = tools.study_file(
        tmp_path, n_trials=20, **{"run.net": {"target": "faulty.Faulty", "fault": "type_error"}}
    )
    code, out, _ = tools.optimize(tmp_path, path)
    assert code == 1
    assert "Stopped: trials 0, 1, 2 failed alike: TypeError: planted: unsupported operand" in out
    assert [t.state for t in tools.trials(tmp_path)] == [TrialState.FAIL] * 3


@pytest.mark.slow
def test_out_of_memory_is_retried_with_half_the_batch(tmp_path: Path) -> None:
    path = tools.study_file(
        tmp_path, n_trials=1, on_oom="accumulate",
        **{"run.net": {"target": "faulty.Faulty", "fault": "oom_large"}, "run.batch_size": 64},
    )  # fmt: skip
    code, out, _ = tools.optimize(tmp_path, path)
    assert code == 0, out
    (trial,) = tools.trials(tmp_path)
    assert (trial.user_attrs["outcome"], trial.user_attrs["halvings"]) == ("completed", 2)
    best = (tmp_path / "studies" / "small" / "best" / "config.yaml").read_text()
    assert "batch_size: 16\n" in best and "accumulate_grad_batches: 4\n" in best
    assert out.count("once more with half the batch") == 2


@pytest.mark.slow
def test_without_processes_the_values_are_the_same(
    tmp_path: Path, undisturbed: list[tuple[Any, ...]]
) -> None:
    path = _slow(tmp_path)
    code, out, err = tools.optimize(tmp_path, path, "--set", "isolation=none")
    assert (code, err) == (0, ""), out
    assert tools.results(tmp_path) == undisturbed


@pytest.mark.slow
def test_the_dashboard_shows_a_study_while_it_runs(tmp_path: Path) -> None:
    import socket
    import sys
    import urllib.request

    path = _slow(tmp_path)
    study = tools.start(tmp_path, "--optimize", str(path))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    tools.wait_for(lambda: tools.epochs_done(tmp_path / "studies" / "small" / "trial_00001") >= 1)
    tool = Path(sys.executable).with_name("optuna-dashboard")
    dashboard = subprocess.Popen(
        [tool, "sqlite:///studies.db", "--host", "127.0.0.1", "--port", str(port)],
        cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:

        def ask(what: str) -> Any:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/{what}", timeout=5) as answer:
                    return json.load(answer)
            except OSError:
                return None

        listed = tools.wait_for(lambda: ask("studies"))
        assert [entry["study_name"] for entry in listed["study_summaries"]] == ["small"]
        detail = ask("studies/1?after=0")
        shown = next(t for t in detail["trials"] if t["number"] == 0)
        assert [point["step"] for point in shown["intermediate_values"]] == [1, 2, 3, 4, 5, 6]
    finally:
        dashboard.terminate()
        dashboard.wait()
    assert tools.finish(study)[0] == 0
