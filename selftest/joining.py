"""Workers that all want the same thing at the same instant: a database to make, a trial to take."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import optuna

from lab.config.optimize import OptimizeConfig
from lab.events import RunResult
from lab.hpo import server
from lab.hpo.storage import Database
from lab.hpo.trial_process import Run
from selftest.audit import Audit, Found, judge, judge_record
from selftest.base import Verdict
from selftest.bench import CONSOLE, Bench
from selftest.crew import PATIENCE, last_line
from selftest.kills import STORAGES, new_url
from selftest.postgres import HINT
from selftest.studies import small_study, trial_folder, work

_WORKERS = 8
_QUEUED = 48
_GATE = 60.0  # seconds to wait for the others
# As little training as there can be: what is tried is the database.
_TINY = {"run__epochs": 1, "run__data__train_count": 32, "run__net__seconds": 0.0}


def start_at_once(bench: Bench, count: int) -> Verdict:
    """Eight workers begin at one instant with a study in a database that nobody has made yet.

    On SQLite and on PostgreSQL, `count` rounds on each.
    """
    tally = _Tally()
    for where, folder, url in _rounds(bench, (count, count), "joining", tally):
        config = small_study(url, _WORKERS, **_TINY)
        gate = server.context().Barrier(_WORKERS)
        ended = _at_work(bench, folder, partial(_together, gate), config, bench.run)
        tally.take_in(where, ended, judge_new(config, folder))
    started = tally.ended + len(tally.crashes)
    figures = {"joined": tally.ended, "started": started, **tally.found.counted()}
    return Verdict(figures, tally.broken, tally.untried)


def queue_in_lockstep(bench: Bench, count: int) -> Verdict:
    """Eight workers take 48 queued trials, each time all of them at the same instant.

    `count` rounds on SQLite, and a fourth of that on PostgreSQL.
    """
    tally, runs = _Tally(), 0
    for where, folder, url in _rounds(bench, (count, math.ceil(count / 4)), "queue", tally):
        audit = Audit(small_study(url, _QUEUED, **_TINY), folder)
        _enqueue(audit)
        gate = server.context().Barrier(_WORKERS)
        ended = _at_work(bench, folder, work, audit.config, _InStep(bench.run, gate))
        found, claims = audit.judge(), sum(change.what == "claim" for change in audit.log())
        audit.close()
        found.twice += [f"{claims} claims of {_QUEUED} trials"] * (claims > _QUEUED)
        tally.take_in(where, ended, found)
        runs += claims
    figures = {"runs": runs, "crashes": len(tally.crashes), **tally.found.counted()}
    return Verdict(figures, tally.broken, tally.untried)


def judge_new(config: OptimizeConfig, folder: Path) -> Found:
    """Whether there is one study, with each of its trials once."""
    database = Database(config.storage)
    try:
        names = optuna.get_all_study_names(database.storage)
        study = optuna.load_study(study_name=config.study_name, storage=database.storage)
        trials = study.get_trials(deepcopy=False)
    finally:
        database.engine.dispose()
    found = judge(trials, [], config.total)
    found.twice += [f"the database has the studies {names}"] * (names != [config.study_name])
    for trial in trials:
        judge_record(trial, trial_folder(folder, trial.number), config.base.epochs, found)
    return found


@dataclass
class _Tally:
    """What all rounds came to: how many workers ended well, how many did not, and what was found."""

    ended: int = 0
    crashes: list[str] = field(default_factory=list)
    found: Found = field(default_factory=Found)
    broken: list[str] = field(default_factory=list)
    untried: list[str] = field(default_factory=list)

    def take_in(self, where: str, ended: list[str], found: Found) -> None:
        """Add a round: how each worker ended, an empty text where it was well."""
        crashes = [text for text in ended if text]
        self.ended += len(ended) - len(crashes)
        self.crashes += crashes
        self.found.add(found)
        self.broken += [*(f"{where}: {text}" for text in crashes), *found.lines(where)]


class _InStep:
    """A run that waits for those of the other workers before it ends, so that all go on at one instant."""

    def __init__(self, run: Run, gate: Barrier) -> None:
        self._run, self._gate = run, gate

    def __call__(self, *arguments: Any, **options: Any) -> RunResult:
        """Train, and wait."""
        result = self._run(*arguments, **options)
        self._gate.wait(_GATE)
        return result


def _rounds(
    bench: Bench, counts: tuple[int, int], name: str, tally: _Tally
) -> Iterator[tuple[str, Path, str]]:
    """For each round on each storage: what it is called, a new folder, the URL of a new database."""
    for storage, count in zip(STORAGES, counts, strict=True):
        for index in range(count):
            folder = bench.folder(f"{name}-{storage}")
            if (url := new_url(bench, storage, folder)) is None:
                tally.untried.append(HINT)
                return
            yield f"{storage}, round {index}", folder, url
        bench.told(f"{storage}: {count} rounds, {tally.ended} workers done, {len(tally.crashes)} crashed")


def _at_work(bench: Bench, folder: Path, function: Callable[..., Any], *arguments: Any) -> list[str]:
    """Have eight workers do something; what is the matter with each in the end, or an empty text."""
    workers = [bench.fork(folder, function, *arguments) for _ in range(_WORKERS)]
    deadline = time.monotonic() + PATIENCE
    for worker in workers:
        worker.join(max(0.0, deadline - time.monotonic()))
    said = last_line((folder / CONSOLE).read_text(errors="replace"))
    codes = [worker.exitcode for worker in workers]
    bench.end_processes()
    return ["" if code == 0 else f"a worker ended with {code}: {said}" for code in codes]


def _together(gate: Barrier, config: OptimizeConfig, run: Run) -> None:
    """Begin when all are there."""
    gate.wait(_GATE)
    work(config, run)


def _enqueue(audit: Audit) -> None:
    study = optuna.load_study(study_name=audit.config.study_name, storage=audit.database.backend)
    for index in range(audit.config.total):
        study.enqueue_trial({"optimizer.lr": 1e-3 * (1 + index), "net.width": 4 + index})
