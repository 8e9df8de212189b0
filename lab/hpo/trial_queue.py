"""The queue of a study's trials: which one is next, and everything that is stored of one.

Several processes fetch from one queue: they meet in the database, under the study's lock, and a lease says
who works on which trial (`lab.hpo.leases`). A method never raises because a lease is gone: the trial is
marked `lost`, and whoever works on it stops.
"""

import copy
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import optuna
from optuna.trial import FrozenTrial, TrialState

from lab.config import ConfigError
from lab.config.config_diff import same
from lab.config.optimize_config import OptimizeConfig
from lab.events import Outcome, StopCause
from lab.hpo.clock import REAL, Clock, WorkingTime
from lab.hpo.learning_curve import Curve, recorded
from lab.hpo.leases import AlreadyFinished, Lease, LeaseLost, Leases, Stalled, Writer
from lab.hpo.new_points import Exhausted, Proposals
from lab.hpo.optuna_internals import storage_of, study_id, trial_id
from lab.hpo.samplers import with_sampler
from lab.hpo.storage import Database, is_dead, retry_while_unavailable, unless_unavailable
from lab.hpo.trial import Trial
from lab.hpo.trial_folder import read_trial, saved_at
from lab.hpo.trial_states import BY, STATES, VIOLATED, judged, objectives
from lab.hpo.worker_main import TrialFinished
from lab.report.trial_attributes import Spans, TrialAttributes
from lab.store import file_io, run_folder
from lab.store.redact import redact

T = TypeVar("T")


