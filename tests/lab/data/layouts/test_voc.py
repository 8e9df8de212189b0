from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lab.config.mask_values import IGNORE_INDEX
from lab.data.layouts.voc import CLASSES
from lab.data.masks import MaskReader
from tests.layout_tools import SIDE, image, load

PALETTE = [channel for k in range(256) for channel in ((k * 37) % 256, (k * 91) % 256, (k * 53) % 256)]


def indices(number: int) -> np.ndarray:
    """A border of 255 around one class."""
    pixels = np.full((SIDE, SIDE), 255, np.uint8)
    pixels[2:-2, 2:-2] = 0
    pixels[4:8, 4:8] = 1 + number % 20
    return pixels


def draw(root: Path, count: int = 8) -> None:
    for number in range(count):
        image(root / "JPEGImages" / f"2007_{number:06}.jpg", number)
        saved = Image.fromarray(indices(number)).convert("P")
        saved.putpalette(PALETTE)
        (root / "SegmentationClass").mkdir(exist_ok=True)
        saved.save(root / "SegmentationClass" / f"2007_{number:06}.png")
        mask = root / "SegmentationObject" / f"2007_{number:06}.png"
        mask.parent.mkdir(exist_ok=True)
        saved.save(mask)
    (root / "Annotations").mkdir()
    (root / "Annotations" / "2007_000000.xml").write_text("<annotation/>")


def lists(root: Path, **parts: list[int]) -> None:
    folder = root / "ImageSets" / "Segmentation"
    folder.mkdir(parents=True, exist_ok=True)
    for part, own in parts.items():
        (folder / f"{part}.txt").write_text("".join(f"2007_{number:06}\n" for number in own))


def split(found: dict[str, list[str]]) -> list[list[int]]:
    return [sorted(int(name[-6:]) for name in found[part]) for part in ("train", "val", "test")]


@pytest.mark.parametrize("below", ["", "VOCdevkit/VOC2012"])
def test_lists_name_the_sets_and_palettes_the_classes(tmp_path: Path, below: str) -> None:
    root = tmp_path / below
    root.mkdir(parents=True, exist_ok=True)
    draw(root)
    lists(root, train=[1, 3, 0], val=[5, 2], trainval=[0, 1, 2, 3, 5])
    splits = load(tmp_path)
    assert split(splits.facts["split"]) == [[0, 1, 3], [2, 5], []]
    assert splits.facts["classes"] == list(CLASSES) and len(CLASSES) == 21
    (warning,) = (text for text in splits.facts["warnings"] if "no list names" in text)
    assert warning.endswith("not used: 3 images, which no list names")
    for k, name in enumerate(splits.facts["split"]["train"]):
        pixels, mask = splits.train[k]
        number = round(float(pixels[0].mean()) * 255) - 10
        assert number == int(name[-6:])
        assert np.array_equal(mask.numpy(), np.where(indices(number) == 255, IGNORE_INDEX, indices(number)))


def test_trainval_stands_in_and_a_test_list_has_no_masks(tmp_path: Path) -> None:
    draw(tmp_path)
    lists(tmp_path, trainval=[0, 1, 2, 3, 4], test=[6, 7])
    for number in (6, 7):
        (tmp_path / "SegmentationClass" / f"2007_{number:06}.png").unlink()
    splits = load(tmp_path, val_share=0.4)
    train, val, test = split(splits.facts["split"])
    assert (len(train), len(val), test) == (3, 2, []) and sorted(train + val) == [0, 1, 2, 3, 4]
    assert splits.facts["counts"]["unlabelled"] == 2


def test_without_lists_images_with_masks_are_cut(tmp_path: Path) -> None:
    draw(tmp_path)
    image(tmp_path / "JPEGImages" / "2007_000020.jpg", 20)
    splits = load(tmp_path, val_share=0.25)
    train, val, _ = split(splits.facts["split"])
    assert (len(train), len(val)) == (6, 2) and splits.facts["counts"]["unlabelled"] == 1


