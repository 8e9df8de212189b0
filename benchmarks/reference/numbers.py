"""Figures of regression and of studies, and how sets are divided."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.reference.masks import Rng, measured
from benchmarks.reference.quantity import Pair, Quantity
from lab.data.splits import Cut
from lab.data.stratified_split import stratified
from lab.hpo.reevaluate import interval
from lab.metrics import MAE, R2, RMSE
from lab.report.trial_ranking import front_numbers


def regression(kind: Any, offset: float, expected: Callable[..., Any]) -> Callable[[Rng], Pair | None]:
    """float32 numbers around an offset, sometimes constant, over any batches; expected in float64."""

    def draw(rng: Rng) -> Pair | None:
        count, outputs = int(rng.integers(2, 60)), int(rng.integers(1, 4))
        scale = max(1.0, offset * 1e-6) * 10 ** rng.uniform(0, 2)
        truth = (offset + scale * rng.normal(size=(count, outputs))).astype(np.float32)
        if rng.random() < 0.2:
            truth[:, 0] = truth[0, 0]
        predicted = (truth + scale * rng.normal(size=truth.shape)).astype(np.float32)
        if rng.random() < 0.1:
            predicted = truth.copy()
        wanted = expected(truth.astype(np.float64), predicted.astype(np.float64))
        return measured(kind(), rng, predicted, truth), wanted

    return draw


def _mae(truth: Any, predicted: Any) -> float:
    from sklearn.metrics import mean_absolute_error

    return float(mean_absolute_error(truth, predicted))


def _rmse(truth: Any, predicted: Any) -> float:
    from sklearn.metrics import mean_squared_error

    return math.sqrt(mean_squared_error(truth, predicted))


def _r2(truth: object, predicted: object) -> float:
    from sklearn.metrics import r2_score

    return float(r2_score(truth, predicted))


def confidence(rng: Rng) -> Pair:
    from scipy import stats

    values = rng.normal(10 ** rng.uniform(-2, 6), 1, int(rng.integers(2, 12)))
    low, high = stats.t.interval(0.95, len(values) - 1, values.mean(), stats.sem(values))
    return interval(values.tolist()), [values.mean(), low, high]


def fronts(rng: Rng) -> Pair:
    points = rng.integers(0, 6, (int(rng.integers(1, 25)), int(rng.integers(2, 4)))).tolist()
    expected, left, number = [0] * len(points), set(range(len(points))), 0
    while left:
        best = [
            i
            for i in left
            if not any(
                all(a <= b for a, b in zip(points[j], points[i], strict=True)) and points[j] != points[i]
                for j in left
            )
        ]
        for index in best:
            expected[index] = number
        left -= set(best)
        number += 1
    return front_numbers(points), expected


def shares(rng: Rng) -> Pair:
    """Validation items of each class: within one of what scikit-learn's stratified split takes."""
    from sklearn.model_selection import StratifiedShuffleSplit

    sizes = rng.integers(8, 40, int(rng.integers(2, 6)))
    labels = np.repeat(np.arange(len(sizes)), sizes)
    share = float(rng.uniform(0.15, 0.5))
    seed = int(rng.integers(100))
    names = [f"{index:05}.png" for index in range(len(labels))]
    parts = stratified([str(each) for each in labels], names, Cut(val_share=share, test_share=0.0, seed=seed))
    splitter = StratifiedShuffleSplit(1, test_size=share, random_state=seed)
    _, theirs = next(iter(splitter.split(labels, labels)))
    ours = np.bincount(labels[parts.val], minlength=len(sizes))
    wanted = np.bincount(labels[theirs], minlength=len(sizes))
    return np.maximum(np.abs(ours - wanted) - 1, 0), np.zeros(len(sizes))


def folds(rng: Rng) -> Pair:
    """Items of each class in each fold, sorted: as scikit-learn's stratified folds have them."""
    from sklearn.model_selection import StratifiedKFold

    count = int(rng.integers(2, 6))
    sizes = rng.integers(count, 30, int(rng.integers(2, 6)))
    labels = np.repeat(np.arange(len(sizes)), sizes)
    names = [f"{index:05}.png" for index in range(len(labels))]
    ours, theirs = [], []
    for fold in range(count):
        cut = Cut(test_share=0.0, folds=count, fold=fold, seed=3)
        parts = stratified([str(each) for each in labels], names, cut)
        ours.append(np.bincount(labels[parts.val], minlength=len(sizes)))
    for _, held in StratifiedKFold(count, shuffle=True, random_state=0).split(labels, labels):
        theirs.append(np.bincount(labels[held], minlength=len(sizes)))
    return np.sort(ours, 0), np.sort(theirs, 0)


_REGRESSION = (("MAE", MAE, _mae), ("RMSE", RMSE, _rmse), ("R²", R2, _r2))
QUANTITIES = (
    *(
        Quantity(f"{name} around {offset:g}, float32", "scikit-learn", regression(kind, offset, wanted), 1e-7)
        for name, kind, wanted in _REGRESSION
        for offset in (0.0, 1e6, 1e9)
    ),
    Quantity("95 % interval of confirmed trials", "SciPy", confidence, 1e-9),
    Quantity("Pareto fronts", "plain loop", fronts),
    Quantity("stratified shares, beyond one item a class", "scikit-learn", shares),
    Quantity("sizes of stratified folds", "scikit-learn", folds),
)
