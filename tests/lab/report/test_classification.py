"""The files of a classifier's evaluation, from answers whose figures are known."""

import csv
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lab.evaluate.base import Split
from lab.evaluate.classification import Answer, ClassificationEvaluation, Mistake
from lab.evaluate.efficiency import Efficiency, Speed
from lab.report.classification import CONFUSION, PREDICTIONS, ClassificationReport
from lab.store import file_io
from tests.lab.report.test_segmentation import Page

SPEEDS = (Speed(1, 0.002, 0.003, 100), Speed(32, 0.016, 0.02, 50))
COST = Efficiency(
    1_234_567, 4_938_268, 2**21, 3_628_146_688, (3, 224, 224), "cpu (x), 2 threads, fp32", SPEEDS
)


def answer(name: str, truth: int, likely: Sequence[float], part: str = "") -> Answer:
    return Answer(name, truth, np.array(likely, np.float32), part)


@pytest.fixture
def three() -> ClassificationEvaluation:
    """Two of three cats, the dog and no bird: one cat is taken for a dog, one bird for a cat."""
    answers = [
        answer("c/1.png", 0, [0.75, 0.25, 0]),
        answer("c/2.png", 0, [0.5, 0.25, 0.25]),
        answer("c<3>.png", 0, [0.125, 0.875, 0]),
        answer("d/1.png", 1, [0.25, 0.75, 0]),
        answer("b/1.png", 2, [0.5, 0.25, 0.25]),
    ]
    picture = np.full((8, 8, 3), 100, np.uint8)
    return ClassificationEvaluation(
        Path("runs/pets"),
        "test",
        ["cat", "d<o>g", "bird"],
        answers,
        [Mistake(answers[2], picture), Mistake(answers[4], picture)],
        COST,
        notes=["something <to> know"],
        about={"weights": "best.pt, epoch 7"},
        seconds=3.0,
    )


@pytest.fixture
def folds() -> ClassificationEvaluation:
    """Accuracy 1 in the first fold, 0.5 in the second, whose ROC-AUC isn't defined."""
    answers = [
        answer("a", 0, [0.75, 0.25], "fold_0"),
        answer("b", 1, [0.25, 0.75], "fold_0"),
        answer("c", 1, [0.25, 0.75], "fold_1"),
        answer("d", 1, [0.75, 0.25], "fold_1"),
    ]
    return ClassificationEvaluation(Path("runs/cross"), "val", ["healthy", "sick"], answers)


def apart(kind: str, split: Split) -> ClassificationEvaluation:
    """Two parts that rank without a mistake, the one's probabilities all above the other's."""
    likely = {"0": (0.125, 0.25), "1": (0.75, 0.875)}
    answers = [
        answer(f"{part if kind == 'fold' else ''}{truth}", truth, [1 - p, p], f"{kind}_{part}")
        for part, shares in likely.items()
        for truth, p in enumerate(shares)
    ]
    return ClassificationEvaluation(Path("runs/apart"), split, ["healthy", "sick"], answers)


def read_csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_files(tmp_path: Path, three: ClassificationEvaluation) -> None:
    home = tmp_path / "evaluation"
    assert ClassificationReport(three).write(home) == home / "report.html"
    assert sorted(path.name for path in home.iterdir()) == [
        "confusion.csv",
        "confusion.png",
        "metrics.json",
        "mistakes.png",
        "predictions.csv",
        "reliability.png",
        "report.html",
        "roc.png",
    ]
    data = json.loads((home / "metrics.json").read_text())
    assert (data["images"], data["split"], data["classes"]) == (5, "test", ["cat", "d<o>g", "bird"])
    assert data["accuracy"] == pytest.approx(3 / 5)
    assert data["scores"]["cat"] == pytest.approx(
        {"precision": 2 / 3, "recall": 2 / 3, "f1": 2 / 3, "roc_auc": 3.5 / 6, "images": 3, "said": 3}
    )
    assert data["macro"]["recall"] == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert data["weighted"]["precision"] == pytest.approx((3 * 2 / 3 + 1 * 1 / 2 + 0) / 5)
    assert data["confusion"] == [[2, 1, 0], [0, 1, 0], [1, 0, 0]]
    error = (2 * abs(0.5 - 0.5) + 2 * abs(1 - 0.75) + 0.875) / 5
    assert data["calibration_error"] == pytest.approx(error)
    assert sum(each["samples"] for each in data["reliability"]) == 5 and len(data["reliability"]) == 15
    assert [each["name"] for each in data["mistakes"]] == ["c<3>.png", "b/1.png"]
    assert data["mistakes"][0] == {"name": "c<3>.png", "true": "cat", "said": "d<o>g", "probability": 0.875}
    assert data["efficiency"]["flops"] == 3_628_146_688 and data["efficiency"]["speeds"][1] == {
        "batch": 32,
        "median_ms": 16,
        "p95_ms": 20,
        "images_per_second": 2000,
        "passes": 50,
    }
    assert "parts" not in data and data["notes"] == three.notes


