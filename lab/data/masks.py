"""Mask files to class indices: binary by a threshold, several classes by their values or colours."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lab.data.reading import decode, palette_indices
from lab.labels import IGNORE

Label = int | str
"""How a class is written in a mask: a pixel's value, or a colour such as "#ff0000"."""

BINARY = ["background", "foreground"]
_UNKNOWN = 254  # in the tables below; masks are bytes, and 255 is IGNORE
_MOST_NAMED = 8


class MaskReader:
    """Reads masks as (H, W) uint8: the class's index, or IGNORE.

    A grey value v and the colour (v, v, v) are the same thing. A file with a palette is read by its indices,
    unless a class is written as a colour.

    Args:
        classes: name to value or colour, in the order of the indices; None is binary.
        ignore: the value or colour of pixels that nobody judged.
        threshold: for binary masks: a pixel is foreground where it is greater, in the file's own units.
    Raises:
        ValueError: fewer than two classes or more than 254, a label that is none, or one that is used twice.
    """

    def __init__(
        self, classes: Mapping[str, Label] | None = None, ignore: Label | None = None, threshold: int = 0
    ) -> None:
        self.names = BINARY if classes is None else list(classes)
        self._threshold = threshold if classes is None else None
        labels = {} if classes is None else dict(classes)
        self._by_colour = any(isinstance(label, str) for label in [*labels.values(), ignore])
        if classes is not None and not 2 <= len(classes) <= _UNKNOWN:
            raise ValueError(f"classes must name 2 to {_UNKNOWN} classes; found {len(classes)}")
        self._index: dict[int, int] = {}
        self._colours: NDArray[np.uint8] | None = None
        codes = [(_code(name, label), index) for index, (name, label) in enumerate(labels.items())]
        if ignore is not None:
            codes.append((_code("ignore", ignore), IGNORE))
        for code, index in codes:
            if code in self._index:
                raise ValueError(f"classes and ignore: {_written(code)} is used twice")
            self._index[code] = index

    def read(self, path: Path) -> NDArray[np.uint8]:
        """The mask in a file.

        Raises:
            ValueError: with the path; the file can't be read, or a pixel is of no class.
        """
        by_index = not self._by_colour and (self._threshold is None or bool(self._index))
        indices = palette_indices(path) if by_index else None
        mask = decode(path) if indices is None else indices
        if mask.ndim == 3 and (mask[..., :1] == mask).all():
            mask = mask[..., 0]
        if self._threshold is not None:
            return self._binary(mask)
        result = self._from_values(mask) if mask.ndim == 2 else self._from_colours(path, mask)
        unknown = result == _UNKNOWN
        if unknown.any():
            found = np.unique(_codes(mask[unknown], coloured=mask.ndim == 3))
            shown = ", ".join(_written(int(code)) for code in found[:_MOST_NAMED])
            more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
            hint = (
                "; JPEG changes values: save masks as PNG" if path.suffix.lower() in (".jpg", ".jpeg") else ""
            )
            raise ValueError(f"{path}: {unknown.sum():,} pixels of no class, of value {shown}{more}{hint}")
        return result

    def _binary(self, mask: NDArray[Any]) -> NDArray[np.uint8]:
        assert self._threshold is not None
        brightest = mask if mask.ndim == 2 else mask.max(axis=2)
        result = (brightest > self._threshold).astype(np.uint8)
        for code in self._index:
            result[_codes(mask, coloured=mask.ndim == 3) == code] = IGNORE
        return result

    def _from_values(self, mask: NDArray[Any]) -> NDArray[np.uint8]:
        if mask.dtype.kind not in "ui":
            return np.full(mask.shape, _UNKNOWN, np.uint8)
        if mask.dtype.itemsize <= 2 and mask.dtype.kind == "u":
            table = np.full(1 << (8 * mask.dtype.itemsize), _UNKNOWN, np.uint8)
            for code, index in self._index.items():
                value = _grey(code)
                if value is not None and value < len(table):
                    table[value] = index
            return np.asarray(table[mask])
        result = np.full(mask.shape, _UNKNOWN, np.uint8)
        for code, index in self._index.items():
            value = _grey(code)
            if value is not None:
                result[mask == value] = index
        return result

    def _from_colours(self, path: Path, mask: NDArray[Any]) -> NDArray[np.uint8]:
        if mask.dtype != np.uint8:
            raise ValueError(f"{path}: a coloured mask must have 8 bits a channel, found {mask.dtype}")
        if self._colours is None:  # 16 MB, and only coloured masks need it
            self._colours = np.full(1 << 24, _UNKNOWN, np.uint8)
            for code, index in self._index.items():
                if code < 1 << 24:
                    self._colours[code] = index
        return np.asarray(self._colours[_codes(mask, coloured=True)])


def _code(name: str, label: Label) -> int:
    """A colour as r << 16 | g << 8 | b, grey values up to 255 likewise, larger values beyond all colours."""
    if isinstance(label, str):
        if not re.fullmatch(r"#[0-9a-fA-F]{6}", label):
            raise ValueError(
                f'{name} must be a value such as 1 or a colour such as "#ff0000", found {label!r}'
            )
        return int(label[1:], 16)
    if isinstance(label, bool) or not 0 <= label <= 65535:
        raise ValueError(f"{name} must be a value from 0 to 65535 or a colour, found {label!r}")
    return label * 0x010101 if label < 256 else label + (1 << 24)


def _codes(pixels: NDArray[Any], *, coloured: bool) -> NDArray[np.int64]:
    """The codes of pixels (..., 3) in colour, or of grey ones."""
    if coloured:
        red, green, blue = (pixels[..., k].astype(np.int64) for k in range(3))
        return red << 16 | green << 8 | blue
    values = pixels.astype(np.int64)
    return np.where((values >= 0) & (values < 256), values * 0x010101, values + (1 << 24))


def _grey(code: int) -> int | None:
    if code >= 1 << 24:
        return code - (1 << 24)
    return code & 255 if code == (code & 255) * 0x010101 else None


def _written(code: int) -> str:
    grey = _grey(code)
    return f"#{code:06x}" if grey is None else str(grey)
