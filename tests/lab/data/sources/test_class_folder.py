from pathlib import Path
from typing import Any

import albumentations as A
import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from lab.config.argument_types import annotations
from lab.data import Splits, class_folder
from lab.data.classification_sets import AugmentedImages, LabelledImages, prepare
from lab.data.image_reader import read_image

SIDES = {"train", "val", "test"}


def write(path: Path, value: int, height: int = 12, width: int = 10) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((height, width, 3), value, np.uint8))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """20 dark cats and 10 bright dogs, of two sizes and three kinds of file."""
    for k in range(20):
        write(tmp_path / "cat" / f"{k:02}.{('png', 'jpg', 'tif')[k % 3]}", 40, *((12, 10), (30, 20))[k % 2])
    for k in range(10):
        write(tmp_path / "dog" / "more" / f"{k}.PNG", 220)
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    (tmp_path / "cat" / ".hidden.png").write_bytes(b"")
    (tmp_path / ".cache").mkdir()
    return tmp_path


@pytest.fixture
def divided(tmp_path: Path) -> Path:
    """The same two classes, divided into folders already."""
    for side, count in (("train", 8), ("val", 4), ("test", 3)):
        for label, value in (("cat", 40), ("dog", 220)):
            for k in range(count):
                write(tmp_path / side / label / f"{k}.png", value)
    return tmp_path


def load(folder: Path, **options: Any) -> Splits:
    return class_folder(str(folder), **{"size": 8, "normalise": "none", **options})


def test_one_folder_is_cut_class_by_class(folder: Path) -> None:
    splits = load(folder, val_share=0.2, test_share=0.1)
    assert splits.facts["classes"] == ["cat", "dog"]
    assert splits.facts["counts"] == {
        "train": {"cat": 14, "dog": 7},
        "val": {"cat": 4, "dog": 2},
        "test": {"cat": 2, "dog": 1},
    }
    names = splits.facts["split"]
    assert len({name for side in SIDES for name in names[side]}) == 30
    assert splits.facts["class_weights"] == [21 / 28, 21 / 14]
    for side, part in zip(("train", "val", "test"), splits[:3], strict=True):
        assert isinstance(part, TensorDataset) and part.names == names[side]  # type: ignore[attr-defined]
        for name, (image, label) in zip(names[side], part, strict=True):
            assert (image.shape, label) == ((3, 8, 8), int(name.startswith("dog/more/")))
            torch.testing.assert_close(
                image, torch.full((3, 8, 8), (40, 220)[label] / 255), atol=0.01, rtol=0
            )


def test_folders_of_sets_are_taken_as_they_are(divided: Path) -> None:
    splits = load(divided)
    assert splits.facts["counts"] == {
        "train": {"cat": 8, "dog": 8},
        "val": {"cat": 4, "dog": 4},
        "test": {"cat": 3, "dog": 3},
    }
    assert all(name.startswith(f"{side}/") for side in SIDES for name in splits.facts["split"][side])


