import math
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.evaluate.base import Evaluation, Split
from lab.metrics.image_scores import describe
from lab.report import evaluation_base as base
from lab.report.evaluation_base import apart, counted, draw_plots, format_score, over_parts, spread


@dataclass(frozen=True)
class Item:
    part: str


class Parts(Evaluation):
    def __init__(self, split: Split, parts: list[str]) -> None:
        super().__init__(Path("runs/one"), split)
        self._items = [Item(part) for part in parts]

    @property
    def items(self) -> list[Item]:
        return self._items


class Plain(base.Report[Parts]):
    def results(self) -> dict[str, object]:
        return {"images": 1}

    def lines(self) -> list[str]:
        return ["line"]


class Noted(Plain):
    notes = "Note"


@pytest.mark.parametrize(
    ("split", "parts", "text"),
    [
        ("test", [""], "1 test image"),
        ("val", [""] * 1200, "1,200 validation images"),
        ("val", ["fold_0", "fold_1"] * 30, "60 held-out images of 2 folds"),
        ("test", ["fold_0", "fold_1"] * 30, "60 test images of 2 folds"),
        ("test", ["seed_0", "seed_1"] * 12, "24 test images of 2 seeds"),
    ],
)
def test_what_was_judged(split: Split, parts: list[str], text: str) -> None:
    assert counted(Parts(split, parts)) == text


def test_items_of_another_kind_are_counted_by_the_caller() -> None:
    assert counted(Parts("test", [""]), 3, "video") == "3 test videos"


@pytest.mark.parametrize(
    ("value", "measure", "said"),
    [
        (None, "dice", "–"),
        (float("nan"), "iou", "–"),
        (0.91249, "dice", "0.912"),
        (0.0, "recall", "0.000"),
        (17.26, "hd95", "17.3"),
        (4.214, "hd95", "4.21"),
    ],
)
def test_figures_for_a_person(value: float | None, measure: str, said: str) -> None:
    assert format_score(value, measure) == said


def test_a_spread_needs_two_values() -> None:
    assert spread(describe([0.5, 1.0])) == "0.750 ± 0.354"
    assert (spread(describe([0.5])), spread(None)) == ("0.500", "–")


def test_the_spread_over_parts_is_of_those_that_have_a_value() -> None:
    found = over_parts([{"a": 0.5, "b": None, "c": None}, {"a": 0.0, "b": 0.25, "c": None}])
    assert found == {"a": describe([0.5, 0.0]), "b": describe([0.25]), "c": None}
    assert over_parts([]) == {} and base.plain({"c": None}) == {"c": None}
    assert math.isnan(describe([0.25]).deviation)  # type: ignore[union-attr]


def test_a_case_is_shown_once() -> None:
    assert apart(["a", "b", "c"], ["B", "d"], str.lower) == ["a", "c"]


def test_pictures_of_an_earlier_evaluation_are_removed(tmp_path: Path) -> None:
    for name in ("old", "new", "other"):
        (tmp_path / f"{name}.png").write_bytes(b"before")
    found = draw_plots(
        tmp_path, ["old", "new"], lambda folder: (folder / "new.png").write_bytes(b"now") and None
    )
    assert found == {"new": b"now"} and not (tmp_path / "old.png").exists()
    assert (tmp_path / "other.png").read_bytes() == b"before"


def test_what_all_evaluations_print(capsys: pytest.CaptureFixture[str]) -> None:
    found = Parts("val", [""])
    found.notes, found.seconds = ["odd"], 2.0
    text = Plain(found).as_text(Path("there"))
    assert text.splitlines() == [
        "Warning: odd", "one, 1 validation image, 2.0 s", "", "line", "", "Report: there",
    ]  # fmt: skip
    assert Noted(found).as_text().startswith("Note: odd\n")
    assert Plain(found).as_data() == {
        "run": Path("runs/one").absolute(), "split": "val", "images": 1,
        "notes": ["odd"], "about": {}, "seconds": 2.0,
    }  # fmt: skip
