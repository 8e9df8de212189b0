"""Images of one class each: what every source of them shares, and what a prediction does as training did."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lab.data.augment import image_tensor
from lab.data.normalise import Normalise


def prepare(image: NDArray[Any], facts: Mapping[str, Any]) -> Tensor:
    """An image as a network gets it, by what its training recorded in `Splits.facts`.

    Args:
        image: (H, W, C), as `lab.data.reading.read_image(path, facts["in_channels"])` gives it.
    Returns:
        float32 (C, *facts["size"]), normalised.
    Raises:
        ValueError: the image has another number of channels.
    """
    if image.ndim != 3 or image.shape[2] != facts["in_channels"]:
        raise ValueError(
            f"expected an image (H, W, {facts['in_channels']}), found {' × '.join(map(str, image.shape))}"
        )
    tensor = image_tensor(resize(image, facts["size"]))
    normalise = Normalise.from_facts(facts)
    return tensor if normalise is None else normalise(tensor)


def resize(image: NDArray[Any], size: Sequence[int]) -> NDArray[Any]:
    """An image (H, W, C) in the size [height, width]: sides that shrink by area, those that grow linearly.

    The sides' ratio is not kept. An image that has the size already is returned as it is.
    """
    import cv2

    height, width = size
    if image.shape[:2] == (height, width):
        return image
    smaller = min(width, image.shape[1]), min(height, image.shape[0])
    for target, how in ((smaller, cv2.INTER_AREA), ((width, height), cv2.INTER_LINEAR)):
        if image.shape[1::-1] != target:
            # cv2 drops an axis of one channel
            image = np.atleast_3d(cv2.resize(image, target, interpolation=how))
    return image
