"""Image files to arrays: the one place where files are decoded and their values scaled.

Training, prediction and evaluation read through this file, so that they get the same numbers. What is read
and what is refused: docs/input.md.
"""

import math
import struct
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from lab.config.dataset_info import DatasetInfo
from lab.data.bit_depths import Depths
from lab.data.bmp import bmp_palette
from lab.data.file_problems import read_bytes
from lab.data.image_containers import read_header
from lab.data.image_header import Container, Header, Pixels, Refused, SampleKind
from lab.data.tiff import without_orientation

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp"}
_DAMAGED = (OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, EOFError, struct.error)
"""Exceptions that Pillow raises, or may raise, where the numbers in a file make no sense."""

_ROWS = 256
_MOST_PIXELS = 1 << 30  # OpenCV's own limit, for all files
_PILLOW = Lock()  # its limit of pixels is of the whole process


@dataclass(frozen=True)
class Picture:
    """A decoded file, turned as its orientation states.

    Args:
        pixels: (H, W), or (H, W, 3) in RGB order, in the file's own type; of a palette the indices.
        palette: (N, 3) uint8, the colours of the indices; None: there is no palette.
        alpha: (H, W), in the file's own type; None: there is none.
    """

    header: Header
    pixels: Pixels
    palette: NDArray[np.uint8] | None = None
    alpha: Pixels | None = None

    @property
    def colours(self) -> Pixels:
        """The pixels with a palette's colours in place of its indices.

        Raises:
            Refused: an index has no colour.
        """
        if self.palette is None:
            return self.pixels
        largest = int(self.pixels.max(initial=0))
        if largest >= len(self.palette):
            raise Refused(f"damaged: its palette has {len(self.palette)} colours, and a pixel has {largest}")
        return np.asarray(self.palette[self.pixels])


class ImageReader:
    """Reads images as (H, W, channels) in RGB order: uint8, or float32 in [0, 1] for other types.

    A grey file is repeated for three channels, a coloured one weighted to grey for one; alpha is dropped.

    Args:
        value_range: the values that become 0 and 1, for files of other types than 8 bits unsigned; by default
            0 and 65,535 for 16 bits, and 0 and 1 for floats. Other types are refused without it.
    Attributes:
        depths: the types and largest values of the files that were read.
    Raises:
        ValueError: the range isn't two numbers in ascending order, or the channels are neither 1 nor 3.
    """

    def __init__(self, channels: int = 3, value_range: Sequence[float] | None = None) -> None:
        if channels not in (1, 3):
            raise ValueError(f"images are read with 1 or 3 channels, and the network takes {channels}")
        if value_range is not None and not (len(value_range) == 2 and value_range[0] < value_range[1]):
            raise ValueError(f"value_range must be [lowest, highest], found {value_range}")
        self.channels = channels
        self.value_range = None if value_range is None else (float(value_range[0]), float(value_range[1]))
        self.depths = Depths()

    def read(self, path: str | Path) -> Pixels:
        """The image in a file.

        Raises:
            ValueError: with the path; the file can't be read or is refused.
        """
        return self.scale(self.load(path))

    def load(self, path: str | Path) -> Pixels:
        """The image before `scale`: unsigned 8 or 16 bits as stored, and other types as float32 in [0, 1]."""
        pixels = decode(path)
        low, high = (pixels.min(), pixels.max()) if pixels.size else (0, 0)
        try:
            self._require_range(pixels, float(low), float(high))
        except Refused as error:
            raise ValueError(f"{path}: {error}") from None
        self.depths.add(pixels.dtype, float(high), path)
        return pixels if pixels.dtype in (np.uint8, np.uint16) else self._unit(pixels)

    def scale(self, pixels: Pixels) -> Pixels:
        """Convert the result of `load`, or a part of it, to (h, w, channels)."""
        import cv2

        if pixels.dtype == np.uint16:
            pixels = self._unit(pixels)
        if self.channels == 1:
            pixels = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)) if pixels.ndim == 3 else pixels
            return pixels[..., None]
        return pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)

    def info(self) -> DatasetInfo:
        """The metadata that a prediction needs about how the images were read."""
        stated = None if self.value_range is None else list(self.value_range)
        return DatasetInfo(depths=self.depths.largest(), value_range=stated)

    def warnings(self) -> list[str]:
        """Remarks on unusual depths of the files that were read."""
        return self.depths.warnings(scaled=self.value_range is not None)

    def _require_range(self, pixels: Pixels, low: float, high: float) -> None:
        if not (np.isfinite(low) and np.isfinite(high)):
            count = pixels.size - int(np.isfinite(pixels).sum())
            raise Refused(f"{count:,} values are NaN or infinite; replace them")
        if pixels.dtype == np.uint8:
            return
        shown = f"pixels are {pixels.dtype} from {low:g} to {high:g}"
        if self.value_range is not None:
            if low < self.value_range[0] or high > self.value_range[1]:
                raise Refused(f"{shown}, outside of data.value_range {list(self.value_range)}")
        elif not (pixels.dtype == np.uint16 or (pixels.dtype.kind == "f" and low >= 0 and high <= 1)):
            raise Refused(
                f"{shown}; save them with 8 or 16 bits or as floats in [0, 1], or set data.value_range: "
                "[lowest, highest] to the values that become 0 and 1"
            )

    def _unit(self, pixels: Pixels) -> NDArray[np.float32]:
        low, high = self.value_range or (0.0, 65535.0 if pixels.dtype == np.uint16 else 1.0)
        if pixels.dtype.itemsize > 2 and (low, high) != (0.0, 1.0):  # float32 can't hold large whole numbers
            return np.asarray(((pixels.astype(np.float64) - low) / (high - low)).astype(np.float32))
        values = pixels.astype(np.float32)
        return values if (low, high) == (0.0, 1.0) else (values - low if low else values) / (high - low)


