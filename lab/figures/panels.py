"""Samples as image arrays, for trackers and figures.

Plain numpy, so that an image for TensorBoard or W&B needs no plotting.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lab.config.mask_values import IGNORE_INDEX, Auto, Background, counted_classes

Image = NDArray[np.uint8]

# Okabe and Ito's vermillion, sky blue and reddish purple: they differ in brightness too, and stand out from
# grey and black.
HIT, FALSE_ALARM, MISS = (225, 225, 225), (213, 94, 0), (86, 180, 233)
WRONG_CLASS, IGNORED = (204, 121, 167), (110, 110, 110)

# Of classes: what is left of Okabe and Ito's colours, then Tol's wine and olive. After the last one they
# repeat, a third darker.
_CLASSES = ("E69F00", "009E73", "0072B2", "F0E442", "882255", "999933")


class Masks(NamedTuple):
    """Truth and prediction of one image, as class indices (H, W) uint8."""

    true: NDArray[np.uint8]
    predicted: NDArray[np.uint8]
    valid: NDArray[np.bool_]  # False where the truth is unknown
    classes: int  # 2 where there is one map of probabilities
    background: int | None = 0  # the class that is not an object; None: each is one

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.true.shape[0], self.true.shape[1]


def masks(
    truth: ArrayLike, prediction: ArrayLike, threshold: float = 0.5, background: Background = Auto.AUTO
) -> Masks:
    """Read a mask of the data and a prediction.

    Args:
        truth: (H, W) or with one channel, foreground above 0.5; or classes (H, W). 255 is ignored.
        prediction: probabilities of the foreground, (H, W) or with one channel, set above `threshold`; or
            those of the classes (K, H, W), of which the largest counts.
        background: the index of the class that is not an object; None: each is one; `auto`: each, but of one
            map the foreground only.

    Raises:
        ValueError: they differ in height or width, or there is no such class.
    """
    values, answer = _plane(truth), np.asarray(prediction)
    valid: NDArray[np.bool_] = values != IGNORE_INDEX
    several = answer.ndim == 3 and len(answer) > 1 and answer.shape[1:] == values.shape
    if several:
        predicted = answer.argmax(axis=0).astype(np.uint8)
        true = (values * valid).astype(np.uint8)
    else:
        predicted = mask(answer, threshold).astype(np.uint8)
        true = (mask(values) & valid).astype(np.uint8)
    if true.shape != predicted.shape:
        raise ValueError(f"truth and prediction differ in (height, width): {true.shape}, {predicted.shape}")
    classes = len(answer) if several else 2
    counted = counted_classes(classes, background, one_map=not several)
    left = [index for index in range(classes) if index not in counted]
    return Masks(true, predicted, valid, classes, left[0] if left else None)


def panel(
    image: ArrayLike,
    truth: ArrayLike,
    prediction: ArrayLike,
    threshold: float = 0.5,
    gap: int = 2,
    background: Background = Auto.AUTO,
) -> Image:
    """Draw one sample as a strip: image | truth | prediction | difference, of shape (H, 4·W + 3·gap, 3).

    Args:
        image: float or integer of any range; (H, W), (C, H, W) or (H, W, C).
        truth, prediction, threshold, background: as for `masks`.
        gap: white pixels between the four.

    Raises:
        ValueError: the three differ in height or width.
    """
    parts = pictures(image, masks(truth, prediction, threshold, background))
    between = np.full((len(parts[0]), gap, 3), 255, np.uint8)
    return np.concatenate([part for each in parts for part in (each, between)][:-1], axis=1)


def pictures(image: ArrayLike, sample: Masks) -> tuple[Image, Image, Image, Image]:
    """Return image, truth, prediction and difference, each (H, W, 3).

    Raises:
        ValueError: the image has another size than the masks.
    """
    picture = to_rgb(image, sample.size)
    if picture.shape[:2] != sample.size:
        raise ValueError(f"image and masks differ in (height, width): {picture.shape[:2]}, {sample.size}")
    truth = painted(sample.true, sample.classes, sample.background)
    truth[~sample.valid] = IGNORED
    prediction = painted(sample.predicted, sample.classes, sample.background)
    different = difference(sample.true, sample.predicted, sample.valid, sample.background)
    return picture, truth, prediction, different


def painted(labels: NDArray[np.uint8], classes: int, background: int | None = 0) -> Image:
    """Paint each class in its colour, (H, W, 3); a single foreground is white."""
    table = class_colours(classes, background)
    if classes == 2 and background is not None:
        table[1 - background] = (255, 255, 255)
    whole: Image = np.asarray(table, np.uint8)[labels]
    return whole


def class_colours(classes: int, background: int | None = 0) -> list[tuple[int, int, int]]:
    """Return the colour of each class; the background is black, the others follow in order."""
    counted = [index for index in range(classes) if index != background]
    places = {index: place for place, index in enumerate(counted, 1)}
    return [class_colour(places.get(index, 0)) for index in range(classes)]


def colour_meanings(
    classes: Sequence[str], background: int | None, ignored: bool
) -> list[tuple[str, tuple[int, int, int]]]:
    """Return (meaning, colour) of masks and their difference; classes only where several are objects.

    Args:
        ignored: some pixels are.
    """
    meanings = [("found", HIT)]
    meanings += [("false alarm", FALSE_ALARM), ("missed", MISS)] if background is not None else []
    if len(classes) > 2 or background is None:
        named = zip(classes, class_colours(len(classes), background), strict=True)
        objects = [each for index, each in enumerate(named) if index != background]
        meanings = [*objects, *meanings, ("another class", WRONG_CLASS)]
    return [*meanings, ("ignored", IGNORED)] if ignored else meanings


def class_colour(index: int) -> tuple[int, int, int]:
    """Return the n-th class colour, from 1; 0 is the background's black."""
    if index == 0:
        return 0, 0, 0
    turn, place = divmod(index - 1, len(_CLASSES))
    red, green, blue = (round(value * (2 / 3) ** turn) for value in bytes.fromhex(_CLASSES[place]))
    return red, green, blue


