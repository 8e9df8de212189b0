from typing import Any

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, jaccard_score
from torch import Tensor

from lab.config.mask_values import IGNORE_INDEX, Auto, Background
from lab.metrics import Dice, IoU, OneClass, Precision, Recall
from lab.metrics.segmentation import Overlap, overlap_counts

IMAGES = 9
TORCHMETRICS: dict[type[Overlap], list[float]] = {  # by class, of torchmetrics 1.9.0
    Dice: [0.6538461, 0.6666667, 0.6153846, 0.7346939],
    IoU: [0.4857143, 0.5, 0.4444444, 0.5806451],
    Precision: [0.6538461, 0.6538461, 0.6153846, 0.75],
    Recall: [0.6538461, 0.68, 0.6153846, 0.72],
}


def masks(seed: int, images: int = IMAGES) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    probability = torch.rand(images, 1, 6, 7, generator=generator)
    return probability, (torch.rand(images, 1, 6, 7, generator=generator) > 0.55).float()


def value(metric: Overlap | OneClass, prediction: Tensor, target: Tensor) -> float:
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


@pytest.mark.parametrize(
    ("metric", "theirs"),
    [
        (Dice, smp.metrics.f1_score),
        (IoU, smp.metrics.iou_score),
        (Precision, smp.metrics.precision),
        (Recall, smp.metrics.recall),
    ],
)
@pytest.mark.parametrize(("average", "reduction"), [("image", "micro-imagewise"), ("set", "micro")])
@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8])
def test_equals_smp(
    metric: type[Overlap], theirs: object, average: str, reduction: str, threshold: float
) -> None:
    prediction, target = masks(1)
    counts = smp.metrics.get_stats(prediction, target.long(), mode="binary", threshold=threshold)
    expected = theirs(*counts, reduction=reduction).item()  # type: ignore[operator]
    found = value(metric(threshold=threshold, average=average), prediction, target)  # type: ignore[arg-type]
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("metric", [Dice, IoU, Precision, Recall])
@pytest.mark.parametrize("average", ["image", "set"])
@pytest.mark.parametrize(("found", "truth", "expected"), [(0.0, 0.0, 1.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)])
def test_empty_masks(
    metric: type[Overlap], average: str, found: float, truth: float, expected: float
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
        dice, iou = value(Dice(average=average), a, b), value(IoU(average=average), a, b)
        assert 0 <= iou <= dice <= 1
        assert dice == value(Dice(average=average), b, a)
        assert iou == value(IoU(average=average), b, a)
        assert value(Dice(average=average), a, a) == 1
    assert iou == pytest.approx(dice / (2 - dice))  # of the set, the last of the loop


def test_counts_of_a_large_set_are_exact() -> None:
    # float32 can't count past 2^24, and a set of 300 images of 256² pixels has more.
    dice = Dice(average="set")
    ones = torch.ones(1, 1, 256, 256).expand(100, 1, 256, 256)
    for _ in range(3):
        dice.update(ones, ones)
    assert dice._counts is not None
    assert dice._counts.tolist() == [[300 * 256 * 256] * 3]


@pytest.mark.parametrize(
    "arguments", [{"threshold": 1.0}, {"threshold": -0.1}, {"average": "batch"}, {"class_index": -1}]
)
def test_arguments_out_of_range(arguments: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(arguments))):
        Dice(**arguments)  # type: ignore[arg-type]


def classes(
    seed: int, images: int = 5, count: int = 4, pixels: tuple[int, ...] = (6, 7)
) -> tuple[Tensor, Tensor]:
    """Probabilities of `count` classes and the classes; some images lack some of them."""
    generator = torch.Generator().manual_seed(seed)
    probability = torch.randn(images, count, *pixels, generator=generator).softmax(1)
    target = torch.randint(0, count, (images, *pixels), generator=generator)
    probability[0, 2:] = 0  # neither said nor true in the first image
    target[0] %= 2
    return probability, target


@pytest.mark.parametrize(
    ("metric", "theirs"),
    [
        (Dice, smp.metrics.f1_score),
        (IoU, smp.metrics.iou_score),
        (Precision, smp.metrics.precision),
        (Recall, smp.metrics.recall),
    ],
)
@pytest.mark.parametrize(
    ("background", "counted"),
    [(Auto.AUTO, [0, 1, 2, 3]), (None, [0, 1, 2, 3]), (0, [1, 2, 3]), (2, [0, 1, 3]), (3, [0, 1, 2])],
)
def test_classes_equal_smp(
    metric: type[Overlap], theirs: object, background: Background, counted: list[int]
) -> None:
    probability, target = classes(0)
    target[1:, :2] = IGNORE_INDEX
    # smp takes -1 for it.
    target_smp = torch.where(target == IGNORE_INDEX, -1, target)
    counts = smp.metrics.get_stats(probability.argmax(1), target_smp, "multiclass", -1, num_classes=4)
    each = theirs(*counts, reduction="none", zero_division=0.0)  # type: ignore[operator]  # (N, classes)
    tp, fp, fn, _ = counts
    there = (tp + fp + fn) > 0
    by_image = [row[counted][there[n, counted]].mean() for n, row in enumerate(each)]
    assert not there[0, 2:].any() and there[1:].all()
    assert value(metric(background=background), probability, target) == pytest.approx(
        torch.stack(by_image).mean().item()
    )
    whole = theirs(*(count.sum(0, keepdim=True) for count in counts), reduction="none")  # type: ignore[operator]
    of_the_set = value(metric(average="set", background=background), probability, target)
    assert of_the_set == pytest.approx(whole[0, counted].mean().item())
    for index in range(4):
        found = value(metric(None, "set", index, background), probability, target)
        assert found == pytest.approx(whole[0, index].item())
        one = each[there[:, index], index].mean().item()
        assert value(metric(None, "image", index, background), probability, target) == pytest.approx(one)


