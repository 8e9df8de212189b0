"""Mirror a study to W&B and TensorBoard; their failures never affect it."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from lab.config import wandb_environment as environment
from lab.config.optimize_config import OptimizeConfig
from lab.config.tracker_config import TensorBoardConfig, WandbConfig
from lab.events import Note, Outcome, RunEnd, RunStart
from lab.hpo.best_trial import BEST
from lab.hpo.study_callbacks import CallbackFactory, StudyCallback, TrialResult
from lab.hpo.study_id import identity_of
from lab.hpo.trial import Trial
from lab.hpo.trial_folder import TAKEN
from lab.hpo.worker_main import EpochReported, RunEnded, RunStarted
from lab.report.trial_attributes import TrialAttributes
from lab.store import run_folder
from lab.store.error_text import kind_and_text
from lab.store.redact import redact, redact_text
from lab.trackers.background_tracker import Background
from lab.trackers.wandb_run import WandbTracker, recorded
from lab.trackers.wandb_session import Described, WandbSession
from lab.train.callbacks.hparams import HParams

_MOST_ENDING = 64  # runs that W&B may be behind with, each of which has a thread
_NAN = float("nan")


@dataclass
class _Open:
    """The W&B run of a seed that is at work; `end` comes shortly before the trial's."""

    trial: Trial
    background: Background
    end: RunEnd | None = None


def without_wandb(config: Mapping[str, Any]) -> dict[str, Any]:
    """A run's config without W&B, which the scheduler mirrors to instead of the run."""
    return {**config, "trackers": [t for t in config["trackers"] if t.get("type") != "wandb"]}


