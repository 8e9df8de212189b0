"""The files of an evaluation, from figures whose sums are known."""

import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from lab.evaluate.segmentation import Case, SegmentationEvaluation
from lab.figures.panels import IGNORED
from lab.metrics.image_scores import MEASURES, ImageScores
from lab.report.segmentation import IMAGES, SegmentationReport
from lab.store import file_io


def image(name: str, *counts: tuple[int, int, int], hd95: float = 2.0, part: str = "") -> ImageScores:
    """Its figures by class, those of a background first, which aren't in any mean."""
    counts = ((1000, 1000, 1000), *counts)
    distances = tuple(hd95 - 1 + n for n in range(len(counts)))
    return ImageScores(name, 40, 60, counts, distances, tuple(range(1, len(counts))), part)


def case(scores: ImageScores, grey: bool = False) -> Case:
    picture = np.zeros((20, 30, 3), np.uint8)
    if grey:
        picture[0, 0] = IGNORED
    return Case(scores, (picture, picture + 1, picture + 2, picture))


@pytest.fixture
def binary() -> SegmentationEvaluation:
    """Dice 0.8, 0.5 and 1.0."""
    images = [image("a<b>.png", (4, 5, 5)), image("b", (1, 2, 2), hd95=30.0), image("empty", (0, 0, 0))]
    return SegmentationEvaluation(
        Path("runs/some_run"),
        "test",
        ["background", "cell"],
        thresholds={"": 0.45},
        images=images,
        worst=[case(images[1]), case(images[0])],
        best=[case(images[0])],
        tuning={"": [(0.4, 0.7), (0.45, 0.75), (0.5, 0.72)]},
        notes=["something <to> know"],
        about={"weights": "best.pt, epoch 7"},
        seconds=3.0,
    )


@pytest.fixture
def folds() -> SegmentationEvaluation:
    """Two folds of three classes; the first one's second image lacks the third class."""
    images = [
        image("a", (4, 5, 5), (1, 1, 3), part="fold_0"),
        image("b", (5, 5, 5), (0, 0, 0), part="fold_0"),
        image("c", (1, 5, 5), (0, 2, 2), part="fold_1"),
    ]
    return SegmentationEvaluation(
        Path("runs/cross"),
        "val",
        ["background", "cell", "debris"],
        images=images,
        worst=[case(images[2], grey=True)],
    )


def read_csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_files_of_a_binary_run(tmp_path: Path, binary: SegmentationEvaluation) -> None:
    assert (
        SegmentationReport(binary).write(tmp_path / "evaluation") == tmp_path / "evaluation" / "report.html"
    )
    assert sorted(path.name for path in (tmp_path / "evaluation").iterdir()) == [
        "images.csv",
        "metrics.json",
        "report.html",
    ]
    data = json.loads((tmp_path / "evaluation" / "metrics.json").read_text())
    assert (data["images"], data["threshold"], data["split"]) == (3, 0.45, "test")
    dice = data["scores"]["cell"]["dice"]
    assert dice["mean"] == pytest.approx((0.8 + 0.5 + 1.0) / 3, abs=1e-6)
    assert dice["whole"] == pytest.approx(2 * 5 / 14)
    assert (dice["low"], dice["count"]) == (0.5, 3)
    assert dice["deviation"] == pytest.approx(np.std([0.8, 0.5, 1.0], ddof=1), abs=1e-6)
    assert data["scores"]["cell"]["hd95"]["mean"] == pytest.approx(32 / 3)  # nothing to find: 0
    assert data["tuning"] == {"val": {"0.4": 0.7, "0.45": 0.75, "0.5": 0.72}}
    assert "parts" not in data and data["notes"] == binary.notes


def test_the_table_has_a_row_an_image(binary: SegmentationEvaluation, folds: SegmentationEvaluation) -> None:
    rows = read_csv(SegmentationReport(binary).tables()[IMAGES])
    assert list(rows[0]) == ["name", "height", "width", "dice", "iou", "precision", "recall", "hd95_px"]
    assert [row["name"] for row in rows] == ["a<b>.png", "b", "empty"]
    assert [float(row["dice"]) for row in rows] == [0.8, 0.5, 1.0]
    binary.unit = "µm"
    assert "hd95_um" in read_csv(SegmentationReport(binary).tables()[IMAGES])[0]
    rows = read_csv(SegmentationReport(folds).tables()[IMAGES])
    assert [row["part"] for row in rows] == ["fold_0", "fold_0", "fold_1"]
    assert [row["debris_dice"] for row in rows] == ["0.5", "", "0"]
    assert [row["dice"] for row in rows] == ["0.65", "1", "0.1"]
    assert [row["debris_hd95_px"] for row in rows] == ["3", "", "3"]


