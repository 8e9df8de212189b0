"""Prunes a trial whose learning curve leads to a worse end than the best trials have reached.

A curve is fitted by L(t) = a·exp(−b·t) + c (t in epochs, b > 0) and read off at the last epoch. Everything is
worked out from what the storage holds, so that other processes, and the same one after a restart, give the
same verdict.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from optuna import Study
from optuna.pruners import BasePruner
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

Array = NDArray[np.float64]

_POINTS, _ZOOMS = 33, 8  # values of b tried at once, and how often the grid closes in on the best of them
_REWEIGHTINGS = 2
_HUBER = 1.345  # residuals beyond so many standard deviations count less; Huber (1964), 95 % efficiency


@dataclass(frozen=True)
class Exponential:
    """L(t) = a·exp(−b·t) + c, falling for a > 0 and rising for a < 0, towards c."""

    a: float
    b: float
    c: float

    def __call__(self, t: float) -> float:
        return self.a * math.exp(-self.b * t) + self.c


@lru_cache(maxsize=4096)
def fit(epochs: tuple[float, ...], values: tuple[float, ...], slowest: float = 1e-3) -> Exponential:
    """Robust least squares: the best b on a grid that closes in, a and c in closed form for each b.

    Points far from the curve are weighted down (Huber). A flat curve gives a = 0.

    Args:
        epochs: t of each value, at least three of them and all different.
        values: finite.
        slowest: the least b that is tried, per epoch.
    """
    t, y = np.array(epochs), np.array(values)
    weights = np.ones(len(t))
    found = Exponential(0.0, slowest, float(y.mean()))
    if np.ptp(y) <= 1e-12 * np.abs(y).max():
        return found
    for _ in range(1 + _REWEIGHTINGS):
        found = _weighted(t, y, weights, slowest)
        distance = np.abs(y - (found.a * np.exp(-found.b * t) + found.c))
        deviation = float(np.median(distance)) / 0.6745  # of normal noise, by the median's share of it
        if deviation <= 1e-9 * np.ptp(y):
            break
        weights = np.minimum(1.0, _HUBER * deviation / np.maximum(distance, 1e-300))
    return found


def _weighted(t: Array, y: Array, weights: Array, slowest: float) -> Exponential:
    low, high = math.log(slowest), math.log(10.0)
    a = c = 0.0
    best = low
    for _ in range(_ZOOMS):
        grid = np.linspace(low, high, _POINTS)
        slopes, offsets, errors = _linear(np.exp(-np.exp(grid)[:, None] * t), y, weights)
        index = int(np.argmin(errors))
        best, a, c = float(grid[index]), float(slopes[index]), float(offsets[index])
        low, high = float(grid[max(index - 1, 0)]), float(grid[min(index + 1, _POINTS - 1)])
    return Exponential(a, math.exp(best), c)


def _linear(x: Array, y: Array, weights: Array) -> tuple[Array, Array, Array]:
    """Weighted regressions of y on each row of x: slopes, offsets, and sums of squared errors."""
    share = weights / weights.sum()
    x_mean, y_mean = x @ share, float(y @ share)
    dx, dy = x - x_mean[:, None], y - y_mean
    slopes = (dx * dy) @ share / np.maximum((dx * dx) @ share, 1e-300)
    errors = (dy - slopes[:, None] * dx) ** 2 @ share
    return slopes, y_mean - slopes * x_mean, errors


class PredictedFinalLoss(BasePruner):
    """Prunes a trial that is predicted to end worse than the k-th best of the finished ones.

    A trial counts as finished where it is COMPLETE, by the value it reached, or PRUNED, by what it was
    predicted to reach; failed ones don't count. Nothing is pruned before `top_k` trials are finished, before
    a trial has reported `min_epochs` values that are finite, and in the last epoch of all.

    With several seeds a trial's steps are segments of `epochs` each, and the values means over the seeds so
    far; the curve is fitted to the newest segment.

    Args:
        epochs: the last epoch, whose value is predicted; a trial with a parameter `epochs` has its own.
        top_k: how many of the best finished trials a trial is measured against.
        min_epochs: epochs before which a trial is left alone.
        seeds: how many segments a whole trial has.
        returns: what a run is worth. With `best`, no trial is predicted worse than its best value so far.

    Raises:
        ValueError: a count is below 1, or `min_epochs` below 3, the number of unknowns.
    """

    def __init__(
        self,
        epochs: int,
        *,
        top_k: int = 5,
        min_epochs: int = 3,
        seeds: int = 1,
        returns: Literal["best", "last"] = "best",
    ) -> None:
        for name, value, least in (("epochs", epochs, 1), ("top_k", top_k, 1), ("seeds", seeds, 1),
                                   ("min_epochs", min_epochs, 3)):  # fmt: skip
            if value < least:
                raise ValueError(f"{name} must be at least {least}, found {value}")
        self._epochs, self._top_k, self._min_epochs = epochs, top_k, min_epochs
        self._seeds, self._returns = seeds, returns

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether the trial should end here, by what the study's storage holds."""
        epochs = self._planned(trial)
        if trial.last_step is None or trial.last_step >= epochs * self._seeds:
            return False
        sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0
        predicted = self._predicted(trial, sign, self._min_epochs)
        if predicted is None:
            return False
        finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        worths = sorted(worth for one in finished if (worth := self._worth(one, sign)) is not None)
        return len(worths) >= self._top_k and predicted > worths[self._top_k - 1]

    def _worth(self, trial: FrozenTrial, sign: float) -> float | None:
        """What a finished trial counts for; smaller is better."""
        if trial.state == TrialState.COMPLETE:
            return None if trial.value is None or math.isnan(trial.value) else sign * trial.value
        return self._predicted(trial, sign, 1)

    def _planned(self, trial: FrozenTrial) -> int:
        own = trial.params.get("epochs")
        return own if isinstance(own, int) else self._epochs

    def _predicted(self, trial: FrozenTrial, sign: float, least: int) -> float | None:
        """The value at the last epoch, smaller being better; None with fewer than `least` finite values."""
        planned, last = self._planned(trial), trial.last_step
        if last is None:
            return None
        start = (last - 1) // planned * planned
        curve = {
            step - start: sign * value
            for step, value in sorted(trial.intermediate_values.items())
            if step > start and math.isfinite(value)
        }
        if len(curve) < least:
            return None
        epochs, values = tuple(map(float, curve)), tuple(curve.values())
        end = fit(epochs, values)(planned) if len(values) >= 3 else values[-1]
        return min(end, *values) if self._returns == "best" else end
