"""Files of images and masks that are easily decoded differently from what they are, or left out."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from selftest.inputs import scenes
from selftest.inputs.base import Files, WrongInput
from selftest.inputs.scenes import EVERY, Array, Writer, file_set, greyed, indexed, opencv, pillow, raw_tiff

GOOD_IMAGES: Mapping[str, Writer] = {
    "RGB PNG": pillow(".png"),
    "RGBA PNG": pillow(".png", scenes.with_alpha),
    "grey PNG": pillow(".png", greyed),
    "grey PNG with alpha": pillow(".png", lambda a: scenes.with_alpha(greyed(a))),
    "PNG with an adaptive palette": pillow(".png", lambda a: Image.fromarray(a).quantize(256)),
    "16-bit RGB PNG": opencv(lambda a: a.astype(np.uint16) * 257),
    "16-bit grey PNG": opencv(lambda a: greyed(a).astype(np.uint16) * 257),
    "RGB JPEG": pillow(".jpg", quality=98),
    "grey JPEG": pillow(".JPG", greyed, quality=98),
    "CMYK JPEG": pillow(".jpeg", lambda a: Image.fromarray(a).convert("CMYK"), quality=98),
    "progressive JPEG": pillow(".jpg", quality=98, progressive=True),
    "LZW TIFF": pillow(".tiff", compression="tiff_lzw"),
    "Deflate TIFF": pillow(".tif", compression="tiff_adobe_deflate"),
    "raw TIFF": raw_tiff(lambda a: a),
    "TIFF in which white is 0": raw_tiff(lambda a: 255 - greyed(a), photometric=0),
    "16-bit TIFF": raw_tiff(lambda a: a.astype(np.uint16) * 257),
    "float TIFF in [0, 1]": raw_tiff(lambda a: a.astype(np.float32) / 255),
    "BMP": pillow(".bmp"),
    "lossless WebP": pillow(".webp", lossless=True),
    "GIF": pillow(".gif", lambda a: Image.fromarray(a).quantize(256)),
}


class _Image(NamedTuple):
    """An image file that is warned of: its writer, a word of that, and its range where one makes it right."""

    writer: Writer
    word: str
    highest: int = 0


_12_BITS = opencv(lambda a: a.astype(np.uint16) * 16)
_ODD_IMAGES: Mapping[str, _Image] = {
    "TIFF whose fourth band is no alpha": _Image(
        raw_tiff(lambda a: np.dstack([a * 0 + 30, a[..., :1]])), "4 bands"
    ),
    "TIFF of five bands": _Image(raw_tiff(lambda a: np.dstack([a, a[..., :2]])), "5 bands"),
    "TIFF of two bands": _Image(raw_tiff(lambda a: np.dstack([a[..., 0] * 0 + 30, a[..., 0]])), "2 bands"),
    "10 bits in 16-bit PNG": _Image(opencv(lambda a: a.astype(np.uint16) * 4), "only 10 are used", 1023),
    "12 bits in 16-bit PNG": _Image(_12_BITS, "only 12 are used", 4095),
    "14 bits in 16-bit grey TIFF": _Image(
        raw_tiff(lambda a: greyed(a).astype(np.uint16) * 64), "only 14 are used", 16383
    ),
    "12 bits in int16 TIFF": _Image(
        raw_tiff(lambda a: greyed(a).astype(np.int16) * 16), "pixels are int16", 4095
    ),
    "32-bit integers": _Image(raw_tiff(lambda a: greyed(a).astype(np.uint32)), "pixels are uint32", 255),
    "float TIFF in [0, 255]": _Image(raw_tiff(lambda a: a.astype(np.float32)), "pixels are float32", 255),
    "float TIFF with NaN": _Image(
        raw_tiff(lambda a: np.where(a > 48, a / 255, np.nan).astype(np.float32)), "nan or infinite"
    ),
    "animated GIF": _Image(scenes.several_pages(".gif"), "several frames"),
    "TIFF of two pages": _Image(scenes.several_pages(".tif"), "several pages"),
    "animated WebP": _Image(scenes.several_pages(".webp", lossless=True), "several frames"),
    "animated PNG": _Image(scenes.several_pages(".png"), "several frames"),
}
# What is not readable: its ending, what becomes of its bytes, and how it is named.
_DAMAGED: Mapping[str, tuple[str, Callable[[bytes], bytes], str]] = {
    "a PNG cut short": (".png", lambda d: d[: len(d) // 2], "not a readable image; cut short"),
    "an empty PNG": (".png", lambda d: b"", "the file is empty"),
    "text called PNG": (".png", lambda d: b"<html>404</html>", "not a readable image; neither"),
    "a PNG with a flipped byte": (".png", lambda d: d[:200] + bytes([d[200] ^ 255]) + d[201:],
                                  "not a readable image; damaged"),
    "a JPEG cut short": (".jpg", lambda d: d[: len(d) * 2 // 3], "not a readable image; cut short"),
    "a pointer of Git LFS": (".png", lambda d: b"version https://git-lfs.github.com/spec/v1\n",
                             "not a readable image; neither"),
}  # fmt: skip
_TURNED: Mapping[str, Mapping[str, Any]] = {
    ".jpg": {"quality": 98},
    ".png": {},
    ".webp": {"lossless": True},
    ".tif": {},
}


def images() -> Iterator[WrongInput]:
    """Image files of every kind, with plain masks."""
    for what, writer in GOOD_IMAGES.items():
        yield WrongInput("images", what, file_set(writer), EVERY)
    for what, (writer, word, highest) in _ODD_IMAGES.items():
        yield WrongInput("images", what, file_set(writer), {}, (word,))
        if highest:
            files = file_set(writer, value_range=[0, highest])
            yield WrongInput("images", f"{what}, with their range", files, EVERY)
    for what, (ending, how, word) in _DAMAGED.items():
        yield WrongInput("images", what, file_set(scenes.damaged(how, ending)), {}, (f"3{ending}: {word}",))
    beyond = file_set(_12_BITS, value_range=[0, 1023])
    yield WrongInput("images", "12 bits, with the range of 10", beyond, {}, ("outside",))
    for ending, options in _TURNED.items():
        for orientation in (2, 3, 5, 6, 8):
            files = file_set(scenes.turned(ending, orientation, **options))
            yield WrongInput("images", f"EXIF orientation {orientation} in {ending}", files, EVERY)
    for orientation in (3, 6):
        both = scenes.turned(".jpg", orientation, quality=98), scenes.turned(".png", orientation)
        files = file_set(*both, lambda truth: truth.astype(np.uint8) * 255)
        yield WrongInput("images", f"EXIF orientation {orientation} of image and mask", files, EVERY)


def discovery() -> Iterator[WrongInput]:
    """Files that a reader might leave out in silence."""

    def half(ending: str) -> Files:
        def mask(number: int) -> str:
            return f"masks/{number}{ending if number % 2 and ending != '.jp2' else '.png'}"

        return scenes.scenes_at(lambda number: f"images/{number}{ending if number % 2 else '.png'}", mask)

    for ending in (".bmp", ".gif", ".webp"):
        yield WrongInput("discovery", f"half of the images in {ending}", half(ending), EVERY)
    for ending in (".jp2", ".ppm", ".tga"):
        word = f"1{ending}: not read"
        yield WrongInput("discovery", f"half of the images in {ending}", half(ending), {}, (word,))

    below = scenes.scenes_at(lambda n: f"images/p{n % 2}/{n}.png", lambda n: f"masks/p{n % 2}/{n}.png")
    yield WrongInput("discovery", "folders within images/ and masks/", below, EVERY)

    def both(folder: Path) -> Mapping[str, object]:
        files = file_set(pillow(".png"))(folder)
        scenes.save_pair(99, folder / "set/images/more/99.png", folder / "set/masks/more/99.png")
        return files

    yield WrongInput("discovery", "one folder within images/ and masks/", both, scenes.counted(3, 4))

    def without(folder: Path) -> Mapping[str, object]:
        files = file_set(pillow(".png"))(folder)
        scenes.save(scenes.scene(9)[0], folder / "set/images/9.png")
        return files

    yield WrongInput("discovery", "an image without a mask", without, {}, ("9.png: no mask",))
    assert scenes.HEIGHT != scenes.WIDTH, "a turned image has to be seen"


def _ones(dtype: Any, high: float = 1) -> Callable[[Array], Array]:
    return lambda truth: (truth * high).astype(dtype)


def _coloured(truth: Array) -> Array:
    return np.where(truth[..., None], [255, 255, 255], [0, 0, 0]).astype(np.uint8)


_BYTES, _HIGH = _ones(np.uint8), _ones(np.uint8, 255)
_PNG, _PALETTE, _TIFF = pillow(".png"), pillow(".png", indexed), raw_tiff(lambda a: a)
_CLASSES = {"classes": scenes.CLASSES}


class _Mask(NamedTuple):
    """A mask file: its writer, its values of a mask of bools, arguments of the data, words of a refusal."""

    writer: Writer
    values: Callable[[Array], Array]
    data: Mapping[str, object] = {}
    words: tuple[str, ...] = ()


_MASKS: Mapping[str, _Mask] = {
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
    "16-bit 0 and 1": _Mask(opencv(lambda a: a), _ones(np.uint16)),
    "16-bit 0 and 65,535": _Mask(opencv(lambda a: a), _ones(np.uint16, 65535)),
    "32-bit labels": _Mask(_TIFF, _ones(np.int32, 70000)),
    "float 0.0 and 1.0": _Mask(_TIFF, _ones(np.float32)),
    "float 0.0 and 1.0, with classes": _Mask(_TIFF, _ones(np.float32), _CLASSES),
    "float 0.0 and 255.0": _Mask(_TIFF, _ones(np.float32, 255)),
    "JPEG of quality 75": _Mask(pillow(".jpg", quality=75), _HIGH),
    "JPEG of quality 95": _Mask(pillow(".jpg", quality=95), _HIGH),
    "lossy WebP": _Mask(pillow(".webp", quality=60), _HIGH),
    "BMP": _Mask(pillow(".bmp"), _HIGH),
    "alpha beside grey": _Mask(pillow(".png", scenes.with_alpha), _HIGH),
}
_REFUSED_MASKS: Mapping[str, _Mask] = {
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
    for kinds, expected in ((_MASKS, EVERY), (_REFUSED_MASKS, {})):
        for what, (writer, values, data, words) in kinds.items():
            files = file_set(_PNG, writer, values, **data)
            yield WrongInput("masks", what, files, expected, words)
    for ending in (".png", ".tif"):
        for orientation in (3, 6, 7):
            files = file_set(_PNG, scenes.turned(ending, orientation))
            yield WrongInput("masks", f"EXIF orientation {orientation} in {ending}", files, EVERY)
