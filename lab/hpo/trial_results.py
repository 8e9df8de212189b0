"""What the database is told of a trial: reports, deaths, its end. Every write needs the trial's lease."""

import time
from collections.abc import Callable, Mapping, Sequence

import optuna
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState
from sqlalchemy.exc import SQLAlchemyError

from lab.config.optimize_config import OptimizeConfig
from lab.events import Outcome, StopCause
from lab.hpo.learning_curve import Curve, recorded
from lab.hpo.leases import LeaseLost, Leases, Writer
from lab.hpo.optuna_internals import storage_of
from lab.hpo.storage import retry_while_unavailable
from lab.hpo.trial_claims import Trial, with_sampler
from lab.hpo.trial_folder import saved_at
from lab.hpo.trial_states import BY, STATES, VIOLATED, judged, objectives
from lab.hpo.worker_main import TrialFinished
from lab.report.trial_attributes import Spans, TrialAttributes


class Ledger:
    """Writes for the trials of one process; a trial whose lease is gone is marked `lost`, and nothing raised.

    Args:
        told: is told when the database doesn't answer.
        heed: is called while it doesn't; what it raises ends the waiting.
    """

    def __init__(
        self,
        config: OptimizeConfig,
        study: optuna.Study,
        leases: Leases,
        told: Callable[[str], None],
        heed: Callable[[], None],
    ) -> None:
        self._config, self._study, self._leases, self._told, self._heed = config, study, leases, told, heed

    def watched(self, trial: Trial) -> str:
        """The metric that pruners see."""
        assert trial.recipe is not None
        return self._config.prune_on or trial.recipe.monitor.metric

    def load_curve(self, trial: Trial) -> None:
        """Take the trial's curve from its own record."""
        assert trial.recipe is not None
        trial.curve, trial.earlier_seconds = recorded(
            trial.folder, tuple(trial.recipe.repeats), self.watched(trial), trial.curve.epochs
        )

    def report(self, trial: Trial, points: Mapping[int, float]) -> None:
        """Store points of the curve by step, or where Optuna has no place for them the whole curve."""
        if len(self._study.directions) == 1:
            self._write(trial, lambda writer: writer.report(points))
        else:
            curve = TrialAttributes(curve=dict(trial.curve.points))
            self._write(trial, lambda writer: writer.set_attributes(curve))

    def sync_reports(self, trial: Trial) -> None:
        """Report what the trial's own record has."""
        self.load_curve(trial)
        self.report(trial, trial.curve.points)

    def count_death(self, trial: Trial) -> None:
        """Note that a trial's process died; one that gets on between its deaths is not what kills it."""
        if trial.recipe is not None:
            self.load_curve(trial)
        done, saved = len(trial.curve.points), saved_at(trial.folder)
        got_on = done > trial.progress or saved > trial.saved
        trial.deaths = 1 if got_on else trial.deaths + 1
        trial.progress, trial.saved, trial.restarts = done, saved, trial.restarts + 1
        counts = TrialAttributes(deaths=trial.deaths, progress=done, saved=saved, restarts=trial.restarts)
        self._write(trial, lambda writer: writer.set_attributes(counts))

    def restart(self, trial: Trial) -> None:
        """Forget what a batch that was too large has reported; the next one is half of it."""
        trial.halvings += 1
        trial.curve, trial.earlier_seconds = Curve(trial.curve.epochs), 0.0

        def write(writer: Writer) -> None:
            writer.delete_reports()
            writer.set_attributes(TrialAttributes(halvings=trial.halvings))

        self._write(trial, write)

    def finish(self, trial: Trial, finished: TrialFinished) -> tuple[Outcome, list[float]]:
        """The trial is over: outcome, values and state in one transaction; returns outcome and values."""
        values = objectives(self._config.base.monitor, finished)
        outcome = judged(finished.outcome, values)
        state = STATES[outcome]
        stored: Sequence[float] | None = values if state == TrialState.COMPLETE else None
        if outcome is Outcome.PRUNED and trial.curve.points and len(self._study.directions) == 1:
            stored = [trial.curve.points[max(trial.curve.points)]]
        attributes = _attributes(trial, outcome, finished)

        def write(writer: Writer) -> None:
            writer.set_attributes(attributes)
            if outcome is Outcome.INFEASIBLE:
                writer.set_constraint(VIOLATED, BY)
            writer.finish(state, stored)

        def tell_sampler() -> None:
            study = with_sampler(self._study, self._config, trial.number)
            frozen = storage_of(self._study).get_trial(trial.lease.trial_id)
            study.sampler.after_trial(study, frozen, state, stored)

        retry_while_unavailable(tell_sampler, self._told, self._heed)
        self._write(trial, write)
        return outcome, values

    def release(self, trial: Trial) -> None:
        """Leave an interrupted trial waiting, for whoever comes next."""
        if trial.lost:
            return
        try:
            with self._leases.writing(trial.lease) as writer:
                writer.set_attributes(TrialAttributes(spans=_spans(trial)))
                writer.release()
        except LeaseLost:
            trial.lost = True
        except (SQLAlchemyError, StorageInternalError):  # nobody waits at the end: the lease will tell
            self._told(f"trial {trial.number} could not be given back: the database doesn't answer")

    def _write(self, trial: Trial, action: Callable[[Writer], None]) -> None:
        def write() -> None:
            with self._leases.writing(trial.lease) as writer:
                action(writer)

        try:
            retry_while_unavailable(write, self._told, self._heed)
        except LeaseLost:
            trial.lost = True


def _attributes(trial: Trial, outcome: Outcome, finished: TrialFinished) -> TrialAttributes:
    """The attributes of a finished trial."""
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
        spans=_spans(trial),
        definitions=dict(finished.definitions) or None,
        quarantined=finished.cause is StopCause.CRASHES or None,
        repeats=dict(zip(repeats, finished.repeats, strict=False)) if len(repeats) > 1 else None,
    )


def _spans(trial: Trial) -> Spans:
    return (*trial.spans, (trial.since, time.time()))
