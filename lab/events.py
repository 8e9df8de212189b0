"""The events of a run: frozen values that callbacks receive, and the way to ask the run to stop.

Callbacks never get the Trainer. They are called in the order in which `util.run` lists them, and one that
wants the run to end returns `request_stop(...)` from `on_epoch_end`. The loop, with each event in its place:

    build runtime, data, trainer and callbacks; restore the checkpoint of a resumed run
    on_run_start(RunStart)
    for epoch in epochs:
        seed everything by (seed, epoch)
        on_phase_start(PhaseStart)                    # "train"
        for batches in groups:                        # those that share an optimizer step
            for batch in batches:
                result = task.step(model, criterion, batch)
                backward
                after the last of them: clip the gradients, optimizer and averaged weights step
                on_steps(StepsDone)                   # a few times a second
            on_mid_epoch(MidEpoch)                    # where checkpoint.every_n_steps is due
        on_phase_start(PhaseStart)                    # "val", unless the config has `val: null`
        for batch in validation batches:
            result = task.step(model, criterion, batch)
            on_steps(StepsDone)
        best epoch, early stopping, scheduler
        on_epoch_end(EpochEnd)                        # a StopRequest ends the loop
    on_run_end(RunEnd)                                # after an exception, too

`on_note(Note)` may come at any time, also before `on_run_start`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, StrEnum, auto
from pathlib import Path
from typing import Any, Literal

RUNNING, WAITING = "running", "waiting"  # stored or shown in place of an outcome while there is none
Phase = Literal["train", "val"]
Values = Mapping[str, float]


def named(values: Values, name: str) -> float:
    """Return one logged value.

    Raises:
        ValueError: nothing is logged under that name.
    """
    if name not in values:
        raise ValueError(f"nothing is logged as '{name}'; there are: {', '.join(values)}")
    return values[name]


class Outcome(StrEnum):
    """The ways a run can end; the values are the names that are stored and shown."""

    COMPLETED = "completed"
    EARLY_STOPPED = "early_stopped"
    PRUNED = "pruned"
    INFEASIBLE = "infeasible"
    DIVERGED = "diverged"
    OUT_OF_MEMORY = "out_of_memory"
    TIMED_OUT = "timed_out"
    INTERRUPTED = "interrupted"
    FAILED = "failed"

    @classmethod
    def read(cls, stored: object) -> "Outcome | None":
        """Return the outcome that a file or a study holds; None for `running` and for other names."""
        try:
            return cls(str(stored))
        except ValueError:
            return None

    @classmethod
    def of_repeats(cls, outcomes: "Sequence[Outcome]") -> "Outcome":
        """Return the outcome of several seeds or folds: the one that ended the run, or spoilt its value."""
        order = (cls.INTERRUPTED, cls.TIMED_OUT, cls.PRUNED, cls.DIVERGED, cls.COMPLETED, *outcomes)
        return next((outcome for outcome in order if outcome in outcomes), cls.COMPLETED)

    @property
    def is_result(self) -> bool:
        """True where the run's value is a result that may be ranked."""
        return self in (Outcome.COMPLETED, Outcome.EARLY_STOPPED)

    @property
    def is_success(self) -> bool:
        """True where training ended as intended, also by a pruner: its last state is kept as `final`."""
        return self.is_result or self is Outcome.PRUNED

    @property
    def went_wrong(self) -> bool:
        """True where the cause may be worth a look."""
        return self.is_infinitely_bad or self in (Outcome.TIMED_OUT, Outcome.FAILED)

    @property
    def is_infinitely_bad(self) -> bool:
        """True where the run counts as infinitely bad, so that a search avoids its point."""
        return self in (Outcome.DIVERGED, Outcome.OUT_OF_MEMORY)

    @property
    def is_final(self) -> bool:
        """False where the run is to be continued."""
        return self is not Outcome.INTERRUPTED

    @property
    def ends_all_repeats(self) -> bool:
        """True where a callback has ended the run and not the seed: no other seed or fold is started."""
        return self in (Outcome.PRUNED, Outcome.TIMED_OUT, Outcome.INTERRUPTED)

    @property
    def has_traceback(self) -> bool:
        """True where an unexpected exception ended the run."""
        return self in (Outcome.OUT_OF_MEMORY, Outcome.FAILED)

    @property
    def exit_code(self) -> int:
        """The exit code of a process that runs this alone."""
        return int(self in (Outcome.DIVERGED, Outcome.FAILED))


