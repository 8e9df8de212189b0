"""Figures of classifiers, during training and of `--evaluate`."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.reference.masks import Rng, measured
from benchmarks.reference.quantity import Pair, Quantity
from lab.metrics import F1, Accuracy, ClassPrecision, ClassRecall
from lab.metrics.class_scores import Scores, judge, roc_curves

Answers = tuple[NDArray[np.int64], NDArray[np.float32], int]


def answers(rng: Rng, most: int = 7) -> Answers:
    """Classes (N,), probabilities (N, C) with ties and sure ones among them; some classes are nowhere."""
    classes, count = int(rng.integers(2, most)), int(rng.integers(1, 80))
    known = rng.choice(classes, int(rng.integers(1, classes + 1)), replace=False)
    truth = rng.choice(known, count)
    logits = rng.normal(0, 2, (count, classes)) + 1.5 * np.eye(classes)[truth]
    if rng.random() < 0.3:
        logits = logits.round()
    likely = torch.from_numpy(logits).softmax(1).float().numpy()
    return truth.astype(np.int64), likely, classes


def during_training(kind: Any, name: str, average: str) -> Callable[[Rng], Pair]:
    """A metric over any batches, by scikit-learn on the classes that are true or predicted."""

    def draw(rng: Rng) -> Pair:
        from sklearn import metrics

        truth, likely, _ = answers(rng)
        predicted = likely.argmax(1)
        there = np.union1d(predicted, truth)
        score = getattr(metrics, name)(truth, predicted, labels=there, average=average, zero_division=0)
        return measured(kind(average), rng, likely, truth), score

    return draw


def accuracy(rng: Rng) -> Pair:
    truth, likely, _ = answers(rng)
    return measured(Accuracy(), rng, likely, truth), np.mean(likely.argmax(1) == truth)


def evaluated(figure: Callable[[Scores], Any], expected: Callable[..., Any]) -> Callable[[Rng], Pair | None]:
    """A figure of `--evaluate`, by torchmetrics, which gets truths, probabilities and their number."""

    def draw(rng: Rng) -> Pair | None:
        truth, likely, classes = answers(rng)
        wanted = expected(torch.from_numpy(truth), torch.from_numpy(likely), classes)
        return None if wanted is None else (figure(judge(truth, likely)), np.asarray(wanted))

    return draw


def by_class(name: str) -> Callable[..., Any]:
    def expected(truth: Any, likely: Any, classes: int) -> Any:
        from torchmetrics import classification

        metric = getattr(classification, f"Multiclass{name}")(num_classes=classes, average="none")
        values = metric(likely.argmax(1), truth).double()
        there = torch.bincount(truth, minlength=classes) + torch.bincount(likely.argmax(1), minlength=classes)
        return torch.where(there > 0, values, torch.nan)

    return expected


def areas(truth: Any, likely: Any, classes: int) -> Any:
    from torchmetrics.functional.classification import binary_auroc

    found = []
    for index in range(classes):
        mine = (truth == index).long()
        both = 0 < int(mine.sum()) < len(mine)
        found.append(float(binary_auroc(likely[:, index].double(), mine)) if both else np.nan)
    return found


def under_the_curve(rng: Rng) -> Pair:
    truth, likely, classes = answers(rng)
    expected = areas(torch.from_numpy(truth), torch.from_numpy(likely), classes)
    found = [np.nan] * classes
    for curve in roc_curves(truth, likely):
        found[curve.index] = float(
            (np.diff(curve.false_alarms) * (curve.found[1:] + curve.found[:-1]) / 2).sum()
        )
    return (found[1:], expected[1:]) if classes == 2 else (found, expected)


def calibration(truth: Any, likely: Any, classes: int) -> Any:
    from torchmetrics.functional.classification import multiclass_calibration_error

    edges = (likely.max(1).values.double() * 15) % 1
    if bool(((edges < 1e-5) | (edges > 1 - 1e-5)).any()):
        return None  # on an edge the conventions differ
    return float(multiclass_calibration_error(likely, truth, classes, n_bins=15, norm="l1"))


def confusion(truth: Any, likely: Any, classes: int) -> Any:
    from torchmetrics.functional.classification import multiclass_confusion_matrix

    return multiclass_confusion_matrix(likely.argmax(1), truth, classes)


QUANTITIES = (
    Quantity("accuracy, any batches", "NumPy", accuracy),
    Quantity("F1 macro, any batches", "scikit-learn", during_training(F1, "f1_score", "macro")),
    Quantity("F1 weighted, any batches", "scikit-learn", during_training(F1, "f1_score", "weighted")),
    Quantity(
        "precision of classes, macro",
        "scikit-learn",
        during_training(ClassPrecision, "precision_score", "macro"),
    ),
    Quantity(
        "precision of classes, weighted",
        "scikit-learn",
        during_training(ClassPrecision, "precision_score", "weighted"),
    ),
    Quantity(
        "recall of classes, macro", "scikit-learn", during_training(ClassRecall, "recall_score", "macro")
    ),
    Quantity(
        "recall of classes, weighted",
        "scikit-learn",
        during_training(ClassRecall, "recall_score", "weighted"),
    ),
    Quantity(
        "evaluation: precision of each class",
        "torchmetrics",
        evaluated(lambda s: [each.shares.precision for each in s.classes], by_class("Precision")),
    ),
    Quantity(
        "evaluation: recall of each class",
        "torchmetrics",
        evaluated(lambda s: [each.shares.recall for each in s.classes], by_class("Recall")),
    ),
    Quantity(
        "evaluation: F1 of each class",
        "torchmetrics",
        evaluated(lambda s: [each.shares.f1 for each in s.classes], by_class("F1Score")),
    ),
    Quantity(
        "evaluation: ROC-AUC of each class",
        "torchmetrics",
        evaluated(lambda s: [each.auc for each in s.classes], areas),
    ),
    Quantity("evaluation: area under the drawn ROC curve", "torchmetrics", under_the_curve),
    Quantity(
        "evaluation: calibration error, off the bins' edges",
        "torchmetrics",
        evaluated(lambda s: s.calibration_error, calibration),
    ),
    Quantity("evaluation: confusion matrix", "torchmetrics", evaluated(lambda s: s.confusion, confusion)),
)
