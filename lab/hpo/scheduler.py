"""Runs a study: claims trials, starts them, answers their epochs, and files how they ended.

One process does all that concerns the database; the trials only train. Several schedulers may work on one
study, on one machine or on many: they meet in the database.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import optuna

from lab.config.group_split_rule import recorded
from lab.config.optimize_config import OptimizeConfig
from lab.console.formatting import format_duration, format_number
from lab.console.signals import Signals
from lab.events import Outcome, StopCause, Stopped, StopRequest, named
from lab.hpo.executor import Job, Slot, WorkerDied, cpu_share, create_executor, free_slot
from lab.hpo.lease_heartbeat import Heartbeat
from lab.hpo.leases import Lease, Leases
from lab.hpo.optuna_internals import study_id
from lab.hpo.repeated_failures import DIED, Failures
from lab.hpo.samplers import create_pruner, ignores_infeasible, should_prune
from lab.hpo.storage import Database, retry_while_unavailable
from lab.hpo.study_callbacks import Upkeep
from lab.hpo.trial_claims import Claims, Trial, working_seconds
from lab.hpo.trial_folder import TAKEN, LeaseCheck
from lab.hpo.trial_results import Ledger
from lab.hpo.wandb_sync import without_wandb
from lab.hpo.worker_main import (
    IN_USE,
    Answer,
    EpochReported,
    Message,
    Run,
    RunEnded,
    RunStarted,
    TrialFinished,
    TrialJob,
    WorkerReady,
    patience,
)
from lab.store import run_folder

T = TypeVar("T")
_TICK = 0.5  # seconds between two looks at the clock
_LOOK = 2.0  # seconds between two looks for trials that others have left


class TrialScheduler:
    """One process's part in a study.

    Args:
        folder: of the study; trials live below it.
        run: `util.run`.
        upkeep: hears of every trial, for all that people look at: console, best one, mirrors, disk.
        signals: tell when to end; the context they are is the caller's.
    """

    def __init__(
        self,
        config: OptimizeConfig,
        study: optuna.Study,
        database: Database,
        folder: Path,
        run: Run,
        *,
        upkeep: Upkeep,
        signals: Signals,
        command: Sequence[str] = (),
    ) -> None:
        self._config, self._study = config, study
        self._leases = Leases(database, study_id(study), config.lease_seconds)
        self._claims = Claims(config, study, database, self._leases, folder, upkeep.note)
        study.pruner = create_pruner(config)
        self._upkeep, self._command = upkeep, tuple(command)
        self._group_rule = recorded(study.user_attrs)
        self._ledger = Ledger(config, study, self._leases, upkeep.note, signals.raise_received)
        self._failures = Failures(study, config.max_consecutive_failures)
        self._workers = create_executor(config, run, self._handle, signals)
        self._signals = signals
        self._stop_reason: Stopped | None = None
        self._looked = 0.0
        self._warned = False

    def optimize(self) -> Stopped | None:
        """Work until the study is done; returns why it ended before that, or None.

        Its outcome is `failed` where the user has to act before it can continue, and `completed` where
        there was no point left to try.

        Raises:
            Stopped: by a signal; the trials at work are left resumable.
        """
        with self._signals.deferred(), Heartbeat(self._leases, self._held, self._lose):
            try:
                while self._fill_slots():
                    self._workers.poll(_TICK)
                    self._check_deadlines()
            finally:
                left = [job.subject for job in self._workers.jobs]
                self._workers.close()
                for trial in left:
                    self._release(trial)
        if self._signals.received is not None:
            raise self._signals.received
        if self._stop_reason is None and (reason := self._claims.exhausted) is not None:
            return Stopped(str(reason), Outcome.FAILED if reason.infeasible else Outcome.COMPLETED)
        return self._stop_reason

    def _fill_slots(self) -> bool:
        """Fill the free slots; whether there is anything to do or to wait for."""
        while not self._stopping() and (slot := free_slot(self._workers)) is not None:
            if self._workers.jobs and time.monotonic() - self._looked < _LOOK:
                break  # nothing was to be had a moment ago
            held = {lease.trial_id for lease in self._held()}
            trial = self._patiently(partial(self._claims.next, held))
            if trial is None:
                self._looked = time.monotonic()
                break
            self._looked = 0.0
            if self._stopping():  # while the point was looked for
                self._release(trial)
                break
            if trial.died:
                self._ledger.count_death(trial)
            self._start(trial, slot)
            self._check_deadlines()
        if self._workers.jobs:
            return True
        return not self._stopping() and self._patiently(self._claims.unfinished) > 0

    def _stopping(self) -> bool:
        return self._stop_reason is not None or self._signals.received is not None

    def _start(self, trial: Trial, slot: Slot) -> None:
        """Begin a trial or go on with it, unless that is pointless."""
        if trial.recipe is None:
            self._record_result(trial, TrialFinished(Outcome.FAILED, trial.problem, fault="invalid config"))
            return
        if trial.deaths >= self._config.max_attempts:
            self._give_up(trial, DIED)
            return
        twin = self._patiently(partial(self._failures.quarantined, trial.number))
        if twin is not None:
            reason = f"not begun: its configuration is that of trial {twin}, which is quarantined"
            self._record_result(trial, TrialFinished(Outcome.FAILED, reason))
            return
        verdict = self._sync_reports(trial, len(trial.recipe.repeats)) if trial.resume else None
        if verdict is not None:
            done = len(trial.curve.points)
            self._record_result(
                trial,
                TrialFinished(verdict.outcome, verdict.reason, epochs=done, seconds=trial.earlier_seconds),
            )
            return
        config = self._executed(trial, slot)
        self._upkeep.started(trial, slot)
        here = (partial(LeaseCheck, trial),) if self._config.isolation == "none" else ()
        order = TrialJob(
            config=config,
            folder=trial.folder,
            resume=trial.resume,
            patience=patience(self._config),
            command=self._command,
            extras=(*self._upkeep.extras(trial), *here),
            token=trial.lease.token,
            facts=self._upkeep.facts(trial),
            searched=tuple(self._config.space.path(name) for name in trial.values),
            group_rule=self._group_rule,
        )
        self._workers.start(slot, order, trial)

    def _executed(self, trial: Trial, slot: Slot) -> Mapping[str, Any]:
        """The config that a trial's process runs: the recipe on this device, with its share of the CPU."""
        assert trial.recipe is not None
        recipe = trial.recipe
        values: dict[str, Any] = {}
        if slot.device is not None:
            values["device"] = slot.device
        if recipe.threads is None and len(self._workers.slots) > 1:
            values["threads"] = cpu_share(len(self._workers.slots))
        if trial.halvings:
            batch_size = max(1, recipe.batch_size // 2**trial.halvings)
            values["batch_size"] = batch_size
            values["accumulate_grad_batches"] = recipe.accumulate_grad_batches * 2**trial.halvings
        trial.ran = recipe.with_values({k: v for k, v in values.items() if k != "device"})
        return without_wandb(recipe.with_values(values).as_data())

    def _sync_reports(self, trial: Trial, repeats: int) -> StopRequest | None:
        """Report what a trial had recorded and its former process could not report; the verdict on it."""
        self._ledger.sync_reports(trial)
        last = max(trial.curve.points, default=0)
        if last == 0 or last >= repeats * trial.curve.epochs:
            return None
        return self._pruned(trial, last)

    def _handle(self, job: Job, message: Message | WorkerDied) -> Answer:
        trial: Trial = job.subject
        match message:
            case WorkerReady():
                job.started = time.monotonic()
            case RunStarted():
                if trial.resume:  # its former process may have gone on until it let go of the folder
                    self._ledger.sync_reports(trial)
                self._upkeep.run_start(trial, message)
            case EpochReported():
                return self._epoch(job, trial, message)
            case RunEnded():
                self._upkeep.run_end(trial, message)
            case TrialFinished():
                self._finished(job, trial, message)
            case WorkerDied():
                self._died(job, trial, message.reason)
        return None

    def _epoch(self, job: Job, trial: Trial, message: EpochReported) -> Answer:
        """Report an epoch and decide whether the trial goes on."""
        assert trial.recipe is not None
        event = message.event
        self._upkeep.epoch(trial, message)
        if event.diverged:
            return None
        value = named(event.values, self._ledger.watched(trial))
        step, mean = trial.curve.add(message.seed_index, event.epoch, value)
        self._ledger.report(trial, {step: mean})
        if trial.lost:
            return StopRequest(TAKEN, Outcome.INTERRUPTED, StopCause.TAKEN_OVER)
        if stop := self._signals.received or self._stop_reason:
            job.stopping = time.monotonic()  # this is how it is told, and no signal breaks into its end
            return StopRequest(stop.reason, Outcome.INTERRUPTED, stop.cause)
        if reason := self._overdue(job, trial):
            return StopRequest(reason, Outcome.TIMED_OUT)
        last = trial.curve.is_last(message.seed_index, event.epoch, len(trial.recipe.repeats))
        return None if last or event.stop is not None else self._pruned(trial, step)

    def _pruned(self, trial: Trial, step: int) -> StopRequest | None:
        if self._config.pruner is None:
            return None
        if not self._patiently(lambda: should_prune(self._study, self._config, trial.number)):
            return None
        value = format_number(trial.curve.points[step])
        return StopRequest(
            f"{self._ledger.watched(trial)} {value} at epoch {step} is not promising", Outcome.PRUNED
        )

    def _overdue(self, job: Job, trial: Trial) -> str:
        limit = self._config.trial_timeout
        if limit is None or job.started is None:
            return ""
        seconds = trial.earlier_seconds + time.monotonic() - job.started
        return f"it took longer than {format_duration(limit)}" if seconds > limit else ""

    def _finished(self, job: Job, trial: Trial, finished: TrialFinished) -> None:
        waits = finished.outcome is Outcome.INTERRUPTED and not self._stopping()
        if trial.lost or finished.cause is StopCause.TAKEN_OVER:
            trial.lost = True
            self._upkeep.note(f"trial {trial.number}: {TAKEN}")
        elif waits and finished.cause is StopCause.NO_ANSWER:
            self._retry(job, trial, "this process was held up, and the trial did not wait")
        elif waits and finished.cause is StopCause.FOLDER_IN_USE:
            self._retry(job, trial, f"{IN_USE}; it waits for that one to end")
        elif finished.outcome is Outcome.INTERRUPTED:  # not asked for, it is as good as a death
            if finished.cause is StopCause.DISK_FULL:
                self._request_stop(Stopped(finished.reason, Outcome.FAILED, finished.cause))
            self._died(job, trial, finished.reason)
        elif finished.outcome is Outcome.OUT_OF_MEMORY and self._can_halve(trial):
            self._ledger.restart(trial)
            self._retry(job, trial, f"{finished.reason}: once more with half the batch", resume=False)
        else:
            self._record_result(trial, finished)

    def _can_halve(self, trial: Trial) -> bool:
        batch_size = trial.ran.batch_size if trial.ran is not None else 1
        return self._config.on_oom == "accumulate" and batch_size > 1

    def _died(self, job: Job, trial: Trial, reason: str) -> None:
        """Go on with a trial whose process died, but not for ever."""
        if trial.lost:
            return
        if job.stopping is not None and (overdue := self._overdue(job, trial)):
            self._record_result(trial, TrialFinished(Outcome.TIMED_OUT, overdue))
        elif self._stopping():
            self._release(trial)
        else:
            self._ledger.count_death(trial)
            if trial.deaths >= self._config.max_attempts:
                self._give_up(trial, reason)
            else:
                self._retry(job, trial, f"{reason}; going on from its checkpoint")

    def _give_up(self, trial: Trial, reason: str) -> None:
        reason = f"{reason}; tried {trial.deaths} times, and quarantined"
        done = len(trial.curve.points)
        finished = TrialFinished(
            Outcome.FAILED,
            reason,
            epochs=done,
            seconds=trial.earlier_seconds,
            fault=DIED,
            cause=StopCause.CRASHES,
        )
        self._record_result(trial, finished)

    def _retry(self, job: Job, trial: Trial, reason: str, resume: bool = True) -> None:
        if trial.lost:
            return
        self._upkeep.note(f"trial {trial.number}: {reason}")
        trial.resume = resume and (trial.folder / run_folder.CONFIG).exists()
        self._start(trial, job.slot)

    def _record_result(self, trial: Trial, finished: TrialFinished) -> None:
        """The trial is over: tell the database, and everybody else."""
        outcome, values = self._ledger.finish(trial, finished)
        if trial.lost:
            return
        self._upkeep.finished(trial, outcome, finished, values)
        if outcome is Outcome.FAILED and (error := self._patiently(self._failures.repeated)):
            self._request_stop(Stopped(error, Outcome.FAILED))
        if outcome is Outcome.INFEASIBLE:
            self._infeasible()
        if full := self._upkeep.full():
            self._request_stop(Stopped(full, Outcome.FAILED))

    def _infeasible(self) -> None:
        """Report once if the sampler learns nothing from such trials; give up where there are no others."""
        if not self._warned and (name := ignores_infeasible(self._config)):
            self._warned = True
            self._upkeep.note(
                f"{name} does not learn from infeasible trials; a condition under 'constraints' in the "
                "study's file keeps any sampler away from such points, and costs no trials"
            )
        if reason := self._patiently(self._failures.hopeless):
            self._request_stop(Stopped(reason, Outcome.FAILED))

    def _check_deadlines(self) -> None:
        """Look at the clock: time for a trial, time for the study; and drop what belongs to others by now."""
        if self._signals.received is not None:
            self._stop_all(self._signals.received)
        budget = self._config.time_budget
        if budget is not None and not self._stopping():
            trials = self._patiently(lambda: self._study.get_trials(deepcopy=False))
            if working_seconds(trials) > budget:
                self._request_stop(Stopped(f"the time budget of {format_duration(budget)} is used up"))
        for job in list(self._workers.jobs):
            if job.subject.lost:
                self._workers.stop(job, Stopped(TAKEN, cause=StopCause.TAKEN_OVER))
            elif reason := self._overdue(job, job.subject):
                self._workers.stop(job, Stopped(reason, Outcome.TIMED_OUT))
        self._upkeep.status()

    def _request_stop(self, stop: Stopped) -> None:
        """No new trials; those at work stop after their epoch, and can be resumed."""
        self._stop_reason = self._stop_reason or stop
        self._upkeep.note(f"stopping: {stop.reason}")

    def _stop_all(self, stop: Stopped) -> None:
        """The first signal ends all trials in order; what was trained since the last checkpoint is lost."""
        if self._stop_reason is not stop:
            self._stop_reason = stop
            self._upkeep.note(f"{stop.reason}: leaving the trials at work resumable; once more ends at once")
        for job in self._workers.jobs:
            self._workers.stop(job, stop)

    def _patiently(self, action: Callable[[], T]) -> T:
        """While the database is away nothing can be ended in order: a signal ends the waiting."""
        return retry_while_unavailable(action, self._upkeep.note, self._signals.raise_received)

    def _held(self) -> list[Lease]:
        return [job.subject.lease for job in list(self._workers.jobs)]

    def _lose(self, lost: Sequence[Lease]) -> None:
        for job in list(self._workers.jobs):
            job.subject.lost = job.subject.lost or job.subject.lease in lost

    def _release(self, trial: Trial) -> None:
        self._ledger.release(trial)
        self._upkeep.given_back(trial)
