"""Headers: orientation, several images in one file, files that end too early."""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from lab.data.image_containers import read_header
from lab.data.image_header import Refused
from lab.data.image_reader import ImageReader, decode
from lab.data.masks import MaskReader
from tests.image_files import by_pillow, exif, png, tiff, with_palette

RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (12, 20, 3), np.uint8)
INDICES = (COLOURS[..., 0] % 5).astype(np.uint8)
PALETTE = RNG.integers(0, 256, (5, 3)).astype(np.uint8)


def put(folder: Path, data: bytes, name: str = "x.png") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


# --- orientation ------------------------------------------------------------------------------------------


def oriented(kind: str, orientation: int) -> bytes:
    if kind == "PNG16":
        chunk = (b"eXIf", exif(orientation, ">")[6:])
        return png(COLOURS.astype(np.uint16) * 257, 16, 2, chunk)
    if kind == "TIFF16":
        return tiff(COLOURS.astype(np.uint16) * 257, tags=[(274, "H", [orientation])])
    image = with_palette(INDICES, PALETTE) if kind.startswith("P ") else Image.fromarray(COLOURS)
    information = Image.Exif()
    information[274] = orientation
    how: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {"quality": 95} if kind == "JPEG" else {}
    return by_pillow(image, kind.removeprefix("P "), exif=information, **how)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "P PNG", "P TIFF", "PNG16", "TIFF16"])
def test_images_and_masks_are_turned_as_viewers_turn_them(
    tmp_path: Path, kind: str, orientation: int
) -> None:
    path = put(tmp_path, oriented(kind, orientation))
    information = Image.Exif()
    information[274] = orientation
    drawn = Image.fromarray(COLOURS)
    if kind == "JPEG":
        drawn = Image.open(put(tmp_path, by_pillow(drawn, "JPEG", quality=95), "plain.jpg"))
    if kind.startswith("P "):
        drawn = with_palette(INDICES, PALETTE).convert("RGB")
    drawn.getexif()[274] = orientation
    expected = np.asarray(ImageOps.exif_transpose(drawn))
    assert expected.shape[0] == (20 if orientation > 4 else 12)
    image = ImageReader().read(path)
    found = image if image.dtype == np.uint8 else np.rint(image * 255).astype(np.uint8)
    assert np.array_equal(found, expected)
    if kind.startswith("P "):
        indices = with_palette(INDICES, PALETTE)
        indices.getexif()[274] = orientation
        classes = {str(index): index for index in range(5)}
        assert np.array_equal(MaskReader(classes).read(path), np.asarray(ImageOps.exif_transpose(indices)))


@pytest.mark.parametrize(
    ("content", "orientation"),
    [
        (exif(6), 6),
        (exif(6, ">"), 6),
        (exif(6, "<", "I"), 6),
        (exif(0), 1),
        (exif(9), 1),
        (exif(6)[:20], 1),
        (b"Exif\0\0", 1),
        (b"Exif\0\0II*\0\xff\xff\xff\xff", 1),
    ],
)
def test_exif_of_any_form(content: bytes, orientation: int) -> None:
    data = by_pillow(Image.fromarray(COLOURS), "JPEG")
    block = b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content
    assert read_header(data[:2] + block + data[2:]).orientation == orientation
    header = read_header(data[:2] + block + b"\xff\xe1" + struct.pack(">H", 9) + b"http://" + data[2:])
    assert header.orientation == orientation


# --- several images ---------------------------------------------------------------------------------------


FRAMES = [Image.fromarray(np.ascontiguousarray(COLOURS[:, ::step])) for step in (1, -1)]


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "MPO"])
def test_several_images_in_one_file_are_refused(tmp_path: Path, kind: str) -> None:
    data = by_pillow(FRAMES[0], kind, save_all=True, append_images=FRAMES[1:])
    for read in (decode, MaskReader().read):
        with pytest.raises(ValueError, match=r"x\.png: not a readable image; it has several (frames|pages)"):
            read(put(tmp_path, data))


