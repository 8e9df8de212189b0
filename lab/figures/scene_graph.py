"""Figures of scene graphs: recall over K, recall of each predicate, and frames with their triplets."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lab.figures.canvas import COLOURS, SMALL, escape, name_label, plain, remark, save, sheet
from lab.metrics.scene_graph import Dataset, FrameGraph, Ranked, annotated

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FOUND, _MISSED = "#009E73", "#D55E00"
_MOST_PREDICATES = 40
_LINES = 18  # of triplets beside a frame
_WIDE = 44  # characters of a triplet


class Line(NamedTuple):
    """A curve over K for one constraint: solid for the network, dashed for the baseline."""

    constraint: str
    network: bool
    values: Mapping[int, float]


def recall_figure(
    panels: Mapping[tuple[str, str], Sequence[Line]], path: Path, *, title: str | None = None
) -> None:
    """Draw a panel per measure and mode, a row per measure.

    Args:
        panels: the lines by (measure, mode).
    """
    from matplotlib.lines import Line2D

    rows = list(dict.fromkeys(measure for measure, _ in panels))
    columns = list(dict.fromkeys(mode for _, mode in panels))
    figure = sheet(max(5.5, 3.3 * len(columns)), 2.7 * len(rows) + 0.9)
    axes = figure.subplots(len(rows), len(columns), squeeze=False, sharex=True, sharey=True)
    colours: dict[str, str] = {}
    for (measure, mode), lines in panels.items():
        ax = axes[rows.index(measure), columns.index(mode)]
        plain(ax, f"{measure}, {mode}", "K" if measure == rows[-1] else "")
        for line in lines:
            colour = colours.setdefault(line.constraint, COLOURS[len(colours)])
            places = range(len(line.values))
            style = "-o" if line.network else "--o"
            ax.plot(places, list(line.values.values()), style, color=colour, lw=1.6, ms=3.5)
            ax.set_xticks(places, [str(k) for k in line.values])
        ax.set_ylim(0, 1.02)
    handles = [Line2D([], [], color=colour, lw=2, label=name) for name, colour in colours.items()]
    for style, name in (("-", "network"), ("--", "frequency")):
        handles.append(Line2D([], [], color="0.4", lw=1.6, ls=style, label=name))
    figure.legend(handles=handles, loc="outside lower center", ncols=5, frameon=False, fontsize=SMALL)
    save(figure, path, title)


class Bar(NamedTuple):
    """Recall of one predicate, by the network and by the frequencies, and how many triplets have it."""

    group: str
    name: str
    triplets: int
    network: float
    frequency: float


def predicates_figure(bars: Sequence[Bar], path: Path, *, title: str | None = None) -> None:
    """Draw a bar per predicate, by group, with a line for the baseline; at most the 40 most frequent."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    most = sorted(bars, key=lambda bar: -bar.triplets)[:_MOST_PREDICATES]
    shown = [bar for bar in bars if bar in most]
    figure = sheet(7.0, 0.24 * len(shown) + 1.6)
    ax = figure.subplots()
    plain(ax, "", "recall")
    groups = list(dict.fromkeys(bar.group for bar in shown))
    for place, bar in enumerate(shown):
        colour = COLOURS[groups.index(bar.group) % len(COLOURS)]
        ax.barh(place, bar.network, color=colour, alpha=0.75, height=0.72)
        ax.plot([bar.frequency] * 2, [place - 0.42, place + 0.42], color="black", lw=2, solid_capstyle="butt")
        ax.text(1.01, place, f"{bar.triplets:,}", va="center", fontsize=SMALL - 1, color="0.4", clip_on=False)
    ax.set_yticks(range(len(shown)), [name_label(bar.name, 32) for bar in shown])
    ax.set(xlim=(0, 1), ylim=(len(shown) - 0.4, -0.6))
    ax.grid(False, axis="y")
    ax.text(1.01, -1.0, "triplets", va="center", fontsize=SMALL - 1, color="0.4", clip_on=False)
    handles: list[Patch | Line2D] = [
        Patch(color=COLOURS[number % len(COLOURS)], alpha=0.75, label=escape(group))
        for number, group in enumerate(groups)
    ]
    handles.append(Line2D([], [], color="black", lw=2, label="frequency"))
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=SMALL)
    save(figure, path, title)


class Drawn(NamedTuple):
    """A frame: its annotated boxes x1 y1 x2 y2 in [0, 1], and its triplets, each with its rank if found.

    `boxes` have a name and a class; subjects of triplets are drawn stronger.
    """

    title: str
    boxes: Sequence[tuple[Sequence[float], str, int]]
    subjects: Sequence[int]
    triplets: Sequence[tuple[str, int | None]]