def read_image(path: str | Path, channels: Literal[1, 3] = 3) -> Pixels:
    """An image (H, W, channels), as `ImageReader(channels).read` returns it.

    Raises:
        ValueError: with the path; the file can't be read or is refused.
    """
    return ImageReader(channels).read(path)


def decode(path: str | Path) -> Pixels:
    """The file as (H, W), or (H, W, 3) in RGB order without alpha, in the file's own type and orientation.

    Raises:
        ValueError: with the path; the file can't be read or is refused.
    """
    picture = read_picture(path)
    try:
        return picture.colours
    except Refused as error:
        raise ValueError(f"{path}: not a readable image; {error}") from None


def read_picture(path: str | Path) -> Picture:
    """Decode a file.

    Raises:
        ValueError: with the path; the file can't be read, is no such image, empty, cut short, damaged, of
            several pages or frames, or its samples are of a kind that is not read.
    """
    data = read_bytes(path)
    if not data:
        raise ValueError(f"{path}: the file is empty")
    try:
        # The header is parsed here first: decoders guess, truncate or convert where this refuses.
        header = read_header(data)
        if header.size[0] * header.size[1] > _MOST_PIXELS:
            raise Refused(f"more than {_MOST_PIXELS:,} pixels; cut it into parts")
        # A decoder may apply a TIFF's orientation, so it is removed here; `_oriented` serves all formats.
        if header.container is Container.TIFF and header.orientation != 1:
            data = without_orientation(data)
        picture = _decoded(header, data)
        _require_agreement(header, picture.pixels)
        return _oriented(picture)
    except Refused as error:
        raise ValueError(f"{path}: not a readable image; {error}") from error


def _require_agreement(header: Header, pixels: Pixels) -> None:
    """Refuse what the decoder takes for another image: a colour lost, or samples of another type."""
    height, width, *bands = pixels.shape
    stated = [] if header.colours == 1 else [header.colours]
    if ((height, width), bands, pixels.dtype) != (header.size, stated, np.dtype(header.dtype)):
        raise Refused(
            f"its header states {header.size[1]} × {header.size[0]} pixels of {header.colours} × "
            f"{header.dtype}, and the decoder finds {width} × {height} of {math.prod(bands)} × "
            f"{pixels.dtype}; save it in another format"
        )


def _decoded(header: Header, data: bytes) -> Picture:
    tiff = header.container is Container.TIFF
    # Pillow turns grey palettes of BMP into grey images, which loses the indices.
    if header.palette and header.container is Container.BMP:
        return Picture(header, *bmp_palette(data))
    if header.palette or (tiff and header.bits <= 8 and header.kind is SampleKind.UNSIGNED):
        if not data.startswith(b"MM\0+"):
            return _by_pillow(header, data)
        if header.palette or header.alpha or header.bits < 8 or header.white_is_zero:  # unknown to Pillow
            raise Refused("a big-endian BigTIFF with a palette, alpha or few bits is not read")
    return _by_opencv(header, data)