def test_a_photo_with_a_smaller_picture_beside_it_is_read(tmp_path: Path) -> None:
    """Phones add a map of brightness of a quarter of the size; a large thumbnail may have any size."""
    small = FRAMES[1].resize((5, 3))
    data = by_pillow(FRAMES[0], "MPO", save_all=True, append_images=[small])
    assert decode(put(tmp_path, data)).shape == COLOURS.shape
    both = bytearray(by_pillow(FRAMES[0], "MPO", save_all=True, append_images=FRAMES[1:]))
    at = both.index(struct.pack("<I", 0x030000), both.index(b"MPF\0") + 50) + 16
    assert both[at : at + 4] == bytes(4)
    both[at : at + 4] = struct.pack("<I", 0x010002)
    assert decode(put(tmp_path, bytes(both))).shape == COLOURS.shape


# --- BMP, GIF, WebP ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "1"])
@pytest.mark.parametrize("kind", ["BMP", "GIF", "WEBP", "PNG"])
def test_every_mode_is_read_as_pillow_reads_it(tmp_path: Path, kind: str, mode: str) -> None:
    image = Image.fromarray(COLOURS).convert(mode)
    how = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    path = put(tmp_path, by_pillow(image, kind, **how))
    assert np.array_equal(ImageReader().read(path), np.asarray(Image.open(path).convert("RGB")))


@pytest.mark.parametrize("kind", ["BMP", "GIF", "WEBP"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_file_that_was_cut_short_is_refused(tmp_path: Path, kind: str, share: float) -> None:
    data = by_pillow(Image.fromarray(COLOURS), kind)
    path = put(tmp_path, data[: int(len(data) * share)])
    with pytest.raises(ValueError, match=r"x\.png: (not a readable image; (cut|neither)|the file is empty)"):
        decode(path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\xff\xd8\xff\xc0\0\x0b\x0c\0\1\0\1\1\1\x11\0\xff\xda\0\2\xff\xd9", "JPEG of 12 bits"),
        (b"\xff\xd8\xff\xc0\0\x0b\x08\0\1\0\1\2\1\x11\0\xff\xda\0\2\xff\xd9", "JPEG of 2 bands"),
        (b"\xff\xd8\xff\xda\0\2\xff\xd9", "cut short"),
        (b"BM" + struct.pack("<IIIIiiHHI", 99, 0, 54, 40, 1, 1, 1, 8, 1), "a compressed BMP is not read"),
        (b"BM" + struct.pack("<IIIIiiHHI", 99, 0, 54, 40, 1, 1, 1, 64, 0), "BMP of 64 bits"),
        (b"BM" + struct.pack("<IIIIiiHHI", 99, 0, 54, 40, 1, 1, 1, 16, 0), "BMP of 16 bits"),
        (b"GIF89a\2\0\2\0\0\0\0,\1\0\0\0\1\0\1\0\0\2\0;", "its frame does not cover its size"),
        (b"GIF89a\2\0\2\0\0\0\0\x42\0;", "damaged"),
        (b"RIFF\x04\0\0\0WEBP", "cut short"),
        (b"\0\0\0\x0cjP  ", "neither PNG, JPEG, TIFF, BMP, GIF nor WebP"),
    ],
)
def test_headers_that_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(Refused, match=message):
        read_header(data)


@pytest.mark.parametrize(("marker", "lossy"), [(0xC0, "JPEG"), (0xC2, "JPEG"), (0xC3, "")])
def test_jpeg_that_keeps_values_is_not_lossy(marker: int, lossy: str) -> None:
    """By its marker: baseline, progressive, lossless."""
    data = b"\xff\xd8\xff%c\0\x0b\x08\0\1\0\1\1\1\x11\0\xff\xda\0\2\xff\xd9" % marker
    assert read_header(data).lossy == lossy


def test_more_pixels_than_any_image_has_are_refused(tmp_path: Path) -> None:
    data = bytearray(by_pillow(Image.fromarray(COLOURS), "BMP"))
    data[18:26] = struct.pack("<ii", 1 << 15, (1 << 15) + 1)
    with pytest.raises(ValueError, match="cut short"):
        decode(put(tmp_path, bytes(data)))
    wide = png(COLOURS, 8, 2).replace(struct.pack(">II", 20, 12), struct.pack(">II", 1 << 15, (1 << 15) + 1))
    head = wide[12:29]
    wide = wide.replace(wide[29:33], struct.pack(">I", zlib.crc32(head)))
    with pytest.raises(ValueError, match="more than 1,073,741,824 pixels"):
        decode(put(tmp_path, wide))
