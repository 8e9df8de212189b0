"""The directory of a TIFF file (also what EXIF consists of): size, samples, orientation."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from lab.data.image_header import CUT_SHORT, Container, Header, Refused, SampleKind

_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_FORMATS = {  # the types that hold whole numbers
    1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 16: "Q", 17: "q",
}  # fmt: skip
_ORIENTATION = 274
_MOST_VALUES = 1 << 24  # strips or tiles; more is damage
_COLOURS = {  # photometric interpretations that are read
    0: 1, 1: 1, 2: 3, 3: 1, 5: 4, 6: 3,
}  # fmt: skip
_UNREAD_COLOURS = {4: "a transparency mask", 8: "CIE L*a*b*", 9: "ICC L*a*b*", 10: "ITU L*a*b*", 32803: "raw"}
_KINDS = {1: SampleKind.UNSIGNED, 2: SampleKind.SIGNED, 3: SampleKind.FLOAT, 4: SampleKind.UNSIGNED}
_LOSSY = {6: "JPEG", 7: "JPEG", 33003: "JPEG 2000", 33005: "JPEG 2000", 34712: "JPEG 2000", 50001: "WebP",
          34887: "LERC", 50002: "JPEG XL", 52546: "JPEG XL"}  # fmt: skip


@dataclass(frozen=True)
class Tag:
    """One entry: its values, and where in the file they are written."""

    values: tuple[int, ...]
    place: int
    format: str


def is_tiff(data: bytes) -> bool:
    """Return whether a file begins as TIFF or BigTIFF does."""
    return data[:4] in _SIGNATURES


def tiff_header(data: bytes) -> Header:
    """The header of the only page.

    Raises:
        Refused: the file is cut short, has several pages, or its samples are not read.
    """
    try:
        tags, following = _directory(data)
    except struct.error as error:
        raise Refused(CUT_SHORT) from error
    if following:
        raise Refused("it has several pages; save the one that is meant as a file of its own")
    offsets, lengths = _pick(tags, (273, 324)), _pick(tags, (279, 325))
    ends = (offset + length for offset, length in zip(offsets, lengths, strict=False))
    if max(ends, default=0) > len(data):
        raise Refused(CUT_SHORT)
    return _header(tags)


def orientation(exif: bytes) -> int:
    """The orientation that EXIF states, 1 to 8; 1 where it states none that is valid."""
    exif = exif.removeprefix(b"Exif\0\0")
    if not is_tiff(exif):
        return 1
    try:
        tags, _ = _directory(exif, {_ORIENTATION})
    except struct.error:
        return 1
    return _valid_orientation(tags)


def without_orientation(data: bytes) -> bytes:
    """The same file with orientation 1, so that no decoder applies it on its own."""
    tags, _ = _directory(data, {_ORIENTATION})
    tag = tags[_ORIENTATION]
    order = "<" if data[:2] == b"II" else ">"
    one = struct.pack(order + tag.format, 1)
    return data[: tag.place] + one + data[tag.place + len(one) :]


def _valid_orientation(tags: Mapping[int, Tag]) -> int:
    value = next(iter(_pick(tags, (_ORIENTATION,))), 1)
    return value if 1 <= value <= 8 else 1


def _directory(data: bytes, wanted: set[int] | None = None) -> tuple[dict[int, Tag], int]:
    """The first directory's entries of whole numbers, and where the next directory is; 0: there is none.

    Raises:
        struct.error: the file ends before.
    """
    order = "<" if data[:2] == b"II" else ">"
    # BigTIFF has 64-bit counts and offsets, in place of 16 and 32 bits.
    big = data[2:4] in (b"+\0", b"\0+")
    count_format, entry_format, word = ("Q", "HHQ", "Q") if big else ("H", "HHI", "I")
    width = struct.calcsize(word)
    (position,) = struct.unpack_from(order + word, data, 8 if big else 4)
    (entries,) = struct.unpack_from(order + count_format, data, position)
    position += struct.calcsize("=" + count_format)
    step = struct.calcsize("=" + entry_format) + width
    tags = {}
    for start in range(position, position + step * min(entries, 1 << 16), step):
        number, kind, count = struct.unpack_from(order + entry_format, data, start)
        if kind not in _FORMATS or (wanted is not None and number not in wanted):
            continue
        if count > _MOST_VALUES:
            raise struct.error
        layout = f"{order}{count}{_FORMATS[kind]}"
        place = start + step - width
        # Values that fit into the field of the offset are stored in it.
        if struct.calcsize(layout) > width:
            (place,) = struct.unpack_from(order + word, data, place)
        tags[number] = Tag(struct.unpack_from(layout, data, place), place, _FORMATS[kind])
    (following,) = struct.unpack_from(order + word, data, position + step * entries)
    return tags, following


def _pick(tags: Mapping[int, Tag], numbers: tuple[int, ...]) -> tuple[int, ...]:
    return next((tags[number].values for number in numbers if number in tags), ())


def _header(tags: Mapping[int, Tag]) -> Header:
    def one(number: int, default: int) -> int:
        return next(iter(_pick(tags, (number,))), default)

    width, height, bands = one(256, 0), one(257, 0), one(277, 1)
    bits, formats = set(_pick(tags, (258,))) or {1}, set(_pick(tags, (339,))) or {1}
    # Absent tags mean one uncompressed band of one unsigned bit.
    photometric, compression, planar = one(262, 1), one(259, 1), one(284, 1)
    extra = _pick(tags, (338,))
    if photometric not in _COLOURS:
        name = _UNREAD_COLOURS.get(photometric, f"photometric interpretation {photometric}")
        raise Refused(f"its colours are {name}, which is not read; save it as grey or RGB")
    if photometric == 6 and compression != 7:
        raise Refused("its colours are YCbCr without JPEG compression, which is not read; save it as RGB")
    if len(bits) > 1 or len(formats) > 1:
        raise Refused(f"its bands have different depths ({', '.join(map(str, sorted(bits)))} bits)")
    (depth,), (sample_format,) = bits, formats
    kind = _KINDS.get(sample_format)
    if kind is None:
        raise Refused("its samples are complex numbers")
    alpha = _require_bands(bands, _COLOURS[photometric], extra)
    header = Header(
        size=(height, width),
        bits=depth,
        kind=kind,
        colours=1 if _COLOURS[photometric] == 1 else 3,
        alpha=alpha,
        premultiplied=extra[:1] == (1,),
        orientation=_valid_orientation(tags),
        palette=photometric == 3,
        white_is_zero=photometric == 0,
        lossy=_LOSSY.get(compression, ""),
        container=Container.TIFF,
    )
    _require_samples(header, photometric, planar)
    return header


def _require_bands(bands: int, colours: int, extra: tuple[int, ...]) -> bool:
    """Return whether there is an alpha band; other bands beside the colours are refused, not dropped."""
    if bands == colours:
        return False
    if bands == colours + 1 and extra in ((1,), (2,)):
        return True
    raise Refused(
        f"it has {bands} bands, of which {colours} {'is' if colours == 1 else 'are'} the colours and the "
        "rest is not marked as alpha; save the bands that are meant as a grey or RGB file"
    )


def _require_samples(header: Header, photometric: int, planar: int) -> None:
    """Refuse what neither decoder was seen to read right."""
    deep = header.bits > 8 or header.kind is not SampleKind.UNSIGNED
    several = header.colours > 1 or header.alpha
    depths = {
        SampleKind.UNSIGNED: (1, 2, 4, 8, 16, 32),
        SampleKind.SIGNED: (8, 16, 32),
        SampleKind.FLOAT: (32, 64),
    }[header.kind]
    problem = ""
    if header.bits not in depths:
        allowed = ", ".join(map(str, depths))
        problem = f"{header.bits}-bit {header.kind.value} samples are not read, only {allowed} bits are"
    elif header.palette and (deep or header.alpha):
        problem = "a palette of more than 8 bits, or with alpha, is not read"
    elif photometric == 5 and deep:
        problem = "CMYK of more than 8 bits is not read; save it as RGB"
    elif header.bits < 8 and several:
        problem = f"several bands of {header.bits} bits are not read; save them with 8 bits"
    elif planar == 2 and several and (deep or header.colours == 1):
        problem = "bands one after another (planar configuration 2) are read with 3 bands of 8 bits only"
    elif header.alpha and (header.kind is SampleKind.SIGNED or (deep and header.colours == 1)):
        problem = f"{header.bits}-bit {header.kind.value} samples with alpha are not read; save without alpha"
    elif header.white_is_zero and (
        header.alpha or header.bits == 32 or header.kind is not SampleKind.UNSIGNED
    ):
        problem = "0 is white in it (photometric interpretation 0); save it with 0 as black"
    if problem:
        raise Refused(problem)
