from collections.abc import Iterator
from pathlib import Path

import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from lab.figures import canvas, scene_graph
from lab.figures.scene_graph import Bar, Drawn, Line, examples_figure, predicates_figure, recall_figure


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Figure]]:
    """The figures that were saved, so that a test can read what is written in them."""
    kept: list[Figure] = []

    def save(figure: Figure, path: Path, title: str | None = None) -> None:
        kept.append(figure)
        canvas.save(figure, path, title)

    monkeypatch.setattr(scene_graph, "save", save)
    yield kept


def test_recall_has_a_panel_per_measure_and_mode(tmp_path: Path, drawn: list[Figure]) -> None:
    lines = [
        Line("with constraint", True, {10: 0.2, 20: 0.5}),
        Line("with constraint", False, {10: 0.1, 20: 0.3}),
    ]
    panels = {
        (measure, mode): lines for measure in ("Recall", "mean Recall") for mode in ("predcls", "sgdet")
    }
    recall_figure(panels, tmp_path / "r.png", title="run")
    axes = drawn[0].axes
    titles = [ax.get_title(loc="left") for ax in axes]
    assert titles == ["Recall, predcls", "Recall, sgdet", "mean Recall, predcls", "mean Recall, sgdet"]
    first, second = axes[0].lines
    assert list(first.get_ydata()) == [0.2, 0.5] and list(second.get_ydata()) == [0.1, 0.3]
    assert (first.get_linestyle(), second.get_linestyle()) == ("-", "--")
    assert first.get_color() == second.get_color()
    assert [label.get_text() for label in axes[3].get_xticklabels()] == ["10", "20"]
    legend = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert legend == ["with constraint", "network", "frequency"]


def test_predicates_have_a_bar_and_a_mark(tmp_path: Path, drawn: list[Figure]) -> None:
    bars = [Bar("attention", "looking $at", 1200, 0.75, 0.5), Bar("contact", "holding", 7, 0.25, 0.0)]
    predicates_figure(bars, tmp_path / "p.png", title="run")
    ax = drawn[0].axes[0]
    widths = [patch.get_width() for patch in ax.patches if isinstance(patch, Rectangle)]
    assert widths == [0.75, 0.25]
    assert [line.get_xdata()[0] for line in ax.lines] == [0.5, 0.0]
    assert [label.get_text() for label in ax.get_yticklabels()] == [r"looking \$at", "holding"]
    assert [text.get_text() for text in ax.texts] == ["1,200", "7", "triplets"]
    legend = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert legend == ["attention", "contact", "frequency"]


def test_of_many_predicates_the_most_frequent_are_drawn(tmp_path: Path, drawn: list[Figure]) -> None:
    bars = [Bar("verb", str(number), number, 0.5, 0.1) for number in range(60)]
    predicates_figure(bars, tmp_path / "p.png")
    names = [label.get_text() for label in drawn[0].axes[0].get_yticklabels()]
    assert names == [str(number) for number in range(20, 60)]


def test_frames_have_boxes_and_triplets_in_colours(tmp_path: Path, drawn: list[Figure]) -> None:
    boxes = [((0.1, 0.2, 0.4, 0.9), "person", 0), ((0.5, 0.5, 0.7, 0.6), "cup", 1)]
    triplets = [("person – holding – cup", 3), ("person – behind – cup", 21), ("person – above – cup", None)]
    frame = Drawn("test-1, frame 2", boxes, [0], triplets)
    examples_figure([frame], tmp_path / "e.png", k=20, title="run")
    left, right = drawn[0].axes
    shapes = [patch.get_bbox().extents for patch in left.patches if isinstance(patch, Rectangle)]
    assert [pytest.approx(shape) for shape in shapes] == [list(corners) for corners, _, _ in boxes]
    assert left.patches[0].get_linewidth() > left.patches[1].get_linewidth()
    assert left.get_title(loc="left") == "test-1, frame 2" and left.get_ylim() == (1, 0)
    assert right.get_title(loc="left") == "1 of 3 triplets among the first 20"
    assert [text.get_text().split()[0] for text in right.texts] == ["3", "21", "–"]
    colours = [to_hex(text.get_color()) for text in right.texts]
    assert colours[0] != colours[1] == colours[2]


def test_many_frames_and_triplets_fit(tmp_path: Path, drawn: list[Figure]) -> None:
    frame = Drawn("a", [], [], [(f"person – relation {n} – thing", n) for n in range(30)])
    examples_figure([frame] * 3, tmp_path / "e.png", k=20)
    texts = drawn[0].axes[1].texts
    assert len(texts) == 18 and texts[-1].get_text().strip() == "and 13 more"
    assert len(drawn[0].axes) == 8 and not drawn[0].axes[7].axison
    with Image.open(tmp_path / "e.png") as image:
        assert max(image.size) < 2500
    with pytest.raises(ValueError, match="no frame to show"):
        examples_figure([], tmp_path / "e.png", k=20)
