import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.layout_tools import image, load, mask, numbers

LAYOUTS = {
    "camvid": ("{set}/{name}.png", "{set}annot/{name}.png", ("train", "val", "test")),
    "images and labels": ("images/{set}/{name}.jpg", "labels/{set}/{name}.png", ("train", "val", "test")),
    "ade20k": (
        "images/{set}/{name}.jpg",
        "annotations/{set}/{name}.png",
        ("training", "validation", "testing"),
    ),
    "a folder a set": ("{set}/images/{name}.png", "{set}/masks/{name}.png", ("Train", "Valid", "Test")),
    "one word": ("{set}_images/{name}.tif", "{set}_masks/{name}.png", ("train", "val", "test")),
    "suffix": ("{set}/{name}.jpg", "{set}_masks/{name}_mask.gif", ("train", "val", "test")),
    "wrapped": ("data/set/{set}/img/{name}.png", "data/set/{set}/gt/{name}.png", ("train", "val", "test")),
    "cities": ("images/{set}/a/b/{name}.png", "labels/{set}/a/b/{name}.png", ("train", "val", "test")),
    "isic": (
        "ISIC2018_Task1-2_{set}_Input/ISIC_{name}.jpg",
        "ISIC2018_Task1_{set}_GroundTruth/ISIC_{name}_segmentation.png",
        ("Training", "Validation", "Test"),
    ),
    "nnU-Net": ("images{set}/case_{name}_0000.png", "labels{set}/case_{name}.png", ("Tr", "Val", "Ts")),
    "drive": (
        "{set}/images/{name}_{set}.tif",
        "{set}/1st_manual/{name}_manual1.gif",
        ("training", "val", "test"),
    ),
    "side by side": ("{set}/{name}_sat.jpg", "{set}/{name}_mask.png", ("train", "valid", "test")),
    "plain side by side": ("{set}/{name}.png", "{set}/{name}_seg.png", ("train", "valid", "test")),
    "masks within": ("{set}/{name}.png", "{set}/masks/{name}.png", ("train", "valid", "test")),
}
COUNTS = (4, 2, 3)


def draw(
    root: Path, layout: str, counts: tuple[int, ...] = COUNTS, masks: tuple[bool, ...] = (True,) * 3
) -> None:
    pattern, mask_pattern, sets = LAYOUTS[layout]
    number = 0
    for name, count, masked in zip(sets, counts, masks, strict=True):
        for _ in range(count):
            image(root / pattern.format(set=name, name=f"{number:03}"), number)
            if masked:
                mask(root / mask_pattern.format(set=name, name=f"{number:03}"), number)
            number += 1


@pytest.mark.parametrize("layout", LAYOUTS)
def test_sets_and_pairs_are_those_of_the_folders(tmp_path: Path, layout: str) -> None:
    draw(tmp_path, layout)
    splits = load(tmp_path)
    assert numbers(splits) == [[0, 1, 2, 3], [4, 5], [6, 7, 8]]
    assert splits.info.layout.startswith("train: images in ")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_missing_validation_set_is_cut_from_training_data(tmp_path: Path, layout: str) -> None:
    draw(tmp_path, layout, (8, 0, 2))
    train, val, test = numbers(load(tmp_path, val_share=0.25))
    assert (len(train), len(val), test) == (6, 2, [8, 9]) and sorted(train + val) == list(range(8))


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if "side" not in name])
def test_a_test_set_without_masks_is_in_no_set(tmp_path: Path, layout: str) -> None:
    draw(tmp_path, layout, masks=(True, True, False))
    splits = load(tmp_path)
    assert numbers(splits) == [[0, 1, 2, 3], [4, 5], []]
    assert splits.facts["counts"]["unlabelled"] == 3


@settings(max_examples=25, deadline=None)
@given(
    layout=st.sampled_from(list(LAYOUTS)),
    counts=st.tuples(st.integers(2, 5), st.integers(0, 3), st.integers(0, 3)),
    seed=st.integers(0, 5),
    folds=st.sampled_from([None, 2]),
)
def test_splits_of_any_layout_are_disjoint_and_complete(
    tmp_path_factory: pytest.TempPathFactory,
    layout: str,
    counts: tuple[int, int, int],
    seed: int,
    folds: int | None,
) -> None:
    root = tmp_path_factory.mktemp("set")
    draw(root, layout, counts)
    found = numbers(load(root, seed=seed, folds=folds, val_share=0.4))
    assert sorted(number for part in found for number in part) == list(range(sum(counts)))
    assert found[2] == list(range(sum(counts[:2]), sum(counts)))
    if counts[1] and folds is None:
        assert found[1] == list(range(counts[0], counts[0] + counts[1]))
    shutil.rmtree(root)


