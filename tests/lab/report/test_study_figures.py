import math
import re
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest

from lab.report import study_figures as figures
from lab.report.study_data import Candidate, Confirmation, Objective, Study, Trial
from lab.report.study_figures import Picture, value_scale

DICE, LOSS, SIZE = Objective("val_dice", True), Objective("val_loss", False), Objective("parameters", False)


def study(*trials: Trial, objectives: tuple[Objective, ...] = (DICE,), epochs: int = 10) -> Study:
    return Study("s", Path("s"), objectives, objectives[0], (), trials, 20, epochs)


def good(number: int, rank: int, *values: float, curve: tuple[float, ...] = (), **parts: object) -> Trial:
    steps = tuple(enumerate(curve, start=1))
    return Trial(number, "completed", values=values, rank=rank, curve=steps, **parts)  # type: ignore[arg-type]


def parsed(picture: Picture | None) -> Element:
    assert picture is not None
    return ElementTree.fromstring(picture.svg)


def marks(picture: Picture | None, kind: str) -> list[tuple[float, float]]:
    """The places of all marks of a kind."""
    uses = [each.attrib for each in parsed(picture).iter("use") if each.attrib["href"] == f"#m-{kind}"]
    places = [re.match(r"translate\(([-.0-9]+) ([-.0-9]+)\)", each["transform"]) for each in uses]
    return [(float(place[1]), float(place[2])) for place in places if place is not None]


def lines(picture: Picture | None, name: str) -> list[str]:
    return [each.attrib["d"] for each in parsed(picture).iter("path") if name in each.attrib["class"].split()]


def texts(picture: Picture | None) -> list[str]:
    return [each.text or "" for each in parsed(picture).iter("text")]


def test_the_history_has_a_mark_per_trial_and_the_best_so_far() -> None:
    made = study(
        good(0, 3, 0.5), good(1, 2, 0.75), Trial(2, "pruned", curve=((1, 0.25), (2, math.nan))),
        good(3, 1, 1.0), Trial(4, "failed"), Trial(5, "diverged", values=(-math.inf,)), Trial(6, "running"),
    )  # fmt: skip
    picture = figures.history(made)
    completed, (pruned,), (star,) = (marks(picture, kind) for kind in ("completed", "pruned", "winner"))
    assert star == completed[2]
    xs = [x for x, _ in completed]
    assert xs[1] - xs[0] == pytest.approx((xs[2] - xs[0]) / 3, abs=0.2)
    heights = [y for _, y in (*completed, pruned)]
    assert heights[0] - heights[1] == pytest.approx(heights[1] - heights[2], abs=0.2)  # equal steps in value
    assert heights[3] - heights[0] == pytest.approx(heights[0] - heights[1], abs=0.2)
    (failed,), (diverged,) = marks(picture, "failed"), marks(picture, "diverged")
    assert failed[1] == diverged[1] > max(heights)  # a row of their own
    assert "no value" in texts(picture)
    (best,) = lines(picture, "best-line")
    assert best.count("L") == 5  # two steps of two corners, and on to the end
    assert picture is not None
    assert picture.kinds == ("completed", "pruned", "diverged", "failed")


def test_a_history_of_failures_only_has_no_line() -> None:
    picture = figures.history(study(Trial(0, "failed"), Trial(1, "timed_out")))
    assert len(marks(picture, "failed") + marks(picture, "timed_out")) == 2
    assert texts(picture) == ["0", "1", "trial", "no value"]
    assert lines(picture, "best-line") == []


def test_there_is_no_history_before_the_first_end() -> None:
    assert figures.history(study(Trial(0, "running"), Trial(1, "waiting"))) is None


def test_a_far_off_value_is_at_the_edge_and_is_counted() -> None:
    made = study(*(good(n, n + 1, 0.1 + n / 100) for n in range(9)), good(9, 10, 1e300), objectives=(LOSS,))
    picture = figures.history(made)
    heights = [y for _, y in marks(picture, "completed")]
    assert heights[9] == min(heights)  # on top, where the worst losses are
    assert heights[0] - heights[8] > 100  # the others use the room
    assert picture is not None
    assert picture.note == "1 far-off value is drawn at the edge of the axis."


def test_a_curve_is_broken_where_it_is_not_finite() -> None:
    gaps = (0.1, 0.2, math.nan, 0.3, math.inf, 0.4, 0.5)
    picture = figures.curves(study(good(0, 1, 0.5, curve=gaps)))
    (drawn,) = lines(picture, "curve")
    assert drawn.count("M") == 3
    stretches = [stretch.split("L") for stretch in drawn[1:].split("M")]
    assert [len(stretch) for stretch in stretches] == [2, 2, 2]
    assert stretches[1][0] == stretches[1][1]  # a value between two gaps is a dot
    assert "nan" not in drawn
    assert "inf" not in drawn


