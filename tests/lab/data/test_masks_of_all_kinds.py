"""Masks in every mode, depth and palette are read as Pillow reads them, whatever classes are asked for."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from lab.config.mask_values import IGNORE_INDEX
from lab.data.masks import MaskReader
from tests.image_files import by_pillow, png, tiff, with_palette

LOSSLESS = {"PNG": {}, "TIFF": {}, "BMP": {}, "GIF": {}, "WEBP": {"lossless": True, "exact": True}}
MODES = {  # the modes that a format can store
    "PNG": ("1", "L", "LA", "P", "I;16", "RGB", "RGBA"),
    "TIFF": ("1", "L", "LA", "P", "I;16", "I", "F", "RGB", "RGBA"),
    "BMP": ("1", "L", "P", "RGB"),
    "GIF": ("1", "L", "P"),
    "WEBP": ("L", "RGB", "RGBA"),
}


@st.composite
def masks(draw: st.DrawFn) -> tuple[bytes, str, str]:
    """A file, its format and its mode."""
    kind = draw(st.sampled_from(sorted(MODES)))
    mode = draw(st.sampled_from(MODES[kind]))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 17))
    count = draw(st.integers(2, 6))
    levels = np.concatenate([[0], rng.choice(np.arange(1, 256), count - 1, replace=False)])
    values = levels[rng.integers(0, count, (height, width))].astype(np.uint8)
    opaque = np.full_like(values, 255)
    how: dict[str, Any] = dict(LOSSLESS[kind])
    if mode == "1":
        image = Image.fromarray(values > 0)
    elif mode == "P":
        colours = rng.permutation(256)[: 3 * count].reshape(-1, 3)
        image = with_palette(rng.integers(0, count, (height, width)).astype(np.uint8), colours)
        if kind == "PNG":
            how["bits"] = draw(st.sampled_from([bits for bits in (1, 2, 4, 8) if 1 << bits >= count]))
            if draw(st.booleans()):
                how["transparency"] = 0
    elif mode == "LA":
        image = Image.fromarray(np.dstack([values, opaque]))
    elif mode in ("RGB", "RGBA"):
        colours = np.vstack([np.zeros(3), rng.integers(0, 256, (count - 1, 3))]).astype(np.uint8)
        drawn = colours[rng.integers(0, count, (height, width))]
        image = Image.fromarray(drawn if mode == "RGB" else np.dstack([drawn, opaque]))
    else:
        wide = {"I;16": np.uint16, "I": np.int32, "F": np.float32}.get(mode, np.uint8)
        image = Image.fromarray((values.astype(np.int64) * (1 if mode == "L" else 3)).astype(wide))
    return by_pillow(image, kind, **how), kind, mode


def by_reference(path: Path) -> NDArray[Any]:
    """The mask's values by Pillow: indices of a palette, grey values, or colours (H, W, 3)."""
    with Image.open(path) as image:
        if image.mode in ("RGBA", "LA", "RGBa"):
            array = np.asarray(image)[..., :-1]
            return array[..., 0] if array.shape[2] == 1 else array
        array = np.asarray(image)
        return array.astype(np.uint8) if image.mode == "1" else array


