"""Mask files to class indices: binary by a threshold, several classes by their values or colours."""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lab.config.mask_values import BINARY, IGNORE_INDEX
from lab.data.image_header import Container, Header, Pixels, Refused
from lab.data.image_reader import Picture, read_picture

Label = int | str
"""The code of a class in a mask: a pixel's value, or a colour such as "#ff0000"."""

_UNKNOWN = 254  # in the tables below; masks are bytes, and 255 is IGNORE_INDEX
_MOST_NAMED = 8
_MIDDLE, _BRIGHT = 127, 192  # of a lossy mask of 0 and 255: the threshold, and what is surely foreground


class MaskReader:
    """Reads masks as (H, W) uint8: the class's index, or IGNORE_INDEX.

    A grey value v and the colour (v, v, v) are the same thing. A file with a palette is read by its indices,
    unless a class is written as a colour. Floating-point files hold whole numbers.

    Args:
        classes: name to value or colour, in the order of the indices; None is binary.
        ignore: the value or colour of unlabelled pixels.
        threshold: for binary masks: a pixel is foreground where it is greater, in the file's own units. By
            default 0; of a lossy format, whose masks are read if they are dark and bright, the middle.
        ignore_others: with classes, pixels of all other values are ignored, not refused.
    Raises:
        ValueError: fewer than two classes or more than 254, a name that is no text, a label that is none, or
            one that is used twice.
    """

    def __init__(
        self,
        classes: Mapping[str, Label] | None = None,
        ignore: Label | None = None,
        threshold: float | None = None,
        ignore_others: bool = False,
    ) -> None:
        self.names = BINARY if classes is None else list(classes)
        if unnamed := [name for name in self.names if not isinstance(name, str)]:
            raise ValueError(
                "classes maps names to values, such as {background: 0, cell: 1}; these names are no text: "
                f"{', '.join(map(str, unnamed[:_MOST_NAMED]))}; write a name that looks like a number or a "
                'date in quotes: "0"'
            )
        self._ignore_others = ignore_others
        self._binary, self._threshold = classes is None, threshold
        labels = {} if classes is None else dict(classes)
        self._by_colour = any(isinstance(label, str) for label in [*labels.values(), ignore])
        if classes is not None and not 2 <= len(classes) <= _UNKNOWN:
            raise ValueError(f"classes must name 2 to {_UNKNOWN} classes; found {len(classes)}")
        self._index: dict[int, int] = {}
        self._colours: NDArray[np.uint8] | None = None
        codes = [(_code(name, label), index) for index, (name, label) in enumerate(labels.items())]
        if ignore is not None:
            codes.append((_code("ignore", ignore), IGNORE_INDEX))
        # Grey 1 and colour #010101 are one code: a label that is used twice would be ambiguous.
        for code, index in codes:
            if code in self._index:
                raise ValueError(f"classes and ignore: {_written(code)} is used twice")
            self._index[code] = index

    def read(self, path: Path) -> NDArray[np.uint8]:
        """The mask in a file.

        Raises:
            ValueError: with the path; the file can't be read, a pixel is of no class, or the file can be
                understood in several ways.
        """
        picture = read_picture(path)
        try:
            mask = self._by_header(picture)
            _require_no_alpha(picture, mask)
        except Refused as error:
            raise ValueError(f"{path}: {error}") from None
        return mask

    def _by_header(self, picture: Picture) -> NDArray[np.uint8]:
        """Refuse what a header makes ambiguous, and read the rest."""
        header = picture.header
        if header.white_is_zero and header.bits > 1:
            raise Refused(
                "0 is white in this mask (TIFF's photometric interpretation 0), so programs disagree on its "
                "values; save it with 0 as black"
            )
        if header.lossy and self._index:
            raise Refused(
                f"{header.lossy} changes values, so that classes and ignore can't be read from it: "
                "save masks as PNG"
            )
        if header.palette and not self._by_colour:
            return self._of_palette(picture)
        if header.bits == 1:
            return self._of_one_bit(picture.colours)
        return self._of_pixels(
            _whole(picture.colours, exact=self._threshold is None or not self._binary), header
        )

    def _of_palette(self, picture: Picture) -> NDArray[np.uint8]:
        """By the indices, unless the colours are grey values that would be read otherwise."""
        mask = self._of_pixels(picture.pixels, picture.header)
        # All indices are at most the threshold, while colours exceed it: the user means the grey values.
        if self._binary and self._threshold and not (mask == 1).any():
            colours = self._of_pixels(picture.colours, picture.header)
            if (colours == 1).any():
                raise Refused(
                    f"it has a palette, no index of which is above mask_threshold {self._threshold:g}, "
                    "though colours are: remove mask_threshold (an index above 0 is foreground), or save "
                    "the mask without a palette"
                )
        if picture.header.container is Container.GIF and not self._binary and _is_grey(picture.colours):
            try:
                greys = self._of_pixels(picture.colours, picture.header)
            except Refused:  # the values are no classes, so the indices must be meant
                return mask
            if not np.array_equal(greys, mask):
                raise Refused(
                    "it has a palette of grey values that differ from the indices; programs that write GIF "
                    "renumber them: save the mask as PNG"
                )
        return mask

    def _of_one_bit(self, mask: Pixels) -> NDArray[np.uint8]:
        """White is 1 or 255, whichever has a meaning."""
        meant = [value for value in (1, 255) if value * 0x010101 in self._index]
        if len(meant) > 1 or (self._binary and meant):
            raise Refused(
                "it has 1 bit for each pixel, and its white may be 1 or 255, which classes and ignore show "
                "apart; save the mask with 8 bits"
            )
        return self._of_pixels(np.minimum(mask, meant[0]) if meant else mask, Header(mask.shape))

    def _of_pixels(self, mask: Pixels, header: Header) -> NDArray[np.uint8]:
        if _is_grey(mask):
            mask = mask[..., 0]
        if self._binary:
            return self._thresholded(mask, header)
        result = self._from_values(mask) if mask.ndim == 2 else self._from_colours(mask)
        unknown = result == _UNKNOWN
        if self._ignore_others:
            result[unknown] = IGNORE_INDEX
            return result
        if unknown.any():
            found = np.unique(_codes(mask[unknown], coloured=mask.ndim == 3))
            shown = ", ".join(_written(int(code)) for code in found[:_MOST_NAMED])
            more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
            scaled = (
                f"; the file has {header.bits} bits for each pixel, whose largest value is read as 255"
                if header.bits < 8 and not header.palette
                else ""
            )
            raise Refused(f"{unknown.sum():,} pixels of no class, of value {shown}{more}{scaled}")
        return result

    def _thresholded(self, mask: Pixels, header: Header) -> NDArray[np.uint8]:
        brightest = mask if mask.ndim == 2 else mask.max(axis=2)
        threshold = self._threshold
        if threshold is None:
            if brightest.size and brightest.min() < 0:
                raise Refused(
                    f"the mask has negative values, down to {brightest.min():g}; set mask_threshold, or save "
                    "the mask without them"
                )
            if header.lossy:
                _require_two_levels(brightest, header)
            threshold = _MIDDLE if header.lossy else 0
        result = (brightest > threshold).astype(np.uint8)
        for code in self._index:
            result[_codes(mask, coloured=mask.ndim == 3) == code] = IGNORE_INDEX
        return result

    def _from_values(self, mask: Pixels) -> NDArray[np.uint8]:
        values = {grey: index for code, index in self._index.items() if (grey := _grey(code)) is not None}
        # A table look-up is a single pass over the pixels, but of 4 bytes the table would be too large.
        if mask.dtype.itemsize <= 2 and mask.dtype.kind == "u":
            table = np.full(1 << (8 * mask.dtype.itemsize), _UNKNOWN, np.uint8)
            for value, index in values.items():
                if value < len(table):
                    table[value] = index
            return np.asarray(table[mask])
        result = np.full(mask.shape, _UNKNOWN, np.uint8)
        for value, index in values.items():
            result[mask == value] = index
        return result

    def _from_colours(self, mask: Pixels) -> NDArray[np.uint8]:
        if mask.dtype != np.uint8:
            raise Refused(f"a coloured mask must have 8 bits a channel, found {mask.dtype}")
        if self._colours is None:  # 16 MB, and only coloured masks need it
            self._colours = np.full(1 << 24, _UNKNOWN, np.uint8)
            for code, index in self._index.items():
                if 0 <= code < 1 << 24:
                    self._colours[code] = index
        return np.asarray(self._colours[_codes(mask, coloured=True)])


