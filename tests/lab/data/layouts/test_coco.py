import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lab.config.mask_values import IGNORE_INDEX
from lab.data.layouts.coco import CocoMask
from lab.data.masks import MaskReader
from tests.layout_tools import SIDE, image, load, mask

CATEGORIES = [{"id": 18, "name": "dog"}, {"id": 1, "name": "person"}, {"id": 90, "name": "toothbrush"}]


def rectangle(top: int, left: int, height: int, width: int) -> list[list[float]]:
    """A polygon around whole pixels."""
    return [[left, top, left + width, top, left + width, top + height, left, top + height]]


def run_lengths(area: np.ndarray) -> dict[str, Any]:
    """An uncompressed code: counts of 0 and 1 in turn, down the columns."""
    flat = area.T.ravel()
    ends = [*(np.flatnonzero(np.diff(flat)) + 1).tolist(), len(flat)]
    counts = np.diff([0, *ends]).tolist()
    return {"size": list(area.shape), "counts": [0, *counts] if flat[0] else counts}


def compressed(area: np.ndarray) -> dict[str, Any]:
    """COCO's text of run lengths: 5 bits of a signed number a character, differences to the second before."""
    counts = run_lengths(area)["counts"]
    text = ""
    for index, count in enumerate(counts):
        number = count - (counts[index - 2] if index > 2 else 0)
        more = True
        while more:
            bits = number & 0x1F
            number >>= 5
            more = number != (-1 if bits & 0x10 else 0)
            text += chr((bits | 0x20 if more else bits) + 48)
    return {"size": list(area.shape), "counts": text}


def pixels(top: int, left: int, height: int, width: int, side: int = SIDE) -> np.ndarray:
    area = np.zeros((side, side), bool)
    area[top : top + height, left : left + width] = True
    return area


def drawn(*annotations: tuple[int, dict[str, Any]], side: int = SIDE) -> np.ndarray:
    return CocoMask("x.json, image 1", side, side, annotations).draw(MaskReader())


@pytest.mark.parametrize("kind", ["polygon", "counts", "text"])
@pytest.mark.parametrize("place", [(0, 0, 3, 5), (4, 6, 5, 2), (10, 0, 6, 16), (15, 15, 1, 1)])
def test_polygons_and_run_lengths_are_their_pixels(kind: str, place: tuple[int, int, int, int]) -> None:
    code = {
        "polygon": rectangle(*place),
        "counts": run_lengths(pixels(*place)),
        "text": compressed(pixels(*place)),
    }
    assert np.array_equal(drawn((3, {"segmentation": code[kind]})), np.where(pixels(*place), 3, 0))


def test_random_areas_survive_both_codes() -> None:
    for seed in range(10):
        area = np.random.default_rng(seed).random((40, 40)) > (0.1 * seed)
        for code in (run_lengths(area), compressed(area)):
            assert np.array_equal(drawn((1, {"segmentation": code}), side=40), area)


def test_several_polygons_are_one_object() -> None:
    code = rectangle(0, 0, 2, 2) + rectangle(8, 8, 3, 3)
    expected = pixels(0, 0, 2, 2) | pixels(8, 8, 3, 3)
    assert np.array_equal(drawn((2, {"segmentation": code})), np.where(expected, 2, 0))