class TrialQueue:
    """The trials of one study, for one process.

    Args:
        folder: of the study.
        on_message: receives messages for people: a point that can't be tried, a database that is away.
        check: is called again and again while the database is away; what it raises ends the waiting.
        owner: of the leases; by default this process.
        is_dead: returns whether the owner of a lease is known to be gone.
    """

    def __init__(
        self,
        config: OptimizeConfig,
        study: optuna.Study,
        database: Database,
        folder: Path,
        *,
        on_message: Callable[[str], None] = lambda text: None,
        check: Callable[[], None] = lambda: None,
        owner: str | None = None,
        clock: Clock = REAL,
        is_dead: Callable[[str], bool] = is_dead,
    ) -> None:
        self._config, self._study, self._database, self._folder = config, study, database, folder
        self._on_message, self._check, self._clock = on_message, check, clock
        self.leases = Leases(
            database, study_id(study), config.lease_seconds, owner, clock=clock, is_dead=is_dead
        )
        # Heartbeats come four times in that time.
        self.working_time = WorkingTime(config.lease_seconds, clock)
        self._proposals = Proposals(config, study, on_message)

    @property
    def exhausted(self) -> Exhausted | None:
        """The reason why there are no more points, where that is before the last trial."""
        return self._proposals.exhausted

    def wait_for(self, action: Callable[[], T]) -> T:
        """Do something with the database, however long its server is away.

        Raises:
            StorageError: it has not come back.
        """
        return retry_while_unavailable(action, self._on_message, self._check, self._clock)

    def trials(self) -> list[FrozenTrial]:
        """Return all trials of the study as they are now."""
        return self.wait_for(partial(self._study.get_trials, deepcopy=False))

    def unfinished(self) -> int:
        """Return the number of trials that were created and have no result yet."""
        return sum(not trial.state.is_finished() for trial in self.trials())

    def fetch(self, held: Iterable[Trial] = ()) -> Trial | None:
        """Claim a trial: a stalled one, else a waiting one, else a new point; None where there is none now.

        Args:
            held: the trials that this process is at work on.

        Raises:
            ConfigError: the sampler can't propose a point; nothing is claimed.
        """
        return self.wait_for(partial(self._fetch, {trial.lease.trial_id for trial in held}))

    def heartbeat(self, held: Collection[Trial]) -> None:
        """Renew the leases of trials with the time that they have had, and mark those that are lost."""
        self.working_time.beat()
        for trial in held:
            try:
                with self.leases.writing(trial.lease) as writer:
                    writer.set_attributes(TrialAttributes(worked=self._worked(trial)))
            except AlreadyFinished:
                pass  # since `held` was read
            except LeaseLost:
                trial.lost = True

    def stalled(self, held: Collection[int] = ()) -> list[Stalled]:
        """Return the running trials that no process works on any more."""
        return self.leases.stalled(held)

    def working_seconds(self, held: Iterable[Trial]) -> float:
        """Return how long the study has been at work; of the trials `held` here, until now."""
        return working_seconds(self.trials(), {trial.number: self._worked(trial) for trial in held})

    def pruning_metric(self, trial: Trial) -> str:
        """Return the metric that pruners see."""
        assert trial.recipe is not None
        return self._config.prune_on or trial.recipe.monitor.metric

    def report(self, trial: Trial, points: Mapping[int, float]) -> None:
        """Store points of the curve by step, or where Optuna has no place for them the whole curve."""
        if len(self._study.directions) == 1:
            self._write(trial, lambda writer: writer.report(points))
        else:
            curve = TrialAttributes(curve=dict(trial.curve.points))
            self._write(trial, lambda writer: writer.set_attributes(curve))

    def sync_reports(self, trial: Trial) -> None:
        """Report what the trial's own record has."""
        self._load_curve(trial)
        self.report(trial, trial.curve.points)

    def retry(self, trial: Trial, crashed: bool = True) -> None:
        """Count an attempt that has ended; one that made progress is not what ends them.

        Args:
            crashed: its process died; else its owner was silent, and may have lost its machine.
        """
        if trial.recipe is not None:
            self._load_curve(trial)
        done, saved = len(trial.curve.points), saved_at(trial.folder)
        if done > trial.progress or saved > trial.saved:
            trial.crashes = trial.losses = 0
        trial.crashes, trial.losses = trial.crashes + crashed, trial.losses + (not crashed)
        trial.progress, trial.saved, trial.restarts = done, saved, trial.restarts + 1
        counts = TrialAttributes(
            deaths=trial.crashes, losses=trial.losses, progress=done, saved=saved, restarts=trial.restarts
        )
        self._write(trial, lambda writer: writer.set_attributes(counts))

    def retry_smaller(self, trial: Trial) -> None:
        """Delete what a batch that was too large has reported; the next one is half of it."""
        trial.halvings += 1
        trial.curve, trial.earlier_seconds = Curve(trial.curve.epochs), 0.0

        def write(writer: Writer) -> None:
            writer.delete_reports()
            writer.set_attributes(TrialAttributes(halvings=trial.halvings))

        self._write(trial, write)

    def finish(self, trial: Trial, finished: TrialFinished) -> tuple[Outcome, list[float]]:
        """Store outcome, values and state in one transaction; returns outcome and values."""
        values = objectives(self._config.base.monitor, finished)
        outcome = judged(finished.outcome, values)
        state = STATES[outcome]
        stored: Sequence[float] | None = values if state == TrialState.COMPLETE else None
        if outcome is Outcome.PRUNED and trial.curve.points and len(self._study.directions) == 1:
            stored = [trial.curve.points[max(trial.curve.points)]]
        attributes = self._attributes(trial, outcome, finished)

        def after_trial() -> None:
            study = with_sampler(self._study, self._config, trial.number)
            frozen = storage_of(self._study).get_trial(trial.lease.trial_id)
            study.sampler.after_trial(study, frozen, state, stored)

        def write(writer: Writer) -> None:
            writer.set_attributes(attributes)
            if outcome is Outcome.INFEASIBLE:
                writer.system_attribute(VIOLATED, BY)
            writer.finish(state, stored)

        # The sampler comes first: it may write to the trial, which is closed once it is finished.
        self.wait_for(after_trial)
        self._write(trial, write)
        return outcome, values

    def release(self, trial: Trial) -> None:
        """Leave an interrupted trial waiting, for whoever comes next."""
        if trial.lost:
            return

        def write() -> bool:
            with self.leases.writing(trial.lease) as writer:
                writer.set_attributes(TrialAttributes(spans=self._spans(trial)))
                writer.release()
            return True

        try:
            # Nobody waits at the end of a study: what isn't released is taken over once its lease ends.
            if not unless_unavailable(write, False):
                self._on_message(f"trial {trial.number} could not be released: the database doesn't answer")
        except LeaseLost:
            trial.lost = True

    def _fetch(self, held: Collection[int]) -> Trial | None:
        with self._locked():
            lease = self._claim(held)
        while lease is None:
            # A proposal takes its time, and other processes don't wait for it. One that was faster has taken
            # the number, and what it has created counts for the next.
            draft = self._proposals.next_point(self._study.get_trials(deepcopy=False))
            if draft is None:
                return None
            with self._locked():
                lease = self._claim(held) or self.leases.create(draft)
        try:
            return self._claimed(lease)
        except LeaseLost:
            return None

    def _locked(self) -> AbstractContextManager[None]:
        return self._database.exclusive(self._study.study_name)

    def _claim(self, held: Collection[int]) -> Lease | None:
        """Claim a trial that is there. Call it under the study's lock."""
        taken = (self.leases.take_over(stalled, held) for stalled in self.stalled(held))
        return next(filter(None, taken), None) or self.leases.claim_waiting()

    def _claimed(self, lease: Lease) -> Trial:
        recipe, problem = None, ""
        try:
            values = self._values(lease)
        except Exhausted as reason:
            values, problem = {}, str(reason)
        known = TrialAttributes.of(storage_of(self._study).get_trial(lease.trial_id))
        spans, since, halvings = known.spans or (), self._clock.now(), known.halvings or 0
        if lease.previous.is_gone and known.since is not None:
            spans = (*spans, (known.since, known.since + (known.worked or 0.0)))
        with self.leases.writing(lease) as writer:
            writer.set_attributes(TrialAttributes(since=since, spans=spans, worked=0.0))
        folder = self._folder / f"trial_{lease.number:05d}"
        try:
            recipe = None if problem else self._config.trial_config(values)
        except ValueError as error:
            problem = str(error).replace("\n", "; ")
        return Trial(
            lease=lease,
            values=values,
            recipe=recipe,
            problem=problem,
            folder=folder,
            resume=_is_resumable(folder, lease.number, values, halvings),
            crashes=known.deaths or 0,
            losses=known.losses or 0,
            progress=known.progress or 0,
            saved=known.saved or 0.0,
            restarts=known.restarts or 0,
            halvings=halvings,
            spans=spans,
            since=since,
            claimed=self.working_time.seconds(),
            curve=Curve(recipe.epochs if recipe else 1),
        )

    def _values(self, lease: Lease) -> dict[str, Any]:
        """Return the trial's values; new ones where its maker wrote none, such as another program.

        Raises:
            Exhausted: there is no point left for it.
        """
        storage = storage_of(self._study)
        frozen = storage.get_trial(lease.trial_id)
        try:
            return self._config.space.from_params(frozen.params)
        except (KeyError, ValueError):
            pass
        with self._locked():  # against a process that proposes the same for another such trial
            trials = self._study.get_trials(deepcopy=False)
            others = [trial for trial in trials if trial_id(trial) != lease.trial_id]
            try:
                found = self._proposals.propose(copy.deepcopy(frozen), others)
            except ConfigError:
                with self.leases.writing(lease) as writer:
                    writer.release()
                raise
            for name, value in found.params.items():
                own = found.distributions[name]
                storage.set_trial_param(lease.trial_id, name, own.to_internal_repr(value), own)
            for name, value in found.system_attrs.items():
                storage.set_trial_system_attr(lease.trial_id, name, value)
        return self._config.space.from_params(found.params)

    def _load_curve(self, trial: Trial) -> None:
        """Take the trial's curve from its own record; it stays as it is while that can't be read."""
        assert trial.recipe is not None
        try:
            trial.curve, trial.earlier_seconds = recorded(
                trial.folder, tuple(trial.recipe.repeats), self.pruning_metric(trial), trial.curve.epochs
            )
        except OSError as error:
            if not file_io.is_storage_fault(error, trial.folder.parent):
                raise

    def _write(self, trial: Trial, action: Callable[[Writer], None]) -> None:
        def write() -> None:
            with self.leases.writing(trial.lease) as writer:
                action(writer)

        try:
            self.wait_for(write)
        except AlreadyFinished:
            pass  # by an earlier try, whose answer was lost
        except LeaseLost:
            trial.lost = True

    def _attributes(self, trial: Trial, outcome: Outcome, finished: TrialFinished) -> TrialAttributes:
        repeats = trial.recipe.repeats if trial.recipe is not None else {}
        return TrialAttributes(
            outcome=outcome,
            cause=finished.reason,
            fault=finished.fault,
            seconds=finished.seconds,
            epochs=finished.epochs,
            epochs_planned=trial.recipe.epochs * len(repeats) if trial.recipe is not None else 0,
            best_epoch=finished.best_epoch,
            attempts=trial.restarts + 1,
            spans=self._spans(trial),
            definitions=dict(finished.definitions) or None,
            quarantined=finished.cause is StopCause.CRASHES or None,
            repeats=dict(zip(repeats, finished.repeats, strict=False)) if len(repeats) > 1 else None,
        )

    def _spans(self, trial: Trial) -> Spans:
        return (*trial.spans, (trial.since, trial.since + self._worked(trial)))

    def _worked(self, trial: Trial) -> float:
        """Return the seconds that the trial has had since this process claimed it."""
        return self.working_time.seconds() - trial.claimed


