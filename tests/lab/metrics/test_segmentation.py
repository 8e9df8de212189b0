import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, jaccard_score
from torch import Tensor

from lab.metrics import Dice, IoU

IMAGES = 9


def masks(seed: int, images: int = IMAGES) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    probability = torch.rand(images, 1, 6, 7, generator=generator)
    return probability, (torch.rand(images, 1, 6, 7, generator=generator) > 0.55).float()


def value(metric: Dice | IoU, prediction: Tensor, target: Tensor) -> float:
    metric.update(prediction, target)
    return metric.compute().item()


def test_closed_form() -> None:
    # Image 1: |P| = 3, |G| = 2, overlap 2. Image 2: |P| = 1, |G| = 1, overlap 0.
    prediction = torch.tensor([[0.9, 0.8, 0.7, 0.1], [0.6, 0.0, 0.0, 0.0]]).reshape(2, 1, 2, 2)
    target = torch.tensor([[1.0, 1, 0, 0], [0, 1, 0, 0]]).reshape(2, 1, 2, 2)
    assert value(Dice(), prediction, target) == pytest.approx((4 / 5 + 0) / 2)
    assert value(IoU(), prediction, target) == pytest.approx((2 / 3 + 0) / 2)
    assert value(Dice(average="set"), prediction, target) == pytest.approx(4 / 7)
    assert value(IoU(average="set"), prediction, target) == pytest.approx(2 / 5)


@pytest.mark.parametrize(("metric", "theirs"), [(Dice, f1_score), (IoU, jaccard_score)])
def test_equals_scikit_learn(metric: type[Dice | IoU], theirs: object) -> None:
    prediction, target = masks(0)
    found, truth = (prediction > 0.5).flatten(1).numpy(), target.bool().flatten(1).numpy()
    per_image = np.mean([theirs(g, p) for g, p in zip(truth, found, strict=True)])  # type: ignore[operator]
    assert value(metric(), prediction, target) == pytest.approx(per_image)
    over_all = theirs(truth.ravel(), found.ravel())  # type: ignore[operator]
    assert value(metric(average="set"), prediction, target) == pytest.approx(over_all)


@pytest.mark.parametrize(("metric", "theirs"), [(Dice, smp.metrics.f1_score), (IoU, smp.metrics.iou_score)])
@pytest.mark.parametrize(("average", "reduction"), [("image", "micro-imagewise"), ("set", "micro")])
@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8])
def test_equals_smp(
    metric: type[Dice | IoU], theirs: object, average: str, reduction: str, threshold: float
) -> None:
    prediction, target = masks(1)
    counts = smp.metrics.get_stats(prediction, target.long(), mode="binary", threshold=threshold)
    expected = theirs(*counts, reduction=reduction).item()  # type: ignore[operator]
    found = value(metric(threshold=threshold, average=average), prediction, target)  # type: ignore[arg-type]
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("metric", [Dice, IoU])
@pytest.mark.parametrize("average", ["image", "set"])
@pytest.mark.parametrize(("found", "truth", "expected"), [(0.0, 0.0, 1.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)])
def test_empty_masks(
    metric: type[Dice | IoU], average: str, found: float, truth: float, expected: float
) -> None:
    shape = (2, 1, 3, 3)
    measured = metric(average=average)  # type: ignore[arg-type]
    assert value(measured, torch.full(shape, found), torch.full(shape, truth)) == expected


def test_an_empty_image_counts_as_one_image() -> None:
    prediction, target = torch.zeros(2, 1, 2, 2), torch.zeros(2, 1, 2, 2)
    target[1] = 1
    assert value(Dice(), prediction, target) == 0.5
    assert value(Dice(average="set"), prediction, target) == 0.0


def test_a_short_last_batch_weighs_by_its_images() -> None:
    perfect, wrong = torch.ones(4, 1, 2, 2), torch.zeros(1, 1, 2, 2)
    dice = Dice()
    dice.update(perfect, torch.ones_like(perfect))
    dice.update(wrong, torch.ones_like(wrong))
    assert dice.compute().item() == pytest.approx(4 / 5)


def test_a_pixel_at_the_threshold_is_not_set() -> None:
    assert value(Dice(threshold=0.5), torch.full((1, 1, 2, 2), 0.5), torch.zeros(1, 1, 2, 2)) == 1.0


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), images=st.integers(1, 6))
def test_bounds_symmetry_and_the_relation_of_the_two(seed: int, images: int) -> None:
    a, b = ((m > 0.5).float() for m in masks(seed, images))
    for average in ("image", "set"):
        dice, iou = value(Dice(average=average), a, b), value(IoU(average=average), a, b)  # type: ignore[arg-type]
        assert 0 <= iou <= dice <= 1
        assert dice == value(Dice(average=average), b, a)  # type: ignore[arg-type]
        assert iou == value(IoU(average=average), b, a)  # type: ignore[arg-type]
        assert value(Dice(average=average), a, a) == 1  # type: ignore[arg-type]
    assert iou == pytest.approx(dice / (2 - dice))  # of the set, the last of the loop


def test_counts_of_a_large_set_are_exact() -> None:
    # float32 can't count past 2^24, and a set of 300 images of 256² pixels has more.
    dice = Dice(average="set")
    ones = torch.ones(1, 1, 256, 256).expand(100, 1, 256, 256)
    for _ in range(3):
        dice.update(ones, ones)
    assert dice._counts is not None
    assert dice._counts.tolist() == [300 * 256 * 256] * 3


@pytest.mark.parametrize("arguments", [{"threshold": 1.0}, {"threshold": -0.1}, {"average": "batch"}])
def test_arguments_out_of_range(arguments: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(arguments))):
        Dice(**arguments)  # type: ignore[arg-type]
