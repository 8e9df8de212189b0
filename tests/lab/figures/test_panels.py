import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from lab.config.mask_values import IGNORE_INDEX
from lab.figures.panels import (
    FALSE_ALARM,
    HIT,
    IGNORED,
    MISS,
    WRONG_CLASS,
    class_colour,
    difference,
    masks,
    panel,
    stack,
    to_rgb,
)

WHITE, BLACK = (255, 255, 255), (0, 0, 0)
TRUTH = np.array([[1, 1], [0, 0]])
PREDICTION = np.array([[0.9, 0.2], [0.8, 0.5]])  # 0.5 itself is background


def test_the_difference_tells_hits_false_alarms_and_misses_apart() -> None:
    picture = difference(TRUTH > 0, PREDICTION > 0.5)
    assert [tuple(pixel) for row in picture for pixel in row] == [HIT, MISS, FALSE_ALARM, BLACK]


def test_a_panel_is_image_truth_prediction_difference() -> None:
    image = np.array([[0.0, 1.0], [2.0, 4.0]])
    strip = panel(image, TRUTH, PREDICTION, gap=1)
    assert strip.shape == (2, 4 * 2 + 3, 3) and strip.dtype == np.uint8
    parts = np.split(strip, [2, 3, 5, 6, 8, 9], axis=1)
    assert all((gap == 255).all() for gap in parts[1::2])
    assert parts[0][0, 0].tolist() == [0, 0, 0] and parts[0][1, 1].tolist() == [255, 255, 255]
    assert [tuple(p) for row in parts[2] for p in row] == [WHITE, WHITE, BLACK, BLACK]
    assert [tuple(p) for row in parts[4] for p in row] == [WHITE, BLACK, WHITE, BLACK]
    assert [tuple(p) for row in parts[6] for p in row] == [HIT, MISS, FALSE_ALARM, BLACK]


def test_the_threshold_is_for_the_prediction_only() -> None:
    strip = panel(np.zeros((2, 2)), TRUTH, PREDICTION, threshold=0.1, gap=0)
    assert (strip[:, 4:6] == 255).all()  # the prediction
    assert (strip[:, 2:4, 0] > 0).tolist() == (TRUTH > 0).tolist()


@pytest.mark.parametrize("shape", [(5, 7), (1, 5, 7), (5, 7, 1)])
def test_masks_come_with_or_without_a_channel(shape: tuple[int, ...]) -> None:
    mask = np.zeros((5, 7))
    mask[2, 3] = 1
    strip = panel(np.zeros((3, 5, 7)), mask.reshape(shape), mask.reshape(shape), gap=0)
    assert strip.shape == (5, 28, 3)
    assert np.argwhere((strip[:, 21:] == HIT).all(axis=2)).tolist() == [[2, 3]]


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((4, 6), (4, 6)),
        ((1, 4, 6), (4, 6)),
        ((3, 4, 6), (4, 6)),
        ((5, 4, 6), (4, 6)),
        ((4, 6, 3), (4, 6)),
        ((4, 6, 1), (4, 6)),
        ((4, 6, 5), (4, 6)),  # only the size tells that the channels come last
        ((3, 4, 3), (4, 3)),
    ],
)
def test_channels_come_first_or_last(shape: tuple[int, ...], size: tuple[int, int]) -> None:
    assert to_rgb(np.random.default_rng(0).normal(size=shape), size).shape == (*size, 3)


def test_colours_keep_their_order() -> None:
    image = np.zeros((3, 2, 2))
    image[0, 0, 0], image[2, 1, 1] = 1, 1
    picture = to_rgb(image)
    assert picture[0, 0].tolist() == [255, 0, 0] and picture[1, 1].tolist() == [0, 0, 255]
    assert (to_rgb(np.moveaxis(image, 0, -1)) == picture).all()


def test_other_numbers_of_channels_are_averaged() -> None:
    image = np.stack([np.array([[0.0, 4.0]]), np.array([[2.0, 0.0]])])  # means 1 and 2
    assert to_rgb(image)[0].tolist() == [[0, 0, 0], [255, 255, 255]]


@pytest.mark.parametrize(("scale", "shift"), [(1, 0), (255, 0), (1e-6, 0), (3, -1.5), (1e6, 1e6)])
def test_any_range_is_stretched_the_same(scale: float, shift: float) -> None:
    image = np.linspace(0, 1, 101).reshape(1, 101)
    picture = to_rgb(image * scale + shift)[0, :, 0].astype(int)
    expected = np.clip(np.round((np.linspace(0, 1, 101) - 0.01) / 0.98 * 255), 0, 255)
    assert np.abs(picture - expected).max() <= 1


