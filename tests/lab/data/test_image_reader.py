from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from lab.data.image_reader import decode, read_image, read_picture
from lab.data.masks import MaskReader
from tests.image_files import by_pillow

RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (12, 20, 3), np.uint8)  # noise: nothing can be left out without a trace
DEEP = RNG.integers(0, 65536, (12, 20), np.uint16)


def encoded(array: NDArray[Any], kind: str) -> bytes:
    """By OpenCV, whose order is BGR."""
    done, data = cv2.imencode(kind, array[..., ::-1] if array.ndim == 3 and array.shape[2] == 3 else array)
    assert done
    return data.tobytes()


FILES = {
    "8.png": encoded(COLOURS, ".png"),
    "16.png": encoded(DEEP, ".png"),
    "8.jpg": encoded(COLOURS, ".jpg"),
    "progressive.jpg": by_pillow(Image.fromarray(COLOURS), "JPEG", progressive=True),
    "8.tif": encoded(COLOURS, ".tif"),
    "16.tif": encoded(DEEP, ".tif"),
    "plain.tif": by_pillow(Image.fromarray(COLOURS), "TIFF"),
    "deep_plain.tif": by_pillow(Image.fromarray(DEEP), "TIFF"),
    "lzw.tif": by_pillow(Image.fromarray(COLOURS), "TIFF", compression="tiff_lzw"),
    "deflate.tif": by_pillow(Image.fromarray(DEEP), "TIFF", compression="tiff_adobe_deflate"),
    "8.bmp": by_pillow(Image.fromarray(COLOURS), "BMP"),
    "8.webp": by_pillow(Image.fromarray(COLOURS), "WEBP", lossless=True),
    "lossy.webp": by_pillow(Image.fromarray(COLOURS), "WEBP"),
    **{
        f"palette.{kind}": by_pillow(Image.fromarray(COLOURS).quantize(16), kind)
        for kind in ("PNG", "TIFF", "GIF", "BMP")
    },
}


