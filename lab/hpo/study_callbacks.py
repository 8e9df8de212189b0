"""Callbacks of a study: all that is done besides searching, such as console, `best/`, disk and W&B.

The scheduler calls them in its own process, once the database has what they are called for. A callback must
not end the study by an exception; one that wants the study to stop returns the reason from `on_trial_end`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from lab.events import Callback, Outcome, Stopped
from lab.hpo.executor import Slot
from lab.hpo.trial import Trial
from lab.hpo.trial_folder import write_trial
from lab.hpo.worker_main import EpochReported, RunEnded, RunStarted, TrialFinished
from lab.store.paths import shown

CallbackFactory = Callable[[], Callback]


@dataclass(frozen=True)
class TrialResult:
    """The result of a trial.

    Args:
        values: of the objectives by metric; of a pruned trial the last one that the pruner has seen.
        finished: the last message of its process.
        trials: all trials of the study, as they were last read.
        best: the best of them.
    """

    outcome: Outcome
    values: Mapping[str, float]
    finished: TrialFinished
    trials: Sequence[FrozenTrial]
    best: FrozenTrial | None


class StudyCallback:
    """Reacts to what happens in a study; each method does nothing by default."""

    def on_message(self, text: str) -> None:
        """Handle a message for people."""

    def run_callbacks(self, trial: Trial) -> Sequence[CallbackFactory]:
        """Return factories of callbacks for the trial's run, called in the process that runs it."""
        return ()

    def on_trial_start(self, trial: Trial, slot: Slot) -> None:
        """A trial is about to run, perhaps not for the first time."""

    def on_run_start(self, trial: Trial, message: RunStarted) -> None:
        """A seed or fold of a trial begins."""

    def on_steps(self, trial: Trial) -> None:
        """A trial makes steps; called a few times a minute."""

    def on_epoch_end(self, trial: Trial, message: EpochReported) -> None:
        """An epoch is over; the trial waits for the answer meanwhile."""

    def on_run_end(self, trial: Trial, message: RunEnded) -> None:
        """A seed or fold of a trial is over."""

    def on_trial_end(self, trial: Trial, result: TrialResult) -> Stopped | None:
        """A trial is over; return a reason to stop the study, if there is one."""

    def on_trial_release(self, trial: Trial) -> None:
        """A trial was interrupted, and waits for whoever continues it."""

    def on_poll(self) -> None:
        """Called about twice a second."""

    def on_study_end(self, study: optuna.Study, best: FrozenTrial | None) -> None:
        """The search is over."""

    def close(self) -> None:
        """The study is over, however it ended."""


def _each(method: str) -> Callable[..., None]:
    """A method of a list of callbacks that calls the same one of each."""

    def call(self: "StudyCallbackList", *arguments: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, method)(*arguments)

    return call


class StudyCallbackList(StudyCallback):
    """Several callbacks as one, called in their order: records come before trackers."""

    on_message = _each("on_message")
    on_trial_start = _each("on_trial_start")
    on_run_start = _each("on_run_start")
    on_steps = _each("on_steps")
    on_epoch_end = _each("on_epoch_end")
    on_run_end = _each("on_run_end")
    on_trial_release = _each("on_trial_release")
    on_poll = _each("on_poll")
    on_study_end = _each("on_study_end")
    close = _each("close")

    def __init__(self, callbacks: Iterable[StudyCallback] = ()) -> None:
        self.callbacks = list(callbacks)

    def run_callbacks(self, trial: Trial) -> Sequence[CallbackFactory]:
        return [factory for callback in self.callbacks for factory in callback.run_callbacks(trial)]

    def on_trial_end(self, trial: Trial, result: TrialResult) -> Stopped | None:
        """Call all of them; the first reason to stop counts.

        A full disk is reported, and ends nothing: the trial's result is in the database.
        """
        stop: Stopped | None = None
        for callback in self.callbacks:
            try:
                stop = callback.on_trial_end(trial, result) or stop
            except OSError as error:
                self.on_message(f"{shown(trial.folder.parent)}: {error.strerror or error}")
        return stop


class TrialRecord(StudyCallback):
    """Writes how a trial ended into its own folder."""

    def __init__(self, study_name: str) -> None:
        self._study_name = study_name

    def on_trial_end(self, trial: Trial, result: TrialResult) -> None:
        """Write the trial's file, where it has a folder."""
        if not trial.folder.exists():
            return
        facts = {
            "outcome": result.outcome,
            "cause": result.finished.reason,
            "values": result.values,
            "epochs": result.finished.epochs,
            "seconds": result.finished.seconds,
        }
        write_trial(trial.folder, {**trial.facts(self._study_name), **facts})
