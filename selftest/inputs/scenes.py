"""Drawn scenes: a bright disc, off the centre of an oblong image, and its mask."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from selftest.inputs.sections import COUNT, config, mine

HEIGHT, WIDTH, SCENES = 24, 40, 6
Array = NDArray[Any]
PERFECT = {"val_dice": 1.0, "train_dice": 1.0}
CLASSES = {"background": 0, "cell": 1}


def scene(number: int) -> tuple[Array, Array]:
    """An image (H, W, 3) uint8, dark noise and a bright disc in a corner, and its mask (H, W) of bools."""
    rng = np.random.default_rng(number)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    centre = rng.integers(6, 9), rng.integers(7, 12)
    mask = (y - centre[0]) ** 2 + (x - centre[1]) ** 2 < 25
    image = rng.integers(10, 50, (HEIGHT, WIDTH, 3)) + mask[..., None] * 150
    return image.astype(np.uint8), mask


def unturned(array: Array, orientation: int) -> Array:
    """An array as a camera stores it, so that a viewer who applies the orientation shows the given one."""
    match orientation:
        case 2:
            array = array[:, ::-1]
        case 3:
            array = array[::-1, ::-1]
        case 4:
            array = array[::-1]
        case 5:
            array = array.swapaxes(0, 1)
        case 6:
            array = np.rot90(array, 1)
        case 7:
            array = array[::-1, ::-1].swapaxes(0, 1)
        case 8:
            array = np.rot90(array, -1)
    return np.ascontiguousarray(array)


def save(array: Array | Image.Image, path: Path, **options: Any) -> None:
    """Save an array or an image through Pillow."""
    path.parent.mkdir(parents=True, exist_ok=True)
    (array if isinstance(array, Image.Image) else Image.fromarray(array)).save(path, **options)


def folders(root: Path) -> tuple[Path, Path]:
    """The folders of images and masks, made."""
    both = root / "images", root / "masks"
    for path in both:
        path.mkdir(parents=True, exist_ok=True)
    return both


def segmentation(
    source: str = "lab.data.image_folder", published: Mapping[str, int] | None = None, **data: object
) -> dict[str, object]:
    """The config that reads a folder and finds what is bright: Dice 1 where all is read as it was drawn.

    Args:
        published: of a set with classes of its own, their number and those of what is dark and bright.
    """
    return config(
        task="lab.tasks.Segmentation",
        data={"target": source, "normalise": "none", "val_share": 0.5, **data},
        net=mine("BrightClasses", **published) if published else mine("Bright"),
        criterion={
            "target": "lab.losses.WeightedSum",
            "terms": {"cross_entropy" if published else "bce": 1.0},
        },
        metrics={"dice": "lab.metrics.Dice", **COUNT},
        batch_size=1,
    )


def counted(train: int, val: int) -> Mapping[str, float]:
    """A perfect result over so many images."""
    return {**PERFECT, "train_count": float(train), "val_count": float(val)}