@pytest.mark.parametrize(
    ("pattern", "mask_pattern"),
    [
        ("img/{}.png", "gt/{}.png"),
        ("Original/{}.tif", "Ground Truth/{}.tif"),
        ("701_StillsRaw_full/{}.png", "LabeledApproved_full/{}_L.png"),
        ("kaggle_3m/p{}/x_{}.tif", "kaggle_3m/p{}/x_{}_mask.tif"),
        ("{}.jpg", "masks/{}.png"),
        ("image/{}_img.png", "label/{}_lbl.png"),
        ("images/image_{}.png", "annotations/trimaps/mask_{}.png"),
    ],
)
def test_folders_without_sets_are_cut_by_shares(tmp_path: Path, pattern: str, mask_pattern: str) -> None:
    for number in range(10):
        image(tmp_path / pattern.format(number, number), number)
        mask(tmp_path / mask_pattern.format(number, number), number)
    train, val, test = numbers(load(tmp_path, val_share=0.2, test_share=0.2))
    assert [len(train), len(val), len(test)] == [6, 2, 2] and sorted(train + val + test) == list(range(10))


def refused(root: Path, message: str, **options: object) -> str:
    with pytest.raises(ValueError, match=message) as error:
        load(root, **options)
    return str(error.value)


def test_files_without_a_partner_are_named(tmp_path: Path) -> None:
    draw(tmp_path, "camvid")
    (tmp_path / "trainannot" / "001.png").unlink()
    (tmp_path / "val" / "004.png").unlink()
    text = refused(tmp_path, "2 problems")
    assert f"{tmp_path / 'train' / '001.png'}: no mask {tmp_path / 'trainannot' / '001'}.*" in text
    assert f"{tmp_path / 'valannot' / '004.png'}: no image {tmp_path / 'val' / '004'}.*" in text


def test_training_images_without_masks_are_refused(tmp_path: Path) -> None:
    draw(tmp_path, "camvid", masks=(True, False, True))
    assert f"{tmp_path / 'val'}: no masks of val" in refused(tmp_path, "1 problem")


def test_several_folders_of_masks_are_refused_by_name(tmp_path: Path) -> None:
    draw(tmp_path, "a folder a set")
    mask(tmp_path / "Train" / "labels" / "000.png", 0)
    assert "masks of train in several folders, Train/labels, Train/masks" in refused(tmp_path, "1 problem")


def test_a_set_that_may_be_either_is_refused(tmp_path: Path) -> None:
    draw(tmp_path, "images and labels")
    image(tmp_path / "images" / "eval" / "x.png", 9)
    assert f"{tmp_path / 'images' / 'eval'}: which set is this?" in refused(tmp_path, "problem")


def test_images_beside_the_sets_are_counted(tmp_path: Path) -> None:
    draw(tmp_path, "images and labels")
    image(tmp_path / "previews" / "x.png", 9)
    (text,) = load(tmp_path).facts["warnings"]
    assert text == f"{tmp_path}: not used: 1 images in folders of other names (previews)"


def test_folders_of_sets_in_images_and_masks_are_sets(tmp_path: Path) -> None:
    for number, part in enumerate(["train"] * 3 + ["val"] * 2):
        image(tmp_path / "images" / part / f"{number}.png", number)
        mask(tmp_path / "masks" / part / f"{number}.png", number)
    assert numbers(load(tmp_path)) == [[0, 1, 2], [3, 4], []]


def test_the_layout_may_be_forced(tmp_path: Path) -> None:
    draw(tmp_path, "camvid")
    assert numbers(load(tmp_path, images="train", masks="trainannot", val_share=0.25))[2] == []
    refused(tmp_path, "name folders of layout: pairs, but layout is named", images="train", layout="named")
    refused(tmp_path, r"images: no such folder", layout="pairs")


def test_masks_of_class_indices_need_names(tmp_path: Path) -> None:
    draw(tmp_path, "camvid")
    for path in (tmp_path / "trainannot").iterdir():
        mask(path, 5, 2)
        mask(tmp_path / "valannot" / "004.png", 3, 1)
    text = refused(
        tmp_path, "the masks hold the values 0, 1, 2, 255: set data.classes|the masks hold the values"
    )
    assert "mask_threshold: 0" in text
    load(tmp_path, mask_threshold=0)
    classes = {"sky": 0, "car": 1, "road": 2, "void": 255}
    splits = load(tmp_path, classes=classes)
    assert splits.facts["classes"] == list(classes)
    assert sorted(np.unique(splits.train[0][1]).tolist()) == [0, 2]


@pytest.mark.parametrize("layout", ["camvid", "images and labels", "a folder a set"])
def test_a_set_that_is_named_and_empty_is_refused(tmp_path: Path, layout: str) -> None:
    """Cut from the training images, it would be another validation set than the one that was meant."""
    draw(tmp_path, layout, (4, 0, 0))
    load(tmp_path)
    pattern, mask_pattern, sets = LAYOUTS[layout]
    for path in (pattern, mask_pattern):
        (tmp_path / path.format(set=sets[1], name="x")).parent.mkdir(parents=True)
    with pytest.raises(ValueError, match="no image of val in it; remove the folder"):
        load(tmp_path)


def test_folders_of_no_images_need_not_be_sets(tmp_path: Path) -> None:
    draw(tmp_path, "camvid", (4, 0, 0))
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "convert.py").write_text("")
    assert list(map(len, numbers(load(tmp_path)))) == [3, 1, 0]
