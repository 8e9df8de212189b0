"""Pieces of inline SVG: scales with round ticks, a frame with axes, paths that stay small, marks.

Everything comes back as `Markup`, and every text goes in through `escape`: a name can hold any character.
Coordinates are pixels of the figure's own view box, y downwards.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup, escape

Point = tuple[float, float]
_SMALL = 0.78  # of a mark's size
_PAGE = 760  # pixels, as the figures count them
_LEAST_SPAN = 1e-12  # relative; below it an axis has one value only
_HUGE = 1e150  # beyond it a difference or a ratio may overflow


@dataclass(frozen=True)
class Scale:
    """Maps `low`..`high` to the pixels `start`..`stop`; values beyond are clamped to the nearer end."""

    low: float
    high: float
    start: float
    stop: float
    log: bool = False
    whole: bool = False  # ticks are whole numbers

    def __call__(self, value: float) -> float:
        """Return the pixel; NaN has none and must be left out before."""
        low, high, at = self.low, self.high, value
        if self.log:
            low, high, at = (math.log(max(each, self.low)) for each in (low, high, at))
        share = 0.5 if high == low else (min(max(at, low), high) - low) / (high - low)
        return self.start + share * (self.stop - self.start)

    def holds(self, value: float) -> bool:
        """Return whether the value lies within the scale."""
        return self.low <= value <= self.high

    def ticks(self, count: int = 5) -> list[float]:
        """Return about `count` round values within the scale; at least one."""
        if self.log:
            return _log_ticks(self.low, self.high, count)
        return _linear_ticks(self.low, self.high, count, self.whole)


def padded(low: float, high: float, log: bool = False, share: float = 0.05) -> tuple[float, float]:
    """Extend the range on both sides, so that no mark is cut; a single value gets room around it."""
    least = 1 / _HUGE if log else -_HUGE
    low, high = (max(least, min(_HUGE, end)) for end in (low, high))
    if log:
        more = max((high / low) ** share, 1.05)
        return low / more, high * more
    span = high - low
    if span <= _LEAST_SPAN * max(abs(low), abs(high), 1e-300):
        span = max(abs(low), 1e-9) if low else 1.0
    return low - share * span, high + share * span


def tick_label(value: float) -> str:
    """`0.05`, `1e-5`, `20000`, `1e6`: as short as possible."""
    if value and not 1e-3 <= abs(value) < 1e5:
        mantissa, _, power = f"{value:.3e}".partition("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(power)}".replace("-", "−", value < 0)
    return f"{value:.6g}".replace("-", "−")


def tag(name: str, *children: object, **attributes: object) -> Markup:
    """An element; `class_` and `stroke_width` are written `class` and `stroke-width`, None is left out."""
    given = {
        key.rstrip("_").replace("_", "-"): value for key, value in attributes.items() if value is not None
    }
    written = "".join(
        f' {key}="{pixels(value) if isinstance(value, float) else escape(value)}"'
        for key, value in given.items()
    )
    inside = "".join(escape(child) for child in children)
    return Markup(f"<{name}{written}>{inside}</{name}>" if inside else f"<{name}{written}/>")


def svg_figure(width: float, height: float, label: str, *parts: object, class_: str = "wide") -> Markup:
    """Return the whole figure; `label` is its text for screen readers."""
    box = f"0 0 {pixels(width)} {pixels(height)}"
    # A figure wider than the page scrolls: texts shrunk to fit would be unreadable.
    style = f"min-width:{pixels(0.95 * width)}px" if width > _PAGE else None
    return tag("svg", *parts, viewBox=box, role="img", aria_label=label, class_=class_, style=style)


def text(x: float, y: float, content: object, class_: str = "tick", anchor: str = "middle") -> Markup:
    """A line of text; `anchor`: start, middle or end."""
    return tag("text", content, x=float(x), y=float(y), class_=class_, text_anchor=anchor)


def mark(kind: str, x: float, y: float, title: str = "", small: bool = False) -> Markup:
    """One of the marks that the page defines once, in its own colour; `title` shows under the pointer."""
    place = f"translate({pixels(x)} {pixels(y)}){f' scale({_SMALL})' if small else ''}"
    return tag("use", title and tag("title", title), href=f"#m-{kind}", transform=place, class_=f"o-{kind}")


def line(points: Iterable[Point], class_: str, title: str = "") -> Markup:
    """A line through the points."""
    return tag("path", title and tag("title", title), d=path(points), class_=class_)


def path(points: Iterable[Point]) -> str:
    """The points as a path's `d`."""
    return "M" + "L".join(f"{pixels(x)} {pixels(y)}" for x, y in points)


