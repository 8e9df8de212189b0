"""TIFF files as cameras and programs of microscopes write them, which image libraries don't write."""

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_FORMATS = {"u": 1, "i": 2, "f": 3}  # SampleFormat by NumPy's kind


def write_tiff(
    path: Path,
    pages: Sequence[NDArray[Any]],
    *,
    extra: int | None = None,
    photometric: int | None = None,
    orientation: int = 1,
) -> None:
    """Pages (H, W) or (H, W, bands) of any type, uncompressed.

    Args:
        extra: ExtraSamples of each band beyond three: 0 unspecified, 1 premultiplied alpha, 2 alpha.
        photometric: 0 where white is 0; by default 1 for grey and 2 for colour.
        orientation: tag 274.
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
            (259, 3, [1]), (262, 3, [kind]), (273, 4, [at]), (274, 3, [orientation]), (277, 3, [bands]),
            (278, 4, [page.shape[0]]), (279, 4, [page.nbytes]), (284, 3, [1]),
        ]  # fmt: skip
        if bands > colour:
            tags.append((338, 3, [0 if extra is None else extra] * (bands - colour)))
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
