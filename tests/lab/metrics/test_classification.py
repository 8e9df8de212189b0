import pytest
import torch
from sklearn.metrics import accuracy_score

from lab.metrics import Accuracy


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
