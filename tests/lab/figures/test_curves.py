import math
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from lab.figures.canvas import COLOURS
from lab.figures.curves import history, overlay

NAN = math.nan


def rows(count: int, **changes: list[float]) -> list[dict[str, float]]:
    base = {
        "lr": [0.1 / e for e in range(1, count + 1)],
        "val_dice": [e / (e + 1) for e in range(1, count + 1)],
        "train_loss": [1 / e for e in range(1, count + 1)],
        "val_loss": [1.5 / e for e in range(1, count + 1)],
        **changes,
    }
    return [{"epoch": n + 1, "seconds": 1.0, **{k: v[n] for k, v in base.items()}} for n in range(count)]


def titles(figure: Figure) -> list[str]:
    return [ax.get_title(loc="left") for ax in figure.axes if ax.axison]


def line(figure: Figure, panel: int, label: str) -> np.ndarray:
    return next(each for each in figure.axes[panel].lines if each.get_label() == label).get_ydata()


def test_a_panel_per_quantity_the_loss_first_and_the_rate_last(tmp_path: Path, drawn: list[Figure]) -> None:
    history(rows(4), tmp_path / "h.png")
    assert titles(drawn[0]) == ["loss", "dice", "lr"]
    assert line(drawn[0], 0, "train").tolist() == [1, 1 / 2, 1 / 3, 1 / 4]
    assert line(drawn[0], 0, "validation").tolist() == [1.5, 0.75, 0.5, 0.375]
    legend = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert legend == ["train", "validation"]
    assert Image.open(tmp_path / "h.png").size == (3 * 4 * 130, int(3.4 * 130))
    assert [path.name for path in tmp_path.iterdir()] == ["h.png"]


def test_the_best_epoch_is_marked_with_its_values(tmp_path: Path, drawn: list[Figure]) -> None:
    history(rows(5), tmp_path / "h.png", "a run", best_epoch=3)
    loss, dice, rate = drawn[0].axes
    assert [loss.get_title(loc="right"), dice.get_title(loc="right"), rate.get_title(loc="right")] == [
        "0.5 at best epoch",
        "0.75 at best epoch",
        "",
    ]
    assert all(any(list(mark.get_xdata()) == [3, 3] for mark in ax.lines) for ax in drawn[0].axes)
    assert [text.get_text() for text in drawn[0].legends[0].get_texts()][-1] == "best epoch: 3"


@pytest.mark.parametrize("best_epoch", [None, 0, 9])
def test_no_best_epoch_is_no_mark(best_epoch: int | None, tmp_path: Path, drawn: list[Figure]) -> None:
    history(rows(5), tmp_path / "h.png", best_epoch=best_epoch)
    assert drawn[0].axes[0].get_title(loc="right") == ""
    assert len(drawn[0].legends[0].get_texts()) == 2


def test_what_is_not_finite_is_a_gap_and_a_lone_point_is_seen(tmp_path: Path, drawn: list[Figure]) -> None:
    history(rows(6, val_loss=[NAN, 2.0, math.inf, 1.0, 0.9, -math.inf]), tmp_path / "h.png")
    values = line(drawn[0], 0, "validation")
    assert np.isnan(values).tolist() == [True, False, True, False, False, True]
    lone = [
        mark
        for mark in drawn[0].axes[0].lines
        if mark.get_color() == COLOURS[1] and len(mark.get_xdata()) == 1
    ]
    assert [(mark.get_xdata()[0], mark.get_ydata()[0]) for mark in lone] == [(2, 2.0)]


def test_a_name_that_comes_later_is_drawn_from_there(tmp_path: Path, drawn: list[Figure]) -> None:
    data = rows(3)
    data[2]["val_iou"] = 0.5
    history(data, tmp_path / "h.png")
    assert titles(drawn[0]) == ["loss", "dice", "iou", "lr"]


