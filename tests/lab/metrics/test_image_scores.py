import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lab.config.mask_values import IGNORE_INDEX, Auto, Background
from lab.metrics import Dice, IoU, Precision, Recall
from lab.metrics.boundary import hausdorff95
from lab.metrics.image_scores import (
    HD95,
    MEASURES,
    OVERLAPS,
    THRESHOLDS,
    ImageScores,
    ThresholdSearch,
    describe,
    score_image,
    summarise,
)


def binary(seed: int, images: int = 4) -> tuple[Tensor, Tensor]:
    """Some masks are empty, some pixels were judged by nobody."""
    generator = torch.Generator().manual_seed(seed)
    probability = torch.rand(images, 1, 8, 9, generator=generator)
    truth = (torch.rand(images, 1, 8, 9, generator=generator) > 0.6).float()
    truth *= (torch.rand(images, 1, 1, 1, generator=generator) > 0.3).float()
    truth[torch.rand(truth.shape, generator=generator) > 0.9] = IGNORE_INDEX
    return probability, truth


def several(seed: int, images: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    probability = torch.randn(images, 4, 8, 9, generator=generator).softmax(1)
    truth = torch.randint(0, 4, (images, 8, 9), generator=generator)
    probability[0, 2:], truth[0] = 0, truth[0] % 2  # the first image has no class 2 and no class 3
    truth[torch.rand(truth.shape, generator=generator) > 0.9] = IGNORE_INDEX
    return probability, truth


def scored(prediction: Tensor, truth: Tensor, **options: object) -> list[ImageScores]:
    return [
        score_image(str(n), prediction[n : n + 1], truth[n : n + 1], **options)  # type: ignore[arg-type]
        for n in range(len(truth))
    ]


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    many=st.booleans(),
    threshold=st.sampled_from([0.3, 0.5, 0.75]),
    background=st.sampled_from([Auto.AUTO, 0, None]),
)
def test_the_mean_over_images_and_that_of_all_pixels_are_the_metrics(
    seed: int, many: bool, threshold: float, background: Background
) -> None:
    prediction, truth = several(seed) if many else binary(seed)
    images = scored(prediction, truth, threshold=threshold, background=background)
    for name, kind in OVERLAPS.items():
        for index in (None, 0, 1, 2, 3) if many else (None, 1) if background is not None else (None,):
            summary = summarise(images, name, index)
            for average in ("image", "set"):
                metric = kind(threshold, average, index, background)
                metric.update(prediction, truth)
                found = None if summary is None else summary.mean if average == "image" else summary.whole
                assert (1.0 if found is None else found) == pytest.approx(metric.compute().item(), abs=1e-6)


def test_figures_of_one_image() -> None:
    prediction = torch.tensor([[0.9, 0.8, 0.7, 0.1]]).reshape(1, 1, 1, 4)
    truth = torch.tensor([[1.0, 1.0, 0.0, 1.0]]).reshape(1, 1, 1, 4)
    image = score_image("a.png", prediction, truth, part="fold_1")
    assert (image.name, image.height, image.width, image.part) == ("a.png", 1, 4, "fold_1")
    assert (image.counts, image.counted) == (((0, 1, 1), (2, 3, 3)), (1,))
    values = [image.value(name) for name in MEASURES]
    assert values == pytest.approx([4 / 6, 2 / 4, 2 / 3, 2 / 3, image.hd95[1]])
    expected = hausdorff95(prediction[0, 0].numpy() > 0.5, truth[0, 0].numpy() > 0.5)
    assert image.hd95[1] == expected and expected > 0
    (finer,) = scored(prediction, truth, spacing=0.5)
    assert finer.hd95[1] == pytest.approx(expected / 2)