def put(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


# --- what is read -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["8.png", "8.tif", "plain.tif", "lzw.tif", "8.bmp", "8.webp"])
def test_colours_come_as_they_are(tmp_path: Path, name: str) -> None:
    image = read_image(put(tmp_path, name, FILES[name]))
    assert image.dtype == np.uint8 and np.array_equal(image, COLOURS)


@pytest.mark.parametrize("name", ["16.png", "16.tif", "deep_plain.tif", "deflate.tif"])
def test_sixteen_bits_become_floats(tmp_path: Path, name: str) -> None:
    image = read_image(put(tmp_path, name, FILES[name]), 1)
    assert image.dtype == np.float32 and image.shape == (12, 20, 1)
    np.testing.assert_allclose(image[..., 0] * 65535, DEEP, atol=0.01)


def test_sixteen_bits_in_colour_keep_their_order(tmp_path: Path) -> None:
    deep = COLOURS.astype(np.uint16) * 257
    for kind in (".png", ".tif"):
        image = read_image(put(tmp_path, f"x{kind}", encoded(deep, kind)))
        np.testing.assert_allclose(image * 255, COLOURS, atol=1e-3)


def test_alpha_is_dropped_and_grey_is_repeated(tmp_path: Path) -> None:
    rgba = Image.fromarray(np.dstack([COLOURS, np.full((12, 20), 7, np.uint8)]))
    assert np.array_equal(read_image(put(tmp_path, "a.png", by_pillow(rgba, "PNG"))), COLOURS)
    grey = Image.fromarray(COLOURS[..., 0])
    for name, kind in (("g.png", "PNG"), ("g.tif", "TIFF")):
        image = read_image(put(tmp_path, name, by_pillow(grey, kind)))
        assert all(np.array_equal(image[..., k], COLOURS[..., 0]) for k in range(3))
        with_alpha = Image.merge("LA", (grey, Image.new("L", grey.size, 9)))
        assert np.array_equal(read_image(put(tmp_path, name, by_pillow(with_alpha, kind))), image)


def test_one_channel_of_a_coloured_file_is_its_luminance(tmp_path: Path) -> None:
    image = read_image(put(tmp_path, "x.png", FILES["8.png"]), 1)
    np.testing.assert_allclose(image[..., 0], COLOURS @ [0.299, 0.587, 0.114], atol=1)
    assert image.shape == (12, 20, 1)


def test_a_palette_is_read_by_its_colours_and_by_its_indices(tmp_path: Path) -> None:
    indices = (COLOURS[..., 0] % 3).astype(np.uint8)
    image = Image.fromarray(indices).convert("P")
    image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    path = put(tmp_path, "p.png", by_pillow(image, "PNG"))
    assert np.array_equal(read_picture(path).pixels, indices)
    assert np.array_equal(decode(path)[..., 0] == 255, indices == 1)
    assert read_picture(put(tmp_path, "x.png", FILES["8.png"])).palette is None


def test_floats_in_range_are_taken_and_others_refused(tmp_path: Path) -> None:
    unit = RNG.random((4, 5)).astype(np.float32)
    image = read_image(put(tmp_path, "f.tif", encoded(unit, ".tif")), 1)
    assert np.array_equal(image[..., 0], unit)
    for wrong in (unit * 300, unit - 1):
        with pytest.raises(ValueError, match=r"f\.tif: pixels are float32 from .*; save them with 8 or 16"):
            read_image(put(tmp_path, "f.tif", encoded(wrong, ".tif")), 1)
    for bad in (np.nan, np.inf):
        unit[1, 2:4] = bad
        with pytest.raises(ValueError, match=r"f\.tif: 2 values are NaN or infinite"):
            read_image(put(tmp_path, "f.tif", encoded(unit, ".tif")), 1)
    whole = Image.fromarray(np.full((4, 5), 70000, np.int32))
    with pytest.raises(ValueError, match=r"i\.tif: pixels are int32 from 70000 to 70000"):
        read_image(put(tmp_path, "i.tif", by_pillow(whole, "TIFF")))


def test_the_name_may_have_any_letters(tmp_path: Path) -> None:
    assert read_image(put(tmp_path, "µ-Probe, Bild 1.png", FILES["8.png"])).shape == (12, 20, 3)


# --- what is refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
@settings(max_examples=60, deadline=None)
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_file_that_was_cut_short_is_refused_wherever(
    tmp_path_factory: pytest.TempPathFactory, name: str, share: float
) -> None:
    data = FILES[name]
    path = put(tmp_path_factory.getbasetemp(), name, data[: int(share * len(data))])
    with pytest.raises(ValueError) as error:
        read_image(path)
    assert str(error.value).startswith(f"{path}: ")


@pytest.mark.parametrize("name", FILES)
def test_the_last_byte_counts_and_more_do_no_harm(tmp_path: Path, name: str) -> None:
    whole = read_image(put(tmp_path, name, FILES[name]))
    assert np.array_equal(read_image(put(tmp_path, name, FILES[name] + b"\0" * 40)), whole)
    with pytest.raises(ValueError, match=r"not a readable image; .*cut short"):
        read_image(put(tmp_path, name, FILES[name][:-1]))


def test_a_thumbnail_does_not_end_a_jpeg(tmp_path: Path) -> None:
    """Cameras put a small JPEG, end marker included, before the image's own data."""
    small = by_pillow(Image.fromarray(COLOURS[:4, :4]), "JPEG")
    data = FILES["8.jpg"]
    block = b"\xff\xe1" + (len(small) + 2).to_bytes(2, "big") + small
    both = data[:2] + block + data[2:]
    assert read_image(put(tmp_path, "t.jpg", both)).shape == (12, 20, 3)
    with pytest.raises(ValueError, match="cut short"):
        read_image(put(tmp_path, "t.jpg", both[:-30]))


def test_damage_within_a_png_is_found(tmp_path: Path) -> None:
    data = bytearray(FILES["8.png"])
    data[len(data) // 2] ^= 0x40
    with pytest.raises(ValueError, match=r"d\.png: not a readable image; damaged"):
        read_image(put(tmp_path, "d.png", bytes(data)))


def test_a_stack_is_not_taken_for_its_first_page(tmp_path: Path) -> None:
    pages = [Image.fromarray(COLOURS), Image.fromarray(COLOURS)]
    data = by_pillow(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    with pytest.raises(ValueError, match=r"s\.tif: .*several pages"):
        read_image(put(tmp_path, "s.tif", data))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b"not an image", "neither PNG, JPEG, TIFF, BMP, GIF nor WebP"),
        (b"GIF89a", "not a readable image"),
        (b"II*\0", "cut short"),
        (b"\x89PNG\r\n\x1a\n", "cut short"),
    ],
)
def test_what_is_no_image(tmp_path: Path, data: bytes, message: str) -> None:
    for read in (read_image, MaskReader().read):
        with pytest.raises(ValueError, match=rf"x\.png: .*{message}"):
            read(put(tmp_path, "x.png", data))


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"gone\.png: can't be read: No such file"):
        read_image(tmp_path / "gone.png")
    with pytest.raises(ValueError, match="can't be read: Is a directory"):
        read_image(tmp_path)


def test_nothing_is_printed_about_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name, data in FILES.items():
        with pytest.raises(ValueError):
            read_image(put(tmp_path, name, data[: len(data) // 2]))
    assert capfd.readouterr() == ("", "")


@settings(max_examples=150, deadline=None)
@given(data=st.data(), name=st.sampled_from(sorted(FILES)))
def test_any_damage_gives_an_image_or_a_value_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, name: str
) -> None:
    content = bytearray(FILES[name])
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = put(tmp_path_factory.getbasetemp(), name, bytes(content))
    for read in (read_image, MaskReader().read):
        try:
            read(path)
        except ValueError as error:
            assert str(path) in str(error)
