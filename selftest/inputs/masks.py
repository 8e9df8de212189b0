"""Mask files that are easily decoded differently from what they are."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from selftest.inputs.base import WrongInput
from selftest.inputs.scenes import CLASSES, Array
from selftest.inputs.writers import (
    EVERY,
    Writer,
    file_set,
    indexed,
    opencv,
    pillow,
    raw_tiff,
    turned,
    with_alpha,
)


def _ones(dtype: Any, high: float = 1) -> Callable[[Array], Array]:
    return lambda truth: (truth * high).astype(dtype)


def _coloured(truth: Array) -> Array:
    return np.where(truth[..., None], [255, 255, 255], [0, 0, 0]).astype(np.uint8)


_BYTES, _HIGH = _ones(np.uint8), _ones(np.uint8, 255)
_PNG, _PALETTE, _TIFF = pillow(".png"), pillow(".png", indexed), raw_tiff(lambda a: a)
_CLASSES = {"classes": CLASSES}


class _Mask(NamedTuple):
    """A mask file: its writer, its values of a mask of bools, arguments of the data, words of a refusal."""

    writer: Writer
    values: Callable[[Array], Array]
    data: Mapping[str, object] = {}
    words: tuple[str, ...] = ()


_READ: Mapping[str, _Mask] = {
    "1 bit": _Mask(pillow(".png", lambda a: Image.fromarray(a > 0)), _BYTES),
    "grey 0 and 1": _Mask(_PNG, _BYTES),
    "grey 0 and 1, with classes": _Mask(_PNG, _BYTES, _CLASSES),
    "grey 0 and 255, with classes": _Mask(_PNG, _HIGH, {"classes": {"background": 0, "cell": 255}}),
    "a palette with a coloured background": _Mask(_PALETTE, _BYTES),
    "a palette, with classes": _Mask(_PALETTE, _BYTES, _CLASSES),
    "a palette, classes by colour": _Mask(
        _PALETTE, _BYTES, {"classes": {"background": "#0a0a78", "cell": "#fa1e1e"}}
    ),
    "a palette with an ignored index": _Mask(_PALETTE, _BYTES, {"ignore": 255}),
    "a palette GIF": _Mask(pillow(".gif", indexed), _BYTES),
    "a palette BMP": _Mask(pillow(".bmp", indexed), _BYTES),
    "a palette TIFF": _Mask(pillow(".tif", indexed), _BYTES),
    "RGB black and white": _Mask(_PNG, _coloured),
    "RGB by colour": _Mask(_PNG, _coloured, {"classes": {"background": "#000000", "cell": "#ffffff"}}),
    "16-bit 0 and 1": _Mask(opencv(".png", lambda a: a), _ones(np.uint16)),
    "16-bit 0 and 65,535": _Mask(opencv(".png", lambda a: a), _ones(np.uint16, 65535)),
    "32-bit labels": _Mask(_TIFF, _ones(np.int32, 70000)),
    "float 0.0 and 1.0": _Mask(_TIFF, _ones(np.float32)),
    "float 0.0 and 1.0, with classes": _Mask(_TIFF, _ones(np.float32), _CLASSES),
    "float 0.0 and 255.0": _Mask(_TIFF, _ones(np.float32, 255)),
    "JPEG of quality 75": _Mask(pillow(".jpg", quality=75), _HIGH),
    "JPEG of quality 95": _Mask(pillow(".jpg", quality=95), _HIGH),
    "lossy WebP": _Mask(pillow(".webp", quality=60), _HIGH),
    "BMP": _Mask(pillow(".bmp"), _HIGH),
    "alpha beside grey": _Mask(pillow(".png", with_alpha), _HIGH),
}
_REFUSED: Mapping[str, _Mask] = {
    "white is 0": _Mask(raw_tiff(lambda a: 255 - a, photometric=0), _HIGH, {}, ("0 is white",)),
    "grey 0 and 255, classes 0 and 1": _Mask(_PNG, _HIGH, _CLASSES, ("of no class, of value 255",)),
    "float 0.0 and 0.4": _Mask(_TIFF, _ones(np.float32, 0.4), {}, ("fractions, from 0 to 0.4",)),
    "JPEG with classes": _Mask(pillow(".jpg", quality=75), _HIGH, _CLASSES, ("jpeg changes values",)),
    "JPEG of 0 and 1": _Mask(pillow(".jpg", quality=75), _BYTES, {}, ("jpeg changes values",)),
    "half the size": _Mask(_PNG, lambda t: t[::2, ::2].astype(np.uint8) * 255, {}, ("20 × 12 pixels",)),
    "turned by a quarter": _Mask(_PNG, lambda t: np.rot90(t).astype(np.uint8) * 255, {}, ("24 × 40 pixels",)),
    "nothing in all of them": _Mask(_PNG, _ones(np.uint8, 0), {}, ("none of the 3 training masks",)),
}


def masks() -> Iterator[WrongInput]:
    """Mask files of every kind, with plain images; with and without names of classes."""
    for kinds, expected in ((_READ, EVERY), (_REFUSED, {})):
        for what, (writer, values, data, words) in kinds.items():
            files = file_set(_PNG, writer, values, **data)
            yield WrongInput("masks", what, files, expected, words)
    for ending in (".png", ".tif"):
        for orientation in (3, 6, 7):
            files = file_set(_PNG, turned(ending, orientation))
            yield WrongInput("masks", f"EXIF orientation {orientation} in {ending}", files, EVERY)