def _by_opencv(header: Header, data: bytes) -> Picture:
    import cv2

    log = getattr(cv2.utils, "logging", cv2)  # OpenCV 4 has the two functions at its top
    level = log.getLogLevel()
    log.setLogLevel(0)  # silent: it would repeat the error's text
    try:
        # IMREAD_UNCHANGED leaves EXIF's orientation alone.
        array = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise Refused(str(error.err)) from error
    finally:
        log.setLogLevel(level)
    if array is None:
        raise Refused("the file may be damaged or cut short")
    alpha = np.ascontiguousarray(array[..., 3]) if header.alpha and array.shape[2:] == (4,) else None
    if header.colours == 1 and array.ndim == 3:  # OpenCV repeats grey where there is alpha
        array = np.ascontiguousarray(array[..., 0])
    elif array.ndim == 3:
        for top in range(0, len(array), _ROWS):  # in place: a copy of a large image may be too much
            array[top : top + _ROWS, :, :3] = array[top : top + _ROWS, :, 2::-1]
        array = array[..., :3]
    if header.white_is_zero:
        array = np.iinfo(array.dtype).max - array
    if header.premultiplied:
        _require_opaque(alpha)
    return Picture(header, np.asarray(array), alpha=alpha)


def _by_pillow(header: Header, data: bytes) -> Picture:
    """Files with a palette, whose indices OpenCV can't give, and 8-bit TIFF, whose alpha it multiplies in."""
    try:
        with warnings.catch_warnings(action="ignore"), _any_size(), _plugin(data) as image:
            if image.mode == "CMYK":
                return Picture(header, np.asarray(image.convert("RGB")))
            pixels = np.asarray(image)
            colours = image.getpalette("RGB") if image.mode == "P" else None
    except _DAMAGED as error:
        raise Refused(str(error)) from error
    if header.palette:
        # Where a palette is the grey values themselves, Pillow gives a grey image.
        table = np.repeat(np.arange(256)[:, None], 3, 1) if colours is None else np.reshape(colours, (-1, 3))
        return Picture(header, pixels, palette=table.astype(np.uint8))
    if header.bits == 1:
        pixels = pixels.astype(np.uint8) * np.uint8(255)
    alpha = np.ascontiguousarray(pixels[..., -1]) if header.alpha else None
    if header.premultiplied:
        _require_opaque(alpha)
    if header.alpha:
        pixels = np.ascontiguousarray(pixels[..., 0] if header.colours == 1 else pixels[..., :3])
    return Picture(header, pixels, alpha=alpha)


def _plugin(data: bytes) -> "ImageFile":
    """Pillow's class for the container, which needn't be found out again."""
    from PIL.GifImagePlugin import GifImageFile
    from PIL.PngImagePlugin import PngImageFile
    from PIL.TiffImagePlugin import TiffImageFile

    kinds = {b"\x89P": PngImageFile, b"GI": GifImageFile}
    return kinds.get(data[:2], TiffImageFile)(BytesIO(data))


@contextmanager
def _any_size() -> Iterator[None]:
    """Have Pillow read as many pixels as OpenCV does: masks are as large as their images."""
    from PIL import Image

    with _PILLOW:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _require_opaque(alpha: Pixels | None) -> None:
    if alpha is None or (alpha != (np.iinfo(alpha.dtype).max if alpha.dtype.kind in "ui" else 1)).any():
        raise Refused("its colours are multiplied by its alpha; save it with alpha apart, or without")


def _oriented(picture: Picture) -> Picture:
    """Orient an image as viewers show it: 5 to 8 are transposed, and then or else mirrored or rotated."""
    orientation = picture.header.orientation
    if orientation == 1:
        return picture

    def turned(array: Pixels) -> Pixels:
        if orientation >= 5:
            array = array.swapaxes(0, 1)
        if orientation in (3, 4, 7, 8):
            array = array[::-1]
        if orientation in (2, 3, 6, 7):
            array = array[:, ::-1]
        return np.ascontiguousarray(array)

    alpha = None if picture.alpha is None else turned(picture.alpha)
    return Picture(picture.header, turned(picture.pixels), picture.palette, alpha)
