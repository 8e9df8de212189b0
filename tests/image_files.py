"""Bytes of image files of every kind, by Pillow or, where Pillow can't write them, by the formats' rules."""

import io
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

TIFF_TYPES = {"B": 1, "H": 3, "I": 4, "Q": 16}


def by_pillow(image: Image.Image, kind: str, **options: Any) -> bytes:
    """A file as Pillow writes it."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def with_palette(indices: NDArray[np.uint8], colours: NDArray[np.uint8]) -> Image.Image:
    """An image of mode P, without any renumbering."""
    image = Image.frombytes("P", (indices.shape[1], indices.shape[0]), indices.tobytes())
    image.putpalette(colours.astype(np.uint8).tobytes())
    return image


def packed(values: NDArray[Any], bits: int) -> bytes:
    """Rows of samples of 1, 2, 4 or 12 bits, each row filled up to a byte."""
    rows = [
        "".join(f"{int(value):0{bits}b}" for value in row).ljust(-(-len(row) * bits // 8) * 8, "0")
        for row in values
    ]
    return b"".join(int(row, 2).to_bytes(len(row) // 8, "big") for row in rows)


def png(values: NDArray[Any], bits: int, colour: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of the colour type: 0 grey, 2 RGB, 4 grey with alpha, 6 RGBA."""
    height, width = values.shape[:2]
    raw = values.reshape(height, -1)
    rows = [packed(row[None], bits) if bits < 8 else row.astype(f">u{bits // 8}").tobytes() for row in raw]
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)),
        *chunks,
        (b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows))),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in parts
    )


def tiff(
    *pages: NDArray[Any],
    photometric: int | None = None,
    extra: Sequence[int] | None = None,
    bits: int | None = None,
    planar: int = 1,
    big: bool = False,
    order: str = "<",
    tags: Sequence[tuple[int, str, Sequence[int]]] = (),
) -> bytes:
    """An uncompressed TIFF or BigTIFF, a page for each array and a strip for each page (or band).

    Args:
        bits: of packed samples, fewer than the array's.
        tags: further ones: number, struct's letter, values.
    """
    word = "Q" if big else "I"
    out = bytearray((b"II" if order == "<" else b"MM") + struct.pack(order + "H", 43 if big else 42))
    out += struct.pack(order + "HHQ", 8, 0, 0) if big else struct.pack(order + "I", 0)
    link = 8 if big else 4

    def put(data: bytes) -> int:
        out.extend(b"\0" * (-len(out) % 8))
        out.extend(data)
        return len(out) - len(data)

    for page in pages:
        bands = 1 if page.ndim == 2 else page.shape[2]
        depth = bits or page.dtype.itemsize * 8
        ordered = page.astype(page.dtype.newbyteorder(order))
        strips = [ordered[..., k] for k in range(bands)] if planar == 2 else [ordered]
        data = [packed(strip, depth) if bits else np.ascontiguousarray(strip).tobytes() for strip in strips]
        entries = [
            (256, "I", [page.shape[1]]), (257, "I", [page.shape[0]]), (258, "H", [depth] * bands),
            (259, "H", [1]),
            (262, "H", [(1 if bands < 3 else 2) if photometric is None else photometric]),
            (273, word, [put(each) for each in data]), (277, "H", [bands]), (278, "I", [page.shape[0]]),
            (279, word, [len(each) for each in data]), (284, "H", [planar]),
            (339, "H", [{"u": 1, "i": 2, "f": 3}[page.dtype.kind]] * bands),
            *tags, *([] if extra is None else [(338, "H", list(extra))]),
        ]  # fmt: skip
        rows = []
        for number, letter, values in sorted(entries, key=lambda entry: entry[0]):
            content = struct.pack(f"{order}{len(values)}{letter}", *values)
            room = struct.calcsize(order + word)
            if len(content) > room:
                content = struct.pack(order + word, put(content))
            rows.append(
                struct.pack(order + "HH" + word, number, TIFF_TYPES[letter], len(values))
                + content.ljust(room, b"\0")
            )
        here = put(struct.pack(order + ("Q" if big else "H"), len(rows)) + b"".join(rows))
        struct.pack_into(order + word, out, link, here)
        link = len(out)
        out += struct.pack(order + word, 0)
    return bytes(out)


def bmp(
    rows: Sequence[bytes], width: int, bits: int, colours: NDArray[np.uint8], *, down: bool = False
) -> bytes:
    """An uncompressed BMP with a palette, from the top row's bytes to the last one's."""
    table = b"".join(bytes([*colour[::-1], 0]) for colour in colours.tolist())
    filled = [row.ljust(-(-len(row) // 4) * 4, b"\0") for row in rows]
    offset = 54 + len(table)
    pixels = b"".join(filled if down else filled[::-1])
    head = b"BM" + struct.pack("<IHHI", offset + len(pixels), 0, 0, offset)
    height = -len(rows) if down else len(rows)
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, 0, len(pixels), 0, 0, len(colours), 0)
    return head + info + table + pixels


def exif(orientation: int, order: str = "<", kind: str = "H") -> bytes:
    """EXIF that states an orientation and nothing else."""
    head = b"II*\0" if order == "<" else b"MM\0*"
    value = struct.pack(order + kind, orientation).ljust(4, b"\0")
    entry = struct.pack(order + "HHI", 274, TIFF_TYPES[kind], 1) + value
    return b"Exif\0\0" + head + struct.pack(order + "IH", 8, 1) + entry + struct.pack(order + "I", 0)