class StopCause(Enum):
    """The causes of a stop that a study acts on; the reason beside it is for people alone."""

    TAKEN_OVER = auto()  # another process has taken the trial over
    NO_ANSWER = auto()  # the scheduler did not answer in time
    FOLDER_IN_USE = auto()  # a former process of the trial has not ended yet
    STORAGE_FAULT = auto()  # a full disk, a folder that can't be written
    CRASHES = auto()  # the trial's process died again and again


@dataclass(frozen=True)
class StopRequest:
    """A request to end a run before its last epoch: the reason, and the outcome to record."""

    reason: str
    outcome: Outcome = Outcome.EARLY_STOPPED
    cause: StopCause | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "outcome", Outcome(self.outcome))  # a user's callback may give its name


def request_stop(reason: str, outcome: Outcome | str = Outcome.EARLY_STOPPED) -> StopRequest:
    """Return the answer of a callback that ends the run after the present epoch."""
    return StopRequest(reason, Outcome(outcome))


class Stopped(SystemExit):
    """An exception that ends the run at once and in order, wherever it is raised.

    Args:
        outcome: the outcome to record.
    """

    def __init__(
        self, reason: str, outcome: Outcome | str = Outcome.INTERRUPTED, cause: StopCause | None = None
    ) -> None:
        super().__init__(143)
        self.reason, self.outcome, self.cause = reason, Outcome(outcome), cause


@dataclass(frozen=True)
class RunStart:
    """Everything is built; the first epoch is about to begin."""

    run_id: str
    run_dir: Path
    project: str
    name: str
    seed: int
    config: Mapping[str, Any]  # the resolved config as plain data
    first_epoch: int  # 1, or later where the run is resumed
    epochs: int
    device: str
    parameters: int
    model_bytes: int
    train_samples: int
    val_samples: int
    group: str | None = None  # the folder name of the whole run where this is one of several seeds
    first_step: int = 0  # batches of the first epoch that are done already
    # Of metrics and losses: `lab.store.definitions`.
    definitions: Mapping[str, int] = field(default_factory=dict)
    test_samples: int = 0
    classes: str = ""  # names and counts, where the data has classes
    loss_parameters: int = 0  # of the loss and the task, trained together with the network
    # What the loss of a set is the mean over: `lab.losses.terms`.
    loss_mean: Literal["set", "batches"] = "set"

    @property
    def resumed(self) -> bool:
        return self.first_epoch > 1 or self.first_step > 0


@dataclass(frozen=True)
class PhaseStart:
    """One pass over one loader begins."""

    phase: Phase
    epoch: int
    epochs: int
    steps: int


@dataclass(frozen=True)
class StepsDone:
    """Sent a few times a second; the loss every `log_every_steps` steps, for reading it waits."""

    phase: Phase
    step: int
    loss: float | None


@dataclass(frozen=True)
class MidEpoch:
    """Within an epoch's training, after an optimizer step: its state is complete and can be kept."""

    epoch: int  # not finished
    step: int  # so many of its batches are done
    steps: int
    position: Mapping[str, Any] = field(default_factory=dict)  # passed on to `Trainer.state`


@dataclass(frozen=True)
class EpochEnd:
    """One epoch is trained and validated, and what follows from it is decided.

    `values` holds every logged number by name.
    """

    epoch: int  # counts from 1
    epochs: int
    values: Values
    improved: bool  # the monitored value is the best so far
    best_epoch: int  # 0 while no finite monitored value has been seen
    best: Values  # the values of the best epoch
    seconds: float
    next_lr: float  # differs from values["lr"] where an epoch-wise scheduler has just changed it
    stop: StopRequest | None = None

    @property
    def diverged(self) -> bool:
        return self.stop is not None and self.stop.outcome is Outcome.DIVERGED