@pytest.mark.parametrize("reverse", [False, True])
def test_small_objects_lie_over_large_ones_and_all_over_crowds(reverse: bool) -> None:
    annotations = [
        (1, {"segmentation": rectangle(0, 0, 10, 10)}),
        (2, {"segmentation": rectangle(2, 2, 3, 3)}),
        (3, {"segmentation": run_lengths(pixels(8, 8, 8, 8)), "iscrowd": 1}),
    ]
    expected = np.zeros((SIDE, SIDE), int)
    expected[8:, 8:] = IGNORE_INDEX
    expected[:10, :10] = 1
    expected[2:5, 2:5] = 2
    assert np.array_equal(drawn(*annotations[:: -1 if reverse else 1]), expected)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ([], "no segmentation, as for detection"),
        ([[1, 1, 5, 5]], "polygons are lists of at least three points"),
        ([[1, 1, 5, 5, 1]], "polygons are lists"),
        ([[1, 1, 5, float("nan"), 1, 3]], "polygons are lists"),
        ([[1, 1, 1e9, 5, 1, 3]], "polygons are lists"),
        ([["a"] * 6], "polygons are lists"),
        (None, "no segmentation"),
        ({"size": [SIDE, SIDE + 1], "counts": "0"}, "its size is"),
        ({"size": [SIDE, SIDE], "counts": [3, 4]}, "counts sum up to 7, not 256 pixels"),
        ({"size": [SIDE, SIDE], "counts": [-3, 259]}, "neither text nor a list"),
        ({"size": [SIDE, SIDE], "counts": "3333"}, "counts sum up to"),
        ({"size": [SIDE, SIDE], "counts": "ü"}, "not in the text format of run lengths"),
        ({"size": [SIDE, SIDE], "counts": "P"}, "counts are cut short"),
        ({"size": [SIDE, SIDE]}, "neither text nor a list"),
    ],
)
def test_codes_that_are_none(code: Any, message: str) -> None:
    with pytest.raises(ValueError, match=rf"x\.json, image 1, annotation 7: .*|{message}") as error:
        drawn((1, {"id": 7, "segmentation": code}))
    assert message in str(error.value)


# --- folders ----------------------------------------------------------------------------------------------


def content(names: list[str], first: int, **changes: Any) -> dict[str, Any]:
    """Image k shows class k % 3 of the categories in its first row; the first image has no annotation."""
    rows = [
        {"id": 100 + first + k, "file_name": name, "height": SIDE, "width": SIDE}
        for k, name in enumerate(names)
    ]
    annotations = [
        {
            "id": 500 + k,
            "image_id": 100 + first + k,
            "category_id": CATEGORIES[(first + k) % 3]["id"],
            "iscrowd": 0,
            "bbox": [0, 0, 1, 1],
            "segmentation": rectangle(0, 0, 1, 1 + k),
        }
        for k in range(1, len(names))
    ]
    return {"images": rows, "annotations": annotations, "categories": CATEGORIES, **changes}


LAYOUTS = {
    "coco": ("annotations/instances_{set}2017.json", "{set}2017/{name}", "{name}", ("train", "val", "test")),
    "images": ("annotations/{set}.json", "images/{set}/{name}", "{name}", ("train", "val", "test")),
    "roboflow": ("{set}/_annotations.coco.json", "{set}/{name}", "{name}", ("train", "valid", "test")),
    "paths": ("{set}.json", "all/{set}/{name}", "all/{set}/{name}", ("train", "val", "test")),
    "backslashes": ("{set}.json", "all/{set}/{name}", "{set}\\{name}", ("train", "val", "test")),
}


def draw(root: Path, layout: str, counts: tuple[int, ...] = (4, 3, 2)) -> None:
    json_path, path, file_name, sets = LAYOUTS[layout]
    first = 0
    for part, count in zip(sets, counts, strict=True):
        names = [f"{first + k:012}.jpg" for k in range(count)]
        for k, name in enumerate(names):
            image(root / path.format(set=part, name=name), first + k)
        file = root / json_path.format(set=part)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content([file_name.format(set=part, name=name) for name in names], first)))
        first += count


@pytest.mark.parametrize("layout", LAYOUTS)
def test_sets_classes_and_masks(tmp_path: Path, layout: str) -> None:
    draw(tmp_path, layout)
    splits = load(tmp_path)
    assert splits.facts["classes"] == ["background", "person", "dog", "toothbrush"]
    found = []
    for part, first in ((splits.train, 0), (splits.val, 4), (splits.test, 7)):
        own = []
        for item in part:  # type: ignore[union-attr]
            number = round(float(item[0][0].mean()) * 255) - 10
            expected = np.zeros((SIDE, SIDE), int)
            if number > first:  # the first of each set shows nothing
                expected[0, : 1 + number - first] = (2, 1, 3)[number % 3]
            assert np.array_equal(item[1].numpy(), expected)
            own.append(number)
        found.append(sorted(own))
    assert found == [[0, 1, 2, 3], [4, 5, 6], [7, 8]]


