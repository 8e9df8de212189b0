"""Drawn scenes: a bright disc, off the centre of an oblong image, and its mask, written in many formats."""

import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
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


EVERY = counted(SCENES // 2, SCENES // 2)
Writer = Callable[[Array, Path], None]
"""Writes an image or a mask below a path without an ending."""

_ORIENTATION = 0x0112
_FORMATS = {"u": 1, "i": 2, "f": 3}  # SampleFormat by NumPy's kind


def pillow(
    ending: str, change: Callable[[Array], Array | Image.Image] = lambda a: a, **options: object
) -> Writer:
    return lambda array, path: save(change(array), path.with_name(path.name + ending), **options)


def opencv(change: Callable[[Array], Array]) -> Writer:
    def write(array: Array, path: Path) -> None:
        changed = change(array)
        changed = changed[..., ::-1] if changed.ndim == 3 and changed.shape[2] == 3 else changed
        assert cv2.imwrite(f"{path}.png", np.ascontiguousarray(changed))

    return write


def raw_tiff(change: Callable[[Array], Array], **options: Any) -> Writer:
    return lambda array, path: write_tiff(path.with_name(path.name + ".tif"), change(array), **options)


def turned(ending: str, orientation: int, **options: object) -> Writer:
    exif = Image.Exif()
    exif[_ORIENTATION] = orientation
    tag: Mapping[str, object] = (
        {"tiffinfo": {_ORIENTATION: orientation}} if ending == ".tif" else {"exif": exif}
    )
    return pillow(ending, lambda array: unturned(array, orientation), **tag, **options)


def several_pages(ending: str, **options: object) -> Writer:
    def write(array: Array, path: Path) -> None:
        first, *others = (Image.fromarray(each) for each in (array, array[::-1].copy()))
        save(first, path.with_name(path.name + ending), save_all=True, append_images=others, **options)

    return write


def indexed(array: Array) -> Image.Image:
    image = Image.fromarray(array.astype(np.uint8), mode="P")
    image.putpalette([10, 10, 120, 250, 30, 30] + [0] * 762)
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
        images, masks = folder / "set/images", folder / "set/masks"
        for place in (images, masks):
            place.mkdir(parents=True)
        for number in range(SCENES):
            picture, truth = scene(number)
            image(picture, images / str(number))
            values = truth.astype(np.uint8) * 255 if change is None else change(truth)
            (mask or pillow(".png"))(values, masks / str(number))
        return segmentation(root="set", **data)

    return files


def write_tiff(path: Path, array: Array, *, photometric: int | None = None) -> None:
    """Write an array (H, W) or (H, W, bands) of any type, uncompressed, as image libraries can't.

    Args:
        photometric: 0 where white is 0; by default 1 for grey and 2 for colour.
    """
    array = np.ascontiguousarray(array)
    bands = 1 if array.ndim == 2 else array.shape[2]
    colour = 3 if bands >= 3 else 1
    out = bytearray(b"II*\0\0\0\0\0")
    at = len(out)
    out += array.tobytes() + b"\0" * (-array.nbytes % 4)
    kind = photometric if photometric is not None else 2 if colour == 3 else 1
    tags = [
        (256, 4, [array.shape[1]]), (257, 4, [array.shape[0]]), (258, 3, [array.itemsize * 8] * bands),
        (259, 3, [1]), (262, 3, [kind]), (273, 4, [at]), (274, 3, [1]), (277, 3, [bands]),
        (278, 4, [array.shape[0]]), (279, 4, [array.nbytes]), (284, 3, [1]),
    ]  # fmt: skip
    if bands > colour:
        tags.append((338, 3, [0] * (bands - colour)))
    tags.append((339, 3, [_FORMATS[array.dtype.kind]] * bands))
    entries = b""
    for tag, type_, values in tags:
        packed = struct.pack(f"<{len(values)}{'H' if type_ == 3 else 'I'}", *values)
        if len(packed) > 4:  # it stands elsewhere, and its place here
            where = len(out)
            out += packed + b"\0" * (-len(packed) % 4)
            packed = struct.pack("<I", where)
        entries += struct.pack("<HHI", tag, type_, len(values)) + packed.ljust(4, b"\0")
    struct.pack_into("<I", out, 4, len(out))
    path.write_bytes(out + struct.pack("<H", len(tags)) + entries + bytes(4))
