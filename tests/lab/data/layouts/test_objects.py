from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.layout_tools import SIDE, image, load

MASKS = np.random.default_rng(0).random((12, 3, SIDE, SIDE)) > 0.9


def draw(root: Path, numbers: range, masks: bool = True) -> None:
    for number in numbers:
        folder = root / f"{number:04x}abc"
        image(folder / "images" / f"{number:04x}abc.png", number)
        for index in range(number % 3 + 1 if masks else 0):
            (folder / "masks").mkdir(exist_ok=True)
            pixels = MASKS[number, index].astype(np.uint8) * 255
            Image.fromarray(pixels).save(folder / "masks" / f"{index}{number}.png")


def check(dataset: object) -> list[int]:
    found = []
    for pixels, mask in dataset:  # type: ignore[attr-defined]
        number = round(float(pixels[0].mean()) * 255) - 10
        assert np.array_equal(mask[0].numpy(), MASKS[number, : number % 3 + 1].any(0))
        found.append(number)
    return sorted(found)


def test_the_mask_of_an_image_is_the_union_of_its_objects(tmp_path: Path) -> None:
    draw(tmp_path, range(10))
    splits = load(tmp_path, val_share=0.2)
    train, val = check(splits.train), check(splits.val)
    assert (len(train), len(val)) == (8, 2) and sorted(train + val) == list(range(10))


def test_folders_of_sets(tmp_path: Path) -> None:
    draw(tmp_path / "stage1_train", range(6))
    draw(tmp_path / "stage1_test", range(6, 9), masks=False)
    splits = load(tmp_path, val_share=0.5)
    assert sorted(check(splits.train) + check(splits.val)) == list(range(6))
    assert splits.facts["counts"] == {"train": 3, "val": 3, "test": 0, "unlabelled": 3}


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    draw(tmp_path, range(6))
    for path in (tmp_path / "0001abc" / "masks").iterdir():
        path.unlink()
    Image.fromarray(np.ones((4, 4), np.uint8)).save(tmp_path / "0002abc" / "masks" / "z.png")
    with pytest.raises(ValueError, match="2 problems") as error:
        load(tmp_path)
    assert f"{tmp_path / '0001abc' / 'masks'}: no mask in it" in str(error.value)
    assert "z.png: not of the size of 02.png" in str(error.value)


def test_objects_have_no_classes(tmp_path: Path) -> None:
    draw(tmp_path, range(6))
    with pytest.raises(ValueError, match=r"layout: objects has no classes"):
        load(tmp_path, classes={"background": 0, "cell": 255})