def drawn_frame(
    frame: FrameGraph,
    ranked: Ranked,
    dataset: Dataset,
    objects: Sequence[str],
    predicates: Sequence[str],
    title: str,
) -> Drawn:
    """Return the drawing of a frame: boxes of one class numbered, triplets pair by pair.

    Args:
        ranked: of this frame's annotated triplets.
        objects, predicates: names, those of predicates in the order of `Ranked.predicate`.
    """
    labels = frame.true_labels.tolist()
    names = []
    for index, label in enumerate(labels):
        number = f" #{labels[:index].count(label) + 1}" if labels.count(label) > 1 else ""
        names.append(objects[label] + number)
    triplets = []
    for pair, predicate, place in zip(*annotated(frame, dataset), ranked.rank.tolist(), strict=True):
        subject, thing = frame.true_pairs[pair].tolist()
        text = f"{names[subject]} – {predicates[predicate]} – {names[thing]}"
        triplets.append((int(pair), text, None if math.isinf(place) else round(place)))
    triplets.sort(key=lambda each: each[0])
    return Drawn(
        title,
        list(zip(frame.true_boxes.tolist(), names, labels, strict=True)),
        sorted(set(frame.true_pairs[:, 0].tolist())),
        [(text, place) for _, text, place in triplets],
    )


def examples_figure(frames: Sequence[Drawn], path: Path, *, k: int, title: str | None = None) -> None:
    """Draw frames with their boxes and triplets, green with their rank where they are among the first `k`.

    Raises:
        ValueError: there is no frame.
    """
    if not frames:
        raise ValueError("there is no frame to show")
    across = min(2, len(frames))
    down = -(-len(frames) // across)
    figure = sheet(6.8 * across, 3.4 * down + 0.5)
    axes = figure.subplots(down, 2 * across, squeeze=False, width_ratios=[1, 1.1] * across)
    for spare in axes.ravel()[2 * len(frames) :]:
        spare.set_axis_off()
    for (left, right), frame in zip(axes.reshape(-1, 2), frames, strict=False):
        _boxes(left, frame)
        _triplets(right, frame, k)
    save(figure, path, title)


def _boxes(ax: "Axes", frame: Drawn) -> None:
    from matplotlib.patches import Rectangle

    for number, ((left, top, right, bottom), name, kind) in enumerate(frame.boxes):
        colour = COLOURS[kind % len(COLOURS)]
        strong = number in frame.subjects
        width = 2.4 if strong else 1.4
        ax.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, ec=colour, lw=width))
        # The name of a subject is above its box, those of others are within theirs.
        x, y, side, weight = (
            (left, top - 0.008, "bottom", "bold") if strong else (left + 0.01, top + 0.01, "top", "normal")
        )
        box = {"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 0.3}
        font: dict[str, Any] = {"fontsize": SMALL - 1, "color": colour, "fontweight": weight, "va": side}
        ax.text(x, y, escape(name), font, bbox=box, clip_on=True)
    ax.set(xlim=(0, 1), ylim=(1, 0), xticks=[], yticks=[], aspect="equal")
    ax.spines[:].set(color="0.8")
    ax.set_title(escape(frame.title), loc="left", fontsize=10, fontweight="bold")


def _triplets(ax: "Axes", frame: Drawn, k: int) -> None:
    ax.set_axis_off()
    found = sum(rank is not None and rank <= k for _, rank in frame.triplets)
    ax.set_title(
        f"{found} of {len(frame.triplets)} triplets among the first {k}", loc="left", fontsize=10, color="0.2"
    )
    if not frame.triplets:
        remark(ax, "no annotations")
    count = len(frame.triplets) if len(frame.triplets) <= _LINES else _LINES - 1
    lines = []
    for text, rank in frame.triplets[:count]:
        mark = f"{rank:>3}" if rank is not None else "  –"
        colour = _FOUND if rank is not None and rank <= k else _MISSED
        lines.append((f"{mark}  {name_label(text, _WIDE)}", colour))
    if rest := len(frame.triplets) - count:
        lines.append((f"     and {rest} more", "0.4"))
    font: dict[str, Any] = {"fontsize": SMALL, "family": "monospace", "va": "center"}
    for number, (text, colour) in enumerate(lines):
        height = 1 - (number + 0.5) / _LINES
        ax.text(0.0, height, text, font, transform=ax.transAxes, color=colour)
