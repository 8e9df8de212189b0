from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lab.config.mask_values import IGNORE_INDEX
from lab.data.masks import MaskReader


def put(folder: Path, array: Any, name: str = "mask.png") -> Path:
    array = np.asarray(array)
    assert cv2.imwrite(str(folder / name), array[..., ::-1] if array.ndim == 3 else array)
    return folder / name


def read(folder: Path, array: Any, **options: Any) -> list[list[int]]:
    mask = MaskReader(**options).read(put(folder, array))
    assert mask.dtype == np.uint8
    return [[int(value) for value in row] for row in mask]


GREY = np.array([[0, 1, 2, 128, 255]], np.uint8)
RED, GREEN, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (255, 255, 255), (0, 0, 0)
COLOURED = np.array([[BLACK, RED, GREEN, WHITE]], np.uint8)


@pytest.mark.parametrize(
    ("array", "options", "expected"),
    [
        (GREY, {}, [0, 1, 1, 1, 1]),
        (GREY, {"threshold": 127}, [0, 0, 0, 1, 1]),
        (GREY, {"ignore": 128}, [0, 1, 1, IGNORE_INDEX, 1]),
        (COLOURED, {}, [0, 1, 1, 1]),
        (COLOURED, {"ignore": "#00ff00"}, [0, 1, IGNORE_INDEX, 1]),
        (COLOURED, {"ignore": 255}, [0, 1, 1, IGNORE_INDEX]),
        (GREY.astype(np.uint16) * 257, {"threshold": 40000}, [0, 0, 0, 0, 1]),
        (np.repeat(GREY[..., None], 3, 2), {"threshold": 127, "ignore": 1}, [0, IGNORE_INDEX, 0, 1, 1]),
    ],
)
def test_binary_masks(tmp_path: Path, array: Any, options: dict[str, Any], expected: list[int]) -> None:
    assert read(tmp_path, array, **options) == [expected]


CLASSES = {"background": 0, "cell": 1, "debris": "#ff0000"}


@pytest.mark.parametrize(
    ("array", "options", "expected"),
    [
        ([[0, 1, 2]], {"classes": {"a": 0, "b": 1, "c": 2}}, [0, 1, 2]),
        ([[0, 255, 7]], {"classes": {"a": 7, "b": 0, "c": 255}}, [1, 2, 0]),
        ([[0, 255]], {"classes": {"a": 0, "b": 255}}, [0, 1]),
        ([[0, 9, 1]], {"classes": {"a": 0, "b": 1}, "ignore": 9}, [0, IGNORE_INDEX, 1]),
        ([[0, 255, 1]], {"classes": {"a": 0, "b": 1}, "ignore": "#ffffff"}, [0, IGNORE_INDEX, 1]),
        ([[BLACK, RED, (1, 1, 1)]], {"classes": CLASSES}, [0, 2, 1]),
        ([[0, 1, 0]], {"classes": CLASSES}, [0, 1, 0]),
        ([[BLACK, RED, WHITE]], {"classes": {"a": 0, "b": "#FF0000"}, "ignore": 255}, [0, 1, IGNORE_INDEX]),
    ],
)
def test_values_and_colours(tmp_path: Path, array: Any, options: dict[str, Any], expected: list[int]) -> None:
    assert read(tmp_path, np.asarray(array, np.uint8), **options) == [expected]


def test_values_of_sixteen_bits(tmp_path: Path) -> None:
    array = np.array([[0, 1000, 65535]], np.uint16)
    assert read(tmp_path, array, classes={"a": 0, "b": 1000, "c": 65535}) == [[0, 1, 2]]
    with pytest.raises(ValueError, match=r"1 pixels of no class, of value 1000"):
        read(tmp_path, array, classes={"a": 0, "b": 232, "c": 65535})  # 1000 - 3 · 256


