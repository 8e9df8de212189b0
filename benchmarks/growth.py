"""The costs of a study that grow with its trials: studies of up to 10,000 trials are cloned and used.

    python -m benchmarks.growth [--trials 100 1000 10000] [--running 10 100 1000] [--rows NAME ...]

A study has 8 parameters and 20 reports a trial, on SQLite. Its trials are written straight into the database,
with a folder each: a quarter is pruned halfway, the others are complete. Times are seconds on the clock but
for pruning decisions, which are CPU time. Commands run in processes of their own; the rest is measured
within this one, as the median of several calls after a first one.
"""

import argparse
import json
import random
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import optuna
import yaml
from optuna.distributions import distribution_to_json

from lab.config.optimize_config import OptimizeConfig
from lab.events import Outcome
from lab.hpo.new_points import Proposals
from lab.hpo.open_study import open_study
from lab.hpo.samplers import create_pruner, should_prune
from lab.hpo.storage import Database, process_identity
from lab.hpo.study_id import STUDY
from lab.hpo.trial import Trial
from lab.hpo.trial_queue import TrialQueue
from lab.report.trial_attributes import TrialAttributes
from lab.store import file_io

ROOT = Path(__file__).resolve().parent.parent
EPOCHS, PRUNED_EVERY, CALLS = 20, 4, 5
DECIDED = 8  # the epoch after which pruners are asked: one at which each of them compares
START = datetime(2026, 11, 1, tzinfo=UTC)
RUN: dict[str, Any] = {
    "epochs": EPOCHS, "device": "cpu", "threads": 1, "batch_size": 64, "gradient_clip_norm": 1.0,
    "data": {"target": "lab.data.function", "train_count": 256, "val_count": 64},
    "net": {"target": "model.MLP", "layers": 2, "width": 16},
    "optimizer": {"target": "torch.optim.AdamW", "lr": 1e-3},
    "pictures": {"enabled": False},
}  # fmt: skip
SPACE: dict[str, Any] = {
    "optimizer.lr": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True},
    "optimizer.weight_decay": {"type": "float", "low": 1e-6, "high": 1e-1, "log": True},
    "optimizer.eps": {"type": "float", "low": 1e-9, "high": 1e-6, "log": True},
    "gradient_clip_norm": {"type": "float", "low": 0.1, "high": 10.0, "log": True},
    "net.width": {"type": "int", "low": 8, "high": 64},
    "net.layers": {"type": "int", "low": 1, "high": 4},
    "batch_size": {"type": "int", "low": 16, "high": 128, "step": 16},
    "criterion": {"choices": ["torch.nn.MSELoss", "torch.nn.L1Loss", "torch.nn.HuberLoss"]},
}
WIDE = """
import torch

class Wide(torch.nn.Module):
    def __init__(self, values):
        super().__init__()
        self.line, self.shift = torch.nn.Linear(1, 1), sum(values.values())

    def forward(self, x):
        return self.line(x) + self.shift
"""
PRUNERS = {
    "median": "optuna.pruners.MedianPruner",
    "Hyperband": "optuna.pruners.HyperbandPruner",
    "predicted final loss": "lab.hpo.pfl.PredictedFinalLoss",
}
# At 100 / 1,000 / 10,000 trials, or as many running ones, in issue 17; its machine was calm.
BEFORE = {
    "restart": "5.9 s / 7 s / 43 s", "claim": "0.08 s / 0.15 s / 1.3 s", "proposal": "– / – / 1.2 s",
    "pruning": "14 ms / 100 ms / 2.1 s", "report": "2.6 s / 13.8 s / 587 s, 17 MB",
    "end": "– / 16 to 24 s / > 10 min", "wide": "144 s", "memory": "199 MB / 226 MB / 805 MB",
}  # fmt: skip


def main() -> None:
    """Measure and print, a line for each figure."""
    options = argparse.ArgumentParser(description="What a study of many trials costs.")
    options.add_argument("--trials", type=int, nargs="+", default=[100, 1_000, 10_000])
    options.add_argument("--running", type=int, nargs="+", default=[10, 100, 1_000])
    options.add_argument("--parameters", type=int, default=1_000)
    options.add_argument("--rows", nargs="+", choices=list(BEFORE), default=list(BEFORE))
    chosen = options.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    rows: list[str] = chosen.rows

    def show(row: str, case: str, figure: str) -> None:
        if row in rows:
            print(f"{row:<10}{case:<52}{figure:<24}before: {BEFORE[row]}", flush=True)

    with tempfile.TemporaryDirectory(prefix="growth-") as folder:
        for count in chosen.trials:
            place, case = Path(folder) / str(count), f"{count:,} trials"
            config = cloned(place, count)
            if {"proposal", "claim"} & set(rows):
                show("proposal", case, f"{proposal(config):.3f} s")
                show("claim", case, f"{claim(config, place):.3f} s")
            if "report" in rows:
                show("report", case, "{:.1f} s, {:.1f} MB".format(*report(config, place)))
            if {"restart", "end", "memory"} & set(rows):
                started, ended, memory = restart(place)
                show("restart", case, f"{started:.1f} s")
                show("end", case, f"{ended:.1f} s")
                show("memory", case, f"{memory:.0f} MB")
        for count in chosen.running if "pruning" in rows else ():
            config = cloned(Path(folder) / f"running-{count}", 2 * count, count)
            for name, target in PRUNERS.items():
                case = f"{count:,} running of {2 * count:,} trials, {name}"
                show("pruning", case, f"{1e3 * pruning(config, target, count):.1f} ms")
        if "wide" in rows:
            place = Path(folder) / "wide"
            show("wide", f"{chosen.parameters:,} parameters", f"{wide(place, chosen.parameters):.1f} s")


