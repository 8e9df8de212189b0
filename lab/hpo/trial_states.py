"""Mapping of a run's outcome to the state and values that Optuna stores.

Nothing turns a fault into "pruned". A trial that diverged or found no memory is complete for Optuna, with the
worst value there is, so that a sampler learns to keep away; it is never best. A failed one, or one that took
too long, is no evidence about its point, and is FAIL. An infeasible one is PRUNED with a violated constraint:
Optuna's samplers read constraints of COMPLETE and PRUNED trials only.
"""

import math
from collections.abc import Mapping, Sequence

from optuna.trial import TrialState

from lab.config.sections import Monitor
from lab.events import Outcome
from lab.hpo.worker_main import TrialFinished

# Optuna's system attribute of the one constraint that infeasible trials violate: more than 0 is a violation.
VIOLATED, BY = "constraints:feasible", 1.0
STATES: Mapping[Outcome, TrialState] = {
    Outcome.COMPLETED: TrialState.COMPLETE,
    Outcome.EARLY_STOPPED: TrialState.COMPLETE,
    Outcome.DIVERGED: TrialState.COMPLETE,
    Outcome.OUT_OF_MEMORY: TrialState.COMPLETE,
    Outcome.PRUNED: TrialState.PRUNED,
    Outcome.INFEASIBLE: TrialState.PRUNED,
    Outcome.TIMED_OUT: TrialState.FAIL,
    Outcome.FAILED: TrialState.FAIL,
    Outcome.INTERRUPTED: TrialState.WAITING,
}


def objectives(monitor: Monitor, finished: TrialFinished) -> list[float]:
    """The trial's values, the monitor's first; a value that is not a number counts as the worst.

    A run that was no success has the worst of all.
    """
    modes = [monitor.mode, *(other.mode for other in monitor.also)]
    worst = [math.inf if mode == "min" else -math.inf for mode in modes]
    if not finished.outcome.is_result:
        return worst
    source = finished.best if monitor.returns == "best" else finished.last
    special = {"parameters": float(finished.parameters), "seconds": finished.seconds}
    found = [finished.value, *(source.get(o.metric, special.get(o.metric, math.nan)) for o in monitor.also)]
    return [bad if math.isnan(value) else value for value, bad in zip(found, worst, strict=True)]


def judged(outcome: Outcome, values: Sequence[float]) -> Outcome:
    """The outcome once the values are known: a run that completed without a finite value has diverged."""
    return Outcome.DIVERGED if outcome.is_result and not all(map(math.isfinite, values)) else outcome
