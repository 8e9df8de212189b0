import math
from xml.etree import ElementTree

import pytest
from markupsafe import Markup

from lab.report import svg
from lab.report.svg import Scale


@pytest.mark.parametrize(
    ("scale", "value", "pixel"),
    [
        (Scale(0, 10, 100, 200), 2.5, 125),
        (Scale(0, 10, 200, 100), 2.5, 175),
        (Scale(1e-4, 1, 0, 100, log=True), 1e-2, 50),
        (Scale(0, 10, 100, 200), 99, 200),
        (Scale(0, 10, 100, 200), -math.inf, 100),
        (Scale(0, 10, 100, 200), math.inf, 200),
        (Scale(1e-4, 1, 0, 100, log=True), -3, 0),
        (Scale(5, 5, 0, 100), 5, 50),
    ],
)
def test_a_scale_maps_and_holds_at_its_ends(scale: Scale, value: float, pixel: float) -> None:
    assert scale(value) == pytest.approx(pixel)


@pytest.mark.parametrize(
    ("scale", "ticks"),
    [
        (Scale(0, 1, 0, 1), [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (Scale(0.871, 0.909, 0, 1), [0.88, 0.89, 0.9]),
        (Scale(-0.5, 3.5, 0, 1, whole=True), [0, 1, 2, 3]),
        (Scale(1e-5, 0.1, 0, 1, log=True), [1e-5, 1e-4, 1e-3, 1e-2, 0.1]),
        (Scale(1e-9, 1, 0, 1, log=True), [1e-9, 1e-7, 1e-5, 1e-3, 0.1]),
        (Scale(0.9, 32, 0, 1, log=True), [1, 3, 10, 30]),
        (Scale(20, 90, 0, 1, log=True), [20, 50]),
        (Scale(41, 44, 0, 1, log=True), [41, 42, 43, 44]),
        (Scale(7, 7, 0, 1), [7]),
    ],
)
def test_ticks_are_round(scale: Scale, ticks: list[float]) -> None:
    assert scale.ticks(5) == pytest.approx(ticks)


@pytest.mark.parametrize(
    ("value", "label"),
    [(0, "0"), (0.05, "0.05"), (1e-5, "1e-5"), (20000, "20000"), (1e6, "1e6"), (2.5e6, "2.5e6"),
     (-0.5, "−0.5"), (-1e-5, "−1e-5"), (0.0001, "1e-4"), (0.001, "0.001"), (1, "1")],
)  # fmt: skip
def test_a_tick_is_said_shortly(value: float, label: str) -> None:
    assert svg.tick_label(value) == label


@pytest.mark.parametrize(
    "ends", [(0.0, 0.0), (3.0, 3.0), (-1e300, 1e308), (1e-320, 1e-320), (5.0, 5.0 + 1e-15), (0.1, 0.9)]
)
def test_a_padded_range_is_a_range(ends: tuple[float, float]) -> None:
    low, high = svg.padded(*ends)
    assert math.isfinite(high - low)
    assert low < high
    scale = Scale(low, high, 0, 100)
    assert all(math.isfinite(scale(value)) for value in (*ends, math.inf, -math.inf))
    assert scale.ticks()


@pytest.mark.parametrize("ends", [(1e-320, 1e308), (1e-300, 1e-300), (3.0, 3.0)])
def test_a_padded_logarithmic_range_is_one_too(ends: tuple[float, float]) -> None:
    low, high = svg.padded(*ends, log=True)
    assert 0 < low < high < math.inf
    ticks = Scale(low, high, 0, 100, log=True).ticks()
    assert all(low <= tick <= high for tick in ticks)


def test_what_is_beyond_a_scale_is_known() -> None:
    scale = Scale(0, 1, 0, 100)
    assert [scale.holds(value) for value in (0, 1, 1.01, math.inf)] == [True, True, False, False]


def test_a_thinned_line_keeps_its_ends_and_its_peaks() -> None:
    points = [(float(x), math.sin(x / 50)) for x in range(1000)]
    points[321], points[654] = (321.0, 9.0), (654.0, -9.0)
    points[0], points[-1] = (0.0, 0.05), (999.0, 0.5)  # neither low nor high
    kept = svg.thinned(points, 60)
    assert len(kept) <= 60
    assert kept == sorted(kept)
    assert {points[0], points[-1], points[321], points[654]} <= set(kept)
    assert svg.thinned(points, 1000) == points


def test_a_step_line_keeps_its_height() -> None:
    assert svg.steps([(0, 5), (2, 3), (7, 1)]) == [(0, 5), (2, 5), (2, 3), (7, 3), (7, 1)]
    assert svg.steps([]) == []


def test_a_path_has_one_decimal() -> None:
    assert svg.path([(1.0, 2.04), (3.25, 4.96)]) == "M1 2L3.2 5"


def test_texts_are_escaped_and_pieces_are_not() -> None:
    inner = svg.tag("title", "</title><script>alert(1)</script>")
    drawn = svg.svg_figure(10, 20, '"><script>', inner, svg.text(1, 2, "a < b & c"), class_="wide")
    assert isinstance(drawn, Markup)
    root = ElementTree.fromstring(drawn)
    assert root.attrib["aria-label"] == '"><script>'
    assert [child.text for child in root] == ["</title><script>alert(1)</script>", "a < b & c"]
    assert root.attrib["viewBox"] == "0 0 10 20"


def test_an_absent_attribute_is_left_out() -> None:
    assert svg.tag("line", x1=1.0, stroke_width=2.5, class_=None) == '<line x1="1" stroke-width="2.5"/>'


def test_a_mark_names_its_kind() -> None:
    assert svg.mark("pruned", 1, 2.26, "t 3") == (
        '<use href="#m-pruned" transform="translate(1 2.3)" class="o-pruned"><title>t 3</title></use>'
    )
    assert 'transform="translate(1 2) scale(0.78)"' in svg.mark("pruned", 1, 2, small=True)
