"""Common parts of all figures: colours, a grid of panels, titles, and atomic writing."""

import math
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from lab.store.ascii_fallback import can_write, writable
from lab.store.file_io import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lab.figures.panels import Image

# Okabe and Ito, "Color Universal Design" (2008): distinguishable with every kind of colour blindness. Without
# its yellow, which is hard to see on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINES = ("-", "--", ":", "-.")
SMALL = 9  # font size of ticks and of labels within a figure
DPI = 130


def sheet(width: float, height: float) -> "Figure":
    """Return an empty figure of this size in inches with automatic layout."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.06, wspace=0, hspace=0)
    return Figure(figsize=(width, height), dpi=DPI, layout=layout)


def grid(count: int, per_row: int, width: float = 4.0, height: float = 2.9) -> "tuple[Figure, list[Axes]]":
    """Return a figure with `count` panels of `width` by `height` inches; the last row may be incomplete."""
    across = min(count, per_row)
    down = math.ceil(count / across)
    size = (max(5.0, width * across), height * down + 0.5)
    figure = sheet(*size)
    axes = figure.subplots(down, across, squeeze=False).ravel().tolist()
    for spare in axes[count:]:
        spare.set_axis_off()
    return figure, axes[:count]


def plain(ax: "Axes", title: str, below: str, beside: str = "") -> None:
    """Style a panel with axes: a bold title on the left, a faint grid, no box."""
    ax.set_title(escape(title), loc="left", fontsize=11, fontweight="bold")
    ax.set_xlabel(below, fontsize=SMALL)
    ax.set_ylabel(beside, fontsize=SMALL)
    ax.tick_params(labelsize=SMALL)
    ax.grid(True, color="0.92")
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)


def line_style(number: int) -> tuple[str, str]:
    """Return colour and dashes of one of many lines; with all colours used, the dashes change."""
    return COLOURS[number % len(COLOURS)], LINES[number // len(COLOURS) % len(LINES)]


def show(ax: "Axes", picture: "Image", sharp: bool) -> None:
    """Show an image: enlarged pixels stay sharp, and are averaged where the image is reduced."""
    ax.imshow(picture, interpolation="nearest" if sharp else "antialiased")
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set(color="0.8", linewidth=0.8)


def remark(ax: "Axes", text: str) -> None:
    """Write in the middle of a panel why it is empty."""
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", color="0.4", fontsize=SMALL)


def escape(text: str) -> str:
    """Escape dollar signs, which would start a formula."""
    return text.replace("$", r"\$")


def cut_middle(text: str, limit: int) -> str:
    """The text, with `…` in its middle where it is longer than `limit`: names differ at their ends."""
    tail = (limit - 1) // 2
    return text if len(text) <= limit else f"{text[: limit - 1 - tail]}…{text[-tail:]}"


def name_label(name: str, limit: int) -> str:
    """Return a name as a text to draw, of at most `limit` characters."""
    return escape(cut_middle(name, limit))


def _make_drawable(figure: "Figure") -> None:
    """Escape undecodable bytes of names, which fonts can't draw."""
    from matplotlib.text import Text

    for axis in (axis for ax in figure.axes for axis in (ax.xaxis, ax.yaxis)):
        labels = [label.get_text() for label in axis.get_ticklabels()]
        if not can_write("".join(labels), "utf-8"):  # else they would be fixed where they are
            axis.set_ticks(axis.get_ticklocs(), labels=[writable(label, "utf-8") for label in labels])
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        text.set_text(writable(text.get_text(), "utf-8"))


def save(figure: "Figure", path: Path, title: str | None = None) -> None:
    """Write the figure as a PNG, atomically; a title that is too wide is shortened in its middle."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    if title:
        figure.suptitle(name_label(title, int(11 * figure.get_figwidth())), fontsize=12)
    FigureCanvasAgg(figure)
    _make_drawable(figure)
    buffer = BytesIO()
    figure.savefig(buffer, format="png")
    atomic_write(path, buffer.getvalue())
