"""Schedules the trials of a study: fetches them, starts them, answers their epochs and records their results.

One process does all that concerns the database; the trials only train. Several schedulers may work on one
study, on one machine or on many: they meet in the database. This process never imports torch.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from lab.config.group_split_rule import recorded
from lab.config.optimize_config import OptimizeConfig
from lab.console.formatting import format_duration, format_number
from lab.console.signals import Signals
from lab.events import Outcome, StopCause, Stopped, StopRequest, named
from lab.hpo.clock import REAL, Clock
from lab.hpo.executor import Job, Slot, WorkerDied, cpu_share, free_slot
from lab.hpo.job_loop import ExecutorFactory, JobLoop
from lab.hpo.leases import Previous, heartbeat
from lab.hpo.repeated_failures import DIED, LOST, Failures
from lab.hpo.samplers import create_pruner, ignores_infeasible, should_prune
from lab.hpo.storage import unless_unavailable
from lab.hpo.study_callbacks import StudyCallback, TrialResult
from lab.hpo.trial import Trial
from lab.hpo.trial_errors import StorageFaults
from lab.hpo.trial_folder import TAKEN, LeaseCheck
from lab.hpo.trial_queue import TrialQueue
from lab.hpo.wandb_sync import without_wandb
from lab.hpo.worker_main import (
    IN_USE,
    Answer,
    EpochReported,
    Message,
    RunEnded,
    RunStarted,
    StepsReported,
    TrialFinished,
    TrialJob,
    WorkerReady,
    patience,
)
from lab.report.trial_ranking import ranked
from lab.store import run_folder

_FETCH_AGAIN = 2.0  # seconds between two looks for trials that others have left
_MAX_LOSSES = 5  # times that a trial's process may be lost without a new checkpoint

HeartbeatFactory = Callable[[Callable[[], None], float], AbstractContextManager[object]]


class TrialScheduler(JobLoop):
    """One process's part in a study.

    Args:
        queue: of the study's trials.
        create_executor: makes what runs them, given what handles its messages.
        callbacks: of the study, usually a `StudyCallbackList`.
        signals: the caller's context; the first signal stops all trials.
        command: the command line, for the records of the runs.
        heartbeat: makes the context in which leases are renewed beside everything else.
    """

    jobs_are = "trials"

    def __init__(
        self,
        config: OptimizeConfig,
        study: optuna.Study,
        queue: TrialQueue,
        create_executor: ExecutorFactory,
        *,
        callbacks: StudyCallback,
        signals: Signals,
        command: Sequence[str] = (),
        clock: Clock = REAL,
        heartbeat: HeartbeatFactory = heartbeat,
    ) -> None:
        super().__init__(create_executor, signals, callbacks.on_message, clock)
        self._config, self._study, self._queue = config, study, queue
        study.pruner = create_pruner(config)
        self._callbacks, self._command, self._heartbeat = callbacks, tuple(command), heartbeat
        self._group_rule = recorded(study.user_attrs)
        self._failures = Failures(study, config.max_consecutive_failures, clock)
        self._storage_faults = StorageFaults(patience(config), clock)
        self._trials: Sequence[FrozenTrial] = ()  # as they were last read
        self._fetched_nothing_at: float | None = None
        self._warned = False

    def optimize(self) -> Stopped | None:
        """Work until the study is done; returns why it ended before that, or None.

        Its outcome is `failed` where the user has to act before it can continue, and `completed` where
        there was no point left to try.

        Raises:
            Stopped: by a signal; the running trials are left resumable.
        """
        with self._heartbeat(lambda: self._queue.heartbeat(self._running()), self._config.lease_seconds / 4):
            self.run_jobs()
        if self._stop_reason is None and (reason := self._queue.exhausted) is not None:
            return Stopped(str(reason), Outcome.FAILED if reason.infeasible else Outcome.COMPLETED)
        return self._stop_reason

    def _fill_slots(self) -> bool:
        while not self._stopping() and (slot := free_slot(self._executor)) is not None:
            now = self._clock.monotonic()
            waited = None if self._fetched_nothing_at is None else now - self._fetched_nothing_at
            if self._executor.jobs and waited is not None and waited < _FETCH_AGAIN:
                break  # there was nothing to fetch a moment ago
            trial = self._queue.fetch(self._running())
            if trial is None:
                self._fetched_nothing_at = self._clock.monotonic()
                break
            self._fetched_nothing_at = None
            if self._stopping():  # a signal came while the sampler was looking for a point
                self._abandon(trial)
                break
            if trial.lease.previous.is_gone:
                self._queue.retry(trial, crashed=trial.lease.previous is Previous.DEAD)
            self._start(trial, slot)
            # In this process a trial has ended by now: what has to stop is looked for after each.
            self._check_deadlines()
        if self._executor.jobs:
            return True
        # Other processes may still be at work on trials that come back to this one.
        return not self._stopping() and self._queue.unfinished() > 0

    def _start(self, trial: Trial, slot: Slot, delay: float = 0.0) -> None:
        """Start or resume a trial, unless that is pointless."""
        if trial.recipe is None:
            self._record_result(trial, TrialFinished(Outcome.FAILED, trial.problem, fault="invalid config"))
            return
        if trial.crashes >= self._config.max_attempts:
            self._give_up(trial, DIED, trial.crashes)
            return
        if trial.losses >= _MAX_LOSSES:
            self._give_up(trial, LOST, trial.losses)
            return
        twin = self._queue.wait_for(partial(self._failures.quarantined, trial.number))
        if twin is not None:
            reason = f"not begun: its configuration is that of trial {twin}, which is quarantined"
            self._record_result(trial, TrialFinished(Outcome.FAILED, reason))
            return
        verdict = self._sync_reports(trial, len(trial.recipe.repeats)) if trial.resume else None
        if verdict is not None:
            self._record_earlier(trial, verdict.outcome, verdict.reason)
            return
        config = self._executed(trial, slot)
        self._callbacks.on_trial_start(trial, slot)
        # A process is stopped by the executor; a run in this one has to look for itself.
        checks = (partial(LeaseCheck, trial),) if self._config.isolation == "none" else ()
        order = TrialJob(
            config=config,
            folder=trial.folder,
            resume=trial.resume,
            patience=patience(self._config),
            command=self._command,
            extras=(*self._callbacks.run_callbacks(trial), *checks),
            token=trial.lease.token,
            facts=trial.facts(self._config.study_name),
            searched=tuple(self._config.space.path(name) for name in trial.values),
            group_rule=self._group_rule,
            delay=delay,
        )
        self._executor.start(slot, order, trial)

    def _executed(self, trial: Trial, slot: Slot) -> Mapping[str, Any]:
        """The config that a trial's process runs: the recipe on this device, with its share of the CPU."""
        assert trial.recipe is not None
        recipe = trial.recipe
        values: dict[str, Any] = {}
        if slot.device is not None:
            values["device"] = slot.device
        if recipe.threads is None and len(self._executor.slots) > 1:
            values["threads"] = cpu_share(len(self._executor.slots))
        if trial.halvings:
            batch_size = max(1, recipe.batch_size // 2**trial.halvings)
            values["batch_size"] = batch_size
            values["accumulate_grad_batches"] = recipe.accumulate_grad_batches * 2**trial.halvings
        trial.ran = recipe.with_values({k: v for k, v in values.items() if k != "device"})
        return without_wandb(recipe.with_values(values).as_data())

    def _sync_reports(self, trial: Trial, repeats: int) -> StopRequest | None:
        """Report what a trial had recorded and its former process could not report; the verdict on it."""
        self._queue.sync_reports(trial)
        last = max(trial.curve.points, default=0)
        if last == 0 or last >= repeats * trial.curve.epochs:
            return None
        return self._pruned(trial, last)

    def _handle(self, job: Job, message: Message | WorkerDied) -> Answer:
        trial: Trial = job.subject
        match message:
            case WorkerReady():
                job.started = self._queue.working_time.seconds()
            case RunStarted():
                if trial.resume:  # its former process may have continued until it released the folder
                    self._queue.sync_reports(trial)
                self._callbacks.on_run_start(trial, message)
            case StepsReported():
                self._callbacks.on_steps(trial)
            case EpochReported():
                return self._epoch(job, trial, message)
            case RunEnded():
                self._callbacks.on_run_end(trial, message)
            case TrialFinished():
                self._finished(job, trial, message)
            case WorkerDied():
                self._died(job, trial, message.reason)
        return None

    def _epoch(self, job: Job, trial: Trial, message: EpochReported) -> Answer:
        """Report an epoch and decide whether the trial continues."""
        assert trial.recipe is not None
        event = message.event
        self._callbacks.on_epoch_end(trial, message)
        if event.diverged:
            return None
        value = named(event.values, self._queue.pruning_metric(trial))
        step, mean = trial.curve.add(message.seed_index, event.epoch, value)
        self._queue.report(trial, {step: mean})
        if trial.lost:
            return StopRequest(TAKEN, Outcome.INTERRUPTED, StopCause.TAKEN_OVER)
        if stop := self._stop_request(job):
            return stop
        if reason := self._overdue(job, trial):
            return StopRequest(reason, Outcome.TIMED_OUT)
        last = trial.curve.is_last(message.seed_index, event.epoch, len(trial.recipe.repeats))
        return None if last or event.stop is not None else self._pruned(trial, step)

    def _pruned(self, trial: Trial, step: int) -> StopRequest | None:
        if self._config.pruner is None:
            return None
        if not self._queue.wait_for(lambda: should_prune(self._study, self._config, trial.number)):
            return None
        value = format_number(trial.curve.points[step])
        return StopRequest(
            f"{self._queue.pruning_metric(trial)} {value} at epoch {step} is not promising", Outcome.PRUNED
        )

    def _overdue(self, job: Job, trial: Trial) -> str:
        limit = self._config.trial_timeout
        if limit is None or job.started is None:
            return ""
        seconds = trial.earlier_seconds + self._queue.working_time.seconds() - job.started
        return f"it took longer than {format_duration(limit)}" if seconds > limit else ""

    def _finished(self, job: Job, trial: Trial, finished: TrialFinished) -> None:
        waits = finished.outcome is Outcome.INTERRUPTED and not self._stopping()
        if trial.lost or finished.cause is StopCause.TAKEN_OVER:
            trial.lost = True
            self._on_message(f"trial {trial.number}: {TAKEN}")
        elif waits and finished.cause is StopCause.NO_ANSWER:
            self._retry(job, trial, "the scheduler did not answer in time; restarting the trial")
        elif waits and finished.cause is StopCause.FOLDER_IN_USE:
            self._retry(job, trial, f"{IN_USE}; it waits for that one to end")
        elif waits and (delay := self._delay(trial, finished)) is not None:
            again = f"{finished.reason}; it is tried again in {format_duration(delay)}"
            self._retry(job, trial, again, delay=delay)
        elif finished.outcome is Outcome.INTERRUPTED:  # not asked for, it is as good as a death
            if finished.cause is StopCause.STORAGE_FAULT:
                self._request_stop(Stopped(finished.reason, Outcome.FAILED, finished.cause))
            self._died(job, trial, finished.reason)
        elif finished.outcome is Outcome.OUT_OF_MEMORY and self._can_halve(trial):
            self._queue.retry_smaller(trial)
            self._retry(job, trial, f"{finished.reason}: once more with half the batch", resume=False)
        else:
            self._record_result(trial, finished)

    def _delay(self, trial: Trial, finished: TrialFinished) -> float | None:
        """Return the seconds until a trial that the system kept from its files is tried again."""
        if finished.cause is not StopCause.STORAGE_FAULT:
            return None
        return self._storage_faults.delay(trial.number, len(trial.curve.points))

    def _can_halve(self, trial: Trial) -> bool:
        batch_size = trial.ran.batch_size if trial.ran is not None else 1
        return self._config.on_oom == "accumulate" and batch_size > 1

    def _died(self, job: Job, trial: Trial, reason: str) -> None:
        """Restart a trial whose process died, up to `max_attempts` times."""
        if trial.lost:
            return
        if job.stopping is not None and (overdue := self._overdue(job, trial)):
            self._record_result(trial, TrialFinished(Outcome.TIMED_OUT, overdue))
        elif self._stopping():
            self._abandon(trial)
        else:
            self._queue.retry(trial)
            if trial.crashes >= self._config.max_attempts:
                self._give_up(trial, reason, trial.crashes)
            else:
                self._retry(job, trial, f"{reason}; continuing from its checkpoint")

    def _give_up(self, trial: Trial, reason: str, times: int) -> None:
        reason = f"{reason}; tried {times} times, and quarantined"
        self._record_earlier(trial, Outcome.FAILED, reason, fault=DIED, cause=StopCause.CRASHES)

    def _record_earlier(self, trial: Trial, outcome: Outcome, reason: str, **more: Any) -> None:
        """Record a result with the epochs that the trial has done in former processes."""
        done, seconds = len(trial.curve.points), trial.earlier_seconds
        self._record_result(trial, TrialFinished(outcome, reason, epochs=done, seconds=seconds, **more))

    def _retry(self, job: Job, trial: Trial, reason: str, resume: bool = True, delay: float = 0.0) -> None:
        if trial.lost:
            return
        self._on_message(f"trial {trial.number}: {reason}")
        try:
            trial.resume = resume and (trial.folder / run_folder.CONFIG).exists()
        except OSError:  # the folder can't be read at present
            trial.resume = resume and bool(trial.curve.points)
        self._start(trial, job.slot, delay)

    def _record_result(self, trial: Trial, finished: TrialFinished) -> None:
        """Store the result of a trial, then call the callbacks with it."""
        outcome, values = self._queue.finish(trial, finished)
        if trial.lost:
            return
        self._trials = unless_unavailable(lambda: self._study.get_trials(deepcopy=False), self._trials)
        stop = self._callbacks.on_trial_end(trial, self._result(trial, outcome, finished, values))
        if outcome is Outcome.FAILED and (error := self._queue.wait_for(self._failures.repeated)):
            self._request_stop(Stopped(error, Outcome.FAILED))
        if outcome is Outcome.INFEASIBLE:
            self._infeasible()
        if stop is not None:
            self._request_stop(stop)

    def _result(
        self, trial: Trial, outcome: Outcome, finished: TrialFinished, values: Sequence[float]
    ) -> TrialResult:
        metrics = [monitor.metric for monitor in self._config.monitors]
        shown = dict(zip(metrics, values, strict=True))
        if outcome is Outcome.PRUNED:
            points = trial.curve.points
            shown = {self._config.prune_on or metrics[0]: points[max(points)] if points else float("nan")}
        best = ranked(self._trials, self._study.directions)
        return TrialResult(outcome, shown, finished, self._trials, best[0] if best else None)

    def _infeasible(self) -> None:
        """Report once if the sampler learns nothing from such trials; give up where there are no others."""
        if not self._warned and (name := ignores_infeasible(self._config)):
            self._warned = True
            self._on_message(
                f"{name} does not learn from infeasible trials; a condition under 'constraints' in the "
                "study's file keeps any sampler away from such points, and costs no trials"
            )
        if reason := self._queue.wait_for(self._failures.hopeless):
            self._request_stop(Stopped(reason, Outcome.FAILED))

    def _check_deadlines(self) -> None:
        """Stop on a signal, at the end of the study's time, and what is over its own or another's by now."""
        super()._check_deadlines()
        budget = self._config.time_budget
        if (
            budget is not None
            and not self._stopping()
            and self._queue.working_seconds(self._running()) > budget
        ):
            self._request_stop(Stopped(f"the time budget of {format_duration(budget)} is used up"))
        for job in list(self._executor.jobs):
            if job.subject.lost:
                self._executor.stop(job, Stopped(TAKEN, cause=StopCause.TAKEN_OVER))
            elif reason := self._overdue(job, job.subject):
                self._executor.stop(job, Stopped(reason, Outcome.TIMED_OUT))
        self._callbacks.on_poll()

    def _request_stop(self, stop: Stopped) -> None:
        """Start no new trials; those that run stop after their epoch, and can be resumed."""
        self._stop_reason = self._stop_reason or stop
        self._on_message(f"stopping: {stop.reason}")

    def _running(self) -> list[Trial]:
        return [job.subject for job in list(self._executor.jobs)]

    def _abandon(self, subject: Trial) -> None:
        """Leave a trial to whoever comes next."""
        self._queue.release(subject)
        self._callbacks.on_trial_release(subject)