def test_curves_are_told_apart_and_ends_are_marked() -> None:
    made = study(
        good(0, 2, 0.5, curve=(0.2, 0.4, 0.5)), good(1, 1, 0.6, curve=(0.3, 0.5, 0.6)),
        Trial(2, "pruned", curve=((1, 0.1), (2, 0.2))), Trial(3, "diverged", curve=((1, 0.3), (2, math.nan))),
        Trial(4, "failed"), Trial(5, "running", curve=((1, 0.2),)),
    )  # fmt: skip
    picture = figures.curves(made)
    counts = {kind: len(lines(picture, f"l-{kind}")) for kind in ("completed", "winner", "pruned", "running")}
    assert counts == {"completed": 1, "winner": 1, "pruned": 1, "running": 1}
    assert "l-winner" in list(parsed(picture).iter("path"))[-1].attrib["class"]  # over all others
    assert len(marks(picture, "winner")) == 1
    (pruned,), (diverged,) = marks(picture, "pruned"), marks(picture, "diverged")
    assert pruned[0] > diverged[0]  # after epoch 2; at the last value that is one
    assert marks(picture, "failed") == []


def test_seeds_stand_one_after_the_other() -> None:
    seeds = {"seed 0": 0.5, "seed 1": 0.4, "seed 2": 0.3}
    curve = tuple(0.1 + n / 100 for n in range(30))
    picture = figures.curves(study(good(0, 1, 0.5, curve=curve, repeats=seeds), epochs=10))
    assert len([e for e in parsed(picture).iter("line") if e.attrib["class"] == "bound"]) == 2
    assert "epoch, one seed after the other" in texts(picture)


@pytest.mark.parametrize("curve", [(), (math.nan, math.inf)])
def test_without_a_finite_report_there_are_no_curves(curve: tuple[float, ...]) -> None:
    assert figures.curves(study(good(0, 1, 0.5, curve=curve))) is None


def test_one_report_is_enough() -> None:
    (drawn,) = lines(figures.curves(study(good(0, 1, 0.5, curve=(0.5,)))), "curve")
    assert drawn.count("L") == 1


def test_many_long_curves_stay_small() -> None:
    noisy = tuple(math.sin(n * n) for n in range(2000))
    picture = figures.curves(study(*(good(n, n + 1, 0.5, curve=noisy) for n in range(500))))
    assert picture is not None
    assert len(picture.svg) < 1_200_000  # and not 500 * 2000 * 10


def test_the_front_is_a_staircase_through_the_best() -> None:
    made = study(
        good(0, 1, 0.9, 300.0, on_front=True), good(1, 2, 0.7, 100.0, on_front=True), good(2, 3, 0.5, 200.0),
        objectives=(DICE, SIZE),
    )  # fmt: skip
    (picture,) = figures.pareto(made)
    assert [len(marks(picture, kind)) for kind in ("winner", "front", "behind")] == [1, 1, 1]
    (front,) = lines(picture, "best-line")
    corners = [tuple(map(float, corner.split())) for corner in front[1:].split("L")]
    (best,), (small,) = marks(picture, "winner"), marks(picture, "front")
    assert corners == [best, (small[0], best[1]), small]
    assert best[0] > small[0]
    assert best[1] < small[1]


def test_three_objectives_are_shown_in_pairs() -> None:
    trial = good(0, 1, 0.9, 0.1, 300.0, on_front=True)
    pictures = figures.pareto(study(trial, objectives=(DICE, LOSS, SIZE)))
    assert len(pictures) == 3
    assert all(lines(picture, "best-line") == [] for picture in pictures)
    assert figures.pareto(study(trial)) == []


def test_intervals_are_drawn_to_scale() -> None:
    candidates = (
        Candidate(4, (0.4, 0.6), 0.5, 0.3, 0.7),
        Candidate(7, (math.nan,), math.nan, math.nan, math.nan),
        Candidate(9, (0.2,), 0.2, math.nan, math.nan),
    )
    picture = figures.intervals(Confirmation(2, "val_dice", True, candidates, ""))
    (interval,) = [each for each in parsed(picture).iter("line") if each.attrib["class"] == "interval"]
    low, high = float(interval.attrib["x1"]), float(interval.attrib["x2"])
    first, second = marks(picture, "mean")
    assert first[0] == pytest.approx((low + high) / 2, abs=0.1)
    assert len(marks(picture, "seed")) == 3
    assert {"trial 4", "trial 9"} <= set(texts(picture))
    assert second[1] > first[1]
    assert figures.intervals(Confirmation(2, "val_dice", True, candidates[1:2], "")) is None


@pytest.mark.parametrize(
    ("values", "objective", "log"),
    [
        ([0.001, 0.5, 1.0], LOSS, True),
        ([0.1, 0.5, 1.0], LOSS, False),
        ([0.001, 0.5, 1.0], DICE, False),
        ([-1.0, 0.5, 1000.0], LOSS, False),
        ([0.1, 0.2, 0.3, 0.4, 0.5, 1e9], LOSS, False),  # one bad value makes no axis logarithmic
        ([10.0**power for power in range(-8, 1)], LOSS, True),
    ],
)
def test_a_loss_over_decades_has_a_logarithmic_axis(
    values: list[float], objective: Objective, log: bool
) -> None:
    scale = value_scale([*values, math.nan, math.inf], objective, 100, 0)
    assert scale.log is log
    assert scale.holds(min(values)) or objective is DICE


def test_names_cannot_break_out() -> None:
    hostile = Objective("</text><script>alert(1)</script>", True)
    picture = figures.history(study(good(0, 1, 0.5), objectives=(hostile,)))
    assert hostile.metric in texts(picture)
    assert not list(parsed(picture).iter("script"))
