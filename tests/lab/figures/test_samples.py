from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.figure import Figure
from PIL import Image
from sklearn.metrics import f1_score, r2_score, root_mean_squared_error

from lab.config.mask_values import IGNORE_INDEX
from lab.figures.panels import FALSE_ALARM, HIT, IGNORED, MISS, WRONG_CLASS, class_colour
from lab.figures.samples import classification_figure, dice, regression_figure, segmentation_figure

RNG = np.random.default_rng(0)


def colours(path: Path) -> set[tuple[int, ...]]:
    picture = Image.open(path).convert("RGB")
    return {colour for count, colour in picture.getcolors(1 << 24) if count > 300}


def test_segmentation_has_a_row_a_sample_with_its_dice(tmp_path: Path, drawn: list[Figure]) -> None:
    truth = np.zeros((2, 1, 8, 8))
    truth[:, :, :4] = 1
    prediction = np.zeros((2, 1, 8, 8))
    prediction[0, :, 2:6], prediction[1, :, :4] = 0.9, 0.9
    path = tmp_path / "p.png"
    segmentation_figure(RNG.random((2, 3, 8, 8)), truth, prediction, path, names=["a.png", "b$"], title="t")
    axes = drawn[0].axes
    assert [ax.get_title() for ax in axes[:4]] == ["image", "truth", "prediction", "difference"]
    assert [axes[0].get_ylabel(), axes[4].get_ylabel()] == ["a.png\nDice 0.500", "b\\$\nDice 1.000"]
    legend = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert legend == ["found", "false alarm", "missed", "background"]
    assert {HIT, FALSE_ALARM, MISS} <= colours(path)  # as they are, so nothing was blurred


def test_samples_of_several_sizes_keep_their_proportions(tmp_path: Path, drawn: list[Figure]) -> None:
    sizes = [(10, 20), (30, 10), (900, 700)]
    masks = [RNG.random(size) > 0.5 for size in sizes]
    segmentation_figure(masks, masks, masks, tmp_path / "p.png")
    shown = [drawn[0].axes[4 * n].get_window_extent() for n in range(3)]
    for box, (height, width) in zip(shown, sizes, strict=True):
        assert box.height / box.width == pytest.approx(height / width, rel=0.02)
    modes = [drawn[0].axes[4 * n].images[0].get_interpolation() for n in range(3)]
    assert modes[:2] == ["nearest", "nearest"] and modes[2] != "nearest"


def test_classes_have_their_names_below(tmp_path: Path, drawn: list[Figure]) -> None:
    truth = np.array([[0, 0, 1, 1], [2, 2, 3, IGNORE_INDEX]]).repeat(8, 0).repeat(8, 1)
    said = np.where(truth == 2, 1, np.where(truth == IGNORE_INDEX, 0, truth))
    probabilities = np.eye(4)[said].transpose(2, 0, 1)
    path = tmp_path / "p.png"
    names = ["background", "cell", "$debris"]
    segmentation_figure([RNG.random(truth.shape)], [truth], [probabilities], path, classes=names)
    legend = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert legend == [
        "cell",
        "\\$debris",
        "class 3",
        "found",
        "false alarm",
        "missed",
        "another class",
        "ignored",
        "background",
    ]
    assert drawn[0].axes[0].get_ylabel() == f"Dice {(2 / 3 + 0 + 1) / 3:.3f}"
    assert {HIT, WRONG_CLASS, IGNORED, *(class_colour(n) for n in range(1, 4))} <= colours(path)
    whole = drawn[0].bbox
    box = drawn[0].legends[0].get_window_extent()
    assert whole.x0 <= box.x0 and box.x1 <= whole.x1 and whole.y0 <= box.y0


@pytest.mark.parametrize("counts", [(0, 0, 0), (2, 1, 2)])
def test_segmentation_refuses_what_does_not_fit(counts: tuple[int, int, int], tmp_path: Path) -> None:
    images, truths, predictions = (np.zeros((count, 4, 4)) for count in counts)
    with pytest.raises(ValueError, match=r"no sample|shorter"):
        segmentation_figure(images, truths, predictions, tmp_path / "p.png")
    assert not list(tmp_path.iterdir())


