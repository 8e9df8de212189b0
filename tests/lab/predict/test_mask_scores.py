"""Figures by hand, and the same as the metrics of the training."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from lab.metrics import Dice, IoU
from lab.predict import tables as mask_scores
from lab.predict.tables import score

NAMES = ["background", "cell", "debris"]


def test_binary_by_hand() -> None:
    mask, truth = np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint8)
    mask[0], truth[0, :2], truth[1, :2] = 1, 1, 1
    truth[3, 3] = truth[0, 3] = 255  # nobody judged: 3 found, 4 there, 2 of them found
    assert score(mask, truth, NAMES[:2]) == {
        "cell": pytest.approx({"dice": 4 / 7, "iou": 2 / 5, "precision": 2 / 3, "recall": 1 / 2})
    }


def test_nothing_to_find_and_nothing_found_is_perfect_and_a_false_alarm_is_not() -> None:
    empty, full = np.zeros((3, 3), np.uint8), np.ones((3, 3), np.uint8)
    assert set(score(empty, empty, NAMES[:2])["cell"].values()) == {1.0}
    assert set(score(full, empty, NAMES[:2])["cell"].values()) == {0.0}
    assert set(score(empty, full, NAMES[:2])["cell"].values()) == {0.0}


def test_a_class_that_is_not_there_is_not_in_the_mean() -> None:
    mask, truth = np.zeros((2, 4), np.uint8), np.zeros((2, 4), np.uint8)
    mask[0], truth[:] = 1, 1
    found = score(mask, truth, NAMES)
    assert found["debris"] == dict.fromkeys(("dice", "iou", "precision", "recall"))
    assert found["cell"]["dice"] == found["mean"]["dice"] == pytest.approx(2 / 3)


masks = arrays.arrays(np.uint8, (7, 5), elements=st.sampled_from([0, 1, 2]))
truths = arrays.arrays(np.uint8, (7, 5), elements=st.sampled_from([0, 1, 2, 255]))


@given(mask=masks, truth=truths)
@settings(max_examples=60, deadline=None)
def test_the_mean_is_what_the_training_reports(mask: NDArray[np.uint8], truth: NDArray[np.uint8]) -> None:
    likely = torch.nn.functional.one_hot(torch.from_numpy(mask).long(), 3).movedim(-1, 0)[None].float()
    mask_scores._ROWS = 2
    found = score(mask, truth, NAMES)["mean"]
    for name, metric in (("dice", Dice(background=0)), ("iou", IoU(background=0))):
        metric.update(likely, torch.from_numpy(truth).long()[None])
        assert found[name] == pytest.approx(float(metric.compute()))


def test_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="differ in size: 3 × 2 and 2 × 3 pixels"):
        score(np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8), NAMES)
