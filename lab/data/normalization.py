"""Normalisation of images: the network sees (pixels in [0, 1] - mean) / deviation, channel by channel."""

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from lab.config.dataset_info import DatasetInfo, Facts
from lab.data.image_header import Pixels

Mode = Literal["train", "image", "none"]
"""`train`: by the training images' pixels, before any transform; `none`: pixels stay in [0, 1]; `image`: each
image by its own, a training item as its transforms leave it, a patch by its whole image before them."""

_ROWS = 256
_LEAST = 1e-6  # a channel with less deviation than this is constant: it is centred, and not scaled


class Normalise:
    """Normalises images, float32 (C, H, W) in [0, 1].

    Args:
        mean, std: per channel; None is each image's own.
    """

    def __init__(self, mean: Sequence[float] | None = None, std: Sequence[float] | None = None) -> None:
        self.mean = None if mean is None else list(mean)
        self.std = None if std is None else list(std)

    @classmethod
    def from_facts(cls, facts: Facts) -> "Normalise | None":
        """The one that a training recorded in `Splits.facts`; None where it used none."""
        info = DatasetInfo.from_facts(facts)
        if info.mean is not None:
            return cls(info.mean, info.std)
        return cls() if info.normalise == "image" else None

    def facts(self) -> dict[str, object]:
        """Return the facts that `from_facts` needs."""
        mode = "image" if self.mean is None else "train"
        return DatasetInfo(normalise=mode, mean=self.mean, std=self.std).to_facts()

    def __call__(self, image: Tensor) -> Tensor:
        """The image (C, H, W), normalised; a new tensor."""
        pixels = image.numpy()
        if self.mean is None:
            mean, std = pixels.mean((1, 2), dtype=np.float64), pixels.std((1, 2), dtype=np.float64)
            std = np.where(std < _LEAST, 1.0, std)
        else:
            mean, std = np.asarray(self.mean), np.asarray(self.std)
        if len(mean) != len(pixels):
            raise ValueError(f"the image has {len(pixels)} channels, the normalisation {len(mean)}")
        centred = pixels - mean.astype(np.float32)[:, None, None]
        centred /= std.astype(np.float32)[:, None, None]
        return torch.from_numpy(centred)


def statistics(images: Iterable[Pixels]) -> tuple[list[float], list[float]]:
    """Mean and standard deviation per channel over all pixels of images (H, W, C), bytes or floats in [0, 1].

    In one pass and float64; images larger than others weigh more. A constant channel gets deviation 1.
    """
    pixels, total, squares = 0, np.zeros(1), np.zeros(1)
    for image in images:
        if image.dtype == np.uint8:  # by their histogram: exact, and faster than by their pixels
            counts = np.stack(
                [np.bincount(plane.ravel(), minlength=256) for plane in np.moveaxis(image, 2, 0)]
            )
            values = np.arange(256) / 255
            total, squares = total + counts @ values, squares + counts @ values**2
        else:
            for top in range(0, len(image), _ROWS):  # all at once, a large image would be there thrice
                wide = image[top : top + _ROWS].reshape(-1, image.shape[2]).astype(np.float64)
                total, squares = total + wide.sum(0), squares + (wide**2).sum(0)
        pixels += image.shape[0] * image.shape[1]
    # E[x²] - E[x]², which is accurate enough in float64 for values in [0, 1].
    mean = total / pixels
    std = np.sqrt(np.maximum(squares / pixels - mean**2, 0))
    return mean.tolist(), np.where(std < _LEAST, 1.0, std).tolist()


def fitted(mode: Mode, images: Iterable[Pixels]) -> Normalise | None:
    """The normalisation of a mode for these training images (H, W, C); None for `none`."""
    if mode == "none":
        return None
    return Normalise() if mode == "image" else Normalise(*statistics(images))
