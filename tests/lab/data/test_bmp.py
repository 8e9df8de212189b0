"""BMP files with and without a palette, of either header, beside Pillow."""

import struct
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from lab.data.image_reader import decode
from lab.data.masks import MaskReader
from tests.image_files import bmp, packed

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize("bits", [1, 4, 8])
@pytest.mark.parametrize("grey", [False, True])
def test_bmp_with_a_palette(tmp_path: Path, bits: int, down: bool, grey: bool) -> None:
    """Also of two grey values in more than 1 bit, which Pillow reads wrong."""
    colours = np.array([[0, 0, 0], [255, 255, 255]] if grey else [[9, 8, 7], [1, 2, 255]], np.uint8)
    indices = RNG.integers(0, 2, (12, 20), np.uint8)
    rows = [packed(row[None], bits) for row in indices]
    path = tmp_path / "x.bmp"
    path.write_bytes(bmp(rows, 20, bits, colours, down=down))
    assert np.array_equal(decode(path), colours[indices])
    assert np.array_equal(MaskReader({"a": 0, "b": 1}).read(path), indices)
    assert np.array_equal(MaskReader().read(path), indices)
    if not (bits > 1 and grey):
        assert np.array_equal(decode(path), np.asarray(Image.open(path).convert("RGB")))


def of_os2(rows: list[bytes], bits: int, colours: NDArray[np.uint8]) -> bytes:
    """A file of 7 × 5 pixels: its header has 12 bytes, and a colour of its palette three."""
    table = colours[:, ::-1].tobytes()
    pixels = b"".join(row.ljust(-(-len(row) // 4) * 4, b"\0") for row in rows[::-1])
    head = struct.pack("<IHHI", 26 + len(table) + len(pixels), 0, 0, 26 + len(table))
    return b"BM" + head + struct.pack("<IHHHH", 12, 7, 5, 1, bits) + table + pixels


@pytest.mark.parametrize("bits", [1, 4, 8])
def test_a_palette_of_os2(tmp_path: Path, bits: int) -> None:
    colours = RNG.integers(0, 256, (1 << bits, 3), np.uint8)
    indices = RNG.integers(0, 1 << bits, (5, 7), np.uint8)
    path = tmp_path / "x.bmp"
    path.write_bytes(of_os2([packed(row[None], bits) for row in indices], bits, colours))
    assert np.array_equal(decode(path), colours[indices])
    assert np.array_equal(np.asarray(Image.open(path).convert("RGB")), colours[indices])
    assert np.array_equal(MaskReader().read(path), indices > 0)


def test_colours_of_os2_that_opencv_makes_grey_are_refused(tmp_path: Path) -> None:
    wanted = RNG.integers(0, 256, (5, 7, 3), np.uint8)
    path = tmp_path / "x.bmp"
    path.write_bytes(of_os2([row[:, ::-1].tobytes() for row in wanted], 24, np.zeros((0, 3), np.uint8)))
    assert np.array_equal(np.asarray(Image.open(path)), wanted)
    for read in (decode, MaskReader().read):
        with pytest.raises(ValueError, match=r"x\.bmp: .* 7 × 5 pixels of 3 × uint8, .* 7 × 5 of 1 × uint8"):
            read(path)


@pytest.mark.parametrize("largest", [1, 2, 3])
def test_an_index_without_a_colour_is_refused(tmp_path: Path, largest: int) -> None:
    colours = np.array([[0, 0, 0], [1, 2, 3]], np.uint8)
    path = tmp_path / "x.bmp"
    path.write_bytes(bmp([bytes([0, 1, largest])], 3, 8, colours))
    if largest < 2:
        assert np.array_equal(decode(path), colours[[[0, 1, 1]]])
    else:
        with pytest.raises(ValueError, match=f"its palette has 2 colours, and a pixel has {largest}"):
            decode(path)
