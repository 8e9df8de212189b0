"""Decoded pairs of image and mask: in memory up to a budget, and in a memory-mapped file beyond it."""

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from lab.data.image_header import Pixels

Pair = tuple[Pixels, Pixels]
"""An image (H, W, C), uint8 or float32 in [0, 1], and its mask (H, W), uint8: class indices or
IGNORE_INDEX."""

_ALIGNMENT = 64


@dataclass(frozen=True)
class _Place:
    """The position of an array in the file, its shape and its type."""

    start: int
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]


class Store(Sequence[Pair]):
    """Keeps pairs. Those that are over the budget are written to a temporary file once and mapped from there,

    so that a patch reads its own pages only, the system's cache holds what it can, and forked workers share
    it. The file has no name any more while it is in use: nothing is left of it, however the process ends. It
    lies where temporary files lie (TMPDIR).

    Args:
        pairs: taken one after another; only those within the budget are held.
        budget: bytes of pixels to keep in memory.
    """

    def __init__(self, pairs: Iterable[Pair], budget: float) -> None:
        self._kept: list[Pair | tuple[_Place, _Place]] = []
        self._bytes: NDArray[np.uint8] | None = None
        held, file, written = 0, None, 0
        for image, mask in pairs:
            size = image.nbytes + mask.nbytes
            if held + size <= budget:
                held += size
                self._kept.append((image, mask))
                continue
            if file is None:
                file = tempfile.TemporaryFile(prefix="lab-images-")  # noqa: SIM115 (the mapping outlives it)
            first, written = _write(file, image, written)
            second, written = _write(file, mask, written)
            self._kept.append((first, second))
        if file is not None:
            file.flush()
            self._bytes = np.memmap(file, np.uint8, mode="r", shape=(written,))
            file.close()
        self.held_bytes, self.mapped_bytes = held, written

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, index: Any) -> Any:
        image, mask = self._kept[index]
        return self._array(image), self._array(mask)

    def _array(self, part: Pixels | _Place) -> Pixels:
        """Arrays from the file can't be written to."""
        if not isinstance(part, _Place):
            return part
        assert self._bytes is not None
        length = int(np.prod(part.shape)) * part.dtype.itemsize
        return self._bytes[part.start : part.start + length].view(part.dtype).reshape(part.shape)


class Subset(Sequence[Pair]):
    """Some of the pairs, by index."""

    def __init__(self, pairs: Sequence[Pair], indices: Iterable[int]) -> None:
        self._pairs = pairs
        self._indices = [int(index) for index in indices]

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: Any) -> Any:
        return self._pairs[self._indices[index]]


def _write(file: IO[bytes], array: Pixels, start: int) -> tuple[_Place, int]:
    """Append an array; its place, and where the next one begins."""
    data = np.ascontiguousarray(array)
    file.write(data.data)
    file.write(b"\0" * (-data.nbytes % _ALIGNMENT))
    return _Place(start, data.shape, data.dtype), start + data.nbytes + -data.nbytes % _ALIGNMENT
