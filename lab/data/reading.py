"""Image files to arrays: PNG, JPEG and TIFF of 8 or 16 bits, grey or in colour, or an error that names them.

Training and prediction read through this one file, so that both see the same numbers.
"""

import io
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp"}
_DAMAGED = (OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, EOFError, struct.error)
"""What Pillow was seen to raise, or may, where a file's numbers make no sense."""

_ROWS = 256
_CUT_SHORT = "cut short: the file ends before the image does"


def read_image(path: str | Path, channels: Literal[1, 3] = 3) -> NDArray[Any]:
    """An image (H, W, channels) in RGB order: uint8, or float32 in [0, 1] for more than 8 bits.

    A grey file is repeated for three channels, a coloured one weighted to grey for one; alpha is dropped. 16
    bits are divided by 65,535, whatever the camera used of them.

    Raises:
        ValueError: with the path; the file can't be read, is no such image, empty, cut short or damaged, has
            several pages, or floats outside [0, 1].
    """
    import cv2

    image = decode(path)
    if image.dtype == np.uint16:
        image = image.astype(np.float32) / 65535
    elif image.dtype != np.uint8:
        image = _unit_range(path, image)
    if channels == 1:
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if image.ndim == 3 else image
        return np.asarray(grey[..., None])
    return image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)


def decode(path: str | Path) -> NDArray[Any]:
    """The file as (H, W), or (H, W, 3) in RGB order without alpha, with the file's own type.

    Raises:
        ValueError: with the path; the file can't be read, is no such image, empty, cut short, damaged or of
            several pages.
    """
    import cv2

    data = _content(path)
    log = getattr(cv2.utils, "logging", cv2)  # OpenCV 4 has the two functions at its top
    level = log.getLogLevel()
    log.setLogLevel(0)  # silent: it would print what the error says
    try:
        # From memory: cv2.imread says less of what went wrong and can't open every name on every system.
        array = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ValueError(f"{path}: not a readable image ({error.err})") from error
    finally:
        log.setLogLevel(level)
    if array is None:
        raise ValueError(f"{path}: not a readable image; the file may be damaged or cut short")
    if array.ndim == 3 and array.shape[2] < 3:
        array = array[..., 0]
    elif array.ndim == 3:
        for top in range(0, len(array), _ROWS):  # in place: a copy of a large image may be too much
            array[top : top + _ROWS, :, :3] = array[top : top + _ROWS, :, 2::-1]
        array = array[..., :3]
    return np.asarray(array)


def palette_indices(path: str | Path) -> NDArray[np.uint8] | None:
    """The indices (H, W) of a file that has a palette, None for any other: masks are often saved so.

    Raises:
        ValueError: with the path, as for `decode`.
    """
    from PIL import Image, UnidentifiedImageError

    _content(path)
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path) as image:
            return np.asarray(image) if image.mode == "P" else None
    except UnidentifiedImageError:  # of a depth that Pillow doesn't know, so it has no palette
        return None
    except (*_DAMAGED, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: not a readable image ({error})") from error


def _content(path: str | Path) -> bytes:
    """The file's bytes, whole: a decoder may fill up what is missing and say nothing."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: can't be read: {error.strerror or error}") from error
    if not data:
        raise ValueError(f"{path}: the file is empty")
    if data.startswith(b"\x89PNG"):
        problem = _png_problem(data)
    elif data.startswith(b"\xff\xd8"):
        # Compressed data never holds an end marker; a thumbnail's comes before the image's own data.
        problem = "" if data.rfind(b"\xff\xd9") > data.rfind(b"\xff\xda") else _CUT_SHORT
    elif data[:4] in (b"II*\0", b"MM\0*"):
        problem = _tiff_problem(data)
    elif data[:4] in (b"II+\0", b"MM\0+"):
        problem = ""  # BigTIFF: left to the decoder
    elif data.startswith(b"BM"):
        problem = ""
    elif data.startswith((b"GIF87a", b"GIF89a")) or (data[:4] == b"RIFF" and data[8:12] == b"WEBP"):
        problem = _frames_problem(data)
    else:
        problem = "neither PNG, JPEG, TIFF, BMP, GIF nor WebP"
    if problem:
        raise ValueError(f"{path}: not a readable image; {problem}")
    return data


def _frames_problem(data: bytes) -> str:
    from PIL import Image

    try:
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(data)) as image:
            several = getattr(image, "n_frames", 1) > 1
    except (*_DAMAGED, Image.DecompressionBombError) as error:
        return str(error)
    return "it has several frames; save the one that is meant as a file of its own" if several else ""


def _png_problem(data: bytes) -> str:
    """Walk the chunks (length, name, content, checksum) up to IEND."""
    position = 8
    while position + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        end = position + 8 + length
        if end + 4 > len(data):
            return _CUT_SHORT
        name = data[position + 4 : position + 8]
        if zlib.crc32(data[position + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            return "damaged: a checksum is wrong"
        if name == b"IEND":
            return ""
        position = end + 4
    return _CUT_SHORT


def _tiff_problem(data: bytes) -> str:
    """Follow the directory of pages, and see whether the first one's strips or tiles are all there."""
    order = "<" if data[:2] == b"II" else ">"
    try:
        (position,) = struct.unpack_from(f"{order}I", data, 4)
        (entries,) = struct.unpack_from(f"{order}H", data, position)
        found = {}
        for index in range(entries):
            tag, kind, count = struct.unpack_from(f"{order}HHI", data, position + 2 + 12 * index)
            if tag in (273, 279, 324, 325):  # offsets and lengths of strips, and of tiles
                found[tag] = _tiff_numbers(data, order, position + 10 + 12 * index, kind, count)
        (following,) = struct.unpack_from(f"{order}I", data, position + 2 + 12 * entries)
    except struct.error:
        return _CUT_SHORT
    if following:
        return "it has several pages; save the one that is meant as a file of its own"
    offsets, lengths = found.get(273, found.get(324, ())), found.get(279, found.get(325, ()))
    ends = (offset + length for offset, length in zip(offsets, lengths, strict=False))
    return _CUT_SHORT if max(ends, default=0) > len(data) else ""


def _tiff_numbers(data: bytes, order: str, position: int, kind: int, count: int) -> tuple[int, ...]:
    """An entry's values: in place where they fit in four bytes, elsewhere in the file otherwise."""
    if kind not in (3, 4):
        return ()
    layout = f"{order}{count}{'H' if kind == 3 else 'I'}"
    if struct.calcsize(layout) > 4:
        (position,) = struct.unpack_from(f"{order}I", data, position)
    return struct.unpack_from(layout, data, position)


def _unit_range(path: str | Path, image: NDArray[Any]) -> NDArray[np.float32]:
    low, high = float(image.min()), float(image.max())
    if image.dtype.kind != "f" or not (low >= 0 and high <= 1):
        raise ValueError(
            f"{path}: pixels are {image.dtype} from {low:g} to {high:g}; save them with 8 or 16 bits, or as "
            "floats in [0, 1]"
        )
    return image.astype(np.float32)
