"""Images to predict that differ from those of the training in format, depth or orientation."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from selftest.inputs import scenes
from selftest.inputs.base import PREDICT, TRUTH, Files, WrongInput
from selftest.inputs.files import GOOD_IMAGES
from selftest.inputs.scenes import SCENES, Writer, file_set, greyed, opencv, pillow, raw_tiff, turned

_PLAIN = (
    "RGB PNG", "RGBA PNG", "grey PNG", "RGB JPEG", "LZW TIFF", "BMP", "lossless WebP", "16-bit RGB PNG",
    "float TIFF in [0, 1]",
)  # fmt: skip
_READ: Mapping[str, Writer] = {
    **{what: GOOD_IMAGES[what] for what in _PLAIN},
    "a palette that isn't grey": pillow(".png", lambda a: scenes.indexed(greyed(a) > 100)),
    "EXIF orientation 3": turned(".jpg", 3, quality=98),
    "EXIF orientation 6": turned(".jpg", 6, quality=98),
    "EXIF orientation 8 in PNG": turned(".png", 8),
    "orientation 5 in TIFF": turned(".tif", 5),
}
_RANGES: Mapping[str, tuple[Writer, str]] = {
    "12 bits in 16-bit PNG": (opencv(lambda a: a.astype(np.uint16) * 16), "of which 12 are used"),
    "12 bits in 16-bit TIFF": (raw_tiff(lambda a: a.astype(np.uint16) * 16), "of which 12 are used"),
    "int16 TIFF": (raw_tiff(lambda a: greyed(a).astype(np.int16) * 16), "pixels are int16"),
    "float TIFF in [0, 4095]": (raw_tiff(lambda a: a.astype(np.float32) * 16), "pixels are float32"),
}


def predictions() -> Iterator[WrongInput]:
    """A network trained on 8-bit RGB files, asked for masks of the same scenes in other files."""
    whole = {"predicted_dice": 1.0, "predicted": float(SCENES)}
    for what, writer in _READ.items():
        yield WrongInput("predictions", what, _files(writer), whole, then=PREDICT)
    ranged = (*PREDICT, "--value-range", "0", "4095")
    for what, (writer, word) in _RANGES.items():
        yield WrongInput("predictions", f"{what}, with their range", _files(writer), whole, then=ranged)
        yield WrongInput("predictions", what, _files(writer), {}, (word,), then=PREDICT, code=3)
    animated = _files(scenes.several_pages(".gif"))
    words = ("several frames",)
    yield WrongInput("predictions", "an animated GIF", animated, {}, words, then=PREDICT, code=3)


def _files(writer: Writer) -> Files:
    """A set to train on in plain files, and the same scenes to predict as the writer has them."""

    def files(folder: Path) -> Mapping[str, object]:
        new, truth = folder / "new", folder / TRUTH
        new.mkdir()
        for number in range(SCENES):
            picture, mask = scenes.scene(number)
            writer(picture, new / str(number))
            scenes.save(mask.astype(np.uint8) * 255, truth / f"{number}.png")
        return file_set(pillow(".png"))(folder)

    return files