@dataclass(frozen=True)
class Note:
    """Something worth a line on the console and in the record: a warning, a fallback, a decision."""

    message: str
    level: Literal["info", "warning"] = "info"
    epoch: int | None = None
    has_upload_command: bool = False  # it ends with how to upload what is offline


@dataclass(frozen=True)
class RunEnd:
    """The run is over; `best` and `last` always hold `val_loss`, NaN where no epoch has ended.

    With `val: null` it is `train_loss`.
    """

    outcome: Outcome
    reason: str
    epochs: int  # finished epochs, those before a resume included
    value: float  # what the run returns: the monitor's best or last value
    best_epoch: int
    best: Values
    last: Values
    seconds: float
    samples_per_second: float
    files: Mapping[str, Path] = field(default_factory=dict)  # the files of the run, by label
    again: str = ""  # the command that resumes a run that was interrupted


class RunResult(float):
    """The result of a run: a number, and its outcome, values and cost.

    The number is the monitor's best or last value; `inf` (`-inf` where larger is better) for a run that
    diverged.
    """

    outcome: Outcome
    reason: str
    run_dir: Path
    best: Values
    last: Values
    epochs: int
    seconds: float
    samples_per_second: float
    _end: RunEnd

    def __new__(cls, end: RunEnd, run_dir: Path) -> "RunResult":
        result = super().__new__(cls, end.value)
        result._end = end
        result.outcome, result.reason, result.run_dir = end.outcome, end.reason, run_dir
        result.best, result.last, result.epochs = end.best, end.last, end.epochs
        result.seconds, result.samples_per_second = end.seconds, end.samples_per_second
        return result

    def __getnewargs__(self) -> tuple[RunEnd, Path]:  # type: ignore[override]
        """Return the arguments from which a copy, or another process, rebuilds it."""
        return self._end, self.run_dir


class Callback:
    """A callback that does nothing; subclass it and override the hooks that you need."""

    def on_run_start(self, event: RunStart) -> None:
        """Called once, before the first epoch."""

    def on_phase_start(self, event: PhaseStart) -> None:
        """Called before each pass over a loader."""

    def on_steps(self, event: StepsDone) -> None:
        """Called within a pass, a few times a second."""

    def on_mid_epoch(self, event: MidEpoch) -> None:
        """Called within training, every `checkpoint.every_n_steps` batches where that is set."""

    def on_epoch_end(self, event: EpochEnd) -> StopRequest | None:
        """Called after each epoch; a StopRequest ends the run."""

    def on_note(self, event: Note) -> None:
        """Called when the run has something to report."""

    def on_run_end(self, event: RunEnd) -> None:
        """Called once, however the run ended."""


class CallbackList(Callback):
    """Several callbacks as one, called in their order; any of them may end the run."""

    def __init__(self, callbacks: Iterable[Callback] = ()) -> None:
        self.callbacks = list(callbacks)

    def on_run_start(self, event: RunStart) -> None:
        for callback in self.callbacks:
            callback.on_run_start(event)

    def on_phase_start(self, event: PhaseStart) -> None:
        for callback in self.callbacks:
            callback.on_phase_start(event)

    def on_steps(self, event: StepsDone) -> None:
        for callback in self.callbacks:
            callback.on_steps(event)

    def on_mid_epoch(self, event: MidEpoch) -> None:
        for callback in self.callbacks:
            callback.on_mid_epoch(event)

    def on_epoch_end(self, event: EpochEnd) -> StopRequest | None:
        """Call all of them; the first request to stop counts."""
        # No short cut: a callback that records the epoch may come after one that stops the run.
        answers = [callback.on_epoch_end(event) for callback in self.callbacks]
        return next((answer for answer in answers if answer is not None), None)

    def on_note(self, event: Note) -> None:
        for callback in self.callbacks:
            callback.on_note(event)

    def on_notes(self, notes: Iterable[Note]) -> None:
        """Send several, in their order."""
        for note in notes:
            self.on_note(note)

    def on_run_end(self, event: RunEnd) -> None:
        """Call all of them, even where a full disk keeps one from writing."""
        fault: OSError | None = None
        for callback in self.callbacks:
            try:
                callback.on_run_end(event)
            except OSError as error:
                fault = fault or error
        if fault is not None:
            raise fault
