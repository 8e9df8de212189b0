"""Figures of samples with their predictions: masks, classes, and numbers."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lab.config.mask_values import BACKGROUND, Auto, Background, background_index
from lab.figures import canvas
from lab.figures.canvas import COLOURS, SMALL, name_label, plain, save
from lab.figures.panels import Image, Masks, colour_meanings, masks, pictures, to_rgb

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Column = NDArray[np.float64]
COLUMNS = ("image", "truth", "prediction", "difference")
_CELL = 2.4  # inches a picture is wide
_ACROSS = 6  # entries in a row of the legend
_WRONG = "#D55E00"


def segmentation_figure(
    images: Sequence[ArrayLike],
    truths: Sequence[ArrayLike],
    predictions: Sequence[ArrayLike],
    path: Path,
    *,
    names: Sequence[str] | None = None,
    threshold: float = 0.5,
    title: str | None = None,
    classes: Sequence[str] = (),
    background: Background = Auto.AUTO,
) -> None:
    """Draw one row per sample: image | truth | prediction | difference, with Dice; sizes may differ.

    Arrays and `background` as `panel` takes them, which is the class of that name among `classes` by default.
    `names` are written beside the rows, those of the classes below where there are several.

    Raises:
        ValueError: the sequences differ in length, there is no sample, or sizes don't fit.
    """
    if background == Auto.AUTO and classes:
        background = background_index(classes)
    rows = []
    for image, truth, prediction in zip(images, truths, predictions, strict=True):
        sample = masks(truth, prediction, threshold, background)
        rows.append((pictures(image, sample), sample))
    if not rows:
        raise ValueError("there is no sample to show")
    # Row heights follow the images' proportions, within limits that keep labels readable.
    heights = [min(2.5, max(0.4, sample.size[0] / sample.size[1])) for _, sample in rows]
    legend = _legend([sample for _, sample in rows], classes)
    below = 0.2 * (-(-len(legend) // _ACROSS) - 1)
    inches = _CELL * sum(heights) + 0.13 * len(rows) + (1.0 if title else 0.7) + below
    figure = canvas.sheet(_CELL * 4 + 1.0 + (0.2 if names else 0), inches)
    axes = figure.subplots(len(rows), 4, squeeze=False, height_ratios=heights)
    for number, (shown, sample) in enumerate(rows):
        for column, picture in enumerate(shown):
            _picture(axes[number, column], picture)
        label = f"Dice {dice(sample.true, sample.predicted, sample.valid, sample.background):.3f}"
        if names:
            label = f"{name_label(names[number], int(14 * heights[number]) + 6)}\n{label}"
        axes[number, 0].set_ylabel(label, fontsize=SMALL + 1)
    for ax, name in zip(axes[0], COLUMNS, strict=True):
        ax.set_title(name, fontsize=11, fontweight="bold")
    _draw_legend(figure, legend)
    save(figure, path, title)


def classification_figure(
    images: Sequence[ArrayLike],
    truths: Sequence[int],
    probabilities: ArrayLike,
    path: Path,
    *,
    classes: Sequence[str] | None = None,
    title: str | None = None,
) -> None:
    """Draw a grid of images with predicted class and probability; mistakes have a frame.

    Args:
        truths: class indices, one an image.
        probabilities: (N, classes), rows sum to 1.
        classes: names by index; the indices themselves where absent.

    Raises:
        ValueError: the three differ in length, or there is no sample.
    """
    table = np.asarray(probabilities, dtype=np.float64)
    if not len(images) == len(truths) == len(table) or not len(images):
        raise ValueError(f"{len(images)} images, {len(truths)} truths, {len(table)} rows of probabilities")
    names = [name_label(str(each), 13) for each in classes or range(table.shape[1])]
    # NaN must not win: argmax would return the first NaN.
    predicted = np.nan_to_num(table, nan=-1.0).argmax(axis=1)
    # Prefer full rows, and a grid about twice as wide as high.
    across = min(range(4, 9), key=lambda columns: (-len(images) % columns, abs(columns**2 - 2 * len(images))))
    figure, axes = canvas.grid(len(images), per_row=across, width=1.7, height=2.1)
    for ax, image, truth, guess, row in zip(axes, images, truths, predicted, table, strict=True):
        _picture(ax, to_rgb(image))
        text = f"{names[guess]}  {100 * row[guess]:.0f} %"
        if guess == truth:
            ax.set_title(text, fontsize=SMALL, color="0.2")
            continue
        text = f"✗ {text}\ntrue: {names[truth]}"
        ax.set_title(text, fontsize=SMALL, color=_WRONG, fontweight="bold")
        ax.spines[:].set(visible=True, color=_WRONG, linewidth=3)
    wrong = int((predicted != np.asarray(truths)).sum())
    save(figure, path, " · ".join(filter(None, [title, f"{wrong} of {len(images)} wrong"])))


def regression_figure(
    inputs: ArrayLike, truth: ArrayLike, prediction: ArrayLike, path: Path, *, title: str | None = None
) -> None:
    """Draw predicted over true values, and a curve over the input if that has one dimension.

    Args:
        inputs: (N, features...).
        truth, prediction: (N,) or (N, outputs); samples that are not finite are left out.
    """
    true, predicted = _columns(truth), _columns(prediction)
    flat = np.asarray(inputs, dtype=np.float64).reshape(len(true), -1)
    curve = flat.shape[1] == 1
    figure, axes = canvas.grid(2 if curve else 1, per_row=2, width=5.0, height=4.2)
    kept: NDArray[np.bool_] = np.isfinite(np.concatenate([true, predicted], axis=1)).all(axis=1)
    true, predicted, flat = true[kept], predicted[kept], flat[kept]
    if not kept.any():
        for ax in axes:
            canvas.remark(ax, "no finite prediction")
    else:
        if curve:
            _curve(axes[0], flat[:, 0], true, predicted)
        _scatter(axes[-1], true, predicted)
    left_out = len(kept) - int(kept.sum())
    note = f"{left_out} of {len(kept)} samples left out: not finite" if left_out else None
    save(figure, path, " · ".join(filter(None, [title, note])))


def dice(
    truth: NDArray[np.generic],
    prediction: NDArray[np.generic],
    valid: NDArray[np.bool_] | None = None,
    background: int | None = 0,
) -> float:
    """Return 2·|A∩B| / (|A| + |B|) of two masks, booleans or classes; 1 where both are empty.

    Of classes the mean over those in either mask but the background; only `valid` pixels count.
    """
    if valid is not None:
        truth, prediction = truth[valid], prediction[valid]
    there = np.union1d(truth, prediction)
    scores = []
    for index in there if background is None else there[there != background]:
        true, predicted = truth == index, prediction == index
        scores.append(2 * int((true & predicted).sum()) / (int(true.sum()) + int(predicted.sum())))
    return sum(scores) / len(scores) if scores else 1.0


def _curve(ax: "Axes", x: Column, true: Column, predicted: Column) -> None:
    plain(ax, "target over input", "input", "target")
    order = np.argsort(x, kind="stable")
    for output, colour in zip(range(true.shape[1]), COLOURS, strict=False):
        mark = f" {output}" if true.shape[1] > 1 else ""
        ax.plot(x, true[:, output], ".", color="0.65", ms=5, label=f"truth{mark}", alpha=0.7)
        ax.plot(x[order], predicted[order, output], "-", color=colour, lw=1.8, label=f"prediction{mark}")
    ax.legend(fontsize=SMALL, framealpha=0.8)


def _scatter(ax: "Axes", true: Column, predicted: Column) -> None:
    """Draw predictions over truth; R² = 1 - Σ(y - ŷ)² / Σ(y - ȳ)², over all outputs at once."""
    rest = float(((true - predicted) ** 2).sum())
    spread = float(((true - true.mean(axis=0)) ** 2).sum())
    rmse = math.sqrt(rest / true.size)
    plain(ax, "prediction over truth", "truth", "prediction")
    score = f"RMSE {rmse:.4g}" + (f"   R² {1 - rest / spread:.4f}" if spread else "")
    ax.set_title(score, loc="right", fontsize=SMALL, color="0.35")
    for output in range(true.shape[1]):
        colour = COLOURS[output % len(COLOURS)]
        label = f"output {output}"
        ax.plot(true[:, output], predicted[:, output], ".", color=colour, ms=5, alpha=0.6, label=label)
    edges = [min(true.min(), predicted.min()), max(true.max(), predicted.max())]
    ax.plot(edges, edges, color="0.45", lw=1, ls=(0, (4, 3)), zorder=0)
    if 1 < true.shape[1] <= len(COLOURS):
        ax.legend(fontsize=SMALL, frameon=False)


def _columns(values: ArrayLike) -> Column:
    array = np.asarray(values, dtype=np.float64)
    return array.reshape(len(array), -1)


def _picture(ax: "Axes", picture: Image) -> None:
    canvas.show(ax, picture, sharp=picture.shape[1] <= _CELL * canvas.DPI)


def _legend(samples: Sequence[Masks], classes: Sequence[str]) -> list[tuple[str, tuple[int, int, int]]]:
    """Return the meanings of the colours; those of classes only where several are objects."""
    count, background = max(samples, key=lambda sample: sample.classes)[3:]
    names = [classes[n] if n < len(classes) else f"class {n}" for n in range(count)]
    ignored = not all(sample.valid.all() for sample in samples)
    meanings = colour_meanings([canvas.cut_middle(name, 20) for name in names], background, ignored)
    if background is None:
        return meanings
    return [*meanings, (names[background] if count > 2 and classes else BACKGROUND, (0, 0, 0))]


def _draw_legend(figure: "Figure", meanings: Sequence[tuple[str, tuple[int, int, int]]]) -> None:
    from matplotlib.patches import Patch

    edge: dict[str, Any] = {"edgecolor": "0.4", "linewidth": 0.6}
    handles = [
        Patch(facecolor="#{:02x}{:02x}{:02x}".format(*colour), label=canvas.escape(label), **edge)
        for label, colour in meanings
    ]
    columns, size = min(len(handles), _ACROSS), SMALL + 1
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False, fontsize=size)