def stack(panels: Sequence[Image], gap: int = 4) -> Image:
    """Stack strips vertically; narrower ones are padded with white on the right."""
    width = max(strip.shape[1] for strip in panels)
    whole = np.full((sum(len(strip) + gap for strip in panels) - gap, width, 3), 255, np.uint8)
    top = 0
    for strip in panels:
        whole[top : top + len(strip), : strip.shape[1]] = strip
        top += len(strip) + gap
    return whole


def difference(
    truth: NDArray[np.generic],
    prediction: NDArray[np.generic],
    valid: NDArray[np.bool_] | None = None,
    background: int | None = 0,
) -> Image:
    """Draw the agreement of two masks, (H, W, 3): hits light grey, false alarms orange, misses blue.

    One class taken for another is purple; ignored pixels are darker grey. Masks are booleans or classes.
    """
    picture = np.zeros((*truth.shape, 3), np.uint8)
    there, found = ((mask != (-1 if background is None else background)) for mask in (truth, prediction))
    for where, colour in (
        (there & (prediction == truth), HIT),
        (found & ~there, FALSE_ALARM),
        (there & ~found, MISS),
        (there & found & (prediction != truth), WRONG_CLASS),
        (np.False_ if valid is None else ~valid, IGNORED),
    ):
        picture[where] = colour
    return picture


def to_rgb(image: ArrayLike, size: tuple[int, ...] | None = None) -> Image:
    """Convert an image of any range and channel order to (H, W, 3) bytes, 1st to 99th percentile stretched.

    One or three channels are shown as they are, any other number by their mean. `size` (H, W) resolves which
    axis holds the channels where the shape is ambiguous. NaN is black.

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
    if not high > low:  # fewer than 1 % of the pixels differ from the rest
        low, high = float(finite.min()), float(finite.max())
    if not high > low:  # a constant image: kept as it is if its value is a brightness in [0, 1]
        around = max(1.0, abs(low))
        low, high = (0.0, 1.0) if 0 <= low <= 1 else (low - around, low + around)
    scaled = np.clip((np.nan_to_num(values, nan=low, posinf=high, neginf=low) - low) / (high - low), 0, 1)
    stretched: Image = np.round(scaled * 255).astype(np.uint8)
    return stretched


def mask(values: ArrayLike, threshold: float = 0.5) -> NDArray[np.bool_]:
    """Return the foreground as (H, W), from (H, W), (1, H, W) or (H, W, 1)."""
    above: NDArray[np.bool_] = np.greater(_plane(values).astype(np.float32), threshold)
    return above


def _plane(values: ArrayLike) -> NDArray[Any]:
    array = np.asarray(values)
    if array.ndim == 3:
        return np.asarray(array[0] if array.shape[0] == 1 else array[..., 0])
    return array
