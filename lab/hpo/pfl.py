"""Prunes a trial whose learning curve leads to a worse end than the best trials have reached.

A curve is fitted by L(t) = a·exp(−b·t) + c (t in epochs, b > 0) and read off at the last epoch. Everything is
worked out from what the storage holds, so that other processes, and the same one after a restart, give the
same verdict.
"""

import heapq
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

_POINTS = 33  # values of b tried at once
_ROUGH, _FINE = 3, 8  # how often the grid closes in on the best of them: a factor of 16 each time
_REWEIGHTINGS = 6
_HUBER = 1.345  # residuals beyond so many standard deviations count less; Huber (1964), 95 % efficiency
_UNKNOWNS = 3
_SETTLED = 3.0  # b·epochs is at least this: a run is planned so long that 95 % of its fall happen within it
_SHARE = 4  # a trial is measured against one finished trial in so many, at most
_LOOKS = 50  # predictions of a finished trial that are compared, at most


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
    if np.ptp(y) <= 1e-12 * np.abs(y).max():
        return Exponential(0.0, slowest, float(np.median(y)))
    for _ in range(_REWEIGHTINGS):
        found = _weighted(t, y, weights, slowest, _ROUGH)
        distance = np.abs(y - (found.a * np.exp(-found.b * t) + found.c))
        deviation = float(np.median(distance)) / 0.6745  # of normal noise, by the median's share of it
        if deviation <= 1e-9 * np.ptp(y):
            break
        weights = np.minimum(1.0, _HUBER * deviation / np.maximum(distance, 1e-300))
    return _weighted(t, y, weights, slowest, _FINE)


def _weighted(t: Array, y: Array, weights: Array, slowest: float, zooms: int) -> Exponential:
    low, high = math.log(slowest), math.log(10.0)
    a = c = 0.0
    best = low
    for _ in range(zooms):
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
    """Prunes a trial that is predicted to end worse than each of the best finished trials.

    The best are the first `top_k` of the finished trials, and at most a quarter of them. COMPLETE trials
    count by the value they reached, PRUNED ones by what they were predicted to reach, failed ones not at all.
    A trial is pruned where its prediction is worse than what each of the best reached, and also than each was
    ever predicted from the same epoch on: so curves that the formula doesn't describe are measured by their
    own standard. Fewer than three values give no curve, and the newest one stands for its end.

    It looks at epochs `min_epochs` · 1, 2, 4, 8, …, since each look is a chance to lose a good trial to
    noise; never before `top_k` trials are finished, and never in the last epoch of all.

    With several seeds a trial's steps are segments of `epochs` each, and the values means over the seeds so
    far; the newest segment is compared with the same one of the best.

    Args:
        epochs: the last epoch of a run, whose value is predicted.
        top_k: how many finished trials there must be, and how many of the best a trial is measured against.
        min_epochs: the first epoch after which a trial may end.
        seeds: how many segments a whole trial has.
        returns: what a run is worth. With `best`, no trial is predicted worse than its best value so far.

    Raises:
        ValueError: a count is below 1.
    """

    def __init__(
        self,
        epochs: int,
        *,
        top_k: int = 3,
        min_epochs: int = 1,
        seeds: int = 1,
        returns: Literal["best", "last"] = "best",
    ) -> None:
        counts = {"epochs": epochs, "top_k": top_k, "min_epochs": min_epochs, "seeds": seeds}
        for name, count in counts.items():
            if count < 1:
                raise ValueError(f"{name} must be at least 1, found {count}")
        self._epochs, self._top_k, self._min_epochs = epochs, top_k, min_epochs
        self._seeds, self._returns = seeds, returns
        self._worths: dict[str, dict[int, float | None]] = {}  # of finished trials by study and number

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Return whether the trial should be pruned now, by what the study's storage holds."""
        last = trial.last_step or 0
        if not 1 <= last < self._epochs * self._seeds or not self._due(trial):
            return False
        segment, epoch = self._place(last)
        sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0
        predicted = self._end(self._curve(trial, segment, sign))
        if predicted is None:
            return False
        known = self._worths.setdefault(study.study_name, {})
        finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        for one in finished:
            if one.number not in known:
                known[one.number] = self._worth(one, sign)
        worths = [(worth, n) for n, one in enumerate(finished) if (worth := known[one.number]) is not None]
        if len(worths) < self._top_k:
            return False
        best = heapq.nsmallest(min(self._top_k, math.ceil(len(worths) / _SHARE)), worths)
        return predicted > max(self._bar(finished[n], worth, segment, epoch, sign) for worth, n in best)

    def _place(self, step: int) -> tuple[int, int]:
        """The segment, from 0, and the epoch in it, from 1."""
        segment, epoch = divmod(step - 1, self._epochs)
        return segment, epoch + 1

    def _due(self, trial: FrozenTrial) -> bool:
        """Return whether an epoch min_epochs · 2^i lies between the last two reports."""
        *_, before, last = [0, *sorted(trial.intermediate_values)]
        segment, epoch = self._place(last)
        earlier = max(before - segment * self._epochs, 0)
        return (epoch // self._min_epochs).bit_length() > (earlier // self._min_epochs).bit_length()

    def _worth(self, trial: FrozenTrial, sign: float) -> float | None:
        """Return the value of a finished trial; smaller is better."""
        if trial.state == TrialState.COMPLETE:
            return None if trial.value is None or math.isnan(trial.value) else sign * trial.value
        return self._end(self._curve(trial, self._place(trial.last_step or 1)[0], sign))

    def _bar(self, trial: FrozenTrial, worth: float, segment: int, epoch: int, sign: float) -> float:
        """The worst that a finished trial reached, or was predicted to reach from that epoch on."""
        curve = self._curve(trial, segment, sign)
        later = [at for at in curve if at >= epoch]
        looks = later[:: math.ceil(len(later) / _LOOKS)] if later else []
        ends = (self._end({at: value for at, value in curve.items() if at <= look}) for look in looks)
        return max([worth, *(end for end in ends if end is not None)])

    def _curve(self, trial: FrozenTrial, segment: int, sign: float) -> dict[int, float]:
        """One segment's finite values by epoch, in order; smaller is better."""
        start, values = segment * self._epochs, trial.intermediate_values
        steps = sorted(step for step in values if start < step <= start + self._epochs)
        return {step - start: sign * values[step] for step in steps if math.isfinite(values[step])}

    def _end(self, curve: dict[int, float]) -> float | None:
        """The predicted value at the last epoch; None where there is nothing to predict from."""
        if not curve:
            return None
        values = tuple(curve.values())
        end = values[-1]
        if len(values) >= _UNKNOWNS:
            end = fit(tuple(map(float, curve)), values, _SETTLED / self._epochs)(self._epochs)
        return min(end, *values) if self._returns == "best" else end