def test_a_validation_set_that_is_not_there_is_cut_from_train(divided: Path) -> None:
    for path in sorted((divided / "val").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (divided / "val").rmdir()
    splits = load(divided, val_share=0.25)
    assert splits.facts["counts"] == {
        "train": {"cat": 6, "dog": 6},
        "val": {"cat": 2, "dog": 2},
        "test": {"cat": 3, "dog": 3},
    }
    assert all(name.startswith("test/") for name in splits.facts["split"]["test"])


def test_folds_leave_the_folder_of_tests_alone(divided: Path) -> None:
    found = [load(divided, folds=3, fold=fold).facts["split"] for fold in range(3)]
    held = sorted(name for split in found for name in split["val"])
    assert len(held) == 24 == len(set(held)) and not any(name.startswith("test/") for name in held)
    assert all(len(split["test"]) == 6 and split["test"] == found[0]["test"] for split in found)


def test_sample_size_is_of_each_class(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    few = load(folder, sample_size=10, val_share=0.2)
    assert few.facts["counts"]["train"] == {"cat": 8, "dog": 8}
    assert few.facts["counts"]["val"] == {"cat": 2, "dog": 2}
    assert load(folder, sample_size=15, val_share=0.2).facts["counts"]["train"] == {"cat": 12, "dog": 8}
    assert load(folder, sample_size=10, seed=1).facts["split"] != few.facts["split"]
    assert load(folder, sample_size=10).facts["split"] == few.facts["split"]


def test_sample_size_is_of_each_folder_of_a_set(divided: Path) -> None:
    assert load(divided, sample_size=3).facts["counts"] == {
        side: {"cat": 3, "dog": 3} for side in ("train", "val", "test")
    }


def test_size_channels_and_what_a_prediction_sees(folder: Path) -> None:
    splits = load(folder, size=[6, 9], grayscale=True, normalise="train", val_share=0.5)
    assert (splits.facts["size"], splits.facts["in_channels"]) == ([6, 9], 1)
    assert splits.train[0][0].shape == (1, 6, 9)
    for index, name in enumerate(splits.facts["split"]["val"]):
        seen = prepare(read_image(folder / name, 1), splits.facts)
        assert torch.equal(seen, splits.val[index][0])


def test_images_of_one_size_need_no_size(divided: Path) -> None:
    assert load(divided, size=None).facts["size"] == [12, 10]


def test_numbers_are_in_the_order_of_their_values(tmp_path: Path) -> None:
    for label in ("10", "9", "2", "b"):
        for k in range(2):
            write(tmp_path / label / f"{k}.png", 9)
    assert load(tmp_path).facts["classes"] == ["2", "9", "10", "b"]


def test_transforms_are_for_training_and_images_may_lie_in_a_file(folder: Path) -> None:
    changed = load(folder, transforms=[A.RandomBrightnessContrast(p=1.0)], cache_gb=0)
    assert isinstance(changed.train, AugmentedImages) and type(changed.val) is LabelledImages
    one, other = (changed.train.sample(0, np.random.default_rng(seed))[0] for seed in (0, 1))
    assert not torch.equal(one, other)
    plain = load(folder)
    for index in range(len(changed.val)):
        assert torch.equal(changed.val[index][0], plain.val[index][0])


def test_everything_wrong_with_the_files_is_told_at_once(divided: Path) -> None:
    (divided / "train" / "cat" / "0.png").write_bytes(b"")
    whole = (divided / "train" / "dog" / "1.png").read_bytes()
    (divided / "train" / "dog" / "1.png").write_bytes(whole[: len(whole) // 2])
    (divided / "val" / "dog" / "2.png").write_text("no image at all")
    (divided / "train" / "emu").mkdir()
    (divided / "valid").mkdir()
    write(divided / "train" / "lost.png", 3)
    with pytest.raises(ValueError) as error:
        load(divided)
    lines = str(error.value).splitlines()
    assert lines[0] == f"6 problems with the class folders of {divided}: correct or remove what is named"
    for expected in (
        f"{divided / 'train' / 'cat' / '0.png'}: the file is empty",
        f"{divided / 'train' / 'dog' / '1.png'}: not a readable image; cut short",
        f"{divided / 'val' / 'dog' / '2.png'}: not a readable image; neither PNG, JPEG, TIFF,",
        f"{divided / 'train' / 'emu'}: no {READ} file in it",
        f"{divided / 'train' / 'lost.png'}: an image outside of the classes' folders",
        f"{divided / 'valid'}: means the same set as val/",
    ):
        assert any(line.strip().startswith(expected) for line in lines[1:]), expected


def problems_of(folder: Path) -> list[str]:
    """Return the problems of the folder, a line each, sorted."""
    with pytest.raises(ValueError, match="with the class folders") as error:
        load(folder)
    head, *lines = str(error.value).splitlines()
    assert head.startswith(f"{len(lines)} problem")
    return sorted(line.strip() for line in lines)


READ = ".bmp, .gif, .jpeg, .jpg, .png, .tif, .tiff, .webp"


def test_images_of_other_formats_are_told(folder: Path) -> None:
    others = [folder / "cat" / f"x.{kind}" for kind in ("AVIF", "heic", "psd")]
    others += [folder / "dog" / "more" / "x.jxl", folder / "emu" / "x.ppm"]
    (folder / "emu").mkdir()
    for path in others:
        path.write_bytes(b"x")
    (folder / "cat" / ".hidden.gif").write_bytes(b"x")
    assert problems_of(folder) == [
        f"{path}: not read, only {READ} are; convert or remove it" for path in others
    ]


def test_images_in_the_root_are_told(folder: Path) -> None:
    paths = [write(folder / "a.png", 3), folder / "b.gif"]
    paths[1].write_bytes(b"x")
    assert problems_of(folder) == [f"{path}: an image outside of the classes' folders" for path in paths]


def test_images_beside_sets_are_told(divided: Path) -> None:
    paths = [write(divided / "a.png", 3), divided / "b.webp", divided / "val" / "c.gif"]
    for path in paths[1:]:
        path.write_bytes(b"x")
    assert problems_of(divided) == [
        *(f"{path}: an image beside train/, so in no set; move or remove it" for path in paths[:2]),
        f"{paths[2]}: an image outside of the classes' folders",
    ]


@pytest.mark.parametrize("name", ["val", "test", "Testing"])
def test_a_set_among_classes_is_no_class(folder: Path, name: str) -> None:
    write(folder / name / "cat" / "0.png", 40)
    (found,) = problems_of(folder)
    assert found.startswith(f"{folder / name}: named as a set is and not as a class, but there is no train/ ")
    assert found.endswith("with a folder for each class; rename this one if it is a class")


def test_a_class_named_train_is_told_why_it_can_not_be(folder: Path) -> None:
    write(folder / "train" / "0.png", 40)
    wanted = "beside train/ there may be val/ and test/ and nothing else"
    cat, dog, lost, none = problems_of(folder)
    for name, line in (("cat", cat), ("dog", dog)):
        assert line.startswith(f"{folder / name}: {wanted}") and line.endswith("if it is a class")
    assert none == f"{folder / 'train'}: no folder of a class in it"
    assert lost == f"{folder / 'train' / '0.png'}: an image outside of the classes' folders"


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("Training", "Validation", "Testing"),
        ("train_set", "valid", "test_set"),
        ("TRAIN", "dev", "TEST"),
        ("training_set", "validation_set", "testing_set"),
        ("train_images", "val_images", "test_images"),
        ("Train2017", "Val2017", "Test2017"),
        ("seg_train", "seg_val", "seg_test"),
        ("MNIST - JPG - training", "MNIST - JPG - validation", "MNIST - JPG - testing"),
        ("trainData", "valData", "testData"),
        ("dataset/dataset/train", "dataset/dataset/val", "dataset/dataset/test"),
        ("train/Training", "val/images", "test/test"),
    ],
)
def test_names_of_sets_in_public_datasets(divided: Path, train: str, val: str, test: str) -> None:
    (root := divided / "set").mkdir()
    for old, new in (("train", train), ("val", val), ("test", test)):
        (root / new).parent.mkdir(parents=True, exist_ok=True)
        (divided / old).rename(root / new)
    splits = load(root)
    assert splits.facts["counts"] == {
        "train": {"cat": 8, "dog": 8},
        "val": {"cat": 4, "dog": 4},
        "test": {"cat": 3, "dog": 3},
    }
    for part, name in (("train", train), ("val", val), ("test", test)):
        assert all(path.startswith(f"{name}/") for path in splits.facts["split"][part])


@pytest.mark.parametrize("name", ["eval", "Evaluation", "holdout_set"])
def test_a_set_that_may_be_either_is_refused(divided: Path, name: str) -> None:
    (divided / "val").rename(divided / name)
    assert problems_of(divided) == [f"{divided / name}: validation or test data? Rename it to val or test"]


def test_classes_named_with_words_of_sets(tmp_path: Path) -> None:
    names = ["bullet_train", "bus", "dev", "invalid", "valid"]
    for name in names:
        for k in range(3):
            write(tmp_path / name / f"{k}.png", 9)
    assert load(tmp_path).facts["classes"] == names


def test_a_set_within_a_set_is_no_class(divided: Path) -> None:
    write(divided / "train" / "test" / "0.png", 40)
    (found,) = problems_of(divided)
    assert found.startswith(
        f"{divided / 'train' / 'test'}: named as a set is and not as a class, but it lies in"
    )


def test_a_class_that_is_not_trained_on(divided: Path) -> None:
    path = write(divided / "val" / "emu" / "0.png", 3)
    write(divided / "val" / "emu" / "1.png", 3)
    with pytest.raises(ValueError, match="1 problem with") as error:
        load(divided)
    assert f"{path}: class 'emu' has no image in the training set" in str(error.value)


def test_images_of_several_sizes_need_a_size(folder: Path) -> None:
    with pytest.raises(ValueError, match="10 problems") as error:
        load(folder, size=None)
    first = folder / "cat" / "00.png"
    assert f"{folder / 'cat' / '01.jpg'}: 20 × 30 pixels, but {first} has 10 × 12; set data.size" in str(
        error.value
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "size must be a number of pixels"),
        ({"size": [8]}, "size must be a number of pixels"),
        ({"sample_size": 1}, "sample_size must be at least 2"),
        ({"cache_gb": -1}, "cache_gb must be >= 0"),
        ({"normalise": "all"}, "normalise must be train, image or none"),
        ({"normalise": "train", "transforms": [A.Normalize()]}, "transforms has a Normalize"),
        ({"val_share": 0.6, "test_share": 0.4}, "their sum below 1"),
        ({"folds": 11}, "class 'dog': folds=11, but it has 10 images"),
    ],
)
def test_arguments_out_of_range(folder: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load(folder, **options)


def test_folders_that_are_not_what_is_meant(divided: Path) -> None:
    with pytest.raises(ValueError, match=r"data\.root is not set"):
        class_folder(None)
    with pytest.raises(ValueError, match="nowhere: no such folder"):
        load(divided / "nowhere")
    with pytest.raises(ValueError, match="cat: no folder of a class in it"):
        load(divided / "train" / "cat")
    with pytest.raises(ValueError, match="test_share has no effect where the sets are named already"):
        load(divided, test_share=0.1)
    for path in sorted((divided / "train" / "cat").iterdir()):
        path.unlink()
    (divided / "train" / "cat").rmdir()
    with pytest.raises(ValueError, match="at least two classes are needed, found dog"):
        load(divided / "train")


def test_the_arguments_are_checked_before_anything_is_built() -> None:
    checkers = annotations(class_folder)
    good = {"size": [32, 48], "grayscale": True, "sample_size": 5, "normalise": "image", "folds": 3}
    good_too = {"size": 32, "sample_size": None}
    for name, value in [*good.items(), *good_too.items()]:
        assert list(checkers[name].check(name, value)) == [], name
    for name, value in {"size": "big", "sample_size": 1.5, "normalise": "al", "fold": "x"}.items():
        assert list(checkers[name].check(name, value)), name


def test_sets_within_the_classes_are_refused(tmp_path: Path) -> None:
    """The images of both sets would be mixed: what is for testing would be trained on."""
    for label, value in (("cat", 40), ("dog", 220)):
        for side in ("train", "test"):
            for k in range(5):
                write(tmp_path / label / side / f"{k}.png", value)
    with pytest.raises(ValueError, match=r"cat: holds folders of sets \(test, train\)") as error:
        load(tmp_path)
    assert "dog: holds folders of sets" in str(error.value)


def test_folders_of_other_programs_hold_no_images_and_are_no_class(folder: Path) -> None:
    before = load(folder).facts
    for name in ("@eaDir", "__MACOSX"):
        write(folder / "cat" / name / "00.png" / "SYNOPHOTO_THUMB_M.jpg", 220)
        write(folder / name / "cat" / "00.png", 220)
    assert load(folder).facts == before
