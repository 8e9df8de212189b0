"""TIFF files of all kinds: read as NumPy wrote them, or refused; decoders alone read some of them wrong."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from lab.data.image_reader import ImageReader, decode, read_picture
from lab.data.masks import MaskReader
from tests.image_files import by_pillow, tiff, with_palette

RNG = np.random.default_rng(0)
SHAPE = (6, 11)


def array(dtype: str, *bands: int) -> NDArray[Any]:
    shape = (*SHAPE, *bands)
    if dtype.startswith("f"):
        return RNG.random(shape).astype(dtype)
    info = np.iinfo(dtype)
    return RNG.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)


def put(folder: Path, data: bytes) -> Path:
    path = folder / "x.tif"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("bands", [(), (3,)])
@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "i1", "i2", "i4", "f4", "f8"])
def test_every_type_of_samples_is_read_exactly(
    tmp_path: Path, dtype: str, bands: tuple[int, ...], big: bool, order: str
) -> None:
    values = array(dtype, *bands)
    found = read_picture(put(tmp_path, tiff(values, big=big, order=order)))
    assert found.pixels.dtype == values.dtype and np.array_equal(found.pixels, values)


@pytest.mark.parametrize(
    ("values", "options"),
    [
        (array("u1", 4), {"extra": [2]}),
        (array("u2", 4), {"extra": [2]}),
        (array("f4", 4), {"extra": [2]}),
        (array("u1", 2), {"extra": [2]}),
        (np.dstack([array("u1", 3), np.full(SHAPE, 255, np.uint8)]), {"extra": [1]}),
        (np.dstack([array("u2", 3), np.full(SHAPE, 65535, np.uint16)]), {"extra": [1]}),
        (array("u1", 3), {"planar": 2}),
    ],
)
def test_alpha_is_dropped_and_leaves_the_colours_alone(
    tmp_path: Path, values: NDArray[Any], options: dict[str, Any]
) -> None:
    found = read_picture(put(tmp_path, tiff(values, **options)))
    colours = values[..., 0] if values.shape[2] == 2 else values[..., :3]
    assert np.array_equal(found.pixels, colours)
    if "extra" in options:
        assert found.alpha is not None and np.array_equal(found.alpha, values[..., -1])


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("photometric", [0, 1])
def test_few_bits_are_scaled_and_white_may_be_0(tmp_path: Path, bits: int, photometric: int) -> None:
    values = RNG.integers(0, 1 << bits, SHAPE).astype(np.uint8)
    largest = (1 << bits) - 1
    wanted = (values if photometric else largest - values) * (255 // largest)
    path = put(tmp_path, tiff(values, bits=bits, photometric=photometric))
    assert np.array_equal(decode(path), wanted)


@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_white_may_be_0_in_images_and_is_refused_in_masks(tmp_path: Path, dtype: str) -> None:
    values = array(dtype)
    path = put(tmp_path, tiff(values, photometric=0))
    assert np.array_equal(decode(path), np.iinfo(dtype).max - values)
    with pytest.raises(ValueError, match=r"x\.tif: 0 is white in this mask"):
        MaskReader().read(path)


def test_fax_masks_of_one_bit_are_read_as_they_look(tmp_path: Path) -> None:
    drawn = RNG.random(SHAPE) > 0.5
    data = by_pillow(Image.fromarray(drawn), "TIFF", compression="group4")
    assert np.array_equal(MaskReader().read(put(tmp_path, data)), drawn)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (tiff(array("u1", 4), extra=[0]), "it has 4 bands, of which 3 are the colours and the rest is not"),
        (tiff(array("u1", 4)), "it has 4 bands"),
        (tiff(array("u1", 5), extra=[0, 0]), "it has 5 bands"),
        (tiff(array("u1", 5), extra=[2, 0]), "it has 5 bands"),
        (tiff(array("u2", 2), photometric=1, extra=[0]), "it has 2 bands, of which 1 is the colours"),
        (tiff(array("u2", 2), extra=[2]), "16-bit unsigned samples with alpha are not read"),
        (tiff(array("u1", 4), extra=[1]), "its colours are multiplied by its alpha"),
        (tiff(array("u2", 4), extra=[1]), "its colours are multiplied by its alpha"),
        (tiff(array("u2", 3), planar=2), r"bands one after another \(planar configuration 2\)"),
        (tiff(array("u1", 2), planar=2, extra=[2]), "bands one after another"),
        (tiff(array("f2")), "16-bit floating-point samples are not read, only 32, 64 bits are"),
        (tiff(array("u8")), "64-bit unsigned samples are not read"),
        (tiff(array("u2") >> 4, bits=12), "12-bit unsigned samples are not read, only 1, 2, 4, 8, 16, 32"),
        (tiff(array("u1", 3), photometric=8), r"its colours are CIE L\*a\*b\*"),
        (tiff(array("u1"), photometric=4), "its colours are a transparency mask"),
        (tiff(array("u1", 3), photometric=6), "YCbCr without JPEG compression"),
        (tiff(array("f4"), photometric=0), "0 is white in it"),
        (tiff(array("u1"), array("u1")), "several pages"),
        (tiff(array("u1"), array("u1"), big=True), "several pages"),
        (tiff(array("u1"), big=True)[:70], "cut short"),
        (tiff(array("u1"))[:30], "cut short"),
        (tiff(array("u4"), tags=[(339, "H", [5])]), "its samples are complex numbers"),
        (tiff(array("u1", 3), tags=[(258, "H", [8, 8, 16])]), r"bands have different depths \(8, 16 bits\)"),
    ],
)
def test_what_could_be_read_wrong_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    path = put(tmp_path, data)
    for read in (decode, MaskReader().read):
        with pytest.raises(ValueError, match=rf"x\.tif: not a readable image; .*{message}"):
            read(path)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_palette_is_read_by_index_and_as_an_image_by_colour(tmp_path: Path, bits: int) -> None:
    values = RNG.integers(0, 1 << bits, SHAPE).astype(np.uint8)
    colours = RNG.integers(0, 256, (1 << bits, 3)).astype(np.uint8)
    table = [int(value) * 257 for value in colours.T.ravel()]
    path = put(
        tmp_path, tiff(values, bits=bits if bits < 8 else None, photometric=3, tags=[(320, "H", table)])
    )
    assert np.array_equal(read_picture(path).pixels, values)
    assert np.array_equal(decode(path), colours[values])
    saved = put(tmp_path, by_pillow(with_palette(values, colours), "TIFF"))
    assert np.array_equal(read_picture(saved).pixels, values)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", None])
def test_compressions(tmp_path: Path, compression: str | None) -> None:
    smooth = np.add.outer(np.arange(64), np.arange(48))[..., None] + np.array([3, 60, 90])
    values = smooth.astype(np.uint8)
    picture = read_picture(put(tmp_path, by_pillow(Image.fromarray(values), "TIFF", compression=compression)))
    assert np.abs(picture.pixels.astype(int) - values).max() <= (6 if compression == "jpeg" else 0)
    assert picture.header.lossy == ("JPEG" if compression == "jpeg" else "")


def test_cmyk_is_converted_as_pillow_converts_it(tmp_path: Path) -> None:
    image = Image.fromarray(array("u1", 4), "CMYK")
    path = put(tmp_path, by_pillow(image, "TIFF"))
    assert np.array_equal(decode(path), np.asarray(image.convert("RGB")))


def test_large_numbers_keep_their_differences(tmp_path: Path) -> None:
    """Between 1e9 and 1e9 + 64 float32 has two numbers."""
    values = 1_000_000_000 + np.arange(64, dtype=np.int32).reshape(8, 8)
    path = put(tmp_path, tiff(values))
    image = ImageReader(1, (1e9, 1e9 + 64)).read(path)
    np.testing.assert_allclose(image[..., 0], np.arange(64).reshape(8, 8) / 64, atol=1e-6)


@pytest.mark.parametrize(
    ("dtype", "value_range"),
    [("i2", (-32768, 32767)), ("u4", (0, 2**32 - 1)), ("f8", (-1, 2)), ("i1", (-128, 127))],
)
def test_other_types_are_scaled_by_the_stated_range(
    tmp_path: Path, dtype: str, value_range: tuple[float, float]
) -> None:
    values = array(dtype, 3)
    path = put(tmp_path, tiff(values))
    image = ImageReader(3, value_range).read(path)
    low, high = value_range
    assert image.dtype == np.float32
    np.testing.assert_allclose(image, (values.astype(np.float64) - low) / (high - low), atol=1e-6)
    if dtype != "f8":
        with pytest.raises(
            ValueError, match=r"pixels are u?int.*, or set data\.value_range: \[lowest, highest\]"
        ):
            ImageReader().read(path)
    with pytest.raises(
        ValueError, match=r"x\.tif: pixels are .*, outside of data\.value_range \[0\.1, 0\.2\]"
    ):
        ImageReader(3, (0.1, 0.2)).read(path)
