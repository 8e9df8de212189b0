"""Image files that are easily decoded differently from what they are, or left out."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from selftest.inputs.base import Files, WrongInput
from selftest.inputs.scenes import HEIGHT, WIDTH, counted, save, save_pair, scene, scenes_at
from selftest.inputs.writers import (
    EVERY,
    Writer,
    damaged,
    file_set,
    greyed,
    opencv,
    pillow,
    raw_tiff,
    several_pages,
    turned,
    with_alpha,
)

GOOD_IMAGES: Mapping[str, Writer] = {
    "RGB PNG": pillow(".png"),
    "RGBA PNG": pillow(".png", with_alpha),
    "grey PNG": pillow(".png", greyed),
    "grey PNG with alpha": pillow(".png", lambda a: with_alpha(greyed(a))),
    "PNG with an adaptive palette": pillow(".png", lambda a: Image.fromarray(a).quantize(256)),
    "16-bit RGB PNG": opencv(".png", lambda a: a.astype(np.uint16) * 257),
    "16-bit grey PNG": opencv(".png", lambda a: greyed(a).astype(np.uint16) * 257),
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
_10_BITS = opencv(".png", lambda a: a.astype(np.uint16) * 4)
_12_BITS = opencv(".png", lambda a: a.astype(np.uint16) * 16)
_14_BITS = raw_tiff(lambda a: greyed(a).astype(np.uint16) * 64)
_SIGNED = raw_tiff(lambda a: greyed(a).astype(np.int16) * 16)
_LONG = raw_tiff(lambda a: greyed(a).astype(np.uint32))
_FLOATS = raw_tiff(lambda a: a.astype(np.float32))
_ODD_IMAGES: Mapping[str, tuple[Writer, str]] = {
    "TIFF whose fourth band is no alpha": (
        raw_tiff(lambda a: np.dstack([a * 0 + 30, a[..., :1]])),
        "4 bands",
    ),
    "TIFF of five bands": (raw_tiff(lambda a: np.dstack([a, a[..., :2]])), "5 bands"),
    "TIFF of two bands": (raw_tiff(lambda a: np.dstack([a[..., 0] * 0 + 30, a[..., 0]])), "2 bands"),
    "10 bits in 16-bit PNG": (_10_BITS, "only 10 are used"),
    "12 bits in 16-bit PNG": (_12_BITS, "only 12 are used"),
    "14 bits in 16-bit grey TIFF": (_14_BITS, "only 14 are used"),
    "12 bits in int16 TIFF": (_SIGNED, "pixels are int16"),
    "32-bit integers": (_LONG, "pixels are uint32"),
    "float TIFF in [0, 255]": (_FLOATS, "pixels are float32"),
    "float TIFF with NaN": (
        raw_tiff(lambda a: np.where(a > 48, a / 255, np.nan).astype(np.float32)),
        "nan or infinite",
    ),
    "animated GIF": (several_pages(".gif"), "several frames"),
    "TIFF of two pages": (several_pages(".tif"), "several pages"),
    "animated WebP": (several_pages(".webp", lossless=True), "several frames"),
    "animated PNG": (several_pages(".png"), "several frames"),
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
_RANGES: Mapping[str, tuple[Writer, float]] = {
    "10 bits in 16-bit PNG": (_10_BITS, 1023),
    "12 bits in 16-bit PNG": (_12_BITS, 4095),
    "14 bits in 16-bit grey TIFF": (_14_BITS, 16383),
    "12 bits in int16 TIFF": (_SIGNED, 4095),
    "32-bit integers": (_LONG, 255),
    "float TIFF in [0, 255]": (_FLOATS, 255),
}
_TURNED: Mapping[str, Mapping[str, object]] = {
    ".jpg": {"quality": 98},
    ".png": {},
    ".webp": {"lossless": True},
    ".tif": {},
}


def images() -> Iterator[WrongInput]:
    """Image files of every kind, with plain masks."""
    for what, writer in GOOD_IMAGES.items():
        yield WrongInput("images", what, file_set(writer), EVERY)
    for what, (writer, word) in _ODD_IMAGES.items():
        yield WrongInput("images", what, file_set(writer), {}, (word,))
    for what, (ending, how, word) in _DAMAGED.items():
        yield WrongInput("images", what, file_set(damaged(how, ending)), {}, (f"3{ending}: {word}",))
    for what, (writer, highest) in _RANGES.items():
        files = file_set(writer, value_range=[0, highest])
        yield WrongInput("images", f"{what}, with their range", files, EVERY)
    beyond = file_set(_12_BITS, value_range=[0, 1023])
    yield WrongInput("images", "12 bits, with the range of 10", beyond, {}, ("outside",))
    for ending, options in _TURNED.items():
        for orientation in (2, 3, 5, 6, 8):
            files = file_set(turned(ending, orientation, **options))
            yield WrongInput("images", f"EXIF orientation {orientation} in {ending}", files, EVERY)
    for orientation in (3, 6):
        both = turned(".jpg", orientation, quality=98), turned(".png", orientation)
        files = file_set(*both, lambda truth: truth.astype(np.uint8) * 255)
        yield WrongInput("images", f"EXIF orientation {orientation} of image and mask", files, EVERY)


def discovery() -> Iterator[WrongInput]:
    """Files that a reader might leave out in silence."""

    def half(ending: str) -> Files:
        def mask(number: int) -> str:
            return f"masks/{number}{ending if number % 2 and ending != '.jp2' else '.png'}"

        return scenes_at(lambda number: f"images/{number}{ending if number % 2 else '.png'}", mask)

    for ending in (".bmp", ".gif", ".webp"):
        yield WrongInput("discovery", f"half of the images in {ending}", half(ending), EVERY)
    for ending in (".jp2", ".ppm", ".tga"):
        word = f"1{ending}: not read"
        yield WrongInput("discovery", f"half of the images in {ending}", half(ending), {}, (word,))

    below = scenes_at(lambda n: f"images/p{n % 2}/{n}.png", lambda n: f"masks/p{n % 2}/{n}.png")
    yield WrongInput("discovery", "folders within images/ and masks/", below, EVERY)

    def both(folder: Path) -> Mapping[str, object]:
        files = file_set(pillow(".png"))(folder)
        save_pair(99, folder / "set/images/more/99.png", folder / "set/masks/more/99.png")
        return files

    yield WrongInput("discovery", "one folder within images/ and masks/", both, counted(3, 4))

    def without(folder: Path) -> Mapping[str, object]:
        files = file_set(pillow(".png"))(folder)
        save(scene(9)[0], folder / "set/images/9.png")
        return files

    yield WrongInput("discovery", "an image without a mask", without, {}, ("9.png: no mask",))
    assert HEIGHT != WIDTH, "a turned image has to be seen"
