"""A callback that prunes a run by the pruner of an Optuna trial: what a user of raw Optuna writes."""

from typing import TYPE_CHECKING

from lab.events import Callback, EpochEnd, Outcome, StopRequest, named, request_stop

if TYPE_CHECKING:
    import optuna


class Pruning(Callback):
    """Report the monitored value to a trial, and end the run as `pruned` if its pruner decides so.

    `run(config, callbacks=[Pruning(trial, config.monitor.metric)])`; a run that was pruned is then reported
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
        return request_stop(
            f"{self._metric} {value:.6g} at epoch {event.epoch} is not promising", Outcome.PRUNED
        )
