"""Ranking of the trials that finished well.

The study's report, its `best/` folder and the retention of weights all use it, so that they agree.
"""

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from lab.events import Outcome
from lab.report.trial_attributes import TrialAttributes

if TYPE_CHECKING:
    from optuna.study import StudyDirection
    from optuna.trial import FrozenTrial


def finished_well(trial: "FrozenTrial") -> bool:
    """Return whether the trial has a result: it completed, or was stopped early, with finite values.

    Diverged trials and those that ran out of memory are COMPLETE for Optuna, so that samplers learn from
    them, but have no result. A complete trial without an `outcome` was added by hand: it counts as completed.
    """
    if trial.state.name != "COMPLETE":
        return False
    outcome = TrialAttributes.of(trial).outcome
    if outcome is not None and not (isinstance(outcome, Outcome) and outcome.is_result):
        return False
    return bool(trial.values) and all(math.isfinite(value) for value in trial.values)


def ranked(trials: Iterable["FrozenTrial"], directions: Sequence["StudyDirection"]) -> "list[FrozenTrial]":
    """Return the trials that finished well, best first; of equal ones the earlier.

    With several objectives the trials that no other dominates come first, then those that only these
    dominate, and so on (non-dominated sorting: Deb et al., 2002, "A fast and elitist multiobjective genetic
    algorithm"); within a front the first objective decides, then the next.
    """
    good = [trial for trial in trials if finished_well(trial)]
    costs = {trial.number: _costs(trial, directions) for trial in good}
    fronts = dict(zip(costs, front_numbers(list(costs.values())), strict=True))
    return sorted(good, key=lambda trial: (fronts[trial.number], costs[trial.number], trial.number))


def front(trials: Iterable["FrozenTrial"], directions: Sequence["StudyDirection"]) -> "list[FrozenTrial]":
    """Return the trials that finished well and that no other dominates; with one objective all of them."""
    good = [trial for trial in trials if finished_well(trial)]
    numbers = front_numbers([_costs(trial, directions) for trial in good])
    return [trial for trial, number in zip(good, numbers, strict=True) if number == 0]


def front_numbers(costs: Sequence[Sequence[float]]) -> list[int]:
    """Return the number of the front of each point: 0 where no other dominates it. Smaller is better."""
    if not costs or len(costs[0]) == 1:
        return [0] * len(costs)
    points = np.asarray(costs, dtype=np.float64)
    # Dominance: nowhere worse, somewhere strictly better.
    dominates = np.ones((len(points), len(points)), bool)
    strictly = np.zeros_like(dominates)
    for column in points.T:  # one objective at a time: n² booleans instead of n² × objectives
        dominates &= column[:, None] <= column[None, :]
        strictly |= column[:, None] < column[None, :]
    dominates &= strictly
    fronts = np.zeros(len(points), dtype=int)
    left = np.ones(len(points), bool)
    number = 0
    # Peel off one front after another.
    while left.any():
        front = left & ~dominates[left].any(axis=0)
        fronts[front] = number
        left &= ~front
        number += 1
    return fronts.tolist()


def _costs(trial: "FrozenTrial", directions: Sequence["StudyDirection"]) -> tuple[float, ...]:
    """Return the values, negated where larger is better."""
    return tuple(
        -value if direction.name == "MAXIMIZE" else value
        for value, direction in zip(trial.values, directions, strict=True)
    )