def test_folds_are_pooled_and_their_spread_told(folds: SegmentationEvaluation) -> None:
    data = json.loads(json.dumps(SegmentationReport(folds).as_data(), default=str))
    assert list(data["scores"]) == ["mean", "background", "cell", "debris"]
    assert data["scores"]["mean"]["dice"]["mean"] == pytest.approx((0.65 + 1 + 0.1) / 3, abs=1e-6)
    assert data["scores"]["debris"]["dice"]["count"] == 2
    assert data["scores"]["cell"]["dice"]["whole"] == pytest.approx(2 * 10 / 30)
    assert data["parts"]["fold_0"]["dice"]["mean"] == pytest.approx(0.825)
    assert data["over_parts"]["dice"]["mean"] == pytest.approx((0.825 + 0.1) / 2, abs=1e-6)
    assert data["over_parts"]["dice"]["deviation"] == pytest.approx(np.std([0.825, 0.1], ddof=1), abs=1e-6)


def test_text_for_the_console(binary: SegmentationEvaluation, folds: SegmentationEvaluation) -> None:
    lines = SegmentationReport(binary).as_text(Path("there/report.html")).splitlines()
    assert lines[0] == "Warning: something <to> know"
    assert lines[1] == "some_run, 3 test images, threshold 0.45 (tuned), 3.0 s"
    found = next(line for line in lines if line.startswith("cell, per image"))
    assert re.split(r"\s{2,}", found)[1] == "0.767 ± 0.252" and found.endswith(" 3")
    assert lines[-1] == "Report: there/report.html"
    text = SegmentationReport(folds).as_text()
    assert "3 held-out images of 2 folds" in text
    rows = [re.split(r"\s{2,}", line) for line in text.splitlines()]
    assert [row[1] for row in rows if row[0] in ("fold_0", "fold_1", "mean ± spread")] == [
        "0.825",
        "0.100",
        "0.462 ± 0.513",
    ]


def test_verdict_counts_what_failed(binary: SegmentationEvaluation, folds: SegmentationEvaluation) -> None:
    assert (
        SegmentationReport(binary).verdict()
        == "Dice 0.767 ± 0.252 and IoU 0.667 ± 0.333 per image, on 3 test images."
    )
    assert (
        "averaged over 2 classes without background, on 3 held-out images of 2 folds. 1 of them is below"
        in SegmentationReport(folds).verdict()
    )


class Page(HTMLParser):
    """Which elements there are, and that all are closed."""

    VOID = ("meta", "img", "br", "link")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.images: list[str] = []
        self.links: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag not in self.VOID:
            self.open.append(tag)
        self.ids += [given["id"]] if given.get("id") else []  # type: ignore[list-item]
        if tag == "img":
            assert given.get("alt")
            self.images.append(given["src"] or "")
        if tag == "a":
            self.links.append(given["href"] or "")

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass


def test_the_page_stands_alone(binary: SegmentationEvaluation, folds: SegmentationEvaluation) -> None:
    for evaluation, sections in ((binary, {"tuning", "worst"}), (folds, {"parts", "worst"})):
        html = SegmentationReport(evaluation).page()
        page = Page(html)
        assert page.open == []
        assert {link.removeprefix("#") for link in page.links} <= set(page.ids)
        assert sections <= set(page.ids)
        assert len(page.images) == 4 * len(evaluation.worst)  # the best one is among the worst
        assert all(source.startswith("data:image/png;base64,") for source in page.images)
        assert not re.search(r'(src|href)="(?!data:|#)', html)


def test_names_are_text_and_not_markup(binary: SegmentationEvaluation) -> None:
    html = SegmentationReport(binary).page()
    assert "a&lt;b&gt;.png" in html and "a<b>" not in html
    assert "something &lt;to&gt; know" in html


def test_the_page_says_what_the_colours_mean(
    binary: SegmentationEvaluation, folds: SegmentationEvaluation
) -> None:
    assert (
        "another class" not in SegmentationReport(binary).page()
        and "ignored</li>" not in SegmentationReport(binary).page()
    )
    html = SegmentationReport(folds).page()
    assert "another class" in html and "ignored</li>" in html and "Dice of debris" in html


def test_one_image_has_no_spread() -> None:
    alone = SegmentationEvaluation(Path("run"), "val", ["background", "cell"], images=[image("a", (4, 5, 5))])
    assert "cell, per image   0.800  " in SegmentationReport(alone).as_text()
    assert SegmentationReport(alone).verdict().endswith("on 1 validation image.")
    assert Page(SegmentationReport(alone).page()).open == []
    assert (
        json.loads(file_io.to_json(SegmentationReport(alone).as_data()))["scores"]["cell"]["dice"][
            "deviation"
        ]
        is None
    )
    assert len(SegmentationReport(alone).headings) == len(MEASURES)