def test_smp_means_over_all_classes_are_those_without_a_background() -> None:
    generator = torch.Generator().manual_seed(5)
    probability = torch.randn(6, 5, 20, 30, generator=generator).softmax(1)
    target = torch.randint(0, 5, (6, 20, 30), generator=generator)
    counts = smp.metrics.get_stats(probability.argmax(1), target, "multiclass", num_classes=5)
    for metric, theirs in ((Dice, smp.metrics.f1_score), (IoU, smp.metrics.iou_score)):
        for average, reduction in (("set", "macro"), ("image", "macro-imagewise")):
            found = value(metric(average=average), probability, target)  # type: ignore[arg-type]
            assert found == pytest.approx(theirs(*counts, reduction=reduction).item(), abs=1e-6)


@pytest.mark.parametrize(("background", "include"), [(Auto.AUTO, True), (None, True), (0, False)])
def test_equal_to_torchmetrics(background: Background, include: bool) -> None:
    """By class with `MulticlassJaccardIndex(4, average="none", ignore_index=255)` and its like."""
    place = torch.arange(120).reshape(2, 6, 10)
    predicted = (place // 3 + (place % 7 == 0) * 2) % 4
    target = (place // 3 + (place % 5 == 0) * (place % 3 + 1)) % 4
    target[1, :, 7:] = IGNORE_INDEX
    prediction = torch.nn.functional.one_hot(predicted, 4).movedim(-1, 1).float()
    for metric, expected in TORCHMETRICS.items():
        found = value(metric(average="set", background=background), prediction, target)
        assert found == pytest.approx(sum(expected[not include :]) / (3 + include), abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), several=st.booleans(), cut=st.integers(1, 5))
def test_an_ignored_pixel_has_no_say(seed: int, several: bool, cut: int) -> None:
    prediction, target = classes(seed) if several else masks(seed)
    target[..., cut:, :] = IGNORE_INDEX
    other = prediction.clone()
    other[..., cut:, :] = classes(seed + 1)[0][..., cut:, :] if several else 1 - other[..., cut:, :]
    for metric in (Dice, IoU, Precision, Recall):
        for average in ("image", "set"):
            found = value(metric(average=average), prediction, target)
            assert found == value(metric(average=average), other, target)
            smaller = value(metric(average=average), prediction[..., :cut, :], target[..., :cut, :])
            assert found == pytest.approx(smaller)
    assert value(OneClass(), prediction, target) == value(OneClass(), other, target)


def test_a_class_that_no_image_has_is_all_found() -> None:
    probability, target = classes(0)
    assert value(Dice(class_index=3), probability[:1], target[:1]) == 1.0
    assert value(Dice(class_index=3, average="set"), probability[:1], target[:1]) == 1.0


def test_an_image_that_nobody_judged_counts_as_nothing_to_find() -> None:
    prediction, target = masks(0, images=2)
    target[0] = IGNORE_INDEX
    alone = value(Dice(), prediction[1:], target[1:])
    assert value(Dice(), prediction, target) == pytest.approx((1 + alone) / 2)
    assert value(Dice(average="set"), prediction, target) == pytest.approx(alone)


@pytest.mark.parametrize("metric", [Dice, IoU, Precision, Recall, OneClass])
def test_one_foreground_class_of_two_is_the_binary_case(metric: type[Overlap] | type[OneClass]) -> None:
    probability, target = masks(3)
    two = torch.cat([1 - probability, probability], dim=1)
    background = {} if metric is OneClass else {"background": 0}
    assert value(metric(**background), two, target[:, 0].long()) == value(metric(), probability, target)


@pytest.mark.parametrize("metric", [Dice, IoU, Precision, Recall])
@pytest.mark.parametrize("index", [0, 1])
def test_background_and_foreground_by_index(metric: type[Overlap], index: int) -> None:
    probability, target = masks(4)
    two = torch.cat([1 - probability, probability], dim=1)
    binary = value(metric(class_index=index), probability, target)
    assert value(metric(class_index=index), two, target[:, 0].long()) == binary
    assert binary == value(
        metric(), probability if index else 1 - probability, target if index else 1 - target
    )


@pytest.mark.parametrize("metric", [Dice, IoU, Precision, Recall])
@pytest.mark.parametrize("average", ["image", "set"])
def test_two_classes_of_one_map_without_background_both_count(metric: type[Overlap], average: str) -> None:
    probability, target = masks(6)
    target[2:4, :, 3:] = IGNORE_INDEX
    both = value(metric(average=average, background=None), probability, target)  # type: ignore[arg-type]
    two = torch.cat([1 - probability, probability], dim=1)
    assert both == value(metric(average=average), two, target[:, 0].long())  # type: ignore[arg-type]
    last = value(metric(average=average, background=1), probability, target)  # type: ignore[arg-type]
    flipped = torch.where(target == IGNORE_INDEX, target, 1 - target)
    assert last == value(metric(average=average), 1 - probability, flipped)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "one_map", "expected"),
    [
        ({}, None, None),
        ({}, True, 1),
        ({}, False, 2),
        ({"background": 0}, None, 1),
        ({"background": 0}, False, 1),
        ({"background": None}, None, 2),
        ({"background": 3}, None, 2),
        ({"background": None, "class_index": 2}, None, 1),
        ({"class_index": 0}, False, 1),
    ],
)
def test_the_definition_is_another_one_where_the_mean_is(
    options: dict[str, Any], one_map: bool | None, expected: int | None
) -> None:
    metric = Dice(**options)
    if one_map is not None:
        metric.update(*(masks(0) if one_map else classes(0)))
    assert metric.definition == expected
    metric.reset()
    assert metric.definition == expected


