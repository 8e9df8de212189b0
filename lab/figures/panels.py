"""Samples as arrays: what a tracker can show and what a figure is made of.

Plain numpy, so that a picture for TensorBoard or W&B costs no plotting.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Image = NDArray[np.uint8]

# Okabe and Ito's vermillion and sky blue: they differ in brightness too, and stand out from grey and black.
HIT, FALSE_ALARM, MISS = (225, 225, 225), (213, 94, 0), (86, 180, 233)


def panel(
    image: ArrayLike, truth: ArrayLike, prediction: ArrayLike, threshold: float = 0.5, gap: int = 2
) -> Image:
    """One sample as a strip: image | truth | prediction | difference, of shape (H, 4·W + 3·gap, 3).

    Args:
        image: float or integer of any range; (H, W), (C, H, W) or (H, W, C).
        truth: (H, W) or with one channel; foreground above 0.5.
        prediction: probabilities in [0, 1] of the same shapes; foreground above `threshold`.
        gap: white pixels between the four.

    Raises:
        ValueError: the three differ in height or width.
    """
    said, true = mask(prediction, threshold), mask(truth)
    picture = to_rgb(image, true.shape)
    if not picture.shape[:2] == true.shape == said.shape:
        sizes = ", ".join(str(size) for size in (picture.shape[:2], true.shape, said.shape))
        raise ValueError(f"image, truth and prediction differ in (height, width): {sizes}")
    parts = [picture, grey(true * 255.0), grey(said * 255.0), difference(true, said)]
    between = np.full((len(true), gap, 3), 255, np.uint8)
    return np.concatenate([part for each in parts for part in (each, between)][:-1], axis=1)


def stack(panels: Sequence[Image], gap: int = 4) -> Image:
    """Put strips below one another; narrower ones are filled up with white on the right."""
    width = max(strip.shape[1] for strip in panels)
    whole = np.full((sum(len(strip) + gap for strip in panels) - gap, width, 3), 255, np.uint8)
    top = 0
    for strip in panels:
        whole[top : top + len(strip), : strip.shape[1]] = strip
        top += len(strip) + gap
    return whole


def difference(truth: NDArray[np.bool_], prediction: NDArray[np.bool_]) -> Image:
    """Where two masks agree and where not, (H, W, 3): hits light grey, false alarms orange, misses blue."""
    picture = np.zeros((*truth.shape, 3), np.uint8)
    for where, colour in (
        (truth & prediction, HIT),
        (prediction & ~truth, FALSE_ALARM),
        (truth & ~prediction, MISS),
    ):
        picture[where] = colour
    return picture


def to_rgb(image: ArrayLike, size: tuple[int, ...] | None = None) -> Image:
    """An image of any range and channel order as (H, W, 3) bytes, its 1st to 99th percentile stretched.

    One or three channels are shown as they are and any other number by their mean. `size` (H, W) settles
    which axis holds the channels where the shape alone leaves it open. NaN is black.

    Raises:
        ValueError: the array has neither two nor three axes.
    """
    values = np.asarray(image, dtype=np.float64)
    if values.ndim == 2:
        values = values[None]
    if values.ndim != 3:
        raise ValueError(f"an image has two or three axes, but this one has the shape {values.shape}")
    last = values.shape[1:] != size and values.shape[:2] == size
    if last or (size is None and values.shape[0] not in (1, 3) and values.shape[2] in (1, 3)):
        values = np.moveaxis(values, -1, 0)
    if len(values) not in (1, 3):
        with np.errstate(invalid="ignore"):  # infinities of both signs
            values = values.mean(axis=0, keepdims=True, dtype=np.float64)
    return np.ascontiguousarray(np.broadcast_to(np.moveaxis(_stretch(values), 0, -1), (*values.shape[1:], 3)))


def _stretch(values: NDArray[np.float64]) -> Image:
    finite = values[np.isfinite(values)]
    if not finite.size:
        return np.zeros(values.shape, np.uint8)
    low, high = (float(edge) for edge in np.percentile(finite, (1, 99)))
    if not high > low:  # few pixels differ from the rest
        low, high = float(finite.min()), float(finite.max())
    if not high > low:  # one value everywhere: as it is where it is a brightness already
        around = max(1.0, abs(low))
        low, high = (0.0, 1.0) if 0 <= low <= 1 else (low - around, low + around)
    scaled = np.clip((np.nan_to_num(values, nan=low, posinf=high, neginf=low) - low) / (high - low), 0, 1)
    stretched: Image = np.round(scaled * 255).astype(np.uint8)
    return stretched


def mask(values: ArrayLike, threshold: float = 0.5) -> NDArray[np.bool_]:
    """Foreground as (H, W), from (H, W), (1, H, W) or (H, W, 1)."""
    array = np.asarray(values)
    if array.ndim == 3:
        array = array[0] if array.shape[0] == 1 else array[..., 0]
    above: NDArray[np.bool_] = np.greater(array.astype(np.float32), threshold)
    return above


def grey(values: NDArray[Any]) -> Image:
    """Brightness from 0 to 255 as (H, W, 3)."""
    return np.repeat(values.astype(np.uint8)[..., None], 3, axis=2)
