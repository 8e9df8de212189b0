"""Executors of trials: processes forked from a warm server, or the scheduler's own process.

The server has imported torch and the project once and touched no GPU; a process forked from it costs a few
hundredths of a second, and takes its memory, its GPU and its crash away with it.
"""

import os
import time
from collections.abc import Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from typing import Any, Protocol, TextIO, cast

from lab.config.optimize_config import OptimizeConfig
from lab.console.redacted_output import RedactingStream
from lab.console.signals import Signals
from lab.console.streams import LogStream
from lab.events import Outcome, Stopped
from lab.hpo import forkserver, worker_main
from lab.hpo.clock import REAL, Clock
from lab.hpo.process_watcher import ProcessWatcher, birth, end, is_gone, signal_group
from lab.hpo.trial_folder import CONSOLE
from lab.hpo.worker_main import Answer, EpochReported, Message, Run, TrialFinished, TrialJob
from lab.store import file_io

_EXIT = 2.0  # seconds for what a library does at the end of its process
_KILL_AFTER = 10.0  # seconds between asking a process to stop and ending it
_UNKNOWN = 255  # the exit code that Python gives to the processes of a server that was killed


@dataclass(frozen=True)
class Slot:
    """A place to work at: a device, or None for what the config says."""

    index: int
    device: str | None = None


@dataclass(frozen=True)
class WorkerDied:
    """A process ended without a last word."""

    reason: str


@dataclass
class Job:
    """A run in a slot. `subject` is the scheduler's own."""

    slot: Slot
    order: TrialJob
    subject: Any
    started: float | None = None  # when its process was there
    stopping: float | None = None  # since when


@dataclass(kw_only=True)
class ProcessJob(Job):
    """A run in a process.

    Args:
        born: the process's `birth`.
    """

    process: ForkServerProcess
    born: str | None
    connection: Connection | None
    killed: bool = False
    last: TrialFinished | None = None  # its last word
    leaving: float | None = None  # since when nothing more is to come

    @property
    def pid(self) -> int:
        """The number of the process, and of its group."""
        assert self.process.pid is not None
        return self.process.pid

    @property
    def has_ended(self) -> bool:
        """The end of the process itself, which that of the server it was forked from is not."""
        code = self.process.exitcode
        return code is not None and (code != _UNKNOWN or is_gone(self.pid, self.born))


class Handler(Protocol):
    """Handles a job's messages; the answer matters for `EpochReported` only."""

    def __call__(self, job: Job, message: Message | WorkerDied) -> Answer: ...


class Executor(Protocol):
    """Runs jobs in slots: the seam for other places to run trials at, such as a cluster.

    All methods are called from one thread, and a handler only from within `start` and `poll`. Every job that
    was started ends with one `TrialFinished` or `WorkerDied`, before which it has left `jobs`.
    """

    slots: Sequence[Slot]

    @property
    def jobs(self) -> Sequence[Job]:
        """The jobs that have not ended."""

    def start(self, slot: Slot, order: TrialJob, subject: Any) -> None: ...

    def poll(self, seconds: float) -> None: ...

    def stop(self, job: Job, stop: Stopped) -> None: ...

    def close(self) -> None: ...


