"""Curves over the epochs: of one run, and of several runs overlaid."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lab.figures.canvas import COLOURS, SMALL, grid, line_style, name_label, plain, remark, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Rows = Sequence[Mapping[str, float]]
Column = NDArray[np.float64]
_NOT_CURVES = ("epoch", "seconds")


def history(rows: Rows, path: Path, title: str | None = None, best_epoch: int | None = None) -> None:
    """Draw the run's curves: a panel per quantity, train beside validation, the best epoch marked.

    Each row holds one epoch's numbers by name; names that differ by `train_` and `val_` share a panel. A
    number that is absent, NaN or infinite leaves a gap.
    """
    epochs = _epochs(rows)
    figure, axes = grid(max(1, len(_quantities(rows))), per_row=3)
    validated = any(name.startswith("val_") for row in rows for name in row)
    if not rows:
        _dress(axes[0], "loss", epochs, [])
        remark(axes[0], "no epoch has ended")
    # One colour per phase in all panels; a quantity without a phase has a third.
    for quantity, ax in zip(_quantities(rows), axes, strict=False):
        curves = {
            "validation": (COLOURS[1], _column(rows, f"val_{quantity}")),
            "train": (COLOURS[0], _column(rows, f"train_{quantity}")),
            "": (COLOURS[2], _column(rows, quantity)),
        }
        for label, (colour, values) in curves.items():
            if np.isfinite(values).any():
                _line(ax, epochs, values, colour, label)
        _dress(ax, quantity, epochs, [values for _, values in curves.values()])
        if not any(np.isfinite(values).any() for _, values in curves.values()):
            remark(ax, "no finite value")
        # The star marks the monitored phase: validation, or training without a validation set.
        best = epochs == best_epoch if best_epoch else np.zeros(len(epochs), bool)
        if best.any():
            ax.axvline(float(best_epoch or 0), color="0.45", lw=1, ls=(0, (4, 3)), zorder=0)
            monitored = "validation" if validated else "train"
            colour, values = curves[monitored][0], curves[monitored][1][best]
            if np.isfinite(values).any():
                ax.plot(epochs[best], values, "*", ms=12, color=colour, mec="white", mew=0.8, zorder=5)
                reached = f"{float(values[-1]):.4g} at best epoch"
                ax.set_title(reached, loc="right", fontsize=SMALL, color="0.35")
    _legend(figure, axes, best_epoch if best_epoch and (epochs == best_epoch).any() else None)
    save(figure, path, title)


def overlay(curves: Mapping[str, Rows], metrics: Sequence[str], path: Path, title: str | None = None) -> None:
    """Draw several runs overlaid: a panel per metric, one colour and dash per run."""
    figure, axes = grid(max(1, len(metrics)), per_row=3, height=3.2)
    styles = [line_style(number) for number in range(len(curves))]
    for metric, ax in zip(metrics, axes, strict=False):
        drawn = []
        for rows, (colour, line) in zip(curves.values(), styles, strict=True):
            values = _column(rows, metric)
            drawn.append(values)
            if np.isfinite(values).any():
                _line(ax, _epochs(rows), values, colour, "", line)
        if not any(np.isfinite(values).any() for values in drawn):
            remark(ax, "no run logged a finite value")
        _dress(ax, metric, np.concatenate([np.zeros(0), *map(_epochs, curves.values())]), drawn)
    from matplotlib.lines import Line2D

    names = [name_label(name, 72) for name in curves]
    handles = [Line2D([], [], color=colour, ls=line, lw=2) for colour, line in styles]
    width = figure.get_figwidth()
    columns = max(1, min(len(names), int(width / (0.075 * max(map(len, names), default=1) + 0.6))))
    figure.legend(handles, names, loc="outside lower center", ncols=columns, frameon=False, fontsize=SMALL)
    figure.set_figheight(figure.get_figheight() + 0.2 * math.ceil(len(names) / columns))
    save(figure, path, title)


def _quantities(rows: Rows) -> list[str]:
    """Return the quantities to draw: the loss, the metrics, everything else, the learning rate."""
    names = dict.fromkeys(name for row in rows for name in row if name not in _NOT_CURVES)
    plain = dict.fromkeys(name.removeprefix("train_").removeprefix("val_") for name in names)
    alone = [name for name in plain if name in names]
    rank = {name: 3 * name.startswith("lr") + 2 * (name in alone) - (name == "loss") for name in plain}
    return sorted(plain, key=lambda name: rank[name])


def _epochs(rows: Rows) -> Column:
    return np.array([row.get("epoch", number) for number, row in enumerate(rows, start=1)], dtype=np.float64)


def _column(rows: Rows, name: str) -> Column:
    values = np.array([row.get(name, math.nan) for row in rows], dtype=np.float64)
    return np.where(np.isfinite(values), values, math.nan)


def _line(ax: "Axes", x: Column, y: Column, colour: str, label: str, line: str = "-") -> None:
    """Draw a curve, with markers where points are few, and where a point is isolated between gaps."""
    ax.plot(x, y, line, color=colour, lw=1.6, label=label, marker="o" if len(x) <= 12 else "", ms=3.5)
    # A point between two gaps has no line segment and would be invisible.
    padded = np.concatenate([[False], np.isfinite(y), [False]])
    alone = padded[1:-1] & ~padded[:-2] & ~padded[2:]
    ax.plot(x[alone], y[alone], "o", color=colour, ms=4.5, zorder=3)


def _dress(ax: "Axes", name: str, epochs: Column, drawn: Sequence[Column]) -> None:
    """Set title, integer epoch ticks, and a log scale where positive values span a factor of 100."""
    from matplotlib.ticker import MaxNLocator

    plain(ax, name, "epoch")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7, min_n_ticks=1))
    if len(epochs):
        ax.set_xlim(epochs.min() - 0.5, 1.02 * epochs.max() + 0.5)
    values = np.concatenate([column[np.isfinite(column)] for column in drawn]) if drawn else np.zeros(0)
    if values.size and values.min() > 0 and values.max() > 100 * values.min():
        ax.set_yscale("log")


def _legend(figure: "Figure", axes: Sequence["Axes"], best_epoch: int | None) -> None:
    from matplotlib.lines import Line2D

    seen = {str(line.get_label()) for ax in axes for line in ax.lines}
    phases = (("train", COLOURS[0]), ("validation", COLOURS[1]))
    handles = [Line2D([], [], color=colour, lw=2, label=label) for label, colour in phases if label in seen]
    if best_epoch:
        mark = Line2D([], [], color="0.45", lw=1, ls=(0, (4, 3)), label=f"best epoch: {best_epoch}")
        handles.append(mark)
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=SMALL)