def test_a_class_that_is_not_there_has_no_figure_and_is_in_no_mean() -> None:
    prediction, truth = several(0)
    first, second, *_ = scored(prediction, truth, background=0)
    assert [first.value("dice", n) is None for n in (1, 2, 3)] == [False, True, True]
    for name in MEASURES:
        assert first.value(name) == first.value(name, 1)
        each = [second.value(name, n) for n in (1, 2, 3)]
        assert second.value(name) == pytest.approx(np.mean(each))  # type: ignore[arg-type]
    summary = summarise([first, second], "dice", 2)
    assert summary is not None and (summary.count, summary.mean) == (1, second.value("dice", 2))
    assert summarise([first], "dice", 2) is None


def test_nothing_to_find_and_nothing_found_is_right() -> None:
    nothing = torch.zeros(1, 1, 4, 4)
    image = score_image("a", nothing, nothing)
    for index in (None, 1):
        assert [image.value(name, index) for name in MEASURES] == [1, 1, 1, 1, 0]
    empty = score_image("b", torch.zeros(1, 3, 4, 4), torch.zeros(1, 4, 4).long(), background=0)
    assert [empty.value(name) for name in MEASURES] == [1, 1, 1, 1, 0]
    assert empty.value("dice", 1) is None


def test_nothing_found_where_there_is_something() -> None:
    image = score_image("a", torch.zeros(1, 1, 3, 4), torch.ones(1, 1, 3, 4))
    assert [image.value(name) for name in MEASURES] == [0, 0, 0, 0, 5.0]  # the diagonal


def test_a_summary_describes_its_values() -> None:
    summary = describe([0.2, 0.4, 0.9])
    assert summary is not None
    assert summary.mean == pytest.approx(0.5) and summary.deviation == pytest.approx(
        np.std([0.2, 0.4, 0.9], ddof=1)
    )
    assert (summary.median, summary.low, summary.high, summary.count, summary.whole) == (
        0.4,
        0.2,
        0.9,
        3,
        None,
    )
    assert describe([]) is None
    alone = describe([0.7])
    assert alone is not None and math.isnan(alone.deviation) and alone.mean == 0.7


def test_a_distance_has_no_figure_of_all_pixels() -> None:
    summary = summarise(scored(*binary(3)), HD95)
    assert summary is not None and summary.whole is None


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_all_thresholds_at_once_are_what_each_alone_is(seed: int) -> None:
    prediction, truth = binary(seed)
    prediction = (prediction * 20).round() / 20  # many lie on a threshold, and aren't above it
    search = ThresholdSearch()
    search.add(prediction[:1], truth[:1])
    search.add(prediction[1:], truth[1:])
    for threshold, value in search.curve():
        metric = Dice(threshold)
        metric.update(prediction, truth)
        assert value == pytest.approx(metric.compute().item(), abs=1e-6)
    best = dict(search.curve())[search.best()]
    assert best == max(value for _, value in search.curve())


def test_the_best_threshold_and_of_equal_ones_that_in_the_middle() -> None:
    truth = torch.tensor([1.0, 1.0, 0.0, 0.0]).reshape(1, 1, 1, 4)
    search = ThresholdSearch()
    search.add(torch.tensor([0.9, 0.84, 0.81, 0.1]).reshape(1, 1, 1, 4), truth)
    assert search.best() == pytest.approx(0.85) or dict(search.curve())[search.best()] < 1
    search = ThresholdSearch()
    search.add(torch.tensor([0.99, 0.98, 0.01, 0.02]).reshape(1, 1, 1, 4), truth)
    assert search.best() == 0.5 and len(search.curve()) == len(THRESHOLDS) == 19
    search = ThresholdSearch()
    search.add(torch.tensor([0.99, 0.78, 0.72, 0.02]).reshape(1, 1, 1, 4), truth)
    assert search.best() == 0.75


def test_classes_need_no_threshold() -> None:
    with pytest.raises(ValueError, match="one foreground"):
        ThresholdSearch().add(*several(0))


def test_the_measures_are_the_metrics() -> None:
    assert {"dice": Dice, "iou": IoU, "precision": Precision, "recall": Recall} == OVERLAPS