def cloned(folder: Path, trials: int, running: int = 0) -> OptimizeConfig:
    """Make a study with finished trials, and running ones after them that this process has leases for."""
    (folder / "studies" / "many").mkdir(parents=True)
    data = {
        "study_name": "many", "run": RUN, "storage": f"sqlite:///{folder / 'studies.db'}",
        "n_trials": trials + 1_000, "search_space": SPACE,
    }  # fmt: skip
    (folder / "opt.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    config = OptimizeConfig.from_yaml(folder / "opt.yaml")
    study = open_study(config, Database(config.storage), _study_folder(folder))
    (_study_folder(folder) / STUDY).write_text(yaml.safe_dump(config.as_data(), sort_keys=False))
    TrialQueue(config, study, Database(config.storage), _study_folder(folder))  # makes the table of leases
    rng, recipe = random.Random(0), config.base.as_data()
    with closing(sqlite3.connect(folder / "studies.db")) as connection, connection:
        (study_id,) = connection.execute("SELECT study_id FROM studies").fetchone()
        for number in range(trials):
            at_work = number >= trials - running
            _insert(connection, config, study_id, number, at_work, rng)
            if not at_work:
                place = _study_folder(folder) / f"trial_{number:05d}"
                place.mkdir()
                text = file_io.to_json({"outcome": "completed", "number": number, "recipe": recipe})
                (place / "trial.json").write_text(text)
    return config


def _insert(
    connection: sqlite3.Connection,
    config: OptimizeConfig,
    study_id: int,
    number: int,
    at_work: bool,
    rng: random.Random,
) -> None:
    trial_id = number + 1
    state = "RUNNING" if at_work else "PRUNED" if number % PRUNED_EVERY == 0 else "COMPLETE"
    epochs = {"COMPLETE": EPOCHS, "PRUNED": EPOCHS // 2, "RUNNING": DECIDED - 1}[state]
    begun = START + timedelta(seconds=60 * number)
    ended = None if at_work else str((begun + timedelta(seconds=50)).replace(tzinfo=None))
    trial = (trial_id, number, study_id, state, str(begun.replace(tzinfo=None)), ended)
    connection.execute("INSERT INTO trials VALUES (?, ?, ?, ?, ?, ?)", trial)
    quality = rng.random()
    params = []
    for name, parameter in config.space.parameters.items():
        distribution = parameter.distribution()
        value = distribution.to_internal_repr(_drawn(distribution, rng))
        params.append((trial_id, name, value, distribution_to_json(distribution)))
    columns = "(trial_id, param_name, param_value, distribution_json)"
    connection.executemany(f"INSERT INTO trial_params {columns} VALUES (?, ?, ?, ?)", params)
    reports = [(trial_id, step, quality + 1 / step + 0.01 * rng.random()) for step in range(1, epochs + 1)]
    columns = "(trial_id, step, intermediate_value, intermediate_value_type)"
    connection.executemany(
        f"INSERT INTO trial_intermediate_values {columns} VALUES (?, ?, ?, 'FINITE')", reports
    )
    begin, end = begun.timestamp(), begun.timestamp() + 50
    about = TrialAttributes(since=begin, spans=())
    if at_work:
        lease = (trial_id, process_identity(), 1, time.time() + 1e6)
        connection.execute("INSERT INTO lab_leases VALUES (?, ?, ?, ?)", lease)
    else:
        columns = "(trial_id, objective, value, value_type)"
        best = (trial_id, min(report[2] for report in reports))
        connection.execute(f"INSERT INTO trial_values {columns} VALUES (?, 0, ?, 'FINITE')", best)
        about = TrialAttributes(
            Outcome.COMPLETED if state == "COMPLETE" else Outcome.PRUNED, "", "", 50.0, epochs, EPOCHS,
            best_epoch=epochs, attempts=1, spans=((begin, end),), since=begin,
        )  # fmt: skip
    attributes = [(trial_id, name, json.dumps(value)) for name, value in about.stored().items()]
    columns = "(trial_id, key, value_json)"
    connection.executemany(f"INSERT INTO trial_user_attributes {columns} VALUES (?, ?, ?)", attributes)


def _drawn(distribution: Any, rng: random.Random) -> object:
    if hasattr(distribution, "choices"):
        return rng.choice(distribution.choices)
    if isinstance(distribution.low, int):
        return rng.randrange(distribution.low, distribution.high + 1, distribution.step)
    return distribution.low * (distribution.high / distribution.low) ** rng.random()


def _study_folder(folder: Path) -> Path:
    return folder / "studies" / "many"


def _opened(config: OptimizeConfig) -> tuple[Database, optuna.Study]:
    database = Database(config.storage)
    return database, optuna.load_study(study_name=config.study_name, storage=database.storage)


def _median(measure: Callable[[], float]) -> float:
    measure()
    return statistics.median(measure() for _ in range(CALLS))


def proposal(config: OptimizeConfig) -> float:
    """Seconds for the next point, of a process that has proposed before."""
    study = _opened(config)[1]
    proposals = Proposals(config, study)

    def measure() -> float:
        trials = study.get_trials(deepcopy=False)
        started = time.perf_counter()
        assert proposals.next_point(trials) is not None
        return time.perf_counter() - started

    return _median(measure)


def claim(config: OptimizeConfig, folder: Path) -> float:
    """Seconds that one claim of a new trial holds the study's lock."""
    database, study = _opened(config)
    queue = TrialQueue(config, study, database, _study_folder(folder))
    held: list[float] = []
    fetched: list[Trial] = []

    @contextmanager
    def timed(name: str) -> Iterator[None]:
        with exclusive(name):
            started = time.perf_counter()
            yield
            held.append(time.perf_counter() - started)

    def measure() -> float:
        held.clear()
        trial = queue.fetch(fetched)
        assert trial is not None
        fetched.append(trial)
        return sum(held)

    exclusive = database.exclusive
    with patch.object(database, "exclusive", timed):
        seconds = _median(measure)
    for trial in fetched:
        queue.release(trial)
    return seconds


def pruning(config: OptimizeConfig, target: str, running: int) -> float:
    """CPU seconds of one pruning decision, after a report."""
    pruned = OptimizeConfig.model_validate({**config.as_data(), "pruner": {"target": target}})
    database, study = _opened(pruned)
    study.pruner = create_pruner(pruned)
    trials = study.get_trials(deepcopy=False)[-running:]
    rng = random.Random(1)

    def measure() -> float:
        trial = rng.choice(trials)
        database.backend.set_trial_intermediate_value(trial._trial_id, DECIDED, rng.random())
        started = time.process_time()
        should_prune(study, pruned, trial.number)
        return time.process_time() - started

    return _median(measure)


def report(config: OptimizeConfig, folder: Path) -> tuple[float, float]:
    """Seconds of `--report`, start of Python included, and the page in MB."""
    started = time.perf_counter()
    subprocess.run(_main("--report", "many"), cwd=folder, stdout=subprocess.DEVNULL, check=True)
    seconds = time.perf_counter() - started
    return seconds, (_study_folder(folder) / "report.html").stat().st_size / 1e6


def restart(folder: Path) -> tuple[float, float, float]:
    """Seconds from the command to its first trial, and from SIGTERM to its end; the process's peak in MB."""
    process, started = _first_trial(folder)
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    memory = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    at = time.perf_counter()
    process.send_signal(signal.SIGTERM)
    process.communicate()
    return started, time.perf_counter() - at, memory / 1e3


def wide(folder: Path, parameters: int) -> float:
    """Seconds from the command to the first trial of a study with many parameters."""
    folder.mkdir()
    values = {f"p{number:04d}": 0.0 for number in range(parameters)}
    (folder / "wide.py").write_text(WIDE)
    run = {**RUN, "net": {"target": "wide.Wide", "values": values}}
    space = {f"net.values.{name}": {"type": "float", "low": -1.0, "high": 1.0} for name in values}
    data = {"study_name": "wide", "run": run, "search_space": space}
    (folder / "opt.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    process, seconds = _first_trial(folder)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    return seconds


def _first_trial(folder: Path) -> "tuple[subprocess.Popen[str], float]":
    started = time.perf_counter()
    command = _main("--optimize", "opt.yaml", "--json")
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line)["event"] == "trial_start":
            return process, time.perf_counter() - started
    raise RuntimeError(f"no trial began: {process.wait()}")


def _main(*arguments: str) -> list[str]:
    return [sys.executable, str(ROOT / "main.py"), *arguments]


if __name__ == "__main__":
    main()
