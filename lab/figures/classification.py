"""Plots of a classifier's predictions: confusion matrix, calibration, ROC curves, and mistakes."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lab.figures import canvas
from lab.figures.canvas import COLOURS, SMALL, name_label, plain, save, sheet
from lab.figures.panels import Image

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from lab.metrics.class_scores import Curve

_WRITTEN = 25  # largest number of classes for which cells hold their number
_NAMED = 40  # names that fit an axis
_CURVES = 12  # in colours, with their names
_WRONG = "#D55E00"


def confusion_figure(
    confusion: NDArray[np.int64], classes: Sequence[str], path: Path, *, title: str | None = None
) -> None:
    """Draw the predictions for each class as fractions of its samples; the numbers are samples.

    Args:
        confusion: (C, C) samples, [true, predicted].
    """
    count = len(confusion)
    side = min(11.0, max(3.2, (0.52 if count <= _WRITTEN else 0.2) * count))
    names = [name_label(name, 18) for name in classes]
    figure = sheet(side + 2.4, side + 1.5)
    ax = figure.subplots()
    # Rows are normalised, so that rare classes are as visible as frequent ones.
    support = confusion.sum(1, keepdims=True)
    shares = confusion / np.maximum(support, 1)
    shown = ax.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    ticks = range(0, count, math.ceil(count / _NAMED))
    long = max(map(len, names)) > 3
    labels = [names[n] for n in ticks]
    rotation, anchor = (45, "right") if long else (0, "center")
    ax.set_xticks(ticks, labels, rotation=rotation, ha=anchor, rotation_mode="anchor")
    ax.set_yticks(ticks, labels)
    ax.tick_params(labelsize=SMALL, length=0)
    ax.set_xlabel("predicted", fontsize=SMALL + 1)
    ax.set_ylabel("true", fontsize=SMALL + 1)
    ax.spines[:].set(color="0.8")
    if count <= _WRITTEN:
        _numbers(ax, confusion, shares)
    bar = figure.colorbar(shown, ax=ax, fraction=0.05, pad=0.03)
    bar.set_label("fraction of the true class", fontsize=SMALL)
    bar.ax.tick_params(labelsize=SMALL)
    bar.outline.set_visible(False)
    save(figure, path, title)


def _numbers(ax: "Axes", confusion: NDArray[np.int64], shares: NDArray[np.float64]) -> None:
    """Write a number into each cell that isn't empty, in a colour that contrasts with the cell."""
    size = SMALL if confusion.max() < 1000 else SMALL - 2
    for true, predicted in np.argwhere(confusion).tolist():
        value = int(confusion[true, predicted])
        text = str(value) if value < 100_000 else f"{value / 1000:.0f}k"
        colour = "white" if shares[true, predicted] > 0.55 else "0.15"
        weight = "bold" if true == predicted else "normal"
        font: dict[str, Any] = {"fontsize": size, "color": colour, "fontweight": weight}
        ax.text(predicted, true, text, font, ha="center", va="center")


def reliability_figure(bins: ArrayLike, path: Path, *, title: str | None = None) -> None:
    """Draw accuracy over confidence, and the number of predictions by confidence.

    Args:
        bins: (B, 5), one row per bin from 0 to 1: lower and upper probability, number of predictions, their
            mean confidence, and their accuracy. Empty bins are left out.
    """
    low, high, count, sure, right = np.asarray(bins, np.float64).T
    filled = count > 0
    middle, width = (low + high) / 2, (high - low) * 0.92
    figure = sheet(5.6, 6.2)
    above, below = figure.subplots(2, 1, height_ratios=[3, 1], sharex=True)
    plain(above, "", "", "accuracy")
    above.plot([0, 1], [0, 1], color="0.45", lw=1, ls=(0, (4, 3)), label="perfect calibration")
    above.bar(middle[filled], right[filled], width[filled], color=COLOURS[5], label="accuracy")
    gap, bottom = np.abs(sure - right)[filled], np.minimum(sure, right)[filled]
    hatched: dict[str, Any] = {"facecolor": "none", "edgecolor": _WRONG, "hatch": "////", "linewidth": 1}
    label = "gap to the mean confidence"
    above.bar(middle[filled], gap, width[filled], bottom=bottom, label=label, **hatched)
    above.set(xlim=(0, 1), ylim=(0, 1.03))
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=SMALL)
    plain(below, "", "confidence", "predictions")
    below.bar(middle, count, width, color="0.6")
    # Confident networks fill one bin: a log scale keeps the others visible.
    if count.max() > 20 * max(1, int(np.median(count[filled]))):
        below.set_yscale("log")
    save(figure, path, title)


