"""Masks that are not one file of class indices each."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from lab.config.mask_values import IGNORE_INDEX
from lab.data.file_inventory import file_size
from lab.data.masks import MaskReader


@runtime_checkable
class MaskSource(Protocol):
    """Something that a mask is made from; `str` of it is its place."""

    @property
    def size(self) -> int:
        """A number of bytes that changes where the annotation does, as a file's size."""

    def draw(self, reader: MaskReader) -> NDArray[np.uint8]:
        """The mask (H, W): class indices or IGNORE_INDEX.

        Raises:
            ValueError: it can't be made, with the place.
        """


@dataclass(frozen=True)
class UnitedMasks:
    """The union of several binary masks, one for each object of an image."""

    folder: Path
    paths: Sequence[Path]

    def __str__(self) -> str:
        return str(self.folder)

    @property
    def size(self) -> int:
        return sum(map(file_size, self.paths))

    def draw(self, reader: MaskReader) -> NDArray[np.uint8]:
        masks = [reader.read(path) for path in self.paths]
        for path, mask in zip(self.paths, masks, strict=True):
            if mask.shape != masks[0].shape:
                raise ValueError(f"{path}: not of the size of {self.paths[0].name}")
        ignored = np.any([mask == IGNORE_INDEX for mask in masks], axis=0)
        found = np.any([mask == 1 for mask in masks], axis=0)
        return np.where(found, 1, np.where(ignored, IGNORE_INDEX, 0)).astype(np.uint8)


class MappedMask:
    """A file of numbers that stand for classes by a table.

    Args:
        table: 256 entries: the class index or IGNORE_INDEX of each number.
    """

    def __init__(self, path: Path, table: NDArray[np.uint8]) -> None:
        self.path, self._table = path, table

    def __str__(self) -> str:
        return str(self.path)

    @property
    def size(self) -> int:
        return file_size(self.path)

    def draw(self, reader: MaskReader) -> NDArray[np.uint8]:
        return np.asarray(self._table[NUMBERS.read(self.path)])


NUMBERS = MaskReader({str(number): number for number in range(254)}, ignore=IGNORE_INDEX)
"""Reads the numbers in a mask as they are."""
