"""Calibration of a classifier's probabilities."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

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
