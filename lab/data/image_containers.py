"""Headers of image files: whole or cut short, one image or several, and how their samples are stored."""

import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress

from lab.data.bmp import bmp_header
from lab.data.image_header import CUT_SHORT, Container, Header, Refused
from lab.data.tiff import is_tiff, orientation, tiff_header

_SEVERAL = "it has several frames; save the one that is meant as a file of its own"
_PNG_COLOURS = {0: 1, 2: 3, 3: 1, 4: 1, 6: 3}
_SIZES = (  # JPEG's SOF markers
    *range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0),
)  # fmt: skip
_WITHOUT_LENGTH = (0x01, *range(0xD0, 0xD9))


def read_header(data: bytes) -> Header:
    """The header of a file, which must be whole and hold one image.

    Raises:
        Refused: it isn't, or it is of no kind that is read.
    """
    try:
        if data.startswith(b"\x89PNG"):
            return _png(data)
        if data.startswith(b"\xff\xd8"):
            return _jpeg(data)
        if is_tiff(data):
            return tiff_header(data)
        if data.startswith(b"BM"):
            return bmp_header(data)
        if data.startswith((b"GIF87a", b"GIF89a")):
            return _gif(data)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp(data)
    except (struct.error, IndexError) as error:
        raise Refused(CUT_SHORT) from error
    raise Refused("neither PNG, JPEG, TIFF, BMP, GIF nor WebP")