def thinned(points: Sequence[Point], limit: int) -> list[Point]:
    """Return about `limit` points that look the same: first, lowest, highest and last of each stretch.

    As M4 does (Jugel et al., 2014, "M4: a visualization-oriented time series data aggregation").
    """
    if len(points) <= limit:
        return list(points)
    stretches = max(1, limit // 4)
    kept: list[Point] = []
    for number in range(stretches):
        stretch = range(number * len(points) // stretches, (number + 1) * len(points) // stretches)
        chosen = {stretch[0], stretch[-1]}
        chosen |= {min(stretch, key=lambda n: points[n][1]), max(stretch, key=lambda n: points[n][1])}
        kept += [points[n] for n in sorted(chosen)]
    return kept


def steps(points: Sequence[Point]) -> list[Point]:
    """The corners of a line that keeps its height until the next point."""
    corners = list(points[:1])
    for (_, before), (x, y) in pairwise(points):
        corners += [(x, before), (x, y)]
    return corners


def frame(x: Scale, y: Scale, below: str, beside: str, x_count: int = 6, y_count: int = 5) -> Markup:
    """Grid, tick labels and the names of both axes."""
    return side_axis(x, y, beside, y_count) + bottom_axis(x, y.start, y.stop, below, x_count)


def side_axis(x: Scale, y: Scale, beside: str, count: int = 5) -> Markup:
    """The upright axis with level grid lines; its name stands above it, to be read without turning."""
    name = text(4, y.stop - 14, beside, class_="axis", anchor="start")
    return name + level_lines(x.start, x.stop, y, count, 7)


def level_lines(left: float, right: float, y: Scale, count: int, gap: float) -> Markup:
    """Level grid lines with their tick labels on the left."""
    parts = []
    for value in y.ticks(count):
        at = y(value)
        parts.append(tag("line", x1=left, x2=right, y1=at, y2=at, class_="grid"))
        parts.append(text(left - gap, at + 4, tick_label(value), anchor="end"))
    return Markup("").join(parts)


def bottom_axis(x: Scale, bottom: float, top: float, below: str, count: int = 6) -> Markup:
    """The level axis with upright grid lines."""
    parts = [tag("line", x1=x.start, x2=x.stop, y1=bottom, y2=bottom, class_="base")]
    for value in x.ticks(count):
        at = x(value)
        parts.append(tag("line", x1=at, x2=at, y1=bottom, y2=top, class_="grid"))
        parts.append(text(at, bottom + 17, tick_label(value)))
    parts.append(text(x.stop, bottom + 36, below, class_="axis", anchor="end"))
    return Markup("").join(parts)


def pixels(value: float) -> str:
    """A coordinate with one decimal, which is finer than a screen."""
    shown = f"{value:.1f}"
    return shown[:-2] if shown.endswith(".0") else shown


def _linear_ticks(low: float, high: float, count: int, whole: bool) -> list[float]:
    if high <= low:
        return [low]
    raw = (high - low) / max(1, count)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * size for size in (1, 2, 5, 10) if power * size >= raw * 0.999)
    if whole:
        step = max(1.0, round(step))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    digits = max(0, 1 - math.floor(math.log10(step)))
    return [round(n * step, digits) for n in range(first, last + 1)] or [low]


def _log_ticks(low: float, high: float, count: int) -> list[float]:
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    decades = last - first + 1
    # Over many decades powers of ten are enough; over few, steps within a decade.
    if decades >= 3:
        stride = max(1, math.ceil(decades / count))
        return [10.0**power for power in range(first, last + 1, stride)]
    sizes = (1, 3) if decades == 2 else (1, 2, 5)
    found = [
        float(f"{size * 10.0**power:.6g}")
        for power in range(first - 1, last + 1)
        for size in sizes
        if low * (1 - 1e-9) <= size * 10.0**power <= high * (1 + 1e-9)
    ]
    return found if len(found) > 1 else _linear_ticks(low, high, count, whole=False)