def roc_figure(
    curves: "Sequence[Curve]", classes: Sequence[str], path: Path, *, title: str | None = None
) -> None:
    """Draw the true positive rate over the false positive rate, a curve per class.

    Of many classes those with the smallest areas have a colour and a name.

    Args:
        classes: names by `Curve.index`.
    """
    figure = sheet(6.0 if len(curves) == 1 else 7.8, 5.4)
    ax = figure.subplots()
    plain(ax, "", "false positive rate", "true positive rate")
    ax.plot([0, 1], [0, 1], color="0.45", lw=1, ls=(0, (4, 3)))
    # Colours are few: the worst classes get one, the others are grey in the background.
    ordered = sorted(curves, key=lambda curve: curve.auc)
    named = ordered[:_CURVES]
    for curve in ordered[_CURVES:]:
        ax.plot(curve.false_alarms, curve.found, color="0.8", lw=0.8)
    for number, curve in reversed(list(enumerate(named))):  # the worst on top
        colour, dashes = canvas.line_style(number)
        label = f"{name_label(classes[curve.index], 18)}  {curve.auc:.4f}"
        ax.plot(curve.false_alarms, curve.found, dashes, color=colour, lw=1.8, label=label, clip_on=False)
    ax.set(xlim=(0, 1), ylim=(0, 1.02), aspect="equal")
    if not curves:
        canvas.remark(ax, "no curves: a class needs samples of itself and of others")
    else:
        handles, labels = ax.get_legend_handles_labels()
        heading = "area" if len(curves) <= _CURVES else f"area, the {_CURVES} smallest of {len(curves)}"
        place: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1.01, 0.5)}
        if len(curves) == 1:
            place = {"loc": "lower right"}
        font: dict[str, Any] = {"title_fontsize": SMALL, "fontsize": SMALL}
        ax.legend(handles[::-1], labels[::-1], title=heading, frameon=False, **font, **place)
    save(figure, path, title)


class Wrong(NamedTuple):
    """A wrong prediction and its image."""

    picture: Image
    name: str
    predicted: str
    true: str
    confidence: float


def mistakes_figure(wrong: Sequence[Wrong], path: Path, *, title: str | None = None) -> None:
    """Draw a grid of images, each with its predicted class, confidence, and true class.

    Raises:
        ValueError: there is none.
    """
    if not wrong:
        raise ValueError("there is no mistake to show")
    figure, axes = canvas.grid(len(wrong), per_row=4, width=2.1, height=2.65)
    for ax, each in zip(axes, wrong, strict=True):
        canvas.show(ax, each.picture, sharp=max(each.picture.shape[:2]) <= 220)
        predicted, true = (name_label(name, 16) for name in (each.predicted, each.true))
        heading = f"{predicted}  {_percent(each.confidence)}\ntrue: {true}"
        ax.set_title(heading, fontsize=SMALL, color=_WRONG, fontweight="bold")
        ax.set_xlabel(name_label(each.name, 26), fontsize=SMALL - 1, color="0.4")
    save(figure, path, title)


def _percent(share: float) -> str:
    """Format as `87 %`, and never as 100 % below 1."""
    return f"{min(100 * share, 99.9):.1f} %" if share > 0.99 else f"{100 * share:.0f} %"