class WandbSync(StudyCallback):
    """A W&B run for each seed of each trial, and one for the study, where the base run has a W&B tracker.

    A trial's W&B run stays open until the trial is over, so that one whose process died continues in it. Its
    end is awaited by nobody: each has a thread of its own, and only `close` waits, for all of them together
    the time that the tracker's config gives. W&B's problems are reported once.

    Args:
        folder: of the study.
        note: gets a line for people, always on the thread that calls this object.
    """

    def __init__(self, config: OptimizeConfig, folder: Path, note: Callable[[str], None]) -> None:
        self._config, self._folder, self._note = config, folder, note
        found = [t for t in config.base.shipped_trackers if isinstance(t, WandbConfig)]
        self._wandb = next((tracker for tracker in found if environment.mode_of(tracker) != "disabled"), None)
        self._notes: SimpleQueue[Note] = SimpleQueue()
        self._token = (identity_of(folder) or "")[:8]
        self._session = (
            WandbSession(self._wandb, self._notes.put, folder, self._token) if self._wandb else None
        )
        self._name_unused(found)
        self._open: dict[tuple[int, int, int], _Open] = {}
        self._ending: list[Background] = []
        self._last: Thread | None = None
        self._warned = False

    def _name_unused(self, found: Sequence[WandbConfig]) -> None:
        """Name what is set, in the environment or the config, and has no effect."""
        if self._wandb is None:
            for tracker in found:
                if tracker.mode == "auto":
                    self._note(f"W&B: no run, set by {environment.mode_reason(tracker)}")
            return
        never = dict.fromkeys(
            (environment.NAME, environment.JOB_TYPE, environment.RUN_ID, environment.RESUME)
        )
        unused = environment.overruled(self._wandb, self._config.base.project, never)
        unused += [f"{field} of the tracker" for field in ("name", "job_type") if getattr(self._wandb, field)]
        if unused:
            why = "each of a study's W&B runs has an id, name and job type of its own"
            self._note(f"W&B: not used: {', '.join(unused)}; the config and the study come first, and {why}")

    def on_run_start(self, trial: Trial, message: RunStarted) -> None:
        """Begin a seed's W&B run, or resume it, with what was missed since."""
        key = (trial.number, message.seed_index, trial.halvings)  # another batch size makes other curves
        self._finish(trial, but=key)
        if key not in self._open and (background := self._begin(trial, message.event)) is not None:
            self._open[key] = _Open(trial, background)
        if (run := self._open.get(key)) is not None:
            run.end = None
            for epoch in recorded(message.event):
                run.background.epoch(epoch)
        self._tell()

    def on_epoch_end(self, trial: Trial, message: EpochReported) -> None:
        """Log an epoch."""
        if run := self._open.get((trial.number, message.seed_index, trial.halvings)):
            run.background.epoch(message.event)
        self._tell()

    def on_run_end(self, trial: Trial, message: RunEnded) -> None:
        """Keep how a seed ended until its trial is over or begins the next."""
        if run := self._open.get((trial.number, message.seed_index, trial.halvings)):
            run.end = message.event

    def on_trial_end(self, trial: Trial, result: TrialResult) -> None:
        """End the trial's W&B runs."""
        self._finish(trial, outcome=result.outcome, cause=result.finished.reason, values=result.values)
        self._tell()

    def on_trial_release(self, trial: Trial) -> None:
        """End the trial's W&B runs; who continues it resumes them."""
        self._finish(trial, outcome=Outcome.INTERRUPTED)
        self._tell()

    def on_study_end(self, study: optuna.Study, best: FrozenTrial | None) -> None:
        """Create or resume the study's own W&B run: a table of all trials, and the winner."""
        if self._session is None:
            return
        trials = study.get_trials(deepcopy=False)
        metrics = [monitor.metric for monitor in self._config.monitors]
        summary: dict[str, Any] = {}
        if best is not None:
            summary = {
                "best_trial": best.number,
                "best_params": redact(best.params),
                "best_values": dict(zip(metrics, best.values, strict=True)),
            }
        columns, rows = table(trials, metrics)
        finished = sum(trial.state.is_finished() for trial in trials)
        work = partial(self._mirror_study, self._session, columns, rows, summary, finished)
        self._last = Thread(target=work, name="tracker-W&B-study", daemon=True)
        self._last.start()

    def close(self) -> None:
        """End all that is still open, and wait for W&B as long as its config allows."""
        if self._session is None:
            return
        since = time.monotonic()
        for trial in {id(run.trial): run.trial for run in self._open.values()}.values():
            self._finish(trial, outcome=Outcome.INTERRUPTED, cause=TAKEN if trial.lost else "")
        self._tell()
        for background in self._ending:
            background.wait(since)
        if self._last is not None:
            self._last.join(max(0.0, since + self._session.patience - time.monotonic()))
        if all(background.done for background in self._ending) and not (self._last and self._last.is_alive()):
            with suppress(Exception, SystemExit):  # everything is written: a fault at the very end is none
                self._session.close()
        else:
            how = self._session.how_to_upload()
            self._note(f"W&B was not done {self._session.patience:g} s after the study; {how}")
            self._warned = True
            self._session.give_up()
        self._ending.clear()
        self._tell()

    def _begin(self, trial: Trial, event: RunStart) -> Background | None:
        """A W&B run in a thread of its own; None where there is to be none."""
        if self._session is None or self._wandb is None:
            return None
        self._ending = [background for background in self._ending if not background.done]
        if len(self._ending) >= _MOST_ENDING:
            message = (
                f"W&B lags behind: trial {trial.number} is left out, as are others until it has caught up"
            )
            self._notes.put(Note(message, "warning"))
            self._session.stay_offline()
            return None
        tracker = WandbTracker(
            self._wandb,
            self._notes.put,
            self._session,
            job_type="trial",
            suffix=f"-half{trial.halvings}" if trial.halvings else "",
            study=self._token,
        )
        background = Background(
            tracker, f"W&B of trial {trial.number}", self._notes.put, tracker.patience, tracker.abandon
        )
        config = {**redact(event.config), "params": redact(trial.values)}
        background.start(replace(event, name=event.run_id, group=self._config.study_name, config=config))
        return background

    def _finish(
        self,
        trial: Trial,
        *,
        but: tuple[int, int, int] | None = None,
        outcome: Outcome | None = None,
        cause: str = "",
        values: Mapping[str, float] | None = None,
    ) -> None:
        """Ask the W&B runs of a trial to end; without an outcome, each as its seed did."""
        for key in [key for key in self._open if key[0] == trial.number and key != but]:
            run = self._open.pop(key)
            # One that broke off has reported nothing of its end.
            end = run.end or RunEnd(outcome or Outcome.INTERRUPTED, "", 0, _NAN, 0, {}, {}, _NAN, _NAN)
            if outcome is not None:
                repeats = len(trial.recipe.repeats) if trial.recipe else 1
                whole = values if values and repeats == 1 and outcome.is_result else {}  # else their mean
                end = replace(end, outcome=outcome, reason=cause or end.reason, best={**whole, **end.best})
            run.background.request_finish(replace(end, reason=redact_text(end.reason)))
            self._ending.append(run.background)

    def _mirror_study(
        self,
        session: WandbSession,
        columns: list[str | int],
        rows: list[list[Any]],
        summary: Mapping[str, Any],
        step: int,
    ) -> None:
        """Write the study's run, in the last thread."""
        try:
            name = self._config.study_name
            described = Described(
                folder=self._folder,
                run_id=name,
                project=self._config.base.project,
                name=name,
                group=name,
                config=redact(self._config.as_data()),
                job_type="study",
                study=self._token,
            )
            run = session.begin(described)
            run.summary.update(dict(summary))
            import wandb

            for file in (run_folder.HISTORY, run_folder.PREDICTIONS):
                if (self._folder / BEST / file).exists():
                    run.log({Path(file).stem: wandb.Image(str(self._folder / BEST / file))}, step=step)
            run.log({"trials": wandb.Table(columns, rows, allow_mixed_types=True)}, step=step)
            run.finish()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a mirror's fault is never the study's
            self._notes.put(Note(f"W&B has no summary of the study: {kind_and_text(error)}", "warning"))

    def _tell(self) -> None:
        """Pass on what the threads had to say: where the runs are, and the first trouble."""
        while True:
            try:
                note = self._notes.get_nowait()
            except Empty:
                return
            message = note.message
            if note.level == "warning":
                if self._warned:
                    continue
                self._warned = True
                if self._session is not None and not note.has_upload_command:
                    message += f"; further W&B runs are offline, {self._session.how_to_upload()}"
            self._note(message)


