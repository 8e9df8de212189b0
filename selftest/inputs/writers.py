"""Images and masks written in many formats, modes and depths, as sets of files to train on."""

import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from selftest.inputs.base import Files
from selftest.inputs.scenes import SCENES, Array, counted, folders, save, scene, segmentation, unturned

Writer = Callable[[Array, Path], None]
"""Writes an image or a mask below a path without an ending."""

_ORIENTATION = 0x0112
_FORMATS = {"u": 1, "i": 2, "f": 3}  # SampleFormat by NumPy's kind
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


def write_tiff(path: Path, pages: Sequence[Array], *, photometric: int | None = None) -> None:
    """Write pages (H, W) or (H, W, bands) of any type, uncompressed, as image libraries can't.

    Args:
        photometric: 0 where white is 0; by default 1 for grey and 2 for colour.
    """
    out = bytearray(b"II*\0\0\0\0\0")
    link = 4
    for page in pages:
        page = np.ascontiguousarray(page)
        bands = 1 if page.ndim == 2 else page.shape[2]
        colour = 3 if bands >= 3 else 1
        at = len(out)
        out += page.tobytes() + b"\0" * (-page.nbytes % 4)
        kind = photometric if photometric is not None else 2 if colour == 3 else 1
        tags = [
            (256, 4, [page.shape[1]]), (257, 4, [page.shape[0]]), (258, 3, [page.itemsize * 8] * bands),
            (259, 3, [1]), (262, 3, [kind]), (273, 4, [at]), (274, 3, [1]), (277, 3, [bands]),
            (278, 4, [page.shape[0]]), (279, 4, [page.nbytes]), (284, 3, [1]),
        ]  # fmt: skip
        if bands > colour:
            tags.append((338, 3, [0] * (bands - colour)))
        tags.append((339, 3, [_FORMATS[page.dtype.kind]] * bands))
        entries = b""
        for tag, type_, values in tags:
            packed = struct.pack(f"<{len(values)}{'H' if type_ == 3 else 'I'}", *values)
            if len(packed) > 4:
                where, inline = len(out), b""
                out += packed + b"\0" * (-len(packed) % 4)
                inline = struct.pack("<I", where)
            else:
                inline = packed.ljust(4, b"\0")
            entries += struct.pack("<HHI", tag, type_, len(values)) + inline
        here = len(out)
        out += struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)
        struct.pack_into("<I", out, link, here)
        link = len(out) - 4
    path.write_bytes(bytes(out))
