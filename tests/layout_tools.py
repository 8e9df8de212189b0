"""Images and masks from which one sees which belong together, for tests of layouts."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lab.data import Splits, image_folder

SIDE = 16


def image(path: Path, number: int) -> Path:
    """An image whose red is 10 + number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    pixels[..., 0] = 10 + number
    pixels[..., 1] = np.random.default_rng(number).integers(0, 255, (SIDE, SIDE))
    Image.fromarray(pixels).save(
        path, **({"quality": 100, "subsampling": 0} if path.suffix == ".jpg" else {})
    )
    return path


def mask(path: Path, number: int, value: int = 255) -> Path:
    """A mask whose first number + 1 pixels have a value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros(SIDE * SIDE, np.uint8)
    pixels[: number + 1] = value
    Image.fromarray(pixels.reshape(SIDE, SIDE)).save(path)
    return path


def load(root: Path, **options: Any) -> Splits:
    return image_folder(str(root), **{"normalise": "none", **options})


def numbers(splits: Splits) -> list[list[int]]:
    """Of each set the numbers of its images, sorted; each mask must be its image's."""
    found = []
    for part in splits[:3]:
        own = []
        for item in part if part is not None else ():  # type: ignore[attr-defined]
            number = round(float(item[0][0].mean()) * 255) - 10
            assert int((item[-1] != 0).sum()) == number + 1
            own.append(number)
        found.append(sorted(own))
    return found