def test_one_epoch_leaves_visible_points(tmp_path: Path, drawn: list[Figure]) -> None:
    history(rows(1), tmp_path / "h.png", best_epoch=1)
    box = drawn[0].axes[0].get_window_extent()
    picture = Image.open(tmp_path / "h.png").convert("RGB")
    inside = picture.crop(
        (int(box.x0), int(picture.height - box.y1), int(box.x1), int(picture.height - box.y0))
    )
    pixels = np.asarray(inside).reshape(-1, 3)
    for colour in COLOURS[:2]:
        wanted = [int(colour[n : n + 2], 16) for n in (1, 3, 5)]
        assert (pixels == wanted).all(axis=1).sum() > 20


@pytest.mark.parametrize(
    ("data", "said"), [([], "no epoch has ended"), ([{"epoch": 1, "val_loss": NAN}], "no finite value")]
)
def test_an_empty_panel_says_why(
    data: list[dict[str, float]], said: str, tmp_path: Path, drawn: list[Figure]
) -> None:
    history(data, tmp_path / "h.png")
    assert [text.get_text() for text in drawn[0].axes[0].texts] == [said]


@pytest.mark.parametrize(("values", "scale"), [([1000.0, 30.0, 1.0], "log"), ([3.0, 0.0, 900.0], "linear")])
def test_a_wide_range_is_drawn_on_a_logarithmic_axis(
    values: list[float], scale: str, tmp_path: Path, drawn: list[Figure]
) -> None:
    history(rows(3, val_loss=values), tmp_path / "h.png")
    assert drawn[0].axes[0].get_yscale() == scale


def test_a_dollar_sign_is_no_formula(tmp_path: Path) -> None:
    history(rows(2), tmp_path / "h.png", title=r"costs $\nothing$ and 5$")
    overlay({r"$\wrong$": rows(2)}, ["val_loss"], tmp_path / "o.png", title="$$")
    assert (tmp_path / "o.png").stat().st_size > 1000


def test_runs_are_laid_over_one_another(tmp_path: Path, drawn: list[Figure]) -> None:
    runs = {"short": rows(2), "long": rows(5)}
    overlay(runs, ["val_dice", "val_loss"], tmp_path / "o.png")
    assert titles(drawn[0]) == ["val_dice", "val_loss"]
    curves = [mark for mark in drawn[0].axes[0].lines if len(mark.get_xdata())]
    assert [list(mark.get_ydata()) for mark in curves] == [
        [r["val_dice"] for r in data] for data in runs.values()
    ]
    assert drawn[0].axes[0].get_xlim()[1] > 5


def test_ten_runs_with_long_names_differ_and_stay_within_the_picture(
    tmp_path: Path, drawn: list[Figure]
) -> None:
    names = [f"20261121-10{n:02d}00_{'spheroids_' * 12}{n}" for n in range(10)]
    overlay({name: rows(3) for name in names}, ["val_loss", "val_dice", "lr"], tmp_path / "o.png")
    handles, texts = drawn[0].legends[0].get_lines(), drawn[0].legends[0].get_texts()
    assert len({(handle.get_color(), handle.get_linestyle()) for handle in handles}) == 10
    assert len({text.get_text() for text in texts}) == 10
    box, whole = drawn[0].legends[0].get_window_extent(), drawn[0].bbox
    assert whole.x0 <= box.x0 and box.x1 <= whole.x1 and whole.y0 <= box.y0
    assert all(ax.get_window_extent().y0 > box.y1 for ax in drawn[0].axes)


def test_a_metric_that_nobody_logged_is_said(tmp_path: Path, drawn: list[Figure]) -> None:
    overlay({"a": rows(2), "b": []}, ["val_iou"], tmp_path / "o.png")
    assert [text.get_text() for text in drawn[0].axes[0].texts] == ["no run logged a finite value"]


def test_nothing_global_is_touched(tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    history(rows(2), tmp_path / "h.png")
    assert dict(matplotlib.rcParams) == before
