"""Hyperparameter importances: the fraction of the objective's variance that each parameter explains."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.report.study_data import Dimension, Study, Trial, shown
from lab.report.study_findings import span

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

LEAST, FEW = 4, 20  # finished trials: fewer give no result, or a weak one
_MOST = 500  # trials that are enough for a forest; its time grows faster than they do
_MANY = 150  # trials; from here on 16 trees are enough, and 64 take seconds


@dataclass(frozen=True)
class Importances:
    """The fractions of the values' variance that parameters explain, largest first; they sum to one."""

    objective: str
    trials: int  # that they were computed from
    fractions: tuple[tuple[str, float], ...] = ()
    conditional: tuple[str, ...] = ()  # not in use in all of the trials
    constant: tuple[str, ...] = ()  # had one value only
    reason: str = ""  # why there are none


def importances(study: Study, number: int = 0) -> Importances:
    """Compute fANOVA (Hutter et al., 2014) of one objective over the finished trials.

    A random forest is fitted to the values, and its variance is decomposed over the parameters. Where a
    conditional parameter was not in use, its typical value is imputed; outliers are clipped to the worst of
    the other values, or a single bad trial would dominate. Of many trials, some at even intervals of the
    ranking stand for all.
    """
    objective, ranked = study.objectives[number], study.ranked
    count = min(len(ranked), _MOST)
    trials = [ranked[n * len(ranked) // count] for n in range(count)]
    values = [trial.values[number] for trial in trials]
    used = [d for d in study.dimensions if any(d.path in trial.params for trial in trials)]
    filled = {d.path: _filled(d, trials) for d in used}
    varied = [d for d in used if len(set(filled[d.path])) > 1]
    constant = tuple(d.path for d in used if d not in varied)
    if len(trials) < LEAST:
        reason = f"Importances require at least {LEAST} finished trials; there are {len(trials)}."
    elif not varied:
        reason = "No parameter had more than one value."
    elif len(set(values)) == 1:
        reason = "All finished trials have the same value."
    else:
        fractions = _fanova(varied, filled, _rescaled(values, objective.maximize))
        conditional = tuple(d.path for d in varied if any(d.path not in trial.params for trial in trials))
        reason = "" if fractions else "The values don't depend on the parameters."
        return Importances(objective.metric, len(trials), fractions, conditional, constant, reason)
    return Importances(objective.metric, len(trials), constant=constant, reason=reason)


def _rescaled(values: Sequence[float], maximize: bool) -> list[float]:
    """Rescale values to 0 to 1 within their span: the square of a large one would be infinite."""
    low, high = span(values, maximize)
    half = 1.0 if math.isfinite(high - low) else 0.5
    width = half * high - half * low
    return [(half * min(max(value, low), high) - half * low) / width for value in values]


def _filled(dimension: Dimension, trials: Sequence[Trial]) -> list[str | float]:
    """Return a value for each trial; a missing one is imputed by the median, or the most frequent choice.

    With any other value the parameter would reveal whether its condition holds, and take its importance.
    """
    values = [trial.params.get(dimension.path) for trial in trials]
    numbers = [float(value) for value in values if isinstance(value, (int, float))]
    if dimension.kind == "categorical" or not numbers:
        usual = statistics.mode(shown(value) for value in values if value is not None)
        return [usual if value is None else shown(value) for value in values]
    middle = statistics.median_low(numbers)
    return [float(value) if isinstance(value, (int, float)) else middle for value in values]


def _fanova(
    dimensions: Sequence[Dimension], filled: dict[str, list[str | float]], values: Sequence[float]
) -> tuple[tuple[str, float], ...]:
    """Return importances from an in-memory study whose trials all have all parameters; empty if none vary."""
    import optuna
    from optuna.distributions import CategoricalDistribution, FloatDistribution
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    spaces: dict[str, BaseDistribution] = {}
    for each in dimensions:
        seen = filled[each.path]
        if each.kind == "categorical":
            spaces[each.path] = CategoricalDistribution(tuple(dict.fromkeys(map(str, seen))))
        else:  # a study may have changed its bounds: the range that was tried counts
            numbers = [number for number in seen if isinstance(number, float)]
            log = each.log and min(numbers) > 0
            spaces[each.path] = FloatDistribution(min(numbers), max(numbers), log=log)
    # The evaluator reads a study: copy the trials into one in memory, with all parameters filled in.
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it would log the copy as a new study
    try:
        copy = optuna.create_study()
    finally:
        optuna.logging.set_verbosity(level)
    copy.add_trials(
        optuna.trial.create_trial(
            value=value,
            params={path: column[row] for path, column in filled.items() if path in spaces},
            distributions=spaces,
        )
        for row, value in enumerate(values)
    )
    trees = 64 if len(values) < _MANY else 16
    try:
        found = get_param_importances(copy, evaluator=FanovaImportanceEvaluator(n_trees=trees, seed=0))
    except RuntimeError:  # raised by Optuna where the forest is a single leaf
        return ()
    return tuple((path, float(importance)) for path, importance in found.items())
