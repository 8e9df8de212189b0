"""Facts about an image file that its header states, and the error for files that are not read."""

from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias

from numpy.typing import NDArray

Pixels: TypeAlias = NDArray[Any]
"""Samples of an image or a mask in the type of its file: integers or floats of any size."""

CUT_SHORT = "cut short: the file ends before the image does"


class Refused(ValueError):
    """The reason why a file is not read, without its path."""


class Container(Enum):
    """The formats that differ in how they are decoded."""

    BMP = "BMP"
    GIF = "GIF"
    TIFF = "TIFF"
    OTHER = "PNG, JPEG or WebP"


class SampleKind(Enum):
    """The type of a sample; the value is the word for messages."""

    UNSIGNED = "unsigned"
    SIGNED = "signed"
    FLOAT = "floating-point"


@dataclass(frozen=True)
class Header:
    """Facts about one image, as stored.

    Args:
        size: height and width, before the orientation is applied.
        bits: of a sample, in the file.
        colours: bands without alpha after decoding: 1 or 3.
        premultiplied: the colours are multiplied by alpha.
        orientation: EXIF's: 1 to 8.
        palette: samples are indices of colours.
        white_is_zero: a grey image whose 0 is white.
        lossy: name of the compression, if it changes values.
        container: the format of the file.
    """

    size: tuple[int, int]
    bits: int = 8
    kind: SampleKind = SampleKind.UNSIGNED
    colours: int = 3
    alpha: bool = False
    premultiplied: bool = False
    orientation: int = 1
    palette: bool = False
    white_is_zero: bool = False
    lossy: str = ""
    container: Container = Container.OTHER

    @property
    def dtype(self) -> str:
        """NumPy's name of the decoded samples' type."""
        prefix = {SampleKind.UNSIGNED: "uint", SampleKind.SIGNED: "int", SampleKind.FLOAT: "float"}[self.kind]
        return f"{prefix}{max(self.bits, 8)}"