def test_what_is_not_there_has_no_picture(tmp_path: Path, three: ClassificationEvaluation) -> None:
    ClassificationReport(three).write(tmp_path)
    alone = [answer("a", 0, [0.75, 0.25]), answer("b", 0, [0.625, 0.375])]
    path = ClassificationReport(
        ClassificationEvaluation(Path("runs/all_right"), "val", ["a", "b"], alone)
    ).write(tmp_path)
    assert not (tmp_path / "roc.png").exists() and not (tmp_path / "mistakes.png").exists()
    page = Page(path.read_text())
    assert page.open == [] and not {"roc", "mistakes", "wrong", "efficiency", "parts"} & set(page.ids)
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)
    assert len(page.images) == 2
    assert json.loads((tmp_path / "metrics.json").read_text())["roc_auc"] is None


def test_the_tables(three: ClassificationEvaluation, folds: ClassificationEvaluation) -> None:
    rows = read_csv(ClassificationReport(three).tables()[PREDICTIONS])
    assert list(rows[0]) == ["name", "true", "class", "probability", "right", "p_cat", "p_d<o>g", "p_bird"]
    assert [row["class"] for row in rows] == ["cat", "cat", "d<o>g", "d<o>g", "cat"]
    assert [row["right"] for row in rows] == ["1", "1", "0", "1", "0"]
    assert (rows[2]["probability"], rows[2]["p_cat"]) == ("0.875", "0.125")
    rows = read_csv(ClassificationReport(three).tables()[CONFUSION])
    assert rows[0] == {"true": "cat", "cat": "2", "d<o>g": "1", "bird": "0"} and len(rows) == 3
    assert [row["part"] for row in read_csv(ClassificationReport(folds).tables()[PREDICTIONS])] == [
        "fold_0"
    ] * 2 + ["fold_1"] * 2


def test_folds_are_pooled_and_their_spread_told(folds: ClassificationEvaluation) -> None:
    data = json.loads(file_io.to_json(ClassificationReport(folds).as_data()))
    assert data["accuracy"] == 0.75 and data["roc_auc"] == 1 and data["calibration_error"] == 0.25
    assert data["macro"]["recall"] == pytest.approx((1 + 0.25) / 2)  # of the class that isn't there: 0
    pooled = data["pooled"]
    assert pooled["note"] == "the 4 predictions of 2 folds together"
    assert pooled["accuracy"] == 0.75 and pooled["roc_auc"] == pytest.approx(2.5 / 3)
    assert pooled["calibration_error"] == 0 and pooled["confusion"] == [[1, 0], [1, 2]]
    assert not {"weighted", "scores", "confusion", "reliability"} & set(data)
    assert (data["parts"]["fold_0"]["accuracy"], data["parts"]["fold_1"]["accuracy"]) == (1, 0.5)
    assert data["parts"]["fold_1"]["auc"] is None
    over = data["over_parts"]
    assert (over["accuracy"]["mean"], over["accuracy"]["count"], over["auc"]["count"]) == (0.75, 2, 1)
    assert over["accuracy"]["deviation"] == pytest.approx(np.std([1, 0.5], ddof=1))
    rows = [re.split(r"\s{2,}", line) for line in ClassificationReport(folds).as_text().splitlines()]
    told = {row[0]: row[1] for row in rows if len(row) > 5}
    assert (told["fold_0"], told["fold_1"], told["mean ± spread"]) == ("1.000", "0.500", "0.750 ± 0.354")


def test_the_headline_of_parts_is_not_that_of_all_answers(tmp_path: Path) -> None:
    folds = apart("fold", "val")
    assert folds.scores().auc == 0.75 and folds.scores("fold_0").auc == folds.scores("fold_1").auc == 1
    html = ClassificationReport(folds).write(tmp_path).read_text()
    data = json.loads((tmp_path / "metrics.json").read_text())
    assert data["roc_auc"] == 1 and data["pooled"]["roc_auc"] == 0.75
    lines = ClassificationReport(folds).as_text().splitlines()
    assert lines[2] == (
        "accuracy 0.500 ± 0.000, ROC-AUC 1.0000 ± 0.0000, calibration error (ECE) 0.438 ± 0.000"
    )
    pooled = lines.index("Pooled: the 4 predictions of 2 folds together")
    assert [line.split("  ")[0] for line in lines[:pooled] if " ± 0.000  " in line] == ["mean ± spread"]
    assert any("0.7500" in line for line in lines[pooled:]) and "0.7500" not in "".join(lines[:pooled])
    assert "<dt>ROC-AUC</dt><dd>1.0000 <small>±\u00a00.0000</small></dd>" in html
    assert html.count("Pooled: the 4 predictions of 2 folds together") == 4  # a table, and three pictures
    assert ClassificationReport(folds).verdict() == (
        "Accuracy is 0.500 ± 0.000 and F1 0.333 ± 0.000, mean ± spread, on 4 held-out images of 2 folds. "
        "Pooled, 2 of 4 predictions are wrong. Recognised least often: healthy, 50 % of 2."
    )