def put(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> Path:
    path = tmp_path_factory.getbasetemp() / "mask.bin"
    path.write_bytes(data)
    return path


@settings(max_examples=250, deadline=None)
@given(file=masks(), pick=st.integers(0, 5))
def test_masks_against_pillow(
    tmp_path_factory: pytest.TempPathFactory, file: tuple[bytes, str, str], pick: int
) -> None:
    path = put(tmp_path_factory, file[0])
    values = by_reference(path)
    if values.ndim == 3 and (values[..., :1] == values).all():
        values = values[..., 0]
    # Without classes: foreground is what is above 0.
    foreground = (values if values.ndim == 2 else values.max(axis=2)) > 0
    assert np.array_equal(MaskReader().read(path), foreground)
    # By classes: a name for each value or colour, in an arbitrary order, one of them ignored.
    flat = values.reshape(-1, 3) if values.ndim == 3 else values.reshape(-1, 1)
    found, inverse = np.unique(flat, axis=0, return_inverse=True)
    labels: list[Any] = [
        int(each[0]) if values.ndim == 2 else "#{:02x}{:02x}{:02x}".format(*each) for each in found
    ]
    by_value = values.ndim == 2
    while len(labels) < 3:  # classes that do not occur
        labels.append(
            next(value for value in range(200, 256) if value not in labels) if by_value else "#010203"
        )
        labels = list(dict.fromkeys(labels))
        if not by_value and len(labels) < 3:
            labels.append("#040506")
    ignored = pick % len(labels)
    named = [label for index, label in enumerate(labels) if index != ignored]
    indices = np.array([IGNORE_INDEX if k == ignored else named.index(labels[k]) for k in range(len(found))])
    reader = MaskReader({str(k): label for k, label in enumerate(named)}, labels[ignored])
    try:
        assert np.array_equal(reader.read(path), indices[inverse].reshape(values.shape[:2]))
    except ValueError as error:  # where grey values and indices are classes, a GIF has two meanings
        assert file[1] == "GIF" and "a palette of grey values that differ" in str(error)


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 10_000), bits=st.sampled_from([1, 2, 4]), kind=st.sampled_from(["PNG", "TIFF"]))
def test_grey_masks_of_few_bits_against_pillow(
    tmp_path_factory: pytest.TempPathFactory, seed: int, bits: int, kind: str
) -> None:
    values = np.random.default_rng(seed).integers(0, 1 << bits, (5, 11)).astype(np.uint8)
    path = put(tmp_path_factory, png(values, bits, 0) if kind == "PNG" else tiff(values, bits=bits))
    with Image.open(path) as image:
        wanted = np.asarray(image.convert("L"))
    assert np.array_equal(MaskReader().read(path), wanted > 0)
    levels = sorted({0, 255, *(int(value) for value in np.unique(wanted))})
    indices = np.searchsorted(levels, wanted)
    assert np.array_equal(MaskReader({str(k): k for k in levels}).read(path), indices)


@pytest.mark.parametrize(
    ("dtype", "scale"),
    [("u1", 1), ("i1", 1), ("u2", 257), ("i2", 100), ("u4", 256), ("i4", 256), ("f4", 1), ("f8", 1)],
)
def test_every_type_of_a_tiff_by_value(tmp_path: Path, dtype: str, scale: int) -> None:
    drawn = np.random.default_rng(0).integers(0, 4, (7, 5))
    path = tmp_path / "mask.tif"
    path.write_bytes(tiff((drawn * scale).astype(dtype)))
    assert np.array_equal(MaskReader({str(k): k * scale for k in range(4)}).read(path), drawn)
    expected = np.where(drawn == 2, IGNORE_INDEX, drawn > 0)
    assert np.array_equal(MaskReader(None, 2 * scale).read(path), expected)
    assert np.array_equal(MaskReader(None, None, 1.5 * scale).read(path), drawn > 1)


WRONG = [
    (tiff(np.array([[0, 0.5]], np.float32)), {}, "floating-point numbers with fractions, from 0 to 0.5"),
    (tiff(np.array([[0, 0.5]])), {"classes": {"a": 0, "b": 1}, "threshold": 0}, "numbers with fractions"),
    (tiff(np.array([[0, np.nan]])), {"threshold": 0}, "some of which are NaN or infinite"),
    (tiff(np.array([[0, np.inf]], np.float32)), {}, "NaN or infinite"),
    (tiff(np.array([[0, 1e300]])), {"classes": {"a": 0, "b": 1}}, r"from 0 to 1e\+300"),
    (tiff(np.array([[0, -1]], np.int16)), {}, "negative values, down to -1; set mask_threshold"),
    (tiff(np.array([[0, -1]], np.int16)), {"classes": {"a": 0, "b": 1}, "ignore": 255}, "of value -1"),
    (tiff(np.array([[0, -1]], np.float32)), {"classes": {"a": 0, "b": 1}}, "no class, of value -1"),
    (png(np.array([[0, 1]]), 1, 0), {"ignore": 255}, "1 bit for each pixel, and its white may be 1 or 255"),
    (png(np.array([[0, 1]]), 1, 0), {"classes": {"a": 0, "b": 1}, "ignore": 255}, "may be 1 or 255"),
    (png(np.array([[0, 1]]), 1, 0), {"classes": {"a": 0, "b": 7}}, "no class, of value 255"),
    (png(np.array([[0, 1, 2]]), 2, 0), {"classes": {"a": 0, "b": 1, "c": 2}}, "2 bits for each pixel"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "options", "message"), WRONG)