def test_precision_and_recall_are_each_others_mirror() -> None:
    found, truth = ((mask > 0.5).float() for mask in masks(5))
    assert value(Precision(), found, truth) == value(Recall(), truth, found)
    prediction = torch.tensor([[[[0.9, 0.9, 0.9, 0.1]]]])
    target = torch.tensor([[[[1.0, 0.0, 0.0, 1.0]]]])
    assert value(Precision(), prediction, target) == pytest.approx(1 / 3)
    assert value(Recall(), prediction, target) == pytest.approx(1 / 2)


def test_counts_are_of_each_class_and_image() -> None:
    said = torch.tensor([[[0, 1, 1, 2]], [[0, 0, 0, 0]]])
    truth = torch.tensor([[[0, 1, 2, 2]], [[0, 0, 0, IGNORE_INDEX]]])
    prediction = torch.nn.functional.one_hot(said, 3).movedim(-1, 1).float()
    counts = overlap_counts(prediction, truth, background=0)
    assert counts.shape == (2, 3, 2) and counts.dtype == torch.int64
    assert counts[:, :, 0].tolist() == [[1, 2, 1], [1, 1, 2]]
    assert counts[:, :, 1].tolist() == [[0, 0, 0], [0, 0, 0]]
    assert overlap_counts(prediction, truth, class_index=0)[0, :, 1].tolist() == [3, 3, 3]


@pytest.mark.parametrize(
    ("prediction", "target", "index", "message"),
    [
        ((2, 3, 4, 4), (2, 4, 5), None, "same shape"),
        ((2, 1, 4, 4), (2, 4, 4), None, "same shape"),
        ((2, 3, 4, 4), (2, 4, 4), 3, r"one of the 3 classes \(0 to 2\), found 3"),
        ((2, 1, 4, 4), (2, 1, 4, 4), 2, r"one of the 2 classes"),
    ],
)
def test_what_does_not_fit_is_told(
    prediction: tuple[int, ...], target: tuple[int, ...], index: int | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        value(Dice(class_index=index), torch.zeros(prediction), torch.zeros(target).long())


@pytest.mark.parametrize(
    ("prediction", "target", "expected"),
    [
        (torch.full((2, 1, 2, 2), 0.9), torch.zeros(2, 1, 2, 2), 1.0),
        (torch.full((2, 1, 2, 2), 0.1), torch.ones(2, 1, 2, 2), 1.0),
        (torch.tensor([[[[0.9, 0.1, 0.1, 0.2]]]]), torch.zeros(1, 1, 1, 4), 0.75),
        (torch.eye(4).reshape(1, 4, 1, 4), torch.zeros(1, 1, 4).long(), 0.25),
        (torch.full((1, 1, 2, 2), 0.9), torch.full((1, 1, 2, 2), float(IGNORE_INDEX)), 0.0),
    ],
)
def test_the_share_of_the_most_frequent_class(prediction: Tensor, target: Tensor, expected: float) -> None:
    assert value(OneClass(), prediction, target) == expected


def test_nearly_one_class_is_not_one_class() -> None:
    metric = OneClass()
    for _ in range(40):  # 41.9 million pixels: float32 would round the share to 1
        metric.update(torch.zeros(1, 1, 1024, 1024), torch.zeros(1, 1, 1024, 1024))
    assert metric.compute().item() == 1.0
    metric.update(torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 1, 1))
    assert 0.999 < metric.compute().item() < 1.0


def test_the_mean_over_many_images_keeps_its_digits() -> None:
    """A float32 sum of 5,000 values is off by more than one of a few."""
    prediction, target = torch.tensor([[0.9, 0.9, 0.1]]), torch.tensor([[1.0, 0.0, 1.0]])
    metric = IoU()
    for _ in range(5000):
        metric.update(prediction, target)
    assert metric.compute().item() == pytest.approx(1 / 3, abs=4e-8)