def test_a_palette_is_read_by_indices_unless_a_class_is_a_colour(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8)).convert("P")
    image.putpalette([9, 9, 9, 255, 0, 0, 0, 255, 0])
    path = tmp_path / "palette.png"
    image.save(path)
    assert MaskReader({"a": 0, "b": 1, "c": 2}).read(path).tolist() == [[0, 1, 2]]
    assert MaskReader({"a": 9, "b": "#00ff00", "c": "#ff0000"}).read(path).tolist() == [[0, 2, 1]]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([[0, 1, 3, 3, 77]], np.uint8), r"3 pixels of no class, of value 3, 77$"),
        (
            np.array([[BLACK, GREEN, (1, 2, 3)]], np.uint8),
            r"2 pixels of no class, of value #00ff00, #010203$",
        ),
        (np.arange(20, dtype=np.uint8)[None], r"18 pixels of no class, of value 2, 3, .*9 and 10 more$"),
        (COLOURED.astype(np.uint16) * 200, r"must have 8 bits a channel, found uint16"),
    ],
)
def test_unknown_values_are_named(tmp_path: Path, array: Any, message: str) -> None:
    with pytest.raises(ValueError, match=rf"mask\.png: .*{message}"):
        read(tmp_path, array, classes=CLASSES)


def test_a_jpeg_is_advised_against(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = put(tmp_path, rng.integers(0, 2, (16, 16), np.uint8) * 255, "mask.jpg")
    with pytest.raises(ValueError, match=r"JPEG changes values, so that .*: save masks as PNG"):
        MaskReader({"a": 0, "b": 255}).read(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": {"a": 0}}, "2 to 254 classes; found 1"),
        ({"classes": {str(k): k for k in range(255)}}, "found 255"),
        ({"classes": {"a": 0, "b": "red"}}, 'b must be a value such as 1 or a colour such as "#ff0000"'),
        ({"classes": {"a": 0, "b": "#ff00"}}, "found '#ff00'"),
        ({"classes": {"a": 0, "b": -1}}, "from 0 to 65535 or a colour, found -1"),
        ({"classes": {"a": 0, "b": 65536}}, "found 65536"),
        ({"classes": {"a": 0, "b": 1, "c": "#010101"}}, "1 is used twice"),
        ({"classes": {"a": 0, "b": 1}, "ignore": 1}, "1 is used twice"),
        ({"ignore": True}, "ignore must be a value"),
    ],
)
def test_labels_that_are_none(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MaskReader(**options)


@settings(max_examples=60, deadline=None)
@given(
    labels=st.lists(st.integers(0, 255), min_size=2, max_size=12, unique=True),
    seed=st.integers(0, 1000),
    coloured=st.booleans(),
)
def test_any_map_is_undone(
    tmp_path_factory: pytest.TempPathFactory, labels: list[int], seed: int, coloured: bool
) -> None:
    """Indices, written by the map and read by it, are the same again, in grey and in colour."""
    indices = np.random.default_rng(seed).integers(0, len(labels), (5, 3))
    folder = tmp_path_factory.getbasetemp()
    if coloured:
        colours = np.array([(label, 255 - label, label // 2) for label in labels], np.uint8)
        classes: dict[str, Any] = {str(k): "#{:02x}{:02x}{:02x}".format(*c) for k, c in enumerate(colours)}
        assert np.array_equal(MaskReader(classes).read(put(folder, colours[indices])), indices)
    else:
        classes = {str(k): label for k, label in enumerate(labels)}
        written = np.array(labels, np.uint8)[indices]
        assert np.array_equal(MaskReader(classes).read(put(folder, written)), indices)


def test_ignored_pixels_of_a_mask_with_a_palette_are_known_by_their_index(tmp_path: Path) -> None:
    """A palette of Pascal VOC: 0 background, 1 object, 255 unlabelled, each with a colour."""
    picture = Image.fromarray(np.array([[0, 1, 255]], np.uint8), mode="P")
    picture.putpalette([0, 0, 0, 128, 0, 0] + [0] * 759 + [224, 224, 192])
    picture.save(tmp_path / "mask.png")
    assert MaskReader(None, 255).read(tmp_path / "mask.png").tolist() == [[0, 1, IGNORE_INDEX]]


@pytest.mark.parametrize("names", [{0: 0, 1: 1}, {0: "background", 1: "cell"}, {"cell": 1, None: 0}])
def test_names_that_are_no_text(names: dict[Any, Any]) -> None:
    with pytest.raises(ValueError, match=r"these names are no text: .*; write a name .* in quotes"):
        MaskReader(names)


def test_values_of_no_class_are_ignored_where_that_is_asked_for(tmp_path: Path) -> None:
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(values).save(tmp_path / "m.png")
    found = MaskReader({"road": 7, "car": 26}, ignore_others=True).read(tmp_path / "m.png")
    assert np.array_equal(found, np.where(values == 7, 0, np.where(values == 26, 1, 255)))