def test_masks_that_have_no_one_meaning(
    tmp_path: Path, data: bytes, options: dict[str, Any], message: str
) -> None:
    path = tmp_path / "mask.tif"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=rf"mask\.tif: .*{message}"):
        MaskReader(**options).read(path)


def test_an_explicit_threshold_holds_for_floats_and_negative_values(tmp_path: Path) -> None:
    path = tmp_path / "mask.tif"
    path.write_bytes(tiff(np.array([[0, 0.2, 0.7, -3]])))
    assert MaskReader(threshold=0.5).read(path).tolist() == [[0, 0, 1, 0]]
    path.write_bytes(tiff(np.array([[-4, -2, 0, 3]], np.int16)))
    assert MaskReader(threshold=-3).read(path).tolist() == [[0, 1, 1, 1]]
    assert MaskReader(ignore=255, threshold=1).read(path).tolist() == [[0, 0, 0, 1]]  # -1 is not 255


# --- palettes ---------------------------------------------------------------------------------------------


DRAWN = np.array([[0, 1, 1], [2, 0, 1]], np.uint8)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "GIF"])
@pytest.mark.parametrize("transparent", [None, 0, 1])
def test_a_palette_is_read_by_index_in_every_mode(tmp_path: Path, kind: str, transparent: int | None) -> None:
    colours = np.array([[0, 0, 100], [255, 0, 0], [0, 0, 0]])
    how = {"transparency": transparent} if transparent is not None and kind in ("PNG", "GIF") else {}
    path = tmp_path / "mask.bin"
    path.write_bytes(by_pillow(with_palette(DRAWN, colours), kind, **how))
    assert np.array_equal(MaskReader().read(path), DRAWN > 0)
    assert np.array_equal(MaskReader({"a": 0, "b": 1, "c": 2}).read(path), DRAWN)
    assert np.array_equal(MaskReader(ignore=2).read(path), np.where(DRAWN == 2, IGNORE_INDEX, DRAWN > 0))
    assert np.array_equal(MaskReader(threshold=1).read(path), DRAWN > 1)
    reader = MaskReader({"a": "#000064", "b": "#ff0000"}, "#000000")
    assert np.array_equal(reader.read(path), np.where(DRAWN == 2, IGNORE_INDEX, DRAWN))