def test_an_image_counts_once_a_seed(tmp_path: Path) -> None:
    note = "the 4 predictions of 2 seeds together; each image is counted once a seed"
    seeds = apart("seed", "test")
    assert ClassificationReport(seeds).as_data()["pooled"]["note"] == note
    assert f"Pooled: {note}" in ClassificationReport(seeds).as_text().splitlines()
    html = ClassificationReport(seeds).write(tmp_path).read_text()
    assert f"<caption>Pooled: {note}</caption>" in html and "<dt>predictions</dt><dd>4</dd>" in html
    assert (
        ClassificationReport(apart("fold", "test"))
        .as_data()["pooled"]["note"]
        .endswith("is counted once a fold")
    )


def test_a_mean_of_some_parts_says_so(folds: ClassificationEvaluation) -> None:
    assert "ROC-AUC 1.0000 (1 of 2 folds), " in ClassificationReport(folds).as_text()


def test_text_for_the_console(three: ClassificationEvaluation) -> None:
    lines = ClassificationReport(three).as_text(Path("there/report.html")).splitlines()
    assert lines[0] == "Warning: something <to> know"
    assert lines[1] == "pets, 5 test images, 3.0 s"
    assert lines[3].startswith("accuracy 0.600, ROC-AUC 0.") and lines[3].endswith("(ECE) 0.275")
    rows = {line.split("  ")[0]: re.split(r"\s{2,}", line) for line in lines}
    assert rows["cat"] == ["cat", "0.667", "0.667", "0.667", "0.5833", "3"]
    assert rows["bird"][1:4] == ["0.000", "0.000", "0.000"]
    assert rows["macro mean"][2] == "0.556" and rows["weighted mean"][-1] == "5"
    assert "Most frequent confusions (true → predicted): cat → d<o>g (1), bird → cat (1)" in lines
    assert "parameters: 1,234,567" in lines and "weights: 4.71 MB" in lines
    assert "operations: 3.63 GFLOP for an image of 3 × 224 × 224" in lines
    assert rows["batch 32"][1:] == ["16 ms", "20 ms", "2,000"]
    assert lines[-1] == "Report: there/report.html"


def test_many_classes_are_told_from_the_worst() -> None:
    classes = [f"k{n}" for n in range(40)]
    likely = np.eye(40)[[*range(39), 0]] * 0.5 + 0.0125
    answers = [answer(name, n, likely[n].tolist()) for n, name in enumerate(classes)]
    text = ClassificationReport(ClassificationEvaluation(Path("run"), "val", classes, answers)).as_text()
    names = [line.split()[0] for line in text.splitlines() if re.match(r"k\d+ ", line)]
    assert len(names) == 30 and names[:2] == ["k39", "k0"]  # recall 0, and precision 0.5
    assert "The 30 classes with the lowest F1 of 40; the others: metrics.json" in text


def test_the_page_stands_alone(
    tmp_path: Path, three: ClassificationEvaluation, folds: ClassificationEvaluation
) -> None:
    for evaluation, sections in ((three, {"mistakes", "roc", "efficiency", "wrong"}), (folds, {"parts"})):
        html = ClassificationReport(evaluation).write(tmp_path).read_text()
        page = Page(html)
        assert page.open == []
        assert {link.removeprefix("#") for link in page.links} <= set(page.ids)
        assert sections <= set(page.ids)
        assert all(source.startswith("data:image/png;base64,") for source in page.images)
        assert not re.search(r'(src|href)="(?!data:|#)', html)


def test_names_are_text_and_not_markup(tmp_path: Path, three: ClassificationEvaluation) -> None:
    html = ClassificationReport(three).write(tmp_path).read_text()
    assert "d&lt;o&gt;g" in html and "c&lt;3&gt;.png" in html and "d<o>" not in html
    assert "something &lt;to&gt; know" in html and "2,000" in html


def test_the_page_shows_the_first_wrong_answers(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    answers = [answer(f"im{n}", 0, [p, 1 - p]) for n, p in enumerate(rng.uniform(0, 0.4999, 1100))]
    html = (
        ClassificationReport(ClassificationEvaluation(Path("run"), "val", ["a", "b"], answers))
        .write(tmp_path)
        .read_text()
    )
    assert "The first 1,000 of 1,100" in html and html.count("<td>im") == 1000


def test_verdict(three: ClassificationEvaluation) -> None:
    said = ClassificationReport(three).verdict()
    assert said == (
        "60.0 % of 5 test images are recognised, 2 are not; F1 is 0.444, averaged over 3 classes. "
        "Recognised least often: bird, 0 % of 1."
    )


def test_pictures_are_as_large_as_a_screen_can_use(tmp_path: Path, three: ClassificationEvaluation) -> None:
    ClassificationReport(three).write(tmp_path)
    for name in ClassificationReport.plots:
        width, height = Image.open(tmp_path / f"{name}.png").size
        assert min(width, height) >= 300 and max(width, height) <= 1400
