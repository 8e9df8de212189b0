"""Plots of a study: values by trial, learning curves, the Pareto front, reevaluation intervals.

No value can break a plot: infinities and NaN are drawn in a separate row, and values far beyond the others
at the edge of the axis, with a note that counts them.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, combinations

from markupsafe import Markup

from lab.events import RUNNING, Outcome
from lab.report import svg
from lab.report.study_data import ENDED, OUTCOMES, WRONG, Confirmation, Objective, Study, Trial, amount
from lab.report.study_findings import span
from lab.report.svg import Point, Scale

WIDTH = 760.0
_POINTS = 60_000  # of all curves together, so that a page stays small
_LEAST_POINTS = 24  # of one curve
_TITLES = 250  # marks; more than that are drawn without a text each
_CROWD = 120  # marks; more are drawn smaller
_LOG_FROM = 100.0  # largest by smallest value, from which a logarithmic axis shows more


@dataclass(frozen=True)
class Picture:
    """A plot, the kinds of marks in it, and a note to print below it."""

    svg: Markup
    kinds: tuple[str, ...] = ()
    note: str = ""


def history(study: Study, number: int = 0) -> Picture | None:
    """One objective's value of every trial, and the best so far; None before any trial has ended."""
    objective = study.objectives[number]
    points = valued(study, number)
    there = {trial.number for trial, _ in points}
    lost = [trial for trial in study.trials if trial.outcome in WRONG and trial.number not in there]
    if not points and not lost:
        return None
    # Trials without a finite value are marked in a strip below the axis.
    strip = 26.0 if lost else 0.0
    bottom = 216.0 if points else 30.0
    y = value_scale([value for _, value in points] or [0.0], objective, bottom, 30)
    x = Scale(-0.5, max(each.number for each in study.trials) + 0.5, _left(y, lost), WIDTH - 14, whole=True)
    parts = [svg.side_axis(x, y, objective.metric)] if points else []
    parts.append(svg.bottom_axis(x, bottom + strip, y.stop, "trial", 8))
    if lost:
        level = bottom + strip / 2
        parts.append(svg.tag("line", x1=x.start, x2=x.stop, y1=bottom, y2=bottom, class_="bound"))
        parts.append(svg.text(x.start - 7, level + 4, "no value", anchor="end"))
        marked = [trial for trial in lost if trial.number in study.drawn]
        parts += [svg.mark(t.outcome, x(t.number), level, _title(t, len(study.trials))) for t in marked]
    # The line of the best so far lies below the marks, the winner above all.
    small = len(points) > _CROWD
    best = _best_so_far(study.trials, number, objective.sign)
    if best:
        steps = svg.steps([(x(at), y(value)) for at, value in best])
        parts.append(svg.line([*steps, (x.stop, steps[-1][1])], "best-line"))
    parts += [
        svg.mark(t.outcome, x(t.number), y(value), _title(t, len(study.trials), value), small)
        for t, value in points
        if t.number in study.drawn
    ]
    if winner := study.winner:
        title = f"trial {winner.number}: {amount(winner.values[number])}, the best"
        parts.append(svg.mark("winner", x(winner.number), y(winner.values[number]), title))
    kinds = _kinds([trial for trial, _ in points] + lost)
    label = f"{objective.metric} of {len(points)} trials by number, with the best so far"
    figure = svg.svg_figure(WIDTH, bottom + strip + 46, label, *parts)
    return Picture(figure, kinds, _beyond(y, [value for _, value in points]))