def test_one_file_is_cut_by_shares_and_few_classes_are_chosen(tmp_path: Path) -> None:
    names = [f"{k}.png" for k in range(10)]
    for k, name in enumerate(names):
        image(tmp_path / "images" / name, k)
    (tmp_path / "annotations.json").write_text(json.dumps(content(names, 0)))
    splits = load(tmp_path, val_share=0.2, classes={"background": 0, "dog": 18})
    assert splits.facts["classes"] == ["background", "dog"]
    assert splits.facts["counts"] == {"train": 8, "val": 2, "test": 0}
    for part in (splits.train, splits.val):
        for pixels, truth in part:  # type: ignore[attr-defined]
            number = round(float(pixels[0].mean()) * 255) - 10
            assert int(truth.sum()) == (1 + number if number % 3 == 0 and number else 0)


def test_a_test_file_without_annotations_is_in_no_set(tmp_path: Path) -> None:
    draw(tmp_path, "coco")
    path = tmp_path / "annotations" / "instances_test2017.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "annotations": []}))
    for other in ("captions_train2017.json", "person_keypoints_train2017.json"):
        (tmp_path / "annotations" / other).write_text(json.dumps(content([], 0)))
    splits = load(tmp_path)
    assert splits.facts["counts"] == {"train": 4, "val": 3, "test": 0, "unlabelled": 2}


def test_everything_wrong_is_named(tmp_path: Path) -> None:
    draw(tmp_path, "images")
    path = tmp_path / "annotations" / "train.json"
    data = json.loads(path.read_text())
    data["annotations"][0]["category_id"] = 5
    data["annotations"][1]["image_id"] = 999
    data["images"][0]["file_name"] = "../../outside.jpg"
    data["images"][1]["file_name"] = "gone.jpg"
    data["images"][2]["height"] = 0
    data["images"][3]["width"] = SIDE + 1
    path.write_text(json.dumps(data))
    (tmp_path / "annotations" / "val.json").write_text("{}"[:1] + '"images" "annotations" "categories"')
    with pytest.raises(ValueError) as error:
        load(tmp_path)
    text = str(error.value)
    for expected in (
        "annotation 501: no category 5",
        "annotation 502: no image 999",
        "file_name ../../outside.jpg leads out of the data root",
        f"no image gone.jpg below {tmp_path}",
        "height and width are not numbers of pixels: 0, 16",
        "17 × 16 pixels, but its image has 16 × 16",
        "val.json: can't be read as JSON",
    ):
        assert expected in text, expected


def test_two_files_of_one_set_are_refused(tmp_path: Path) -> None:
    draw(tmp_path, "coco")
    (tmp_path / "annotations" / "more_train.json").write_text(json.dumps(content([], 0)))
    with pytest.raises(ValueError, match="several annotation files of one set"):
        load(tmp_path)


def test_what_fits_two_layouts_is_refused_until_one_is_named(tmp_path: Path) -> None:
    draw(tmp_path, "images")
    for path in list((tmp_path / "images").rglob("*.jpg")):
        mask(tmp_path / "labels" / path.parent.name / f"{path.stem}.png", int(path.stem))
    with pytest.raises(ValueError, match="this may be named or coco: set data"):
        load(tmp_path)
    assert load(tmp_path, layout="named").facts["classes"] == ["background", "foreground"]
    assert len(load(tmp_path, layout="coco").facts["classes"]) == 4


@pytest.mark.parametrize("before", [b"\xef\xbb\xbf", b"\n", b"\r\n\t ", b"\xef\xbb\xbf \n"])
def test_a_file_may_begin_with_a_byte_order_mark_or_blanks(tmp_path: Path, before: bytes) -> None:
    draw(tmp_path, "coco")
    expected = load(tmp_path).facts["split"]
    for path in tmp_path.rglob("*.json"):
        path.write_bytes(before + path.read_bytes())
    assert load(tmp_path).facts["split"] == expected


def test_images_that_no_file_names_are_counted(tmp_path: Path) -> None:
    draw(tmp_path, "coco")
    assert not any("not used" in text for text in load(tmp_path).facts.get("warnings", []))
    folder = next(tmp_path.rglob("*.jpg")).parent
    for number in range(3):
        image(folder / f"extra_{number}.jpg", 100 + number)
    (warning,) = (text for text in load(tmp_path).facts["warnings"] if "not used" in text)
    assert warning.endswith("not used: 3 images, which no annotation file names, such as extra_0.jpg")
