"""A study in simulated time: schedulers whose processes crash, stop, lose answers and have wrong clocks.

Queue, leases, scheduler and SQLite are the real ones. What runs trials is not: a job does what the simulation
asks for, and writes into its folder what a run would. A job's result is its lease's token.
"""

import copy
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.trial import FrozenTrial
from sqlalchemy import event

from lab.config.optimize_config import OptimizeConfig
from lab.console.signals import Signals
from lab.events import EpochEnd, Outcome, Stopped
from lab.hpo import queries
from lab.hpo.clock import Clock
from lab.hpo.executor import Handler, Job, Slot, WorkerDied
from lab.hpo.open_study import open_study
from lab.hpo.optuna_internals import cached
from lab.hpo.scheduler import TrialScheduler
from lab.hpo.storage import Database
from lab.hpo.study_callbacks import StudyCallbackList, TrialRecord
from lab.hpo.trial_folder import clear, read_trial, write_trial
from lab.hpo.trial_queue import TrialQueue
from lab.hpo.worker_main import EpochReported, TrialFinished, TrialJob, WorkerReady
from lab.store import run_folder
from tests.lab.hpo.lost_answers import lost_answers
from tests.lab.hpo.small_study import config_of

EPOCHS = 4
_names = itertools.count()


class Crash(BaseException):
    """The process is gone in the middle of what it did."""


class Event(Enum):
    """An event of the job that has run longest."""

    NOTHING = auto()
    EPOCH = auto()
    COMPLETED = auto()
    FAILED = auto()
    OUT_OF_MEMORY = auto()
    INTERRUPTED = auto()
    DIED = auto()


@dataclass
class SimulatedJob(Job):
    """A run that only counts its epochs."""

    epochs: int = 0


class SimulatedExecutor:
    """Runs nothing: at each poll the oldest job does what `event` asks for."""

    def __init__(self, handler: Handler, sleep: Callable[[float], None]) -> None:
        self.slots, self.jobs = [Slot(0), Slot(1)], list[SimulatedJob]()
        self.event = Event.NOTHING
        self._handler, self._sleep = handler, sleep

    def start(self, slot: Slot, order: TrialJob, subject: Any) -> None:
        job = SimulatedJob(slot, order, subject)
        order.folder.mkdir(parents=True, exist_ok=True)
        if not order.resume:
            clear(order.folder)
        write_trial(order.folder, order.facts)
        (order.folder / run_folder.CONFIG).touch()
        metrics = order.folder / run_folder.METRICS
        job.epochs = metrics.read_text().count("\n") - 1 if metrics.exists() else 0
        self.jobs.append(job)
        self._handler(job, WorkerReady())

    def poll(self, seconds: float) -> None:
        self._sleep(seconds)
        if self.jobs:
            self._play(self.jobs[0], self.event)

    def _play(self, job: SimulatedJob, event: Event) -> None:
        if event is Event.EPOCH and job.epochs < EPOCHS:
            self._epoch(job)
        elif event is Event.DIED:
            self._end(job, WorkerDied("it died"))
        elif event not in (Event.NOTHING, Event.EPOCH):
            self._end(job, TrialFinished(Outcome[event.name], event.name, value=float(job.order.token)))

    def _epoch(self, job: SimulatedJob) -> None:
        metrics, value = job.order.folder / run_folder.METRICS, float(job.order.token)
        job.epochs += 1
        if not metrics.exists():
            metrics.write_text("epoch,val_loss,seconds\n")
        with metrics.open("a") as file:
            file.write(f"{job.epochs},{value},1.0\n")
        values = {"val_loss": value}
        end = EpochEnd(job.epochs, EPOCHS, values, False, 1, values, 1.0, 0.1)
        if (stop := self._handler(job, EpochReported(0, end))) is not None:
            self._end(job, TrialFinished(stop.outcome, stop.reason, value=value, cause=stop.cause))

    def stop(self, job: Job, stop: Stopped) -> None:
        assert isinstance(job, SimulatedJob)
        if job in self.jobs:
            self._end(job, TrialFinished(stop.outcome, stop.reason, cause=stop.cause))

    def close(self) -> None:
        self.jobs.clear()

    def _end(self, job: SimulatedJob, message: TrialFinished | WorkerDied) -> None:
        self.jobs.remove(job)
        self._handler(job, message)


@dataclass
class Process:
    """One process at work on the study.

    Args:
        skew: seconds that its wall clock is ahead.
    """

    owner: str
    scheduler: TrialScheduler
    queue: TrialQueue
    executor: SimulatedExecutor
    skew: list[float]