def _is_grey(mask: Pixels) -> bool:
    return mask.ndim == 3 and bool((mask[..., :1] == mask).all())


def _whole(mask: Pixels, *, exact: bool) -> Pixels:
    """Floats as the whole numbers that they are; with a threshold of the user's, fractions are allowed.

    Raises:
        Refused: they are none, or not finite.
    """
    if mask.dtype.kind != "f":
        return mask
    if not np.isfinite(mask).all():
        raise Refused("the mask holds floating-point numbers, some of which are NaN or infinite")
    if (mask == np.rint(mask)).all() and (not mask.size or np.abs(mask).max() < 1 << 53):
        return mask.astype(np.int64)
    if exact:
        raise Refused(
            f"the mask holds floating-point numbers with fractions, from {mask.min():g} to {mask.max():g}; "
            "save whole numbers, or set mask_threshold where there are no classes"
        )
    return mask


def _require_two_levels(brightest: Pixels, header: Header) -> None:
    """Refuse a lossy mask that is not dark and bright: the middle would be no threshold for its values."""
    bright = int((brightest >= _BRIGHT).sum())
    between = int(((brightest > 255 - _BRIGHT) & (brightest < _BRIGHT)).sum())
    largest = int(brightest.max(initial=0))
    if between > bright or (not bright and largest):
        raise Refused(
            f"{header.lossy} changes values, and those of this mask (up to {largest}) are not nearly 0 "
            "and 255: set mask_threshold, or save masks as PNG"
        )


def _require_no_alpha(picture: Picture, mask: NDArray[np.uint8]) -> None:
    """Refuse a mask whose transparency contradicts its colours, which alone are read."""
    alpha = picture.alpha
    if alpha is None or (alpha == alpha.flat[0]).all():
        return
    clear = alpha == 0
    drawn = (mask != 0) & (mask != IGNORE_INDEX)
    if (clear & drawn).any() or not drawn.any():
        raise Refused(
            "parts of the mask are transparent, and its colours do not mark them as background; save the "
            "mask without transparency"
        )


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


def _codes(pixels: Pixels, *, coloured: bool) -> NDArray[np.int64]:
    """The codes of pixels (..., 3) in colour, or of grey ones."""
    if coloured:
        red, green, blue = (pixels[..., k].astype(np.int64) for k in range(3))
        return red << 16 | green << 8 | blue
    values = pixels.astype(np.int64)
    return np.where(values < 0, values, np.where(values < 256, values * 0x010101, values + (1 << 24)))


def _grey(code: int) -> int | None:
    if code < 0:
        return code
    if code >= 1 << 24:
        return code - (1 << 24)
    return code & 255 if code == (code & 255) * 0x010101 else None


def _written(code: int) -> str:
    grey = _grey(code)
    return f"#{code:06x}" if grey is None else str(grey)
