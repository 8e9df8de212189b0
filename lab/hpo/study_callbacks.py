"""What is done besides training: console, `best/`, disk, mirrors. Nothing in here may end a study."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from lab.config.optimize_config import OptimizeConfig
from lab.console.formatting import format_number
from lab.events import RUNNING, Callback, Outcome
from lab.hpo.best_trial import keep_best
from lab.hpo.console import StudyConsole, standing
from lab.hpo.cost_estimate import time_left, trials_left
from lab.hpo.executor import Slot
from lab.hpo.retention import Retention
from lab.hpo.trial_claims import Trial
from lab.hpo.trial_folder import write_trial
from lab.hpo.wandb_sync import WandbSync, hparams
from lab.hpo.worker_main import EpochReported, RunEnded, RunStarted, TrialFinished
from lab.report.trial_attributes import TrialAttributes
from lab.report.trial_ranking import ranked

_MINUTE = 60.0


def _at_work(trial: FrozenTrial) -> float:
    """Seconds that a running trial has had, pauses not counted."""
    known = TrialAttributes.of(trial)
    earlier = sum(stop - start for start, stop in known.spans or ())
    return earlier + (0.0 if known.since is None else max(0.0, time.time() - known.since))


class Upkeep:
    """Hears of every trial of this process.

    Args:
        folder: of the study.
    """

    def __init__(
        self,
        config: OptimizeConfig,
        study: optuna.Study,
        folder: Path,
        console: StudyConsole,
        mirror: WandbSync,
    ) -> None:
        self._config, self._study, self._folder = config, study, folder
        self._console, self._mirror = console, mirror
        self._metrics = [monitor.metric for monitor in config.monitors]
        self._retention = Retention(folder, config.retention, study.directions)
        self._full = ""
        self._trials: list[FrozenTrial] = []
        self._read_at = time.monotonic()

    def note(self, text: str) -> None:
        """Something worth a line."""
        self._console.note(text)

    def started(self, trial: Trial, slot: Slot) -> None:
        """A trial is about to run."""
        assert trial.ran is not None
        self._console.trial_started(trial.number, trial.values, slot.device, trial.resume)

    def extras(self, trial: Trial) -> tuple[Callable[[], Callback], ...]:
        """More listeners for the trial's run."""
        return hparams(trial, self._metrics)

    def run_start(self, trial: Trial, message: RunStarted) -> None:
        """A seed of a trial begins."""
        self._mirror.run_start(trial, message)

    def epoch(self, trial: Trial, message: EpochReported) -> None:
        """An epoch is over."""
        self._mirror.epoch(trial, message)

    def run_end(self, trial: Trial, message: RunEnded) -> None:
        """A seed of a trial is over."""
        self._mirror.run_end(trial, message)

    def finished(self, trial: Trial, outcome: Outcome, finished: TrialFinished, values: list[float]) -> None:
        """A trial is over, and the database knows."""
        shown = dict(zip(self._metrics, values, strict=True))
        if outcome is Outcome.PRUNED:
            last = trial.curve.points[max(trial.curve.points)] if trial.curve.points else float("nan")
            shown = {self._config.prune_on or self._metrics[0]: last}
        facts = {
            **self.facts(trial), "outcome": outcome, "cause": finished.reason, "values": shown,
            "epochs": finished.epochs, "seconds": finished.seconds,
        }  # fmt: skip
        if trial.folder.exists():
            with self._guarded():
                write_trial(trial.folder, facts)
        self._mirror.trial_over(trial, outcome, shown)
        self._read()
        best = ranked(self._trials, self._study.directions)
        is_best = bool(best) and best[0].number == trial.number
        with self._guarded():
            if best:
                keep_best(self._folder, best[0], self._metrics)
            self._full = self._retention.apply(self._trials)
        self._console.trial_over(
            trial.number,
            outcome,
            shown,
            trial.values,
            epochs=finished.epochs,
            seconds=finished.seconds,
            cause=finished.reason,
            best=is_best,
            state=self._standing(),
            shown=self._shown(trial),
        )

    def _shown(self, trial: Trial) -> dict[str, Any]:
        """The trial's point with names for its choices; two choices of one component have their own."""
        space = self._config.space
        return dict(space.shown(space.to_params(trial.values))) if trial.values else {}

    def given_back(self, trial: Trial) -> None:
        """A trial was interrupted and waits."""
        self._mirror.trial_over(trial, Outcome.INTERRUPTED, {})

    def full(self) -> str:
        """Why there is no room for more trials; empty where there is."""
        return self._full

    def status(self) -> None:
        """Where the study stands: on a terminal always, elsewhere once a minute."""
        if time.monotonic() - self._read_at > (2.0 if self._console.live else _MINUTE):
            self._read()
            self._console.status(self._standing())

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """A disk that is full is said, and ends nothing: the trial's result is in the database."""
        try:
            yield
        except OSError as error:
            self._console.note(f"{self._folder}: {error.strerror or error}")

    def _read(self) -> None:
        self._read_at = time.monotonic()
        with suppress(SQLAlchemyError, StorageInternalError):  # it is away: what was known still stands
            self._trials = self._study.get_trials(deepcopy=False)

    def _standing(self) -> str:
        known = [(trial, TrialAttributes.of(trial)) for trial in self._trials]
        ours = [(trial, attributes) for trial, attributes in known if attributes.forked_from is None]
        finished = [attributes for trial, attributes in ours if trial.state.is_finished()]
        counts = Counter(str(each.outcome or Outcome.COMPLETED) for each in finished)
        best = ranked(self._trials, self._study.directions)
        shown = f"{format_number(best[0].values[0])} (trial {best[0].number})" if best else ""
        running = [trial for trial, _ in ours if trial.state == TrialState.RUNNING]
        begun = [trial for trial in self._trials if trial.state != TrialState.WAITING]
        waiting = trials_left(self._config, len(finished) + len(running), len(begun))
        left = self._seconds_left(finished, running, waiting)
        return standing(counts, self._config.total, len(running), shown, left)

    def _seconds_left(
        self, finished: list[TrialAttributes], running: list[FrozenTrial], waiting: int
    ) -> float | None:
        """By the mean time of the finished trials, pauses not counted, and all workers everywhere."""
        spans = [stop - start for each in finished for start, stop in each.spans or ()]
        if not spans:
            return None
        elapsed = [_at_work(trial) for trial in running]
        workers = max(len(running), self._config.n_workers)
        return time_left(sum(spans) / len(finished), elapsed, waiting, workers)

    def facts(self, trial: Trial) -> dict[str, Any]:
        """What the trial's own folder says of it."""
        return {
            "outcome": RUNNING,
            "study": self._config.study_name,
            "number": trial.number,
            "params": trial.values,
            "halvings": trial.halvings,
            "recipe": trial.ran.as_data() if trial.ran is not None else None,
        }
