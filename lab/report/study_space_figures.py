"""Plots of the search space: one line per trial through all parameters, and one panel per parameter."""

import math
import statistics
from collections.abc import Callable, Sequence

from markupsafe import Markup

from lab.figures.canvas import cut_middle
from lab.report import svg
from lab.report.study_data import Dimension, Study, Trial, amount, shown
from lab.report.study_figures import Picture, value_scale, valued
from lab.report.study_findings import EDGE
from lab.report.svg import Scale

_TOP, _BOTTOM = 58.0, 300.0  # of the parallel axes
_APART = 118.0  # pixels between two of them
_UNUSED = 30.0  # pixels below an axis, where trials without the parameter pass
_QUANTILES = (0.1, 0.25, 0.5)  # of the ranking, at which the colour changes
_PANEL = (300.0, 226.0)
_TITLES = 120  # trials; more are drawn without a text each
_GOLDEN = (math.sqrt(5) - 1) / 2


def parallel(study: Study) -> Picture | None:
    """A line per finished trial through all parameters to its value, coloured by rank; None without any."""
    trials = study.ranked
    dimensions = [d for d in study.dimensions if any(d.path in trial.params for trial in trials)]
    if not trials or not dimensions:
        return None
    width = max(760.0, _APART * len(dimensions) + 160)
    apart = (width - 160) / len(dimensions)
    objective = study.objectives[0]
    best_on_top = (_BOTTOM, _TOP) if objective.maximize else (_TOP, _BOTTOM)
    value = value_scale([trial.values[0] for trial in trials], objective, *best_on_top)
    at = [64 + apart * number for number in range(len(dimensions) + 1)]
    places = [_placing(dimension, trials) for dimension in dimensions]
    parts: list[Markup] = []
    for trial in reversed([trial for trial in trials if trial.number in study.drawn]):  # the best is last
        points = [
            (x, _BOTTOM + _UNUSED if (y := place(trial.params.get(each.path))) is None else y)
            for x, each, place in zip(at, dimensions, places, strict=False)
        ]
        points.append((at[-1], value(trial.values[0])))
        tooltip = f"trial {trial.number}: {amount(trial.values[0])}" if len(trials) <= 4 * _TITLES else ""
        parts.append(svg.line(points, f"strand r{_colour(trial.rank or 1, len(trials))}", tooltip))
    for x, dimension in zip(at, dimensions, strict=False):
        unused = any(dimension.path not in trial.params for trial in trials)
        parts.append(_upright(x, dimension, trials, apart, unused))
    parts += [_spine(at[-1], apart, objective.metric)]
    parts += [_label(at[-1], value(tick), svg.tick_label(tick)) for tick in value.ticks(6)]
    label = f"parameters and {objective.metric} of {len(trials)} finished trials as lines, best on top"
    height = _BOTTOM + _UNUSED + 22
    return Picture(svg.svg_figure(width, height, label, *parts, class_="wide"))


def slices(study: Study, number: int = 0) -> list[tuple[Dimension, Picture]]:
    """Draw the values of one objective over each parameter."""
    points = valued(study, number)
    found = []
    for dimension in study.dimensions:
        there = [(trial, value) for trial, value in points if dimension.path in trial.params]
        if there:
            found.append((dimension, _slice(study, number, dimension, there, len(points))))
    return found


def bounds(dimension: Dimension, trials: Sequence[Trial]) -> tuple[float, float]:
    """The parameter's bounds, or further out where an older trial lay beyond them."""
    used = (trial.params.get(dimension.path) for trial in trials)
    numbers = [value for value in used if isinstance(value, (int, float))]
    numbers = [number for number in numbers if number > 0 or not dimension.log]
    return min([dimension.low, *numbers]), max([dimension.high, *numbers])


def _placing(dimension: Dimension, trials: Sequence[Trial]) -> Callable[[str | float | None], float | None]:
    """Return a function from a parameter's value to its place on the vertical axis; None if it has none."""
    if dimension.kind == "categorical":
        order = {choice: n for n, choice in enumerate(dimension.choices)}
        share = Scale(-0.5, len(order) - 0.5, _BOTTOM, _TOP)
        return lambda value: None if value is None else share(order[shown(value)])
    scale = Scale(*bounds(dimension, trials), _BOTTOM, _TOP, dimension.log)
    return lambda value: scale(value) if isinstance(value, (int, float)) else None


def _upright(x: float, dimension: Dimension, trials: Sequence[Trial], apart: float, unused: bool) -> Markup:
    """An upright axis with its name above, its labels, and the place of those that don't use it."""
    parts = [_spine(x, apart, dimension.path)]
    place = _placing(dimension, trials)
    if dimension.kind == "categorical":
        stride = math.ceil(len(dimension.choices) / 16)
        labels: list[tuple[str | float, str]] = [(each, each) for each in dimension.choices[::stride]]
    else:
        low, high = bounds(dimension, trials)
        inner = Scale(low, high, _BOTTOM, _TOP, dimension.log, dimension.kind == "int").ticks(4)
        # A tick too close to a bound would overlap its label.
        ticks = [tick for tick in inner if 16 < (place(tick) or 0) - _TOP < _BOTTOM - _TOP - 16]
        labels = [(value, svg.tick_label(value)) for value in dict.fromkeys((low, *ticks, high))]
    for value, label in labels:
        y = place(value)
        assert y is not None, "bounds and choices have a place"
        parts.append(_label(x, y, cut_middle(label, int((apart - 12) / 6.6))))
    if unused:
        parts.append(_label(x, _BOTTOM + _UNUSED, "not in use"))
    return Markup("").join(parts)


