"""Images to predict that differ from those of the training in format, depth or orientation."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lab.faults.inputs.base import PREDICT, TRUTH, Files, WrongInput
from lab.faults.inputs.scenes import SCENES, save, scene
from lab.faults.inputs.writers import (
    Writer,
    file_set,
    greyed,
    indexed,
    opencv,
    pillow,
    raw_tiff,
    several_pages,
    turned,
    with_alpha,
)

_READ: Mapping[str, Writer] = {
    "RGB PNG": pillow(".png"),
    "RGBA PNG": pillow(".png", with_alpha),
    "grey PNG": pillow(".png", greyed),
    "JPEG": pillow(".jpg", quality=98),
    "LZW TIFF": pillow(".tif", compression="tiff_lzw"),
    "BMP": pillow(".bmp"),
    "lossless WebP": pillow(".webp", lossless=True),
    "16-bit PNG over the full range": opencv(".png", lambda a: a.astype(np.uint16) * 257),
    "float TIFF in [0, 1]": raw_tiff(lambda a: a.astype(np.float32) / 255),
    "a palette that isn't grey": pillow(".png", lambda a: indexed(greyed(a) > 100)),
    "EXIF orientation 3": turned(".jpg", 3, quality=98),
    "EXIF orientation 6": turned(".jpg", 6, quality=98),
    "EXIF orientation 8 in PNG": turned(".png", 8),
    "orientation 5 in TIFF": turned(".tif", 5),
}
_RANGES: Mapping[str, Writer] = {
    "12 bits in 16-bit PNG": opencv(".png", lambda a: a.astype(np.uint16) * 16),
    "12 bits in 16-bit TIFF": raw_tiff(lambda a: a.astype(np.uint16) * 16),
    "int16 TIFF": raw_tiff(lambda a: greyed(a).astype(np.int16) * 16),
    "float TIFF in [0, 4095]": raw_tiff(lambda a: a.astype(np.float32) * 16),
}
_ODD: Mapping[str, tuple[Writer, str]] = {
    "12 bits in 16-bit PNG": (_RANGES["12 bits in 16-bit PNG"], "of which 12 are used"),
    "12 bits in 16-bit TIFF": (_RANGES["12 bits in 16-bit TIFF"], "of which 12 are used"),
    "int16 TIFF": (_RANGES["int16 TIFF"], "pixels are int16"),
    "float TIFF in [0, 4095]": (_RANGES["float TIFF in [0, 4095]"], "pixels are float32"),
    "an animated GIF": (several_pages(".gif"), "several frames"),
}


def predictions() -> Iterator[WrongInput]:
    """A network trained on 8-bit RGB files, asked for masks of the same scenes in other files."""
    whole = {"predicted_dice": 1.0, "predicted": float(SCENES)}
    for what, writer in _READ.items():
        yield WrongInput("predictions", what, _files(writer), whole, then=PREDICT)
    for what, writer in _RANGES.items():
        then = (*PREDICT, "--value-range", "0", "4095")
        yield WrongInput("predictions", f"{what}, with their range", _files(writer), whole, then=then)
    for what, (writer, word) in _ODD.items():
        yield WrongInput("predictions", what, _files(writer), {}, (word,), then=PREDICT, code=3)


def _files(writer: Writer) -> Files:
    """A set to train on in plain files, and the same scenes to predict as the writer has them."""

    def files(folder: Path) -> Mapping[str, Any]:
        new, truth = folder / "new", folder / TRUTH
        new.mkdir()
        for number in range(SCENES):
            picture, mask = scene(number)
            writer(picture, new / str(number))
            save(mask.astype(np.uint8) * 255, truth / f"{number}.png")
        return file_set(pillow(".png"))(folder)

    return files