def test_wrong_classes_are_marked(tmp_path: Path, drawn: list[Figure]) -> None:
    probabilities = [[0.9, 0.1], [0.75, 0.25], [0.2, 0.8]]
    images = RNG.random((3, 1, 8, 8))
    classification_figure(images, [0, 1, 1], probabilities, tmp_path / "c.png", classes=["cat", "dog"])
    assert [ax.get_title() for ax in drawn[0].axes] == ["cat  90 %", "✗ cat  75 %\ntrue: dog", "dog  80 %"]
    assert [ax.spines["left"].get_linewidth() for ax in drawn[0].axes] == [0.8, 3, 0.8]
    assert drawn[0].get_suptitle() == "1 of 3 wrong"


def test_classification_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="2 images, 1 truths, 2 rows"):
        classification_figure(np.zeros((2, 4, 4)), [0], [[1.0], [1.0]], tmp_path / "c.png")


def test_regression_shows_the_curve_and_its_scores(tmp_path: Path, drawn: list[Figure]) -> None:
    x = RNG.uniform(-2, 2, 50)
    truth, said = np.sin(x), np.sin(x) + RNG.normal(0, 0.1, 50)
    regression_figure(x[:, None], truth[:, None], said[:, None], tmp_path / "r.png")
    curve, scatter = drawn[0].axes
    line = next(each for each in curve.lines if each.get_label() == "prediction")
    assert (np.diff(line.get_xdata()) >= 0).all()
    assert line.get_ydata() == pytest.approx(said[np.argsort(x)])
    rmse, r2 = root_mean_squared_error(truth, said), r2_score(truth, said)
    assert scatter.get_title(loc="right") == f"RMSE {rmse:.4g}   R² {r2:.4f}"


def test_many_inputs_have_no_curve(tmp_path: Path, drawn: list[Figure]) -> None:
    regression_figure(RNG.random((9, 3)), RNG.random((9, 2)), RNG.random((9, 2)), tmp_path / "r.png")
    assert [ax.get_xlabel() for ax in drawn[0].axes] == ["truth"]
    assert [text.get_text() for text in drawn[0].axes[0].get_legend().get_texts()] == ["output 0", "output 1"]


@pytest.mark.parametrize(
    ("prediction", "heading", "said"),
    [
        ([1.0, np.nan, 3.0], "1 of 3 samples left out: not finite", []),
        ([np.nan] * 3, "3 of 3 samples left out: not finite", ["no finite prediction"]),
    ],
)
def test_what_is_not_finite_is_left_out_and_told(
    prediction: list[float], heading: str, said: list[str], tmp_path: Path, drawn: list[Figure]
) -> None:
    regression_figure([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], prediction, tmp_path / "r.png")
    assert drawn[0].get_suptitle() == heading
    assert [text.get_text() for text in drawn[0].axes[1].texts] == said


@given(arrays(bool, 12), arrays(bool, 12))
def test_dice_equals_the_f1_score(truth: np.ndarray, prediction: np.ndarray) -> None:
    expected = f1_score(truth, prediction, zero_division=1.0)
    assert dice(truth, prediction) == pytest.approx(expected)


@given(st.integers(1, 9))
def test_dice_of_equal_masks_is_one(size: int) -> None:
    assert (
        dice(np.zeros(size, bool), np.zeros(size, bool))
        == dice(np.ones(size, bool), np.ones(size, bool))
        == 1
    )


@given(arrays(np.uint8, 12, elements=st.integers(0, 3)), arrays(np.uint8, 12, elements=st.integers(0, 3)))
def test_dice_of_classes_is_the_mean_over_those_that_are_there(truth: np.ndarray, said: np.ndarray) -> None:
    there = sorted({*truth, *said} - {0})
    expected = np.mean([f1_score(truth == n, said == n) for n in there]) if there else 1.0
    assert dice(truth, said) == pytest.approx(expected)
    judged = np.arange(12) < 7
    assert dice(truth, said, judged) == dice(truth[:7], said[:7])
