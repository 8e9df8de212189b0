import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lab.evaluate.scene_graph import Example, ModeResult, SceneGraphEvaluation
from lab.metrics.scene_graph import CONSTRAINTS, FrameGraph, Ranked
from lab.report.scene_graph import RECALL, SceneGraphReport

NAMES = [("attention", "looking"), ("attention", "unsure"), ("contact", "holding"), ("contact", "touching")]


def ranked(*triplets: tuple[int, int, float]) -> Ranked:
    """From (frame, predicate, rank)."""
    frame, predicate, rank = zip(*triplets, strict=True)
    return Ranked(np.array(frame), np.array(predicate), np.array(rank, np.float64))


def frame() -> FrameGraph:
    boxes = np.array([[0.1, 0.1, 0.3, 0.8], [0.5, 0.5, 0.6, 0.6], [0.7, 0.5, 0.8, 0.6]])
    pairs = np.array([[0, 1], [0, 2]])
    predicates = {"attention": np.array([0, 1]), "contact": np.array([[1.0, 1.0], [0.0, 0.0]])}
    relations = {"attention": np.full((2, 2), 0.5), "contact": np.full((2, 2), 0.5)}
    labels = np.array([0, 1, 1])
    return FrameGraph(boxes, labels, np.ones(3), pairs, relations, boxes, labels, pairs, predicates)


def evaluation(*parts: str) -> SceneGraphEvaluation:
    """Three of four triplets in two frames are found by the network, one by the frequencies."""
    found = SceneGraphEvaluation(
        Path("runs/one"), "test", "predcls", "action_genome", ["person", "cup"], NAMES
    )
    network = ranked((0, 0, 1), (0, 2, 15), (1, 0, 2), (1, 3, math.inf))
    frequency = ranked((0, 0, 4), (0, 2, math.inf), (1, 0, math.inf), (1, 3, math.inf))
    for number, part in enumerate(parts or ("",)):
        worse = ranked((0, 0, 1), (0, 2, math.inf), (1, 0, 2), (1, 3, math.inf))
        ranks = {"network": worse if number else network, "frequency": frequency}
        every = {who: dict.fromkeys(CONSTRAINTS, each) for who, each in ranks.items()}
        found.results.append(ModeResult("predcls", part, 3, 2, every))
    example = Example("test-7", 4.0, frame(), ranked((0, 0, 1), (0, 1, 30), (0, 2, math.inf), (0, 3, 2)))
    found.worst, found.best = [example], [example]
    found.about["weights"] = "best.pt, epoch 3"
    found.seconds = 1.5
    return found


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_figures_in_closed_form() -> None:
    network, frequency, *_ = SceneGraphReport(evaluation()).rows()
    assert (network.mode, network.constraint, network.predictor) == ("predcls", "with", "network")
    assert network.recall == [0.5, 0.75, 0.75] and frequency.recall == [0.25, 0.25, 0.25]
    assert network.mean_recall == pytest.approx([1 / 3, 2 / 3, 2 / 3])
    assert frequency.mean_recall == pytest.approx([1 / 6] * 3)
    assert SceneGraphReport(evaluation()).bars() == [
        ("attention", "looking", 2, 1.0, 0.5),
        ("contact", "holding", 1, 1.0, 0.0),
        ("contact", "touching", 1, 0.0, 0.0),
    ]