def curves(study: Study) -> Picture | None:
    """The reported values of all trials over the epochs; None where nothing was reported."""
    drawn = [trial for trial in study.trials if trial.last is not None and trial.number in study.drawn]
    values = [value for trial in drawn for _, value in trial.curve if math.isfinite(value)]
    if not values:
        return None
    y = value_scale(values, study.reported, 286, 30)
    last = max(step for trial in drawn for step, _ in trial.curve)
    first, end = (1.0, float(last)) if last > 1 else (0.5, 1.5)
    x = Scale(first, end, _left(y), WIDTH - 14, whole=True)
    length = study.epochs_per_repeat if any(len(trial.repeats) > 1 for trial in drawn) else None
    kinds = {name.partition(" ")[0] for trial in drawn for name in trial.repeats}
    below = "epoch" if length is None else f"epoch, one {' or '.join(sorted(kinds))} after the other"
    parts = [svg.frame(x, y, below, study.reported.metric, 8)]
    # Seeds and folds run one after another: a line where the next begins.
    for start in range(length, last, length) if length else ():
        at = x(start + 0.5)
        parts.append(svg.tag("line", x1=at, x2=at, y1=y.start, y2=y.stop, class_="bound"))
    # The page embeds every curve: thin them out, so that thousands of trials stay a few MB.
    limit = max(_LEAST_POINTS, _POINTS // len(drawn))
    # Good ones over pruned ones over those that went wrong; the winner over all.
    order = sorted(drawn, key=lambda t: (t is study.winner, t.good, t.outcome == Outcome.PRUNED))
    density = "many" if len(drawn) > 60 else "some"
    for trial in order:
        parts.append(_curve(trial, x, y, limit, density, trial is study.winner))
    parts += [_end(trial, x, y) for trial in order if trial.outcome in (Outcome.PRUNED, *WRONG)]
    if order[-1] is study.winner:
        parts.append(_end(order[-1], x, y, "winner"))
    label = f"learning curves of {len(drawn)} trials"
    return Picture(svg.svg_figure(WIDTH, 332, label, *parts), _kinds(drawn), _beyond(y, values))


def pareto(study: Study) -> list[Picture]:
    """A panel for each pair of objectives; the front as a line where there are two."""
    if not study.ranked:
        return []
    return [_pair(study, one, other) for one, other in combinations(range(len(study.objectives)), 2)]


def intervals(confirmation: Confirmation) -> Picture | None:
    """Mean and interval of each candidate, and its seeds; None where no seed gave a value."""
    rows = [each for each in confirmation.candidates if math.isfinite(each.mean)]
    found = [(each.low, each.high, each.mean, *each.values) for each in rows]
    ends = list(filter(math.isfinite, chain.from_iterable(found)))
    if not ends:
        return None
    bottom = 16.0 + 34 * len(rows)
    x = Scale(*svg.padded(min(ends), max(ends)), 90, WIDTH - 14)
    parts = [svg.bottom_axis(x, bottom, 8, confirmation.metric)]
    for row, each in enumerate(rows):
        at = 30.0 + 34 * row
        parts.append(svg.text(80, at + 4, f"trial {each.trial}", anchor="end", class_="name"))
        parts += [svg.mark("seed", x(value), at) for value in each.values if math.isfinite(value)]
        if math.isfinite(each.low) and math.isfinite(each.high):
            parts.append(svg.tag("line", x1=x(each.low), x2=x(each.high), y1=at, y2=at, class_="interval"))
        tooltip = f"trial {each.trial}: {amount(each.mean)}, {amount(each.low)} to {amount(each.high)}"
        parts.append(svg.mark("mean", x(each.mean), at, tooltip))
    label = f"means with 95 % intervals of {len(rows)} candidates"
    return Picture(svg.svg_figure(WIDTH, bottom + 44, label, *parts), ("mean", "seed"))


def value_scale(values: Iterable[float], objective: Objective, start: float, stop: float) -> Scale:
    """An axis for an objective's finite values; logarithmic where small is good and they span two decades."""
    finite = [value for value in values if math.isfinite(value)]
    if not objective.maximize and min(finite) > 0 and max(finite) / min(finite) > _LOG_FROM:
        low, high = (math.exp(end) for end in span([math.log(value) for value in finite], False))
        if high / low > _LOG_FROM:
            return Scale(*svg.padded(low, high, log=True), start, stop, log=True)
    return Scale(*svg.padded(*span(finite, objective.maximize)), start, stop)


def valued(study: Study, number: int) -> list[tuple[Trial, float]]:
    """The trials with a finite value of an objective; of a pruned one its last report, where that is it."""
    found: list[tuple[Trial, float]] = []
    for trial in study.trials:
        if trial.good:
            found.append((trial, trial.values[number]))
        elif trial.outcome == Outcome.PRUNED and study.objectives[number] is study.reported:
            found += [(trial, trial.last)] if trial.last is not None else []
    return found


def _pair(study: Study, one: int, other: int) -> Picture:
    across, up = study.objectives[one], study.objectives[other]
    good = study.ranked
    width, height = (560.0, 380.0) if len(study.objectives) == 2 else (330.0, 260.0)
    y = value_scale([trial.values[other] for trial in good], up, height - 50, 30)
    x = value_scale([trial.values[one] for trial in good], across, _left(y), width - 20)
    parts = [svg.frame(x, y, across.metric, up.metric, 5)]
    front = sorted(study.front, key=lambda trial: across.sign * trial.values[one])
    if len(study.objectives) == 2 and front:
        corners = svg.steps([(x(trial.values[one]), y(trial.values[other])) for trial in front])
        parts.append(svg.line(corners, "best-line"))
    for trial in reversed(good):
        if trial.number not in study.drawn and not trial.on_front:
            continue
        kind = "winner" if trial is study.winner else "front" if trial.on_front else "behind"
        at = x(trial.values[one]), y(trial.values[other])
        tooltip = f"trial {trial.number}: {amount(trial.values[one])}, {amount(trial.values[other])}"
        parts.append(svg.mark(kind, *at, tooltip if trial.on_front or len(good) <= _TITLES else ""))
    label = f"{up.metric} by {across.metric} of {len(good)} trials"
    kinds = ("front", "behind") if len(front) < len(good) else ("front",)
    return Picture(svg.svg_figure(width, height, label, *parts, class_="panel"), kinds)


def _curve(trial: Trial, x: Scale, y: Scale, limit: int, density: str, winner: bool) -> Markup:
    """A line that is broken where a value is not finite; a value between two gaps is a dot."""
    stretches: list[list[Point]] = [[]]
    for step, value in trial.curve:
        if math.isfinite(value):
            stretches[-1].append((x(step), y(value)))
        elif stretches[-1]:
            stretches.append([])
    drawn = [svg.thinned(stretch, limit) for stretch in stretches if stretch]
    written = "".join(svg.path(stretch if len(stretch) > 1 else stretch * 2) for stretch in drawn)
    kind = "winner" if winner else trial.outcome if trial.outcome in ENDED else RUNNING
    tooltip = svg.tag("title", f"trial {trial.number}, {trial.outcome.replace('_', ' ')}")
    return svg.tag("path", tooltip, d=written, class_=f"curve {density} l-{kind}")


def _end(trial: Trial, x: Scale, y: Scale, kind: str = "") -> Markup:
    """A mark where a curve ends, by default of the trial's outcome."""
    step, value = next((step, value) for step, value in reversed(trial.curve) if math.isfinite(value))
    tooltip = f"trial {trial.number}, {trial.outcome.replace('_', ' ')} after step {trial.curve[-1][0]}"
    return svg.mark(kind or trial.outcome, x(step), y(value), tooltip)


def _title(trial: Trial, of: int, value: float | None = None) -> str:
    """The tooltip of a mark; empty in a large study, whose page would grow by a third."""
    if of > _TITLES:
        return ""
    result = "" if value is None else f": {amount(value)}"
    return f"trial {trial.number}, {trial.outcome.replace('_', ' ')}{result}"


def _kinds(trials: Iterable[Trial]) -> tuple[str, ...]:
    there = {trial.outcome for trial in trials}
    return tuple(outcome for outcome in OUTCOMES if outcome in there)


def _left(y: Scale, lost: Sequence[Trial] = ()) -> float:
    """Room for the longest label beside the axis."""
    labels = [svg.tick_label(value) for value in y.ticks()] + (["no value"] if lost else [])
    return 18 + 6.8 * max(map(len, labels))


def _beyond(y: Scale, values: Sequence[float]) -> str:
    count = sum(not y.holds(value) for value in values)
    if not count:
        return ""
    return f"{count} far-off value{'s are' if count > 1 else ' is'} drawn at the edge of the axis."


def _best_so_far(trials: Sequence[Trial], objective: int, sign: float) -> list[tuple[int, float]]:
    """(number, value) of each trial that was better than all before it."""
    found: list[tuple[int, float]] = []
    for trial in trials:
        if trial.good and (not found or sign * trial.values[objective] < sign * found[-1][1]):
            found.append((trial.number, trial.values[objective]))
    return found
