"""The process of one trial: an ordinary run that reports every epoch to its scheduler and acts on the answer.

It never opens the database. It ends by itself when the scheduler is gone or silent, so that nobody is left
to write into a trial that has become another's.
"""

import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import Any, Protocol, TextIO, cast

from lab.config import OptimizeConfig, RunConfig
from lab.config.group_split_rule import GroupRule, applied
from lab.config.problems import Path as KeyPath
from lab.config.validation import validate
from lab.console.redacted_output import RedactingStream
from lab.console.streams import into_files
from lab.events import (
    Callback,
    EpochEnd,
    Outcome,
    RunEnd,
    RunResult,
    RunStart,
    StepsDone,
    StopCause,
    Stopped,
    StopRequest,
)
from lab.hpo.trial_errors import infeasible_reason
from lab.hpo.trial_folder import CONSOLE, clear, fenced, write_trial
from lab.store import file_io, run_folder
from lab.store.error_text import kind_and_text, text_of, traceback_of
from lab.store.redact import learn, redact_text

IN_USE = "another process is at work in the trial's folder"
_STEPS = 10.0  # seconds between two reports of steps


class Run(Protocol):
    """`util.run`, as far as a trial needs it."""

    def __call__(
        self,
        run_config: RunConfig,
        *,
        run_dir: Path,
        resume: bool,
        callbacks: Sequence[Callback],
        console: Any,
        command: Sequence[str],
    ) -> RunResult: ...


@dataclass(frozen=True)
class TrialJob:
    """One run to do.

    Args:
        config: of the run, as plain data.
        patience: seconds to wait for an answer, and for the folder where a former process still holds it.
        extras: makes more listeners, in the process that runs.
        token: of the trial's lease; 0 where the run is no trial.
        facts: what the study knows of the trial, for its folder.
        group_rule: the rule by which the run's data is cut; one that is continued keeps its own.
        searched: paths of the values that the study has chosen: a component that refuses them is infeasible.
        delay: seconds to wait before it.
    """

    config: Mapping[str, Any]
    folder: Path
    resume: bool = False
    patience: float = 120.0
    command: tuple[str, ...] = ()
    extras: tuple[Callable[[], Callback], ...] = ()
    token: int = 0
    facts: Mapping[str, Any] = field(default_factory=dict)
    searched: tuple[KeyPath, ...] = ()
    group_rule: GroupRule = GroupRule.NEAREST
    delay: float = 0.0


def patience(config: OptimizeConfig) -> float:
    """Return the seconds that a run waits for an answer: longer than a lease holds without being renewed."""
    return max(2 * config.lease_seconds, 30.0)


@dataclass(frozen=True)
class WorkerReady:
    """The process is there; its time runs."""


@dataclass(frozen=True)
class RunStarted:
    """A seed's first epoch is about to begin."""

    seed_index: int
    event: RunStart


@dataclass(frozen=True)
class StepsReported:
    """The run makes steps; sent a few times a minute."""


@dataclass(frozen=True)
class EpochReported:
    """An epoch is over; the process waits for a StopRequest or None."""

    seed_index: int
    event: EpochEnd


@dataclass(frozen=True)
class RunEnded:
    """A seed is over."""

    seed_index: int
    event: RunEnd


@dataclass(frozen=True)
class TrialFinished:
    """The run is over, and how. The last message.

    Args:
        value: what the run is worth, the mean over its seeds.
        repeats: what each of its seeds or folds is worth.
        definitions: of the metrics and losses that it logged.
        fault: what failed and where, the same for the same mistake; empty where nothing did.
        cause: what the study has to act on.
    """

    outcome: Outcome
    reason: str
    value: float = float("nan")
    best: Mapping[str, float] = field(default_factory=dict)
    last: Mapping[str, float] = field(default_factory=dict)
    best_epoch: int = 0
    repeats: tuple[float, ...] = ()
    epochs: int = 0
    seconds: float = 0.0
    parameters: int = 0
    fault: str = ""
    definitions: Mapping[str, int] = field(default_factory=dict)
    cause: StopCause | None = None


Message = WorkerReady | RunStarted | StepsReported | EpochReported | RunEnded | TrialFinished
Answer = StopRequest | None
Tell = Callable[[Message], Answer]


