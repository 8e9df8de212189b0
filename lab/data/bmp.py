"""Indices and colours of an uncompressed BMP file with a palette."""

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lab.data.header import CUT_SHORT, Refused


def bmp_palette(data: bytes) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The indices (H, W), and the colours (N, 3) in RGB order. Pillow makes some of these files grey.

    Raises:
        Refused: the file is cut short.
    """
    offset, header = struct.unpack_from("<II", data, 10)
    if header == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        entry, count = 3, 0
    else:
        width, height, _, bits = struct.unpack_from("<iiHH", data, 18)
        entry, (count,) = 4, struct.unpack_from("<I", data, 46)
    start = 14 + header
    count = min(count or 1 << bits, (offset - start) // entry, 1 << bits)
    row = (width * bits + 31) // 32 * 4
    if offset + row * abs(height) > len(data) or count < 1:
        raise Refused(CUT_SHORT)
    colours = np.frombuffer(data, np.uint8, count * entry, start).reshape(count, entry)[:, 2::-1]
    rows = np.frombuffer(data, np.uint8, row * abs(height), offset).reshape(abs(height), row)
    indices: NDArray[Any] = rows
    if bits < 8:
        shifts = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
        indices = (rows[..., None] >> shifts & np.uint8((1 << bits) - 1)).reshape(abs(height), -1)
    indices = indices[:, :width]
    return np.ascontiguousarray(indices[::-1] if height > 0 else indices), colours.copy()
