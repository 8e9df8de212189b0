"""Images and masks written in many formats, modes and depths, as sets of files to train on."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from selftest.inputs.base import Files
from selftest.inputs.scenes import SCENES, Array, counted, folders, save, scene, segmentation, unturned
from selftest.inputs.tiff import write_tiff

Writer = Callable[[Array, Path], None]
"""Writes an image or a mask below a path without an ending."""

_ORIENTATION = 0x0112
EVERY = counted(SCENES // 2, SCENES // 2)


def pillow(
    ending: str, change: Callable[[Array], Array | Image.Image] = lambda a: a, **options: object
) -> Writer:
    return lambda array, path: save(change(array), path.with_name(path.name + ending), **options)


def opencv(ending: str, change: Callable[[Array], Array]) -> Writer:
    def write(array: Array, path: Path) -> None:
        changed = change(array)
        changed = changed[..., ::-1] if changed.ndim == 3 and changed.shape[2] == 3 else changed
        assert cv2.imwrite(f"{path}{ending}", np.ascontiguousarray(changed))

    return write


def raw_tiff(change: Callable[[Array], Array], **options: Any) -> Writer:
    return lambda array, path: write_tiff(path.with_name(path.name + ".tif"), [change(array)], **options)


def turned(ending: str, orientation: int, **options: object) -> Writer:
    def write(array: Array, path: Path) -> None:
        exif = Image.Exif()
        exif[_ORIENTATION] = orientation
        stored = unturned(array, orientation)
        if ending == ".tif":
            save(stored, path.with_name(path.name + ending), tiffinfo={274: orientation})
        else:
            save(stored, path.with_name(path.name + ending), exif=exif, **options)

    return write


def several_pages(ending: str, **options: object) -> Writer:
    def write(array: Array, path: Path) -> None:
        first, *others = (Image.fromarray(each) for each in (array, array[::-1].copy()))
        save(first, path.with_name(path.name + ending), save_all=True, append_images=others, **options)

    return write


def indexed(array: Array, colours: tuple[int, ...] = (10, 10, 120, 250, 30, 30)) -> Image.Image:
    image = Image.fromarray(array.astype(np.uint8), mode="P")
    image.putpalette(list(colours) + [0] * (768 - len(colours)))
    return image


def with_alpha(array: Array) -> Array:
    return np.dstack([array, np.full(array.shape[:2], 255, np.uint8)])


def greyed(array: Array) -> Array:
    return np.asarray(Image.fromarray(array).convert("L"))


def damaged(how: Callable[[bytes], bytes], ending: str = ".png") -> Writer:
    def write(array: Array, path: Path) -> None:
        file = path.with_name(path.name + ending)
        save(array, file)
        if path.name == "3":
            file.write_bytes(how(file.read_bytes()))

    return write


def file_set(
    image: Writer, mask: Writer | None = None, change: Callable[[Array], Array] | None = None, **data: Any
) -> Files:
    """Scenes as image and mask files; `change` makes the mask's values of its bools."""

    def files(folder: Path) -> Mapping[str, object]:
        images, masks = folders(folder / "set")
        for number in range(SCENES):
            picture, truth = scene(number)
            image(picture, images / str(number))
            values = truth.astype(np.uint8) * 255 if change is None else change(truth)
            (mask or pillow(".png"))(values, masks / str(number))
        return segmentation(root="set", **data)

    return files
