"""Workers that all want the same thing at the same instant: a database to make, a trial to take."""

import math
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import optuna

from lab.config.optimize_config import OptimizeConfig
from lab.events import RunResult
from lab.hpo import forkserver
from lab.hpo.storage import Database
from lab.hpo.worker_main import Run
from selftest.audit import Audit, Found, judge_study
from selftest.bench import Bench
from selftest.killed_workers import PATIENCE, STORAGES, new_databases
from selftest.studies import small_study, trial_folder, work
from selftest.verdict import Tally, Verdict

_WORKERS = 8
_QUEUED = 48
_GATE = 60.0  # seconds to wait for the others
# As little training as there can be: what is tried is the database.
_TINY = {"run__epochs": 1, "run__data__train_count": 32, "run__net__seconds": 0.0}


def start_at_once(bench: Bench, count: int) -> Verdict:
    """Eight workers begin at one instant with a study in a database that nobody has made yet.

    On SQLite and on PostgreSQL, `count` rounds on each.
    """
    tally = Tally({"joined": 0, "started": 0, **Found().counted()})
    for where, folder, url in _rounds(bench, (count, count), "joining", tally):
        config = small_study(url, _WORKERS, **_TINY)
        # The barrier is released when all processes have started: their first statements coincide.
        gate = forkserver.context().Barrier(_WORKERS)
        crashes = _at_work(bench, folder, partial(_together, gate), config, bench.run)
        tally.add("joined", _WORKERS - len(crashes))
        tally.add("started", _WORKERS)
        tally.take(where, crashes)
        tally.take(where, judge_new(config, folder))
    return tally.verdict()


def queue_in_lockstep(bench: Bench, count: int) -> Verdict:
    """Eight workers take 48 queued trials, each time all of them at the same instant.

    `count` rounds on SQLite, and a fourth of that on PostgreSQL.
    """
    tally = Tally({"runs": 0, "crashes": 0, **Found().counted()})
    for where, folder, url in _rounds(bench, (count, math.ceil(count / 4)), "queue", tally):
        audit = Audit(small_study(url, _QUEUED, **_TINY), folder)
        audit.enqueue({"optimizer.lr": 1e-3 * (1 + n), "net.width": 4 + n} for n in range(_QUEUED))
        gate = forkserver.context().Barrier(_WORKERS)
        crashes = _at_work(bench, folder, work, audit.config, partial(_in_step, bench.run, gate))
        # Claims are counted in the log too: a trial that two workers claimed may still finish once.
        found, claims = audit.judge(), sum(change.what == "claim" for change in audit.log())
        audit.close()
        found.twice += [f"{claims} claims of {_QUEUED} trials"] * (claims > _QUEUED)
        tally.add("runs", claims)
        tally.add("crashes", len(crashes))
        tally.take(where, crashes)
        tally.take(where, found)
    return tally.verdict()


def judge_new(config: OptimizeConfig, folder: Path) -> Found:
    """Judge whether there is one study, with each of its trials once."""
    database = Database(config.storage)
    try:
        names = optuna.get_all_study_names(database.storage)
        study = optuna.load_study(study_name=config.study_name, storage=database.storage)
        trials = study.get_trials(deepcopy=False)
    finally:
        database.engine.dispose()
    found = judge_study(trials, [], config, partial(trial_folder, folder))
    found.twice += [f"the database has the studies {names}"] * (names != [config.study_name])
    return found


def _in_step(run: Run, gate: Barrier, *arguments: Any, **options: Any) -> RunResult:
    """Train, and wait for the runs of the other workers, so that all continue at one instant."""
    result = run(*arguments, **options)
    gate.wait(_GATE)
    return result


def _rounds(
    bench: Bench, counts: tuple[int, int], name: str, tally: Tally
) -> Iterator[tuple[str, Path, str]]:
    """For each round on each storage: its name, a new folder, the URL of a new database."""
    for storage, count in zip(STORAGES, counts, strict=True):
        databases = new_databases(bench, tally, name, storage)
        for index, (folder, url) in zip(range(count), databases, strict=False):
            yield f"{storage}, round {index}", folder, url
        bench.report(f"{storage}: {count} rounds, {len(tally.broken)} not as promised")


def _at_work(bench: Bench, folder: Path, function: Callable[..., object], *arguments: object) -> list[str]:
    """Have eight workers do something; a line for each that crashed."""
    workers = [bench.fork(folder, function, *arguments) for _ in range(_WORKERS)]
    deadline = time.monotonic() + PATIENCE
    ended = [worker.done(max(0.0, deadline - time.monotonic())) for worker in workers]
    bench.end_processes()
    return [f"a worker ended with {done.code}: {done.last}" for done in ended if done.code != 0]


def _together(gate: Barrier, config: OptimizeConfig, run: Run) -> None:
    """Begin when all are there."""
    gate.wait(_GATE)
    work(config, run)