class ReportCallback(Callback):
    """Reports to the scheduler, which answers only to `EpochReported`."""

    def __init__(self, tell: Tell, repeats: Sequence[str]) -> None:
        self._tell, self._repeats = tell, repeats
        self._index, self._steps_at = 0, time.monotonic()
        self.ends: list[RunEnd] = []
        self.stop: StopRequest | None = None
        self.parameters = 0
        self.definitions: Mapping[str, int] = {}

    def on_run_start(self, event: RunStart) -> None:
        """Report the start of a seed or fold."""
        several = len(self._repeats) > 1
        self._index = self._repeats.index(event.run_dir.name) if several else 0
        self.parameters, self.definitions = event.parameters, event.definitions
        self._tell(RunStarted(self._index, event))

    def on_steps(self, event: StepsDone) -> None:
        """Report now and then that there are steps."""
        if (now := time.monotonic()) - self._steps_at > _STEPS:
            self._steps_at = now
            self._tell(StepsReported())

    def on_epoch_end(self, event: EpochEnd) -> StopRequest | None:
        """Report the epoch; returns the answer."""
        self.stop = self._tell(EpochReported(self._index, event))
        return self.stop

    def on_run_end(self, event: RunEnd) -> None:
        """Report the end of a seed or fold."""
        self.ends.append(event)
        self._tell(RunEnded(self._index, event))

    def totals(self) -> dict[str, Any]:
        """Return the fields of `TrialFinished` that are known however the run ends."""
        return {
            "epochs": sum(end.epochs for end in self.ends),
            "seconds": sum(end.seconds for end in self.ends),
            "parameters": self.parameters,
            "definitions": self.definitions,
        }


def run_trial(order: TrialJob, run: Run, tell: Tell) -> TrialFinished:
    """Do the run; whatever happens in it becomes an outcome."""
    relay: ReportCallback | None = None
    tell(WorkerReady())
    try:
        config = validate(RunConfig, order.config)
        learn(order.config)
        relay = ReportCallback(tell, tuple(config.repeats))
        callbacks = [relay, *(extra() for extra in order.extras)]

        def action() -> RunResult:
            with applied(order.group_rule):
                return run(
                    config,
                    run_dir=order.folder,
                    resume=order.resume,
                    callbacks=callbacks,
                    console="plain",
                    command=order.command,
                )

        result = _patiently(order, lambda: _fenced(order, action))
    except BaseException as error:  # noqa: BLE001 - a trial that fails must not end the study
        return _broken(error, order, relay)
    ends = relay.ends
    return TrialFinished(
        outcome=Outcome.of_repeats([end.outcome for end in ends]),
        reason=next((end.reason for end in ends if end.reason), ""),
        value=float(result),
        best=result.best,
        last=result.last,
        best_epoch=ends[0].best_epoch if len(ends) == 1 else 0,
        repeats=tuple(end.value for end in ends),
        cause=relay.stop.cause if relay.stop is not None else None,
        **relay.totals(),
    )


def main(connection: Connection, order: TrialJob, run: Run) -> None:
    """Run a trial in its own process."""
    for number in (signal.SIGINT, signal.SIGHUP):  # the terminal sends them to all; the scheduler decides
        signal.signal(number, signal.SIG_IGN)
    line = WorkerChannel(connection, order.patience)
    line.last_word(_in_own_process(order, run, line))


def _in_own_process(order: TrialJob, run: Run, line: "WorkerChannel") -> TrialFinished:
    """Run the trial; its console goes into its folder."""
    try:
        line.listen()
        time.sleep(order.delay)
        order.folder.mkdir(parents=True, exist_ok=True)
        with (order.folder / CONSOLE).open("ab", buffering=0) as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        into_files()
        sys.stdout, sys.stderr = (
            cast(TextIO, RedactingStream(sys.stdout)),
            cast(TextIO, RedactingStream(sys.stderr)),
        )
        device = str(order.config.get("device", ""))
        if device.startswith("cuda:"):
            import torch

            torch.cuda.set_device(device)
        return run_trial(order, run, line.tell)
    except Stopped as stop:  # before the run has begun
        return TrialFinished(stop.outcome, stop.reason, cause=stop.cause)
    except OSError as error:
        if not file_io.is_storage_fault(error, order.folder.parent):
            raise
        return storage_fault(error)


