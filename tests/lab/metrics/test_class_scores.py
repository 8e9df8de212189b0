import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics

from lab.metrics.class_scores import SUMMARY, judge, most_confused, roc_curves, summary

AVERAGES = ("macro", "weighted")


def answers(samples: int, classes: int, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Truths and probabilities that know something of them."""
    rng = np.random.default_rng(seed)
    truths = rng.integers(0, classes, samples)
    logits = rng.normal(size=(samples, classes)) + 1.5 * np.eye(classes)[truths]
    return truths, np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_equals_scikit_learn(classes: int) -> None:
    truths, likely = answers(300, classes)
    scores, said = judge(truths, likely), likely.argmax(1)
    assert scores.samples == 300
    assert scores.accuracy == pytest.approx(metrics.accuracy_score(truths, said))
    for average in AVERAGES:
        expected = metrics.precision_recall_fscore_support(truths, said, average=average)[:3]
        assert tuple(vars(getattr(scores, average)).values()) == pytest.approx(expected)
    by_class = metrics.precision_recall_fscore_support(truths, said)
    for index, each in enumerate(scores.classes):
        assert (*vars(each.shares).values(), each.support) == pytest.approx([row[index] for row in by_class])
        assert each.predicted == (said == index).sum()
    assert scores.confusion.tolist() == metrics.confusion_matrix(truths, said).tolist()
    if classes == 2:
        area = metrics.roc_auc_score(truths, likely[:, 1])
    else:
        area = metrics.roc_auc_score(truths, likely, multi_class="ovr", average="macro")
    assert scores.auc == pytest.approx(area)
    assert scores.macro.recall == pytest.approx(metrics.balanced_accuracy_score(truths, said))


@settings(deadline=None)
@given(st.data())
def test_equals_scikit_learn_whatever_is_there(data: Any) -> None:
    """Classes that are never true, never said or neither, ties, and a single sample included."""
    classes = data.draw(st.integers(2, 5))
    samples = data.draw(st.integers(1, 12))
    rows = st.lists(st.integers(0, 3), min_size=classes, max_size=classes)
    weights = np.array(data.draw(st.lists(rows, min_size=samples, max_size=samples))) + 1.0
    likely = weights / weights.sum(1, keepdims=True)
    truths = np.array(data.draw(st.lists(st.integers(0, classes - 1), min_size=samples, max_size=samples)))
    scores, said = judge(truths, likely), likely.argmax(1)
    for average in AVERAGES:
        expected = metrics.precision_recall_fscore_support(truths, said, average=average, zero_division=0)[:3]
        assert tuple(vars(getattr(scores, average)).values()) == pytest.approx(expected)
    for index, each in enumerate(scores.classes):
        there = index in truths or index in said
        expected = metrics.f1_score(truths == index, said == index, zero_division=0) if there else math.nan
        assert each.shares.f1 == pytest.approx(expected, nan_ok=True)
        mine = truths == index
        area = metrics.roc_auc_score(mine, likely[:, index]) if 0 < mine.sum() < samples else math.nan
        assert each.auc == pytest.approx(area, nan_ok=True)
    assert scores.confusion.sum() == samples and np.trace(scores.confusion) / samples == scores.accuracy
    assert 0 <= scores.calibration_error <= 1
    assert {round(curve.auc, 9) for curve in roc_curves(truths, likely)} <= {
        round(each.auc, 9) for each in scores.classes
    }


def test_what_is_absent_is_in_no_mean() -> None:
    likely = np.eye(4)[[0, 0, 1, 1]] * 0.9 + 0.025
    scores = judge([0, 1, 1, 1], likely)
    assert [math.isnan(each.shares.f1) for each in scores.classes] == [False, False, True, True]
    assert scores.macro.precision == pytest.approx((0.5 + 1) / 2)
    assert scores.macro.recall == pytest.approx((1 + 2 / 3) / 2)
    assert scores.weighted.recall == pytest.approx(scores.accuracy) == pytest.approx(0.75)
    assert [math.isnan(each.auc) for each in scores.classes] == [False, False, True, True]
    assert scores.auc == pytest.approx((scores.classes[0].auc + scores.classes[1].auc) / 2)
    alone = judge([1, 1], np.array([[0.2, 0.8], [0.6, 0.4]]))
    assert math.isnan(alone.auc) and alone.accuracy == 0.5 and roc_curves([1, 1], np.eye(2)) == []
    values = summary(scores)
    assert tuple(values) == SUMMARY
    assert values["recall"] == scores.macro.recall and values["accuracy"] == 0.75


def test_curves_are_those_of_scikit_learn() -> None:
    truths, likely = answers(200, 4)
    curves = roc_curves(truths, likely)
    assert [curve.index for curve in curves] == [0, 1, 2, 3]
    for curve in curves:
        false_alarms, found, _ = metrics.roc_curve(truths == curve.index, likely[:, curve.index])
        assert curve.false_alarms.tolist() == false_alarms.tolist() and curve.found.tolist() == found.tolist()
        assert curve.auc == pytest.approx(judge(truths, likely).classes[curve.index].auc)
    assert [curve.index for curve in roc_curves(*answers(50, 2))] == [1]


def test_what_is_confused_most_often() -> None:
    confusion = np.array([[9, 1, 0], [4, 5, 0], [1, 0, 9]])
    assert most_confused(confusion) == [(1, 0, 4), (0, 1, 1), (2, 0, 1)]
    assert most_confused(confusion, 1) == [(1, 0, 4)]
    assert most_confused(np.diag([3, 4])) == []


@pytest.mark.parametrize(
    ("truths", "likely", "message"),
    [
        ([0, 1], [[0.5, 0.5]], r"found \(2,\) and \(1, 2\)"),
        ([0], [[1.0]], r"with C >= 2, found \(1,\) and \(1, 1\)"),
        ([[0]], [[0.5, 0.5]], r"found \(1, 1\)"),
        ([2], [[0.5, 0.5]], "whole numbers from 0 to 1"),
        ([-1], [[0.5, 0.5]], "whole numbers from 0 to 1"),
        ([0.5], [[0.5, 0.5]], "whole numbers"),
        ([0, 1], [[0.5, 0.5], [math.nan, 0.5]], r"not finite: sample 1 has \[nan, 0.5\]"),
    ],
)
def test_what_can_not_be_judged(truths: Any, likely: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        judge(truths, likely)


def test_nothing_is_no_set() -> None:
    with pytest.raises(ValueError, match="no predictions to evaluate"):
        judge(np.zeros(0, np.int64), np.zeros((0, 3)))
