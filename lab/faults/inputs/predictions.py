"""Images to predict that differ from those of the training in format, depth or orientation."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lab.faults.inputs.base import PREDICT, TRUTH, WrongInput
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
}
_ODD: Mapping[str, tuple[Writer, tuple[str, ...]]] = {
    "16-bit PNG over the full range": (opencv(".png", lambda a: a.astype(np.uint16) * 257), ("bit",)),
    "12 bits in 16-bit PNG": (opencv(".png", lambda a: a.astype(np.uint16) * 16), ("bit",)),
    "12 bits in 16-bit TIFF": (raw_tiff(lambda a: a.astype(np.uint16) * 16), ("bit",)),
    "int16 TIFF": (raw_tiff(lambda a: greyed(a).astype(np.int16) * 16), ("bit", "int16")),
    "float TIFF in [0, 1]": (raw_tiff(lambda a: a.astype(np.float32) / 255), ("float",)),
    "float TIFF in [0, 255]": (raw_tiff(lambda a: a.astype(np.float32)), ("float",)),
    "a palette that isn't grey": (pillow(".png", lambda a: indexed(greyed(a) > 100)), ("palette",)),
    "an animated GIF": (several_pages(".gif"), ("frame", "page")),
    "EXIF orientation 3": (turned(".jpg", 3, quality=98), ("orientation",)),
    "EXIF orientation 6": (turned(".jpg", 6, quality=98), ("orientation",)),
    "EXIF orientation 8 in PNG": (turned(".png", 8), ("orientation",)),
    "orientation 5 in TIFF": (turned(".tif", 5), ("orientation",)),
}


def predictions() -> Iterator[WrongInput]:
    """A network trained on 8-bit RGB files, asked for masks of the same scenes in other files."""
    kinds = {what: (writer, ()) for what, writer in _READ.items()} | dict(_ODD)
    for what, (writer, words) in kinds.items():
        whole = {"predicted_dice": 1.0, "predicted": float(SCENES)}

        def files(folder: Path, writer: Writer = writer) -> Mapping[str, Any]:
            new, truth = folder / "new", folder / TRUTH
            new.mkdir()
            for number in range(SCENES):
                picture, mask = scene(number)
                writer(picture, new / str(number))
                save(mask.astype(np.uint8) * 255, truth / f"{number}.png")
            return file_set(pillow(".png"))(folder)

        expected = {} if what.startswith("an animated") else whole
        yield WrongInput("predictions", what, files, expected, words, not words, then=PREDICT)
