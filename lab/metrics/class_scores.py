"""Scores of a classifier's predictions by scikit-learn: of each class, and of all together."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

BINS = 15


@dataclass(frozen=True)
class Bin:
    """The answers whose probability is in (low, high]; the first bin has its lower end too."""

    low: float
    high: float
    samples: int
    confidence: float  # mean probability of the predicted class; NaN for an empty bin
    accuracy: float  # share of these answers that are right; NaN likewise


def reliability(confidence: ArrayLike, right: ArrayLike, bins: int = BINS) -> list[Bin]:
    """Answers by how sure they were, in bins of equal width from 0 to 1.

    Args:
        confidence: (N,) probabilities of the predicted classes.
        right: (N,) whether they are the true ones.

    Raises:
        ValueError: the two differ in length, `bins` is below 1, or a probability is outside [0, 1].
    """
    sure, true = np.asarray(confidence, np.float64), np.asarray(right, bool)
    if sure.shape != true.shape or sure.ndim != 1:
        raise ValueError(f"confidence and right must be (N,) both, found {sure.shape} and {true.shape}")
    if bins < 1:
        raise ValueError(f"bins must be at least 1, found {bins}")
    if not ((sure >= 0) & (sure <= 1)).all():
        raise ValueError("confidence must be in [0, 1]")
    edges = np.arange(bins + 1) / bins
    # Bins are open on the left, as in Guo et al.; the clip puts a confidence of 0 into the first.
    place = np.clip(np.searchsorted(edges, sure, side="left") - 1, 0, bins - 1)
    found = []
    for number in range(bins):
        inside = place == number
        count = int(inside.sum())
        means = (float(each[inside].mean()) if count else math.nan for each in (sure, true))
        found.append(Bin(float(edges[number]), float(edges[number + 1]), count, *means))
    return found


def calibration_error(bins: Sequence[Bin]) -> float:
    """Expected calibration error, Σ n_b / N · |accuracy_b − confidence_b| ∈ [0, 1]; NaN without an answer.

    0 means that of the answers given with 80 %, 80 % are right. After Guo et al., "On Calibration of Modern
    Neural Networks" (ICML 2017), equation 3.
    """
    filled = [each for each in bins if each.samples]
    if not filled:
        return math.nan
    total = sum(each.samples for each in filled)
    return sum(each.samples * abs(each.accuracy - each.confidence) for each in filled) / total


MEASURES = ("precision", "recall", "f1")
"""What is measured of each class, shares in [0, 1]."""


@dataclass(frozen=True)
class Shares:
    """Precision, recall and F1, of a class or as a mean; NaN for a class neither true nor predicted."""

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class ClassScore:
    """One class, by `Shares` and more: `support` samples are truly of it, `predicted` are predicted to be.

    `auc` is the area under its ROC curve against all others; NaN where all samples are of it, or none is.
    """

    shares: Shares
    support: int
    predicted: int
    auc: float


@dataclass(frozen=True)
class Scores:
    """All scores of one set of predictions.

    Args:
        accuracy: share of samples whose most probable class is the true one.
        classes: by index.
        macro: means over the classes that are true or predicted for any sample.
        weighted: means over classes, weighted by support.
        auc: of two classes that of the second one; of several the mean over those whose own is defined. NaN
            where none is.
        bins: reliability; `calibration_error` is the ECE over them.
        confusion: (C, C) samples, [true, predicted].
    """

    samples: int
    accuracy: float
    classes: tuple[ClassScore, ...]
    macro: Shares
    weighted: Shares
    auc: float
    calibration_error: float
    bins: tuple[Bin, ...]
    confusion: NDArray[np.int64]


SUMMARY = ("accuracy", "precision", "recall", "f1", "auc", "calibration_error")
"""What stands for a whole set; precision, recall and F1 as macro means."""


def summary(scores: Scores) -> dict[str, float]:
    """The scores of `SUMMARY` by name."""
    return {name: getattr(scores.macro if name in MEASURES else scores, name) for name in SUMMARY}


def judge(truths: ArrayLike, probabilities: ArrayLike) -> Scores:
    """Score predictions.

    Args:
        truths: (N,) class indices.
        probabilities: (N, C), C ≥ 2; the most probable class is the predicted one, the first of equal ones.

    Raises:
        ValueError: there is no sample, the shapes don't fit, a truth is no class, or a probability is none.
    """
    from sklearn import metrics  # a second to import

    true, likely = np.asarray(truths), np.asarray(probabilities, np.float64)
    _require_fit(true, likely)
    predicted, count = likely.argmax(1), likely.shape[1]
    confusion = np.asarray(metrics.confusion_matrix(true, predicted, labels=np.arange(count)), np.int64)
    support, found = confusion.sum(1), confusion.sum(0)
    # Classes that neither truth nor prediction has would count as 0 in a macro mean.
    there = np.flatnonzero(support + found)

    def shares(average: str | None) -> tuple[NDArray[np.float64], ...]:
        return metrics.precision_recall_fscore_support(  # type: ignore[no-any-return]
            true, predicted, labels=there, average=average, zero_division=0
        )[:3]

    by_class = np.full((3, count), math.nan)
    by_class[:, there] = shares(None)
    # scikit-learn's AUC fails where only one class is there.
    areas = [
        float(metrics.roc_auc_score(true == index, likely[:, index]))
        if 0 < support[index] < len(true)
        else math.nan
        for index in range(count)
    ]
    defined = areas[1:] if count == 2 else [area for area in areas if not math.isnan(area)]
    bins = reliability(likely.max(1), predicted == true)
    return Scores(
        samples=len(true),
        accuracy=float(metrics.accuracy_score(true, predicted)),
        classes=tuple(
            ClassScore(
                Shares(*by_class[:, index].tolist()), int(support[index]), int(found[index]), areas[index]
            )
            for index in range(count)
        ),
        macro=Shares(*map(float, shares("macro"))),
        weighted=Shares(*map(float, shares("weighted"))),
        auc=sum(defined) / len(defined) if defined else math.nan,
        calibration_error=calibration_error(bins),
        bins=tuple(bins),
        confusion=confusion,
    )


@dataclass(frozen=True)
class Curve:
    """A ROC curve: the share of a class that is found, over that of the others that is taken for it."""

    index: int
    auc: float
    false_alarms: NDArray[np.float64]
    found: NDArray[np.float64]


def roc_curves(truths: ArrayLike, probabilities: ArrayLike) -> list[Curve]:
    """The curve of each class for which it is defined; of two classes only that of the second.

    Arguments and errors as `judge`.
    """
    from sklearn import metrics

    true, likely = np.asarray(truths), np.asarray(probabilities, np.float64)
    _require_fit(true, likely)
    curves = []
    for index in range(likely.shape[1]) if likely.shape[1] > 2 else (1,):
        mine = true == index
        if mine.any() and not mine.all():
            false_alarms, found, _ = metrics.roc_curve(mine, likely[:, index])
            curves.append(Curve(index, float(metrics.auc(false_alarms, found)), false_alarms, found))
    return curves


def most_confused(confusion: NDArray[np.int64], most: int = 5) -> list[tuple[int, int, int]]:
    """(true class, predicted class, samples) of the most frequent mistakes, the most frequent first."""
    wrong = confusion * ~np.eye(len(confusion), dtype=bool)
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = (divmod(int(place), len(wrong)) for place in order)
    return [
        (true, predicted, int(wrong[true, predicted])) for true, predicted in pairs if wrong[true, predicted]
    ]


def _require_fit(true: NDArray[np.int64], likely: NDArray[np.float64]) -> None:
    if true.ndim != 1 or likely.ndim != 2 or len(true) != len(likely) or likely.shape[1] < 2:
        raise ValueError(
            f"truths must be (N,) and probabilities (N, C) with C >= 2, found {true.shape} and {likely.shape}"
        )
    if not len(true):
        raise ValueError("there are no predictions to evaluate")
    classes = likely.shape[1]
    if not np.issubdtype(true.dtype, np.integer) or true.min() < 0 or true.max() >= classes:
        raise ValueError(f"truths must be whole numbers from 0 to {classes - 1}")
    if not np.isfinite(likely).all():
        where = int(np.flatnonzero(~np.isfinite(likely).all(1))[0])
        raise ValueError(f"the network's output is not finite: sample {where} has {likely[where].tolist()}")
