"""Uncompressed BMP files: their header, and the indices and colours of those with a palette."""

import struct
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lab.data.image_header import CUT_SHORT, Container, Header, Refused


class _Fields(NamedTuple):
    """The two headers of a file.

    Args:
        pixels: where they begin.
        palette: where it begins.
        height: negative: the first row is the top one.
        colours: in the palette; 0: as many as the bits allow.
        entry: bytes of a colour in it.
    """

    pixels: int
    palette: int
    width: int
    height: int
    bits: int
    compression: int
    colours: int
    entry: int

    @property
    def row(self) -> int:
        """Bytes of a row, which is filled up to four."""
        return (self.width * self.bits + 31) // 32 * 4


def bmp_header(data: bytes) -> Header:
    """The header of an uncompressed file.

    Raises:
        Refused: it is compressed, cut short, or has a depth that is not read.
        struct.error: it ends within the header.
    """
    fields = _fields(data)
    if fields.compression not in (0, 3, 6):
        raise Refused("a compressed BMP is not read; save it uncompressed, or as PNG")
    if fields.bits not in (1, 4, 8, 24, 32):  # 16 have 5 for a colour, which decoders scale differently
        raise Refused(f"BMP of {fields.bits} bits is not read; save it with 8 or 24 bits")
    if fields.pixels + fields.row * abs(fields.height) > len(data):
        raise Refused(CUT_SHORT)
    palette = fields.bits <= 8
    return Header(
        (abs(fields.height), fields.width),
        min(fields.bits, 8),
        colours=1 if palette else 3,
        palette=palette,
        container=Container.BMP,
    )


def bmp_palette(data: bytes) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The indices (H, W), and the colours (N, 3) in RGB order. Pillow makes some of these files grey.

    Args:
        data: a file whose header is read and has a palette.
    Raises:
        Refused: there is no colour before the pixels.
    """
    fields = _fields(data)
    height, bits = abs(fields.height), fields.bits
    count = min(fields.colours or 1 << bits, (fields.pixels - fields.palette) // fields.entry, 1 << bits)
    if count < 1:
        raise Refused(CUT_SHORT)
    # A colour is stored as blue, green, red and, but for OS/2, a fourth byte that is not used.
    table = np.frombuffer(data, np.uint8, count * fields.entry, fields.palette)
    colours = table.reshape(count, fields.entry)[:, 2::-1]
    rows = np.frombuffer(data, np.uint8, fields.row * height, fields.pixels).reshape(height, fields.row)
    indices = rows
    if bits < 8:
        # Several indices are packed into a byte, the first one in its highest bits.
        shifts = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
        indices = (rows[..., None] >> shifts & np.uint8((1 << bits) - 1)).reshape(height, -1)
    indices = indices[:, : fields.width]
    # Rows are stored from the bottom up, unless the height is negative.
    return np.ascontiguousarray(indices[::-1] if fields.height > 0 else indices), colours.copy()


def _fields(data: bytes) -> _Fields:
    pixels, size = struct.unpack_from("<II", data, 10)
    if size == 12:  # of OS/2
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        return _Fields(pixels, 14 + size, width, height, bits, compression=0, colours=0, entry=3)
    width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
    colours = int.from_bytes(data[46:50], "little")
    return _Fields(pixels, 14 + size, width, height, bits, compression, colours, entry=4)
