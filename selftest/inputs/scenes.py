"""Drawn scenes: a bright disc, off the centre of an oblong image, and its mask."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from selftest.inputs.base import COUNT, Files, config, mine

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


# By the orientation of EXIF.
_UNTURNED: Mapping[int, Callable[[Array], Array]] = {
    2: lambda array: array[:, ::-1],
    3: lambda array: array[::-1, ::-1],
    4: lambda array: array[::-1],
    5: lambda array: array.swapaxes(0, 1),
    6: np.rot90,
    7: lambda array: array[::-1, ::-1].swapaxes(0, 1),
    8: lambda array: np.rot90(array, -1),
}


def unturned(array: Array, orientation: int) -> Array:
    """An array as a camera stores it, so that a viewer who applies the orientation shows the given one."""
    turn = _UNTURNED.get(orientation, np.asarray)
    return np.ascontiguousarray(turn(array))


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
    loss = "cross_entropy" if published else "bce"
    return config(
        task="lab.tasks.Segmentation",
        data={"target": source, "normalise": "none", "val_share": 0.5, **data},
        net=mine("BrightClasses", **published) if published else mine("Bright"),
        criterion={"target": "lab.losses.WeightedSum", "terms": {loss: 1.0}},
        metrics={"dice": "lab.metrics.Dice", **COUNT},
        batch_size=1,
    )


def scenes_at(image: Callable[[int], str], mask: Callable[[int], str]) -> Files:
    """All scenes as pairs of files at these paths below the root."""

    def files(folder: Path) -> Mapping[str, object]:
        for number in range(SCENES):
            save_pair(number, folder / "set" / image(number), folder / "set" / mask(number))
        return segmentation(root="set")

    return files


def save_pair(number: int, image: Path, mask: Path) -> None:
    """Save the image of a scene, and its mask as 0 and 255."""
    picture, truth = scene(number)
    save(picture, image)
    save(truth.astype(np.uint8) * 255, mask)


def counted(train: int, val: int) -> Mapping[str, float]:
    """A perfect result over so many images."""
    return {**PERFECT, "train_count": float(train), "val_count": float(val)}