@dataclass
class World:
    """A study, its processes, and the time."""

    config: OptimizeConfig
    database: Database
    study: optuna.Study
    folder: Path
    time: float = 1_000_000.0
    processes: list[Process] = field(default_factory=list)
    proven_dead: set[str] = field(default_factory=set)
    results: dict[int, tuple[object, ...]] = field(default_factory=dict)

    @classmethod
    def create(cls, database: Database, folder: Path, trials: int) -> "World":
        """A new study in a database that may have others."""
        config = config_of(
            database.url,
            study_name=f"s{next(_names)}",
            n_trials=trials,
            sampler={"target": "optuna.samplers.RandomSampler"},
            max_consecutive_failures=1000,
        )
        place = folder / config.study_name
        place.mkdir()
        return cls(config, database, open_study(config, database), place)

    def start(self, skew: float = 0.0) -> Process:
        """Start a process whose clock differs."""
        database = copy.copy(self.database)
        database.storage = cached(self.database.backend)
        study = optuna.load_study(study_name=self.config.study_name, storage=database.storage)
        owner, skews = f"process {next(_names)}", [skew]
        clock = Clock(lambda: self.time + skews[0], lambda: self.time, self.sleep)
        queue = TrialQueue(
            self.config, study, database, self.folder,
            owner=owner, clock=clock, is_dead=self.proven_dead.__contains__,
        )  # fmt: skip
        executors: list[SimulatedExecutor] = []

        def create_executor(handler: Handler) -> SimulatedExecutor:
            executors.append(SimulatedExecutor(handler, self.sleep))
            return executors[0]

        callbacks = StudyCallbackList([TrialRecord(self.config.study_name)])
        scheduler = TrialScheduler(
            self.config, study, queue, create_executor, callbacks=callbacks, signals=Signals(), clock=clock
        )
        process = Process(owner, scheduler, queue, executors[0], skews)
        self.processes.append(process)
        return process

    def sleep(self, seconds: float) -> None:
        """Let time pass for all."""
        self.time += seconds

    def step(
        self,
        process: Process,
        event: Event,
        crash_at: int = 0,
        lost: tuple[int, int] = (0, 0),
        proven: bool = True,
        faster: Process | None = None,
    ) -> bool:
        """Do one turn of a process's loop; returns whether there is more to do.

        Args:
            crash_at: the statement at which the process ends; 0 for none.
            lost: transactions that are committed without an answer, and how many come before them.
            proven: others on its machine see that it is gone.
            faster: another process that has a turn while this one looks for a point.
        """
        process.executor.event = event
        before = set(self.results)
        try:
            with (
                lost_answers(self.database, *lost),
                self._crashing(crash_at),
                self._overtaken(process, faster),
            ):
                more = process.scheduler.step()
        except Crash:
            self.end(process, proven)
            return False
        for trial in self.trials():
            if trial.state.is_finished() and trial.number not in before:
                folder = self.folder / f"trial_{trial.number:05d}"
                assert not folder.exists() or read_trial(folder)["outcome"] == trial.user_attrs["outcome"]
        return more

    def end(self, process: Process, proven: bool) -> None:
        """End a process without a last word."""
        self.processes.remove(process)
        if proven:
            self.proven_dead.add(process.owner)

    def release(self, process: Process) -> None:
        """End a process as a signal does."""
        for job in list(process.executor.jobs):
            process.queue.release(job.subject)
        self.end(process, proven=True)

    def trials(self) -> list[FrozenTrial]:
        """Return all trials, past any cache."""
        return self.database.backend.get_all_trials(self.study._study_id, deepcopy=False)

    def check(self) -> None:
        """Check what holds at any time."""
        trials = self.trials()
        tokens = self._tokens(trials)
        assert [trial.number for trial in trials] == list(range(len(trials)))
        assert len(trials) <= self.config.total
        points = [tuple(trial.params.items()) for trial in trials]
        assert len(set(points)) == len(points), "a point was proposed twice"
        for trial in trials:
            found = (trial.state, trial.values, trial.user_attrs, trial.intermediate_values)
            if trial.number in self.results:
                assert self.results[trial.number] == found, "a result changed"
            elif trial.state.is_finished():
                self.results[trial.number] = found
                if trial.user_attrs["outcome"] == "completed":
                    assert trial.values == [tokens[trial.number]], "written by a former owner"
        for process in self.processes:
            for job in process.executor.jobs:
                trial, lease = trials[job.subject.number], job.subject.lease
                newest = tokens[trial.number] == lease.token
                assert not newest or not trial.state.is_finished() or job.subject.lost, (
                    "it runs a finished one"
                )

    def finish(self) -> None:
        """Have a newcomer finish everything; all others are gone, and nobody can prove it."""
        self.processes.clear()
        self.sleep(24 * 3600.0)
        newcomer = self.start()
        for _ in range(40 * self.config.total):
            if not self.step(newcomer, Event.COMPLETED):
                break
        self.check()
        assert len(self.results) == self.config.total

    def _tokens(self, trials: Sequence[FrozenTrial]) -> dict[int, int]:
        numbers = {trial._trial_id: trial.number for trial in trials}
        with self.database.engine.connect() as connection:
            rows = connection.execute(queries.LEASES.select()).all()
        return {numbers[row.trial_id]: row.token for row in rows if row.trial_id in numbers}

    @contextmanager
    def _overtaken(self, process: Process, faster: Process | None) -> Iterator[None]:
        proposals = process.queue._proposals
        propose = proposals.next_point

        def slowly(trials: Sequence[FrozenTrial]) -> FrozenTrial | None:
            nonlocal faster
            draft, other, faster = propose(trials), faster, None
            if other is not None:
                other.scheduler.step()
            return draft

        proposals.next_point = slowly  # type: ignore[method-assign]
        try:
            yield
        finally:
            proposals.next_point = propose  # type: ignore[method-assign]

    @contextmanager
    def _crashing(self, at: int) -> Iterator[None]:
        left = at

        def count(*arguments: Any) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise Crash

        engine: sqlalchemy.Engine = self.database.engine
        event.listen(engine, "before_cursor_execute", count)
        try:
            yield
        finally:
            event.remove(engine, "before_cursor_execute", count)