class WorkerChannel:
    """The trial's end of the pipe. A thread listens, for the scheduler may stop the trial at any time."""

    def __init__(self, connection: Connection, patience: float) -> None:
        self._connection = connection
        self._answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self._stop: Stopped | None = None
        self._patience = patience

    def listen(self) -> None:
        """Let the scheduler stop this thread by raising Stopped."""
        signal.signal(signal.SIGTERM, self._on_signal)
        threading.Thread(target=self._listen, daemon=True).start()

    def tell(self, message: Message) -> Answer:
        """Send, and for an epoch wait for the answer.

        Raises:
            Stopped: the scheduler is gone, or does not answer.
        """
        try:
            self._connection.send(message)
        except OSError:
            if isinstance(message, EpochReported):
                raise self._stop or Stopped("the scheduler is gone") from None
            return None
        if not isinstance(message, EpochReported):
            return None
        try:
            return self._answers.get(timeout=self._patience)
        except queue.Empty:
            raise Stopped("the scheduler does not answer", cause=StopCause.NO_ANSWER) from None

    def last_word(self, finished: TrialFinished) -> None:
        """Send how it ended; nothing can stop the run any more."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        with suppress(OSError):
            self._connection.send(finished)
            self._connection.close()

    def _listen(self) -> None:
        while True:
            try:
                message = self._connection.recv()
            except (EOFError, OSError):
                self._end(Stopped("the scheduler is gone"))
                return
            if isinstance(message, Stopped):
                self._end(message)
            else:
                self._answers.put(message)

    def _end(self, stop: Stopped) -> None:
        self._stop = stop
        main = threading.main_thread().ident
        assert main is not None
        # Sent to another thread it would not wake a main one that sleeps.
        signal.pthread_kill(main, signal.SIGTERM)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise self._stop or Stopped("its process was asked to end")


def _patiently(order: TrialJob, action: Callable[[], RunResult]) -> RunResult:
    """Wait where a former process of the same trial has not released the folder yet."""
    deadline = time.monotonic() + order.patience
    while True:
        try:
            return action()
        except file_io.RunInUse:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def _fenced(order: TrialJob, action: Callable[[], RunResult]) -> RunResult:
    """Do it while the trial's folder is this lease's."""
    if not order.token:
        return action()
    order.folder.mkdir(parents=True, exist_ok=True)
    with fenced(order.folder, order.token):
        if not order.resume:
            clear(order.folder)
        write_trial(order.folder, order.facts)
        return action()


def _broken(error: BaseException, order: TrialJob, relay: ReportCallback | None) -> TrialFinished:
    common = relay.totals() if relay is not None else {}
    if isinstance(error, Stopped):
        return TrialFinished(error.outcome, error.reason, cause=error.cause, **common)
    if isinstance(error, file_io.RunInUse):
        return TrialFinished(Outcome.INTERRUPTED, IN_USE, cause=StopCause.FOLDER_IN_USE, **common)
    if isinstance(error, KeyboardInterrupt):
        return TrialFinished(Outcome.INTERRUPTED, text_of(error) or "KeyboardInterrupt", **common)
    if file_io.is_storage_fault(error, order.folder.parent):  # any other trial would have it as well
        return storage_fault(error, **common)
    if reason := infeasible_reason(error, order.searched):
        return TrialFinished(Outcome.INFEASIBLE, redact_text(reason), **common)
    from lab.train.runtime import is_out_of_memory  # it brings torch, which the scheduler does without

    if not any(order.folder.rglob(run_folder.TRACEBACK)):  # it broke before the run had begun
        text = redact_text(traceback_of(error))
        with suppress(OSError):
            file_io.atomic_write(order.folder / run_folder.TRACEBACK, text)
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    reason = redact_text(kind_and_text(error).strip().splitlines()[0])
    outcome = Outcome.OUT_OF_MEMORY if is_out_of_memory(error) else Outcome.FAILED
    return TrialFinished(outcome, reason, fault=f"{type(error).__name__}{place}", **common)


def storage_fault(error: BaseException, **common: Any) -> TrialFinished:
    """The end of a run that the system kept from its files."""
    return TrialFinished(
        Outcome.INTERRUPTED, file_io.storage_message(error), cause=StopCause.STORAGE_FAULT, **common
    )
