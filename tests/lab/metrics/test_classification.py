import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, precision_recall_fscore_support

from lab.metrics import F1, Accuracy, ClassPrecision, ClassRecall

KINDS = (ClassPrecision, ClassRecall, F1)


def test_equals_scikit_learn_with_a_short_last_batch() -> None:
    generator = torch.Generator().manual_seed(0)
    prediction = torch.randn(23, 5, generator=generator).softmax(1)
    target = torch.randint(0, 5, (23,), generator=generator)
    accuracy = Accuracy()
    for rows in torch.arange(23).split(10):
        accuracy.update(prediction[rows], target[rows])
    assert accuracy.compute().item() == pytest.approx(accuracy_score(target, prediction.argmax(1)))


def test_closed_form() -> None:
    accuracy = Accuracy()
    accuracy.update(torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]), torch.tensor([0, 1, 1]))
    assert accuracy.compute().item() == pytest.approx(2 / 3)


def test_a_class_per_pixel() -> None:
    accuracy = Accuracy()
    prediction = torch.zeros(2, 3, 2, 2)
    prediction[:, 1] = 1
    target = torch.tensor([[[1, 1], [1, 0]], [[2, 1], [0, 0]]])
    accuracy.update(prediction, target)
    assert accuracy.compute().item() == pytest.approx(4 / 8)


def test_many_samples_are_counted_exactly() -> None:
    accuracy = Accuracy()
    prediction, target = torch.tensor([[0.0, 1.0]]).expand(2**20, 2), torch.ones(2**20, dtype=torch.int64)
    for _ in range(20):
        accuracy.update(prediction, target)
    accuracy.update(prediction[:1], target[:1] - 1)
    assert accuracy._right is not None
    assert (accuracy._right.item(), accuracy._samples) == (20 * 2**20, 20 * 2**20 + 1)


@pytest.mark.parametrize(
    ("prediction", "target"), [((4,), (4,)), ((4, 1), (4,)), ((4, 3), (4, 1)), ((4, 3), (3,))]
)
def test_shapes_that_make_no_sense(prediction: tuple[int, ...], target: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="found"):
        Accuracy().update(torch.zeros(prediction), torch.zeros(target, dtype=torch.int64))


@settings(deadline=None)
@given(st.data())
def test_shares_equal_scikit_learn(data: Any) -> None:
    """In batches of any size, with classes that are never true, never said, or neither."""
    classes, samples = data.draw(st.integers(2, 5)), data.draw(st.integers(1, 20))
    index = st.lists(st.integers(0, classes - 1), min_size=samples, max_size=samples)
    said, target = (torch.tensor(data.draw(index)) for _ in range(2))
    prediction = torch.nn.functional.one_hot(said, classes).float()
    cut = data.draw(st.integers(1, samples))
    there = np.union1d(said, target)

    def value(metric: ClassPrecision | ClassRecall | F1) -> float:
        for rows in torch.arange(samples).split(cut):
            metric.update(prediction[rows], target[rows])
        return metric.compute().item()

    for column, kind in enumerate(KINDS):
        for average in ("macro", "weighted"):
            expected = precision_recall_fscore_support(target, said, average=average, zero_division=0)[column]
            assert value(kind(average)) == pytest.approx(expected, abs=1e-6)
        expected = precision_recall_fscore_support(target, said, labels=range(classes), zero_division=0)
        for number in range(classes):
            each = expected[column][number] if number in there else math.nan
            assert value(kind(number)) == pytest.approx(each, abs=1e-6, nan_ok=True)


def test_a_class_goes_by_its_name_too() -> None:
    prediction = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    recall = ClassRecall("sick", classes=["healthy", "sick"])
    recall.update(prediction, torch.tensor([0, 1, 1]))
    assert recall.compute().item() == 0.5
    recall.reset()
    assert math.isnan(recall.compute().item())


def test_no_update_waits_for_the_device() -> None:
    """Tensors on `meta` have no values to wait for: an `.item()` or an `if` on one is an error."""
    prediction, target = torch.zeros(4, 3, device="meta"), torch.zeros(4, dtype=torch.int64, device="meta")
    for metric in (Accuracy(), F1(), ClassPrecision("weighted"), ClassRecall(2)):
        metric.update(prediction, target)
        metric.update(prediction, target)
        assert metric.compute().device.type == "meta"


def test_shares_of_a_class_per_pixel() -> None:
    prediction = torch.zeros(1, 3, 2, 2)
    prediction[:, 1] = 1
    f1 = F1()
    f1.update(prediction, torch.tensor([[[1, 1], [1, 0]]]))
    assert f1.compute().item() == pytest.approx((6 / 7 + 0) / 2)


@pytest.mark.parametrize(
    ("average", "message"),
    [
        ("micro", "macro, weighted or an index, found 'micro'; a class goes by its index, or list"),
        (-1, "an index from 0, found -1"),
        (True, "found True"),
    ],
)
def test_averages_that_make_no_sense(average: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        F1(average)


def test_a_class_that_there_is_not() -> None:
    with pytest.raises(ValueError, match=r"average is class 3, and there are 3 \(from 0\)"):
        F1(3).update(torch.eye(3), torch.arange(3))
    with pytest.raises(ValueError, match=r"sick or an index, found 'well'$"):
        F1("well", classes=["healthy", "sick"])
