"""An image with its objects outlined, as large as a screen can use."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lab.figures.panels import Image, to_rgb
from lab.predict.connected_objects import object_classes

# Okabe and Ito's palette, by class: orange, sky blue, yellow, bluish green, reddish purple, vermillion.
COLOURS = ((230, 159, 0), (86, 180, 233), (240, 228, 66), (0, 158, 115), (204, 121, 167), (213, 94, 0))
LARGEST, SMALLEST = 1600, 512  # pixels of the longer side


def scaled(pixels: NDArray[Any]) -> Image:
    """Return an image (H, W) or (H, W, C) for display, (h, w, 3): contrast stretched, reduced to `LARGEST`.

    One that is smaller than half of `SMALLEST` is enlarged by a whole number, so that outlines stay thin.
    """
    size = _size(pixels.shape[0], pixels.shape[1])
    way = cv2.INTER_NEAREST if size[1] >= pixels.shape[0] else cv2.INTER_AREA
    picture = cv2.resize(pixels, size, interpolation=way)
    return to_rgb(picture, picture.shape[:2])


def outlined(picture: Image, mask: NDArray[np.uint8], background: int | None = 0) -> Image:
    """Draw the outlines of a mask (H, W) of class indices, coloured by class, with a dark edge.

    Args:
        picture: the result of `scaled` for the mask's image.
        background: the class that has no outline; None: each has one.
    """
    height, width = picture.shape[:2]
    result = picture.copy()
    enlarged = height > len(mask)
    contours = []
    for index in object_classes(mask, background):
        inside = np.equal(mask, index).view(np.uint8)
        if enlarged:
            small = cv2.resize(inside, (width, height), interpolation=cv2.INTER_NEAREST)
        else:  # area averaging: even a single pixel remains visible
            inside *= 255
            small = (cv2.resize(inside, (width, height), interpolation=cv2.INTER_AREA) > 0).astype(np.uint8)
        found, _ = cv2.findContours(small, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        place = index - (background is not None and background < index)
        contours.append((COLOURS[place % len(COLOURS)], found))
    thick = 1 if max(height, width) < 1024 else 2
    for _, found in contours:
        cv2.drawContours(result, found, -1, (0, 0, 0), thick + 2)
    for colour, found in contours:
        cv2.drawContours(result, found, -1, colour, thick)
    return result


def _size(height: int, width: int) -> tuple[int, int]:
    """(width, height) of the picture."""
    longest = max(height, width)
    if longest <= LARGEST:
        factor = max(1, SMALLEST // longest)
        return width * factor, height * factor
    return max(1, round(width * LARGEST / longest)), max(1, round(height * LARGEST / longest))
