import math
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from lab.figures.classification import (
    Wrong,
    confusion_figure,
    mistakes_figure,
    reliability_figure,
    roc_figure,
)
from lab.metrics.class_scores import Curve

RNG = np.random.default_rng(0)


def curve(index: int, auc: float) -> Curve:
    return Curve(index, auc, np.array([0.0, 0.0, 1.0]), np.array([0.0, auc, 1.0]))


def test_confusion_holds_its_numbers(tmp_path: Path, drawn: list[Figure]) -> None:
    confusion = np.array([[8, 2, 0], [0, 123_456, 0], [0, 0, 0]])
    path = tmp_path / "c.png"
    confusion_figure(confusion, ["cat", "a very long name of a dog", "$"], path, title="accuracy 0.9")
    ax = drawn[0].axes[0]
    cells = {(text.get_position(), text.get_text()) for text in ax.texts}
    assert cells == {((0, 0), "8"), ((1, 0), "2"), ((1, 1), "123k")}
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names == ["cat", "a very lo…of a dog", r"\$"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted", "true")
    shares = np.asarray(ax.images[0].get_array())
    assert shares.tolist() == [[0.8, 0.2, 0], [0, 1, 0], [0, 0, 0]]
    assert drawn[0].get_suptitle() == "accuracy 0.9"
    assert Image.open(path).size[0] < 900


def test_confusion_of_many_classes_is_not_written(tmp_path: Path, drawn: list[Figure]) -> None:
    confusion_figure(np.eye(100, dtype=np.int64), [str(n) for n in range(100)], tmp_path / "c.png")
    ax = drawn[0].axes[0]
    assert not ax.texts and [label.get_text() for label in ax.get_xticklabels()][:3] == ["0", "3", "6"]
    assert max(Image.open(tmp_path / "c.png").size) < 2000


def test_reliability_has_a_bar_a_bin_that_has_answers(tmp_path: Path, drawn: list[Figure]) -> None:
    bins = [(0.0, 0.5, 0, math.nan, math.nan), (0.5, 0.75, 10, 0.6, 0.8), (0.75, 1.0, 30, 0.9, 0.7)]
    reliability_figure(bins, tmp_path / "r.png", title="ECE")
    above, below = drawn[0].axes
    bars = [patch for patch in above.patches if isinstance(patch, Rectangle)]
    assert [bar.get_height() for bar in bars] == pytest.approx([0.8, 0.7, 0.2, 0.2])
    assert [bar.get_y() for bar in bars] == pytest.approx([0, 0, 0.6, 0.7])  # from the lower of the two
    heights = [patch.get_height() for patch in below.patches if isinstance(patch, Rectangle)]
    assert heights == [0, 10, 30]
    labels = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert labels == ["perfect calibration", "accuracy", "gap to the mean confidence"]


def test_curves_are_named_from_the_smallest_area(tmp_path: Path, drawn: list[Figure]) -> None:
    roc_figure([curve(0, 0.9), curve(1, 0.8)], ["cat", "d$g"], tmp_path / "r.png")
    legend = drawn[0].axes[0].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == [r"d\$g  0.8000", "cat  0.9000"]
    roc_figure([curve(n, n / 100) for n in range(20)], [str(n) for n in range(20)], tmp_path / "r.png")
    legend = drawn[1].axes[0].get_legend()
    assert legend is not None and legend.get_title().get_text() == "area, the 12 smallest of 20"
    assert legend.get_texts()[0].get_text() == "0  0.0000"
    assert len(drawn[1].axes[0].lines) == 21
    roc_figure([], [], tmp_path / "r.png")
    assert "no curves: a class needs" in drawn[2].axes[0].texts[0].get_text()


def test_mistakes_say_what_they_are(tmp_path: Path, drawn: list[Figure]) -> None:
    pictures = [RNG.integers(0, 255, size, dtype=np.uint8) for size in ((8, 8, 3), (300, 400, 3))]
    wrong = [
        Wrong(pictures[0], "a.png", "cat", "dog", 0.999),
        Wrong(pictures[1], "folder/b.png", "dog", "cat", 0.514),
    ]
    mistakes_figure(wrong, tmp_path / "m.png", title="surest")
    axes = [ax for ax in drawn[0].axes if ax.images]
    assert [ax.get_title() for ax in axes] == ["cat  99.9 %\ntrue: dog", "dog  51 %\ntrue: cat"]
    assert [ax.get_xlabel() for ax in axes] == ["a.png", "folder/b.png"]
    assert [ax.images[0].get_interpolation() for ax in axes] == ["nearest", "antialiased"]
    with pytest.raises(ValueError, match="no mistake"):
        mistakes_figure([], tmp_path / "m.png")
