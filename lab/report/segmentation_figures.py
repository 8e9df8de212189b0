"""Plots of a segmentation evaluation: a Dice histogram, the threshold curve, and the colour legend."""

import math
from collections.abc import Mapping, Sequence

from markupsafe import Markup

from lab.figures.panels import IGNORED, Image, colour_meanings
from lab.report import svg
from lab.report.svg import Scale

_WIDTH, _LEFT = 760.0, 46.0


def histogram(values: Sequence[float]) -> Markup:
    """Draw the histogram of Dice over images, from the lowest value rounded down to a tenth up to 1."""
    low = min(0.9, math.floor(min(values) * 10 + 1e-9) / 10)
    width = 0.05 if low < 0.5 else 0.02 if low < 0.8 else 0.01
    bins = round((1 - low) / width)
    counts = [0] * bins
    for value in values:
        counts[min(bins - 1, int((value - low) / width + 1e-9))] += 1
    x = Scale(low, 1.0, _LEFT, _WIDTH - 14)
    y = Scale(0, max(counts) * 1.05, 196, 30, whole=True)
    parts = [svg.frame(x, y, "Dice of the image", "images", 8, 4)]
    for number, count in enumerate(counts):
        if not count:
            continue
        start, stop = low + number * width, low + (number + 1) * width
        title = svg.tag("title", f"{count} between {start:.2f} and {stop:.2f}")
        left, top = x(start) + 1, y(count)
        box = {"x": left, "y": top, "width": x(stop) - left - 1, "height": y.start - top}
        parts.append(svg.tag("rect", title, **box, class_="pile"))
    middle = sum(values) / len(values)
    parts.append(svg.tag("line", x1=x(middle), x2=x(middle), y1=y.start, y2=y.stop, class_="median"))
    parts.append(svg.text(x(middle), y.stop - 6, f"mean {middle:.3f}", anchor="middle"))
    label = f"Histogram of the Dice of {len(values)} images, mean {middle:.3f}"
    return svg.svg_figure(_WIDTH, 236, label, *parts)


def tuning(curves: Mapping[str, Sequence[tuple[float, float]]], chosen: Mapping[str, float]) -> Markup | None:
    """Draw mean Dice over the threshold, a line per part with its choice; None if nothing was tuned."""
    if not curves:
        return None
    values = [value for curve in curves.values() for _, value in curve]
    low, high = svg.padded(min(values), max(values))
    x, y = Scale(0, 1, _LEFT + 14, _WIDTH - 14), Scale(low, high, 196, 30)
    parts = [svg.frame(x, y, "threshold", "mean Dice on the validation images", 8, 5)]
    for part, curve in curves.items():
        points = [(x(at), y(value)) for at, value in curve]
        parts.append(svg.line(points, "curve l-completed", part))
        best, heights = chosen.get(part), dict(curve)
        if best is not None and best in heights:
            title = f"{part or 'chosen'}: {best:g}, {heights[best]:.4f}"
            parts.append(svg.mark("winner", x(best), y(heights[best]), title))
    return svg.svg_figure(_WIDTH, 236, "Mean Dice over the threshold", *parts)


def legend(
    classes: Sequence[str], errors: Sequence[Image] = (), background: int | None = 0
) -> list[tuple[str, str]]:
    """Return (meaning, colour) for error maps, and for the classes where several are objects.

    Args:
        errors: the error maps, which show whether any pixel was ignored.
        background: the index of the background class, if there is one.
    """
    ignored = any((picture == IGNORED).all(axis=2).any() for picture in errors)
    meanings = colour_meanings(classes, background, ignored)
    return [(name, "#{:02x}{:02x}{:02x}".format(*colour)) for name, colour in meanings]