@pytest.mark.parametrize(("value", "shown"), [(0.0, 0), (1.0, 255), (0.2, 51), (7.0, 128), (-3.0, 128)])
def test_an_even_image_is_shown_as_it_is(value: float, shown: int) -> None:
    assert (to_rgb(np.full((3, 3), value)) == shown).all()


def test_a_few_bright_pixels_are_seen() -> None:
    image = np.zeros((50, 50))
    image[0, 0] = 0.3  # beyond the 99th percentile
    assert to_rgb(image)[0, 0, 0] == 255


@given(
    arrays(
        np.float32,
        array_shapes(min_dims=2, max_dims=3, max_side=6),
        elements=st.floats(width=32, allow_nan=True, allow_infinity=True),
    )
)
def test_no_value_breaks_the_stretch(image: np.ndarray) -> None:
    with np.errstate(divide="raise", invalid="raise", over="raise"):
        picture = to_rgb(image)
    assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3


def test_different_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"image and masks differ .*\(4, 4\), \(2, 2\)"):
        panel(np.zeros((4, 4)), TRUTH, PREDICTION)
    with pytest.raises(ValueError, match=r"truth and prediction differ .*\(2, 2\), \(2, 3\)"):
        panel(np.zeros((2, 2)), TRUTH, np.zeros((2, 3)))
    with pytest.raises(ValueError, match="two or three axes"):
        to_rgb(np.zeros((1, 3, 4, 4)))


def test_a_stack_fills_up_narrow_strips_with_white() -> None:
    narrow, wide = np.zeros((2, 3, 3), np.uint8), np.zeros((4, 5, 3), np.uint8)
    whole = stack([narrow, wide], gap=1)
    assert whole.shape == (7, 5, 3)
    assert (whole[:2, :3] == 0).all() and (whole[:2, 3:] == 255).all()
    assert (whole[2] == 255).all() and (whole[3:] == 0).all()


CLASSES = np.array([[0, 1, 2], [2, 0, IGNORE_INDEX]])
ANSWERS = np.array([[0, 1, 1], [0, 2, 2]])
PROBABILITIES = np.eye(3)[ANSWERS].transpose(2, 0, 1)  # (classes, 2, 3)


def test_classes_have_a_colour_each_and_ignored_pixels_are_grey() -> None:
    strip = panel(np.zeros((2, 3)), CLASSES, PROBABILITIES, gap=0, background=0)
    truth, said, errors = ([tuple(p) for p in strip[:, n : n + 3].reshape(-1, 3)] for n in (3, 6, 9))
    background, first, second = (class_colour(n) for n in range(3))
    assert truth == [background, first, second, second, background, IGNORED]
    assert said == [background, first, first, background, second, second]
    assert errors == [BLACK, HIT, WRONG_CLASS, MISS, FALSE_ALARM, IGNORED]


def test_many_classes_differ_in_colour() -> None:
    colours = [class_colour(n) for n in range(19)]
    assert len(set(colours)) == 19 and colours[0] == BLACK
    assert not {HIT, FALSE_ALARM, MISS, WRONG_CLASS, IGNORED} & set(colours)


def test_ignored_pixels_of_a_binary_mask_are_grey() -> None:
    truth = np.array([[1.0, IGNORE_INDEX], [0.0, IGNORE_INDEX]])
    strip = panel(np.zeros((2, 2)), truth, PREDICTION, gap=0)
    assert [tuple(p) for p in strip[:, 2:4].reshape(-1, 3)] == [WHITE, IGNORED, BLACK, IGNORED]
    assert [tuple(p) for p in strip[:, 6:8].reshape(-1, 3)] == [HIT, IGNORED, FALSE_ALARM, IGNORED]


def test_the_number_of_planes_says_which_kind_of_mask_it_is() -> None:
    assert masks(TRUTH, PREDICTION).classes == 2
    assert masks(TRUTH[None], PREDICTION[None]).classes == 2
    assert masks(TRUTH, np.stack([1 - PREDICTION, PREDICTION])).classes == 2
    several = masks(CLASSES, PROBABILITIES)
    assert several.classes == 3 and several.size == (2, 3)
    assert several.predicted.tolist() == ANSWERS.tolist()
    assert several.valid.tolist() == (CLASSES != IGNORE_INDEX).tolist()