def _spine(x: float, apart: float, name: str) -> Markup:
    """The axis and its name: what is before the last dot stands small above the rest."""
    before, _, last = name.rpartition(".")
    room = int((apart - 8) / 6.6)
    axis = svg.tag("line", x1=x, x2=x, y1=_TOP, y2=_BOTTOM, class_="spine")
    return (
        axis
        + svg.text(x, 20, cut_middle(before, room))
        + svg.text(x, 37, cut_middle(last, room), class_="name")
    )


def _label(x: float, y: float, content: str) -> Markup:
    dash = svg.tag("line", x1=x - 3, x2=x + 3, y1=y, y2=y, class_="spine")
    return dash + svg.text(x + 7, y + 4, content, class_="tick halo", anchor="start")


def _colour(rank: int, of: int) -> int:
    """0 for the winner, then 1 to 4 by its share of the ranking."""
    if rank == 1:
        return 0
    return 1 + sum((rank - 1) / max(1, of - 1) > quantile for quantile in _QUANTILES)


def _slice(
    study: Study, number: int, dimension: Dimension, points: Sequence[tuple[Trial, float]], of: int
) -> Picture:
    width, height = _PANEL
    objective = study.objectives[number]
    y = value_scale([value for _, value in points], objective, height - 34, 26)
    left = 14 + 6.8 * max(len(svg.tick_label(value)) for value in y.ticks(4))
    if dimension.kind == "categorical":
        axis, place = _choices(dimension, points, left, width - 12, y)
    else:
        axis, place = _numbers(dimension, [trial for trial, _ in points], left, width - 12, y)
    name = svg.text(2, 11, cut_middle(objective.metric, 44), anchor="start")
    parts = [name, svg.level_lines(left, width - 12, y, 4, 6), axis]
    drawn = [point for point in points if point[0].number in study.drawn]
    marks = sorted(drawn, key=lambda point: (point[0] is study.winner, point[0].good))
    for trial, value in marks:
        x = place(trial)
        if x is not None:
            kind = "winner" if trial is study.winner else trial.outcome
            setting = trial.params[dimension.path]
            setting = setting if isinstance(setting, str) else f"{setting:.6g}"
            tooltip = f"trial {trial.number}: {setting}, {amount(value)}"
            parts.append(svg.mark(kind, x, y(value), tooltip if len(points) <= _TITLES else "", small=True))
    label = f"{objective.metric} by {dimension.path}"
    note = f"in {len(points)} of {of} trials" if len(points) < of else ""
    return Picture(svg.svg_figure(width, height, label, *parts, class_="panel"), note=note)


def _numbers(
    dimension: Dimension, trials: Sequence[Trial], left: float, right: float, y: Scale
) -> tuple[Markup, Callable[[Trial], float | None]]:
    """The level axis of a number, its bounds, and a faint band where a value counts as at the bound."""
    low, high = bounds(dimension, trials)
    x = Scale(
        *svg.padded(low, high, dimension.log, 0.04), left, right, dimension.log, dimension.kind == "int"
    )
    parts = []
    if dimension.in_space and dimension.high > dimension.low:
        ends = x(dimension.low), x(dimension.high)
        band = EDGE * (ends[1] - ends[0])
        for start in (ends[0], ends[1] - band):
            box = {"x": start, "y": y.stop, "width": band, "height": y.start - y.stop}
            parts.append(svg.tag("rect", class_="band", **box))
        parts += [svg.tag("line", x1=end, x2=end, y1=y.start, y2=y.stop, class_="bound") for end in ends]
    parts.append(svg.tag("line", x1=left, x2=right, y1=y.start, y2=y.start, class_="base"))
    for tick in x.ticks(4):
        parts.append(svg.tag("line", x1=x(tick), x2=x(tick), y1=y.start, y2=y.start + 4, class_="base"))
        parts.append(svg.text(x(tick), y.start + 18, svg.tick_label(tick)))

    def place(trial: Trial) -> float | None:
        value = trial.params[dimension.path]
        return x(value) if isinstance(value, (int, float)) else None

    return Markup("").join(parts), place


def _choices(
    dimension: Dimension, points: Sequence[tuple[Trial, float]], left: float, right: float, y: Scale
) -> tuple[Markup, Callable[[Trial], float | None]]:
    """A place for each choice, with a line at the median of its finished trials."""
    order = {choice: n for n, choice in enumerate(dimension.choices)}
    room = (right - left) / len(order)
    parts = [svg.tag("line", x1=left, x2=right, y1=y.start, y2=y.start, class_="base")]
    stride = math.ceil(28 / room)
    values: dict[str, list[float]] = {choice: [] for choice in order}
    for trial, value in points:
        if trial.good:
            values[shown(trial.params[dimension.path])].append(value)
    for choice, n in order.items():
        middle = left + room * (n + 0.5)
        if n % stride == 0:
            limit = max(3, int(room * stride / 6.6))
            parts.append(svg.text(middle, y.start + 18, cut_middle(choice, limit)))
        if values[choice]:
            at = y(statistics.median(values[choice]))
            half = 0.38 * room
            parts.append(svg.tag("line", x1=middle - half, x2=middle + half, y1=at, y2=at, class_="median"))

    def place(trial: Trial) -> float | None:
        aside = (trial.number * _GOLDEN % 1 - 0.5) * 0.56  # spread evenly, and the same every time
        return left + room * (order[shown(trial.params[dimension.path])] + 0.5 + aside)

    return Markup("").join(parts), place