class TensorBoardHParams(StudyCallback):
    """Has a trial's process write its point to TensorBoard, where its run has that tracker."""

    def __init__(self, metrics: Sequence[str]) -> None:
        self._metrics = tuple(metrics)

    def run_callbacks(self, trial: Trial) -> Sequence[CallbackFactory]:
        """Return the callback that writes it."""
        found = trial.recipe.shipped_trackers if trial.recipe is not None else []
        if not any(isinstance(tracker, TensorBoardConfig) for tracker in found):
            return ()
        return (partial(HParams, trial.values, self._metrics, trial.folder.name),)


def table(trials: Sequence[FrozenTrial], metrics: Sequence[str]) -> tuple[list[str | int], list[list[Any]]]:
    """The columns and rows of a study's table; a parameter that a trial doesn't have is None."""
    parameters = list(dict.fromkeys(name for trial in trials for name in trial.params))
    columns: list[str | int] = ["trial", "outcome", *metrics, *parameters, "epochs", "seconds"]
    rows = []
    for trial in trials:
        attributes = TrialAttributes.of(trial)
        values = trial.values or [None] * len(metrics)
        values = [*values, *[None] * (len(metrics) - len(values))]  # one that was pruned has one at most
        known = redact(trial.params)
        rows.append(
            [
                trial.number,
                str(attributes.outcome or trial.state.name.lower()),
                *values,
                *(known.get(name) for name in parameters),
                attributes.epochs,
                attributes.seconds,
            ]
        )
    return columns, rows
