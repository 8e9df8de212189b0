"""Asks Optuna after every epoch whether the trial is worth going on with."""

from typing import TYPE_CHECKING

from lab.events import Callback, EpochEnd, StopRequest, named, request_stop

if TYPE_CHECKING:
    import optuna


class Pruning(Callback):
    """Reports the monitored value to a trial, and ends the run as `pruned` if its pruner says so.

    `run(config, callbacks=[Pruning(trial, config.monitor.metric)])`; a run that was pruned is then to be told
    to Optuna as such: `raise optuna.TrialPruned`.

    Args:
        metric: the value to report, as it is logged; the study's direction must be the monitor's mode.
    """

    def __init__(self, trial: "optuna.Trial", metric: str) -> None:
        self._trial, self._metric = trial, metric

    def on_epoch_end(self, event: EpochEnd) -> StopRequest | None:
        """Report the epoch; an epoch that diverged is none to prune by."""
        if event.diverged:
            return None
        value = named(event.values, self._metric)
        self._trial.report(value, event.epoch)
        if not self._trial.should_prune():
            return None
        return request_stop(f"{self._metric} {value:.6g} at epoch {event.epoch} is not promising", "pruned")