def test_palettes_that_are_ambiguous(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    grey = with_palette(DRAWN % 2, np.array([[0, 0, 0], [255, 255, 255]]))
    path.write_bytes(by_pillow(grey, "PNG"))
    assert np.array_equal(MaskReader({"a": 0, "b": 1}, 255).read(path), DRAWN % 2)  # PNG keeps the numbers
    with pytest.raises(ValueError, match=r"mask\.png: it has a palette, no index of which is above .* 127"):
        MaskReader(threshold=127).read(path)
    # Pillow writes the grey values 0 and 2 as the indices 0 and 1 of a GIF.
    path.write_bytes(by_pillow(Image.fromarray(DRAWN // 2 * 2), "GIF"))
    with pytest.raises(ValueError, match="a palette of grey values that differ from the indices"):
        MaskReader({"a": 0, "b": 1, "c": 2}).read(path)
    assert np.array_equal(MaskReader().read(path), DRAWN // 2)


# --- lossy formats ----------------------------------------------------------------------------------------


def disc(side: int = 64) -> NDArray[np.uint8]:
    y, x = np.mgrid[:side, :side]
    return ((y - side // 2) ** 2 + (x - side // 3) ** 2 < (side // 4) ** 2).astype(np.uint8)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("quality", [50, 75, 95])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_lossy_masks_are_cut_in_the_middle(tmp_path: Path, kind: str, quality: int, mode: str) -> None:
    how: dict[str, Any] = {"compression": "jpeg"} if kind == "TIFF" else {}
    path, drawn = tmp_path / "mask.bin", disc()
    path.write_bytes(by_pillow(Image.fromarray(drawn * 255).convert(mode), kind, quality=quality, **how))
    with Image.open(path) as image:
        assert (np.asarray(image.convert("L")) > 0).mean() > 1.03 * drawn.mean()  # what 0 would give
    assert (MaskReader().read(path) != drawn).mean() < 0.002
    assert np.array_equal(MaskReader(threshold=127).read(path), MaskReader().read(path))
    name = "WebP" if kind == "WEBP" else "JPEG"
    for options in ({"classes": {"a": 0, "b": 255}}, {"ignore": 255}, {"classes": {"a": 0, "b": "#ffffff"}}):
        with pytest.raises(ValueError, match=rf"{name} changes values, so that classes and ignore can't"):
            MaskReader(**options).read(path)  # type: ignore[arg-type]
    assert MaskReader(threshold=0).read(path).mean() > drawn.mean()  # the user's own threshold holds


@pytest.mark.parametrize("values", [(0, 1), (0, 5), (0, 90, 130, 170), (0, 100)])
def test_lossy_masks_of_other_values_are_refused(tmp_path: Path, values: tuple[int, ...]) -> None:
    parts = np.array(values, np.uint8)[np.arange(64) * len(values) // 64]
    path = tmp_path / "mask.jpg"
    path.write_bytes(by_pillow(Image.fromarray(np.tile(parts, (64, 1))), "JPEG", quality=95))
    with pytest.raises(ValueError, match=r"mask\.jpg: JPEG changes values, .* not nearly 0 and 255: set"):
        MaskReader().read(path)
    assert MaskReader(threshold=2).read(path).any() == (max(values) > 2)


def test_lossy_masks_without_an_object_and_without_background(tmp_path: Path) -> None:
    for value in (0, 255):
        path = tmp_path / "mask.jpg"
        path.write_bytes(by_pillow(Image.new("L", (40, 30), value), "JPEG"))
        assert (MaskReader().read(path) == (value > 0)).all()


# --- transparency and size --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("colours", "alpha", "read"),
    [
        ([0, 0, 255, 255], [255, 255, 255, 255], True),
        ([0, 0, 255, 255], [7, 7, 7, 7], True),
        ([0, 0, 255, 255], [0, 0, 255, 255], True),
        ([0, 0, 255, 255], [255, 200, 200, 255], True),
        ([255, 255, 255, 255], [0, 0, 255, 255], False),
        ([0, 0, 0, 0], [0, 0, 255, 255], False),
    ],
)
@pytest.mark.parametrize("bands", [1, 3])
def test_transparency_of_a_mask_must_not_contradict_its_colours(
    tmp_path: Path, colours: list[int], alpha: list[int], read: bool, bands: int
) -> None:
    values = np.array([[[value] * bands for value in colours]], np.uint8)
    path = tmp_path / "mask.png"
    path.write_bytes(by_pillow(Image.fromarray(np.dstack([values, np.array([alpha], np.uint8)])), "PNG"))
    if read:
        assert MaskReader().read(path).tolist() == [[int(value > 0) for value in colours]]
    else:
        with pytest.raises(ValueError, match=r"mask\.png: parts of the mask are transparent"):
            MaskReader().read(path)


def test_a_mask_may_have_more_pixels_than_pillow_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1)
    for kind in ("PNG", "TIFF", "BMP", "GIF"):
        path = tmp_path / "mask.bin"
        path.write_bytes(by_pillow(with_palette(DRAWN, np.arange(9).reshape(3, 3)), kind))
        assert np.array_equal(MaskReader({"a": 0, "b": 1, "c": 2}).read(path), DRAWN)
    assert Image.MAX_IMAGE_PIXELS == 1  # restored