def _png(data: bytes) -> Header:
    found: dict[bytes, bytes] = {}
    for name, content in _png_chunks(data):
        if name in (b"IHDR", b"eXIf", b"acTL", b"tRNS"):
            found.setdefault(name, content)
    width, height, bits, kind = struct.unpack_from(">IIBB", found.get(b"IHDR", b""))
    # acTL starts with the number of frames; a file without it has one.
    if struct.unpack(">I", found.get(b"acTL", b"\0\0\0\1")[:4])[0] > 1:
        raise Refused(_SEVERAL)
    return Header(
        (height, width),
        bits,
        colours=_PNG_COLOURS.get(kind, 3),
        alpha=kind in (4, 6) or (b"tRNS" in found and kind != 3),
        orientation=orientation(found.get(b"eXIf", b"")),
        palette=kind == 3,
    )


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Names and contents up to IEND, their checksums compared; of pixels the first bytes only."""
    position, view = 8, memoryview(data)
    while position + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        end = position + 8 + length
        if end + 4 > len(data):
            raise Refused(CUT_SHORT)
        name = data[position + 4 : position + 8]
        if zlib.crc32(view[position + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            raise Refused("damaged: a checksum is wrong")
        yield name, b"" if name == b"IDAT" else data[position + 8 : end]
        if name == b"IEND":
            return
        position = end + 4
    raise Refused(CUT_SHORT)


def _jpeg(data: bytes) -> Header:
    # Compressed data never holds an end marker; a thumbnail's comes before the image's own data.
    if data.rfind(b"\xff\xd9") <= data.rfind(b"\xff\xda"):
        raise Refused(CUT_SHORT)
    exif = index = b""
    index_at = 0
    for marker, start, content in _jpeg_segments(data, 0):
        if marker == 0xE1 and content.startswith(b"Exif\0\0"):
            exif = exif or content
        elif marker == 0xE2 and content.startswith(b"MPF\0"):
            index, index_at = content[4:], start + 4
        elif marker in _SIZES:
            bits, height, width, colours = struct.unpack_from(">BHHB", content)
            if bits != 8:
                raise Refused(f"JPEG of {bits} bits is not read; save it as 16-bit PNG or TIFF")
            if colours not in (1, 3, 4):
                raise Refused(f"JPEG of {colours} bands is not read; save it as grey or RGB")
            if (height, width) in _further_sizes(data, index, index_at):
                raise Refused(_SEVERAL)
            return Header(
                (height, width),
                colours=1 if colours == 1 else 3,
                orientation=orientation(exif),
                lossy="" if marker == 0xC3 else "JPEG",
            )
    raise Refused(CUT_SHORT)


def _jpeg_segments(data: bytes, position: int) -> Iterator[tuple[int, int, bytes]]:
    """Marker, place and content of the segments before the pixels."""
    position += 2
    while True:
        position = data.find(b"\xff", position)
        if position < 0:
            raise IndexError
        marker = data[position + 1]
        position += 1 if marker == 0xFF else 2  # markers may be filled up with more of 0xff
        if marker in (0xD9, 0xDA):
            return
        if marker in (0xFF, 0x00, *_WITHOUT_LENGTH):
            continue
        (length,) = struct.unpack_from(">H", data, position)
        yield marker, position + 2, data[position + 2 : position + length]
        position += max(length, 2)


def _further_sizes(data: bytes, index: bytes, start: int) -> list[tuple[int, int]]:
    """Sizes of further images that a JPEG's index of the Multi-Picture Format lists, but for thumbnails.

    Programs that edit a photo may leave the index and remove the images.
    """
    sizes = list[tuple[int, int]]()
    with suppress(struct.error, IndexError):
        sizes.extend(_listed_sizes(data, index, start))
    return sizes


def _listed_sizes(data: bytes, index: bytes, start: int) -> Iterator[tuple[int, int]]:
    if not index:
        return
    order = "<" if index[:2] == b"II" else ">"
    (directory,) = struct.unpack_from(order + "I", index, 4)
    (entries,) = struct.unpack_from(order + "H", index, directory)
    for each in range(entries):
        tag, _, length, offset = struct.unpack_from(order + "HHII", index, directory + 2 + 12 * each)
        if tag != 0xB002:
            continue
        for place in range(offset + 16, offset + length - 15, 16):  # the first one is the image itself
            kind, _, at = struct.unpack_from(order + "III", index, place)
            if kind >> 16 & 0xFF == 1:  # a large thumbnail
                continue
            for marker, _, content in _jpeg_segments(data, start + at):
                if marker in _SIZES:
                    height, width = struct.unpack_from(">HH", content, 1)
                    yield height, width


def _gif(data: bytes) -> Header:
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    position = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    frames = []
    # Blocks up to the trailer: images (0x2C), extensions (0x21). The low bits of the flags give the size of
    # a colour table.
    while (kind := data[position]) != 0x3B:
        if kind == 0x2C:
            *place, flags = struct.unpack_from("<HHHHB", data, position + 1)
            frames.append(place)
            position += 11 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
        elif kind == 0x21:
            position += 2
        else:
            raise Refused("damaged: a block is of no kind that GIF has")
        # The data of a block is a chain of parts, each after its length, that ends with an empty one.
        while data[position]:
            position += 1 + data[position]
        position += 1
    if len(frames) > 1:
        raise Refused(_SEVERAL)
    if frames != [[0, 0, width, height]]:
        raise Refused("its frame does not cover its size")
    return Header((height, width), colours=1, palette=True, container=Container.GIF)


def _webp(data: bytes) -> Header:
    (length,) = struct.unpack_from("<I", data, 4)
    if length + 8 > len(data):
        raise Refused(CUT_SHORT)
    position, found = 12, dict[bytes, bytes]()
    while position + 8 <= length + 8:
        name = data[position : position + 4]
        (size,) = struct.unpack_from("<I", data, position + 4)
        if name in (b"ANIM", b"ANMF"):
            raise Refused(_SEVERAL)
        found.setdefault(name, data[position + 8 : position + 8 + size])
        position += 8 + size + size % 2
    exif, lossy = orientation(found.get(b"EXIF", b"")), "WebP" if b"VP8 " in found else ""
    if b"VP8L" in found:
        # 14 bits of width - 1, 14 bits of height - 1, then one bit of alpha.
        (packed,) = struct.unpack_from("<I", found[b"VP8L"], 1)
        size_of, alpha = ((packed >> 14 & 0x3FFF) + 1, (packed & 0x3FFF) + 1), bool(packed >> 28 & 1)
    elif b"VP8 " in found:
        width, height = struct.unpack_from("<HH", found[b"VP8 "], 6)
        size_of, alpha = (height & 0x3FFF, width & 0x3FFF), b"ALPH" in found
    else:
        raise Refused(CUT_SHORT)
    return Header(size_of, alpha=alpha, orientation=exif, lossy=lossy)