class ProcessExecutor:
    """A process for each run.

    Args:
        run: `util.run`, by reference.
    """

    def __init__(self, slots: Sequence[Slot], run: Run, handler: Handler) -> None:
        self.slots, self.jobs = slots, list[ProcessJob]()
        self._run, self._handler, self._watcher = run, handler, ProcessWatcher()

    def start(self, slot: Slot, order: TrialJob, subject: Any) -> None:
        """Begin a run in a free slot."""
        process, connection = forkserver.start(worker_main.main, order, self._run, name=order.folder.name)
        job = ProcessJob(
            slot, order, subject, process=process, born=birth(process.pid or 0), connection=connection
        )
        self.jobs.append(job)
        self._watch()

    def poll(self, seconds: float) -> None:
        """Handle what the runs have to say, waiting for it at most so long."""
        for job in self.jobs:
            since, patience = (job.leaving, _EXIT) if job.leaving is not None else (job.stopping, _KILL_AFTER)
            if since is not None and time.monotonic() - since > patience:
                self._kill(job)
        lines = {job.connection: job for job in self.jobs if job.connection is not None}
        # Not the pipe alone: a process that was killed may have left children which hold its end.
        ends = [job.process.sentinel for job in self.jobs if job.process.exitcode is None]
        for found in wait([*lines, *ends], seconds):
            if isinstance(found, Connection):
                self._receive(lines[found], found)
        for job in [job for job in self.jobs if job.has_ended]:
            self._reap(job)

    def stop(self, job: Job, stop: Stopped) -> None:
        """Ask a run to end at once and in order; one that doesn't is killed."""
        assert isinstance(job, ProcessJob)
        if job.stopping is None and job.connection is not None:
            job.stopping = time.monotonic()
            with suppress(OSError):
                job.connection.send(stop)

    def close(self) -> None:
        """End all runs by force."""
        for job in self.jobs:
            self._kill(job)
        deadline = time.monotonic() + _KILL_AFTER
        while not all(job.has_ended for job in self.jobs) and time.monotonic() < deadline:
            time.sleep(0.005)
        self.jobs.clear()
        self._watch()
        self._watcher.close()

    def _watch(self) -> None:
        self._watcher.watch(job.pid for job in self.jobs)

    def _receive(self, job: ProcessJob, connection: Connection) -> None:
        try:
            message: Message | None = connection.recv()
        except (EOFError, OSError):
            message = None
        if isinstance(message, EpochReported):
            answer = self._handler(job, message)
            with suppress(OSError):
                connection.send(answer)
        elif message is None or isinstance(message, TrialFinished):
            job.last, job.connection, job.leaving = message, None, time.monotonic()
            connection.close()
        else:
            self._handler(job, message)

    def _reap(self, job: ProcessJob) -> None:
        """The process is gone, and its memory with it: now its slot is free."""
        signal_group(job.pid)  # what it has left
        while job.connection is not None and job.connection.poll():
            self._receive(job, job.connection)
        self.jobs.remove(job)
        self._watch()
        self._handler(
            job, job.last or WorkerDied(forkserver.cause_of_death(job.process.exitcode, job.killed))
        )

    def _kill(self, job: ProcessJob) -> None:
        job.killed = True
        end(job.pid)


class InProcessExecutor:
    """Runs one after the other in this process: nothing to start, and nothing that protects the study.

    Args:
        signals: break into a run, as nobody would ask for them before it is over; not into what is handled.
    """

    def __init__(
        self, slots: Sequence[Slot], run: Run, handler: Handler, signals: Signals, clock: Clock = REAL
    ) -> None:
        self.slots, self.jobs = slots, list[Job]()
        self._run, self._handler, self._signals, self._clock = run, handler, signals, clock

    def start(self, slot: Slot, order: TrialJob, subject: Any) -> None:
        """Do the whole run."""
        job = Job(slot, order, subject)
        self.jobs.append(job)
        try:
            finished = self._conducted(job)
        except Stopped as stop:  # where a run doesn't listen yet, or no longer
            finished = TrialFinished(Outcome.INTERRUPTED, stop.reason, cause=stop.cause)
        finally:
            self.jobs.remove(job)
        if finished.outcome is Outcome.OUT_OF_MEMORY:
            _free_memory()  # before it is tried again
        self._handler(job, finished)

    def poll(self, seconds: float) -> None:
        """Nothing runs between two calls of `start`: wait, for what others do."""
        self._clock.sleep(seconds)

    def stop(self, job: Job, stop: Stopped) -> None:
        """End the run from within a message's handler."""
        raise stop

    def close(self) -> None:
        """There is nothing to end."""

    def _conducted(self, job: Job) -> TrialFinished:
        def tell(message: Message) -> Answer:
            with self._signals.deferred():
                answer = self._handler(job, message)
            if answer is None:  # else the answer ends it
                self._signals.raise_received()
            return answer

        finished: TrialFinished | None = None
        with self._signals.raised():
            self._clock.sleep(job.order.delay)
        try:
            job.order.folder.mkdir(parents=True, exist_ok=True)
            log = (job.order.folder / CONSOLE).open("a", encoding="utf-8")
            out = cast(TextIO, RedactingStream(cast(TextIO, LogStream(log))))
            with log, redirect_stdout(out), self._signals.raised():
                finished = worker_main.run_trial(job.order, self._run, tell)
        except OSError as error:
            if not file_io.is_storage_fault(error, job.order.folder.parent):
                raise
            finished = finished or worker_main.storage_fault(error)
        return finished


def create_executor(config: OptimizeConfig, run: Run, handler: Handler, signals: Signals) -> Executor:
    """The slots that a study's file asks for, each with its device, in processes or in this one."""
    devices = config.devices or (None,)
    slots = [Slot(index, devices[index % len(devices)]) for index in range(config.n_workers)]
    if config.isolation == "none":
        return InProcessExecutor(slots, run, handler, signals)
    return ProcessExecutor(slots, run, handler)


def free_slot(workers: Executor) -> Slot | None:
    """A slot without a run."""
    taken = {job.slot.index for job in workers.jobs}
    return next((slot for slot in workers.slots if slot.index not in taken), None)


def cpu_share(slots: int) -> int:
    """Threads for each of several runs at once, at least one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // slots)


def _free_memory() -> None:
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