def test_labels_of_an_annotation_tool(tmp_path: Path) -> None:
    colours = {"background": (0, 0, 0), "cat": (250, 50, 83), "dog": (51, 221, 255)}
    text = [f"{name}:{','.join(map(str, colour))}::" for name, colour in colours.items()]
    (tmp_path / "labelmap.txt").write_text("\n".join(["# label:color_rgb:parts:actions", *text]))
    for number in range(4):
        image(tmp_path / "JPEGImages" / f"{number}.png", number)
        pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
        pixels[0, : number + 1] = colours["cat"]
        pixels[1, 0] = colours["dog"]
        (tmp_path / "SegmentationClass").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "SegmentationClass" / f"{number}.png")
    splits = load(tmp_path)
    assert splits.facts["classes"] == ["background", "cat", "dog"]
    for pixels, mask in splits.train:  # type: ignore[attr-defined]
        number = round(float(pixels[0].mean()) * 255) - 10
        assert [int((mask == index).sum()) for index in (1, 2)] == [number + 1, 1]


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    draw(tmp_path)
    lists(tmp_path, train=[0, 1, 2, 9], val=[2, 3])
    (tmp_path / "SegmentationClass" / "2007_000001.png").unlink()
    (tmp_path / "JPEGImages" / "2007_000007.jpg").unlink()
    with pytest.raises(ValueError) as error:
        load(tmp_path)
    text = str(error.value)
    for expected in (
        "2007_000001.jpg: listed for train, but no mask SegmentationClass/2007_000001.*",
        "2007_000009 is listed, but there is no JPEGImages/2007_000009.*",
        "val.txt: 2007_000002 is listed for train too",
        "2007_000007.png: no image",
    ):
        assert expected in text
    assert text.startswith("4 problems")


def test_values_beyond_the_classes_are_refused_unless_named(tmp_path: Path) -> None:
    draw(tmp_path, 6)
    Image.fromarray(np.full((SIDE, SIDE), 30, np.uint8)).save(
        tmp_path / "SegmentationClass" / "2007_000001.png"
    )
    with pytest.raises(ValueError, match="256 pixels of no class, of value 30"):
        load(tmp_path)
    names = {"background": 0, **{f"c{k}": k for k in range(1, 31)}}
    assert load(tmp_path, classes=names, ignore=255).facts["classes"] == list(names)


def test_trainval_without_train_is_what_val_leaves(tmp_path: Path) -> None:
    draw(tmp_path)
    lists(tmp_path, trainval=[0, 1, 2, 3, 5], val=[5, 2], test=[6])
    assert split(load(tmp_path).facts["split"]) == [[0, 1, 3], [2, 5], [6]]
    lists(tmp_path, test=[0, 6])
    with pytest.raises(ValueError, match=r"trainval\.txt: 2007_000000 is listed for test too"):
        load(tmp_path)


def test_lists_from_other_systems_and_an_empty_one(tmp_path: Path) -> None:
    draw(tmp_path)
    lists(tmp_path, train=[0, 1, 3], val=[5, 2])
    path = tmp_path / "ImageSets" / "Segmentation" / "train.txt"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert split(load(tmp_path).facts["split"])[:2] == [[0, 1, 3], [2, 5]]
    lists(tmp_path, val=[])
    with pytest.raises(ValueError, match=r"val\.txt: the list is empty"):
        load(tmp_path)


def test_the_facts_state_what_masks_hold(tmp_path: Path) -> None:
    draw(tmp_path)
    lists(tmp_path, train=[0, 1, 3], val=[5, 2])
    path = tmp_path / "SegmentationClass" / "2007_000004.png"
    stated = load(tmp_path).facts["mask_values"]
    assert np.array_equal(MaskReader(**stated).read(path), indices(4))
    assert (
        "mask_values" not in load(tmp_path, classes={n: k for k, n in enumerate(CLASSES)}, ignore=255).facts
    )
