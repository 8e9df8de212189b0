"""An image read in tiles, so that only its encoded pixel type is in memory as a whole."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lab.data.image_reader import ImageReader
from lab.data.normalization import Normalise, statistics

_ROWS = 256


class Source:
    """One image file, decoded once and kept in the file's own type.

    Its pieces are those of what `ImageReader.read` returns, where a whole image of 8,192 × 8,192
    pixels with 16 bits takes 800 MB.

    Raises:
        ValueError: with the path, as `ImageReader.load`.
    """

    def __init__(self, path: Path, reader: ImageReader) -> None:
        self._reader = reader
        self.pixels: NDArray[Any] = np.ascontiguousarray(reader.load(path))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.pixels.shape[0], self.pixels.shape[1]

    def piece(self, top: int, bottom: int, left: int = 0, right: int | None = None) -> NDArray[Any]:
        """Return a part (h, w, C) of the image, uint8 or float32 in [0, 1]."""
        return self._reader.scale(np.ascontiguousarray(self.pixels[top:bottom, left:right]))

    def tensor(self, top: int, bottom: int, left: int = 0, right: int | None = None) -> Tensor:
        """Return a part as in the training before normalisation: float32 (C, h, w) in [0, 1]."""
        part = self.piece(top, bottom, left, right)
        values = torch.from_numpy(np.ascontiguousarray(part.transpose(2, 0, 1)))
        return values if values.is_floating_point() else values.float() / 255

    def fixed(self, normalise: Normalise | None) -> Normalise | None:
        """Return the normalisation of every piece: per-image mean and deviation are over all its pixels."""
        if normalise is None or normalise.mean is not None:
            return normalise
        return Normalise(*statistics(self._blocks()))

    def _blocks(self) -> Iterator[NDArray[Any]]:
        for top in range(0, self.size[0], _ROWS):
            yield self.piece(top, min(top + _ROWS, self.size[0]))