def test_files(tmp_path: Path) -> None:
    found = evaluation()
    path = SceneGraphReport(found).write(tmp_path)
    written = {each.name for each in tmp_path.iterdir()}
    assert path == tmp_path / "report.html"
    assert written == {
        "metrics.json", "recall.csv", "predicates.csv", "recall.png", "predicates.png", "examples.png",
        "report.html",
    }  # fmt: skip
    data = json.loads((tmp_path / "metrics.json").read_text())
    assert len(data["recall"]) == 3 * 3 and data["recall"][1] == {
        "mode": "predcls", "constraint": "with", "k": 20, "recall": 0.75,
        "mean_recall": pytest.approx(2 / 3), "frequency_recall": 0.25,
        "frequency_mean_recall": pytest.approx(1 / 6),
    }  # fmt: skip
    assert data["asked"] == [{"mode": "predcls", "part": "", "videos": 3, "frames": 2}]
    assert data["predicates"][1]["name"] == "holding" and "over_parts" not in data
    recall = rows_of((tmp_path / "recall.csv").read_text())
    assert len(recall) == 3 * 3
    assert recall[1] == {
        "mode": "predcls", "constraint": "with", "k": "20", "recall": "0.75", "mean_recall": "0.666667",
        "frequency_recall": "0.25", "frequency_mean_recall": "0.166667",
    }  # fmt: skip
    predicates = rows_of((tmp_path / "predicates.csv").read_text())
    assert len(predicates) == 3 * 3 and predicates[1]["predicate"] == "holding"
    assert (predicates[1]["network_recall10"], predicates[1]["network_recall20"]) == ("0", "1")


def test_the_page_holds_the_figures_and_pictures(tmp_path: Path) -> None:
    text = SceneGraphReport(evaluation()).write(tmp_path).read_text(encoding="utf-8")
    assert "Mean Recall@20 is 0.667 in predcls with constraint" in text and "(a factor of 4.0)" in text
    assert text.count("data:image/png;base64,") == 3 and "best.pt, epoch 3" in text
    assert '<section id="parts">' not in text and "3 test videos, 2 frames" in text


def test_text() -> None:
    lines = SceneGraphReport(evaluation()).as_text(Path("report.html")).splitlines()
    assert lines[0].startswith("one, 3 test videos, 2 frames, ") and lines[-1] == "Report: report.html"
    network = next(line for line in lines if line.startswith("predcls  with"))
    assert network.split() == [
        "predcls",
        "with",
        "network",
        "0.500",
        "0.750",
        "0.750",
        "0.333",
        "0.667",
        "0.667",
    ]


def test_seeds_have_a_row_each_and_a_spread(tmp_path: Path) -> None:
    found = evaluation("seed_0", "seed_1")
    data = SceneGraphReport(found).as_data()
    assert data["over_parts"]["recall@20"]["mean"] == pytest.approx((0.75 + 0.5) / 2)
    assert data["recall"][1]["recall"] == pytest.approx((0.75 + 0.5) / 2)
    text = SceneGraphReport(found).as_text()
    assert "6 test videos of 2 seeds, 4 frames" in text
    assert [line.split()[:2] for line in text.splitlines() if line.startswith("seed_")] == [
        ["seed_0", "0.750"], ["seed_1", "0.500"],
    ]  # fmt: skip
    assert "0.625 ± 0.177" in text
    parts = {row["part"] for row in rows_of(SceneGraphReport(found).tables()[RECALL])}
    assert parts == {"seed_0", "seed_1"}
    assert '<section id="parts">' in SceneGraphReport(found).write(tmp_path).read_text(encoding="utf-8")


def test_a_frame_is_drawn_with_names() -> None:
    shown = SceneGraphReport(evaluation()).drawn(evaluation().worst[0])
    assert shown.title == "test-7, frame 4" and shown.subjects == [0]
    assert [(name, kind) for _, name, kind in shown.boxes] == [("person", 0), ("cup #1", 1), ("cup #2", 1)]
    assert shown.triplets == [
        ("person – looking – cup #1", 1),
        ("person – holding – cup #1", None),
        ("person – touching – cup #1", 2),
        ("person – unsure – cup #2", 30),
    ]


def test_without_any_triplet_there_is_no_figure(tmp_path: Path) -> None:
    found: Any = evaluation()
    none = Ranked(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
    every = {who: dict.fromkeys(CONSTRAINTS, none) for who in ("network", "frequency")}
    found.results, found.worst, found.best = [ModeResult("predcls", "", 3, 0, every)], [], []
    SceneGraphReport(evaluation()).write(tmp_path)
    SceneGraphReport(found).write(tmp_path)
    assert not (tmp_path / "examples.png").exists() and not (tmp_path / "predicates.png").exists()
    assert "There is nothing to evaluate." in SceneGraphReport(found).as_text()
    assert json.loads((tmp_path / "metrics.json").read_text())["predicates"] == []