def working_seconds(
    trials: Iterable[FrozenTrial], worked: Mapping[int, float] = MappingProxyType({})
) -> float:
    """Return how long the study has been at work: the time in which at least one trial was running.

    Pauses between two calls don't count, nor do those in which a process was stopped, and trials side by side
    count once. Apart from `worked` it depends on what the storage holds alone, so that all processes agree.

    Args:
        worked: seconds that running trials have had by now; of others the last heartbeat counts.
    """
    spans: list[tuple[float, float]] = []
    for trial in trials:
        known = TrialAttributes.of(trial)
        spans += known.spans or ()
        if trial.state == TrialState.RUNNING and known.since is not None:
            seconds = worked.get(trial.number, known.worked or 0.0)
            spans.append((known.since, known.since + seconds))
    total, end = 0.0, 0.0
    for start, stop in sorted(spans):
        total += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return total


def _is_resumable(folder: Path, number: int, values: dict[str, Any], halvings: int) -> bool:
    """Return whether a folder holds what this very trial has left, with a batch of this size."""
    facts = read_trial(folder)
    params = file_io.as_json_values(redact({"params": values})["params"])  # as the folder has them
    same_point = facts.get("number") == number and same(facts.get("params"), params)
    return same_point and facts.get("halvings", 0) == halvings and (folder / run_folder.CONFIG).exists()
