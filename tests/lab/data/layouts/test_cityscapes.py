from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lab.config.mask_values import IGNORE_INDEX
from lab.data.masks import MaskReader
from tests.layout_tools import SIDE, image, load

# The judged classes of cityscapesScripts (labels.py): label id by training id.
LABEL_IDS = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]


def ids(number: int) -> np.ndarray:
    """All label ids 0 to 33 and 255, which stands for -1."""
    pixels = np.resize(np.array([*range(34), 255], np.uint8), (SIDE, SIDE))
    return np.roll(pixels, number)


def train_ids(labels: np.ndarray) -> np.ndarray:
    expected = np.full(labels.shape, IGNORE_INDEX)
    for index, number in enumerate(LABEL_IDS):
        expected[labels == number] = index
    return expected


def draw(root: Path, kinds: tuple[str, ...], truth: str = "gtFine") -> None:
    number = 0
    for part, city, count in (
        ("train", "aachen", 2),
        ("train", "ulm", 1),
        ("val", "lindau", 2),
        ("test", "bonn", 1),
    ):
        for _ in range(count):
            name = f"{city}_{number:06}_000019"
            image(root / "leftImg8bit" / part / city / f"{name}_leftImg8bit.png", number)
            folder = root / truth / part / city
            folder.mkdir(parents=True, exist_ok=True)
            labels = ids(number) if part != "test" else np.full((SIDE, SIDE), 3, np.uint8)
            for kind in kinds:
                pixels = train_ids(labels).astype(np.uint8) if kind == "labelTrainIds" else labels
                Image.fromarray(pixels).save(folder / f"{name}_{truth}_{kind}.png")
            (folder / f"{name}_{truth}_polygons.json").write_text("{}")
            number += 1


@pytest.mark.parametrize("truth", ["gtFine", "gtCoarse"])
@pytest.mark.parametrize(
    "kinds", [("labelIds",), ("labelTrainIds",), ("color", "instanceIds", "labelIds", "labelTrainIds")]
)
def test_labels_become_the_judged_classes(tmp_path: Path, truth: str, kinds: tuple[str, ...]) -> None:
    draw(tmp_path, kinds, truth)
    splits = load(tmp_path)
    assert [len(splits.facts["split"][part]) for part in ("train", "val", "test")] == [3, 2, 0]
    assert splits.facts["counts"]["unlabelled"] == 1  # the published test set's labels name no class
    classes = splits.facts["classes"]
    assert len(classes) == 19 and classes[:3] == ["road", "sidewalk", "building"] and classes[-1] == "bicycle"
    for part in (splits.train, splits.val):
        for pixels, mask in part:  # type: ignore[attr-defined]
            number = round(float(pixels[0].mean()) * 255) - 10
            assert np.array_equal(mask.numpy(), train_ids(ids(number)))


def test_own_classes_are_numbers_of_the_files(tmp_path: Path) -> None:
    draw(tmp_path, ("labelIds",))
    names = {f"c{number}": number for number in range(34)}
    splits = load(tmp_path, classes=names, ignore=255)
    assert splits.facts["classes"] == list(names) and len(splits.facts["split"]["test"]) == 1
    pixels, mask = splits.train[0]
    assert np.array_equal(mask.numpy(), ids(round(float(pixels[0].mean()) * 255) - 10))


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    draw(tmp_path, ("labelIds",))
    (tmp_path / "gtFine" / "train" / "ulm" / "ulm_000002_000019_gtFine_labelIds.png").unlink()
    (tmp_path / "leftImg8bit" / "val" / "lindau" / "lindau_000003_000019_leftImg8bit.png").unlink()
    image(tmp_path / "leftImg8bit" / "demo" / "x_leftImg8bit.png", 9)
    with pytest.raises(ValueError, match="3 problems") as error:
        load(tmp_path)
    text = str(error.value)
    assert "ulm_000002_000019_leftImg8bit.png: no " in text and "demo: not a set by its name" in text
    assert "lindau_000003_000019_gtFine_labelIds.png: no image" in text


@pytest.mark.parametrize("kind", ["labelIds", "labelTrainIds"])
def test_a_label_file_is_read_alike_by_the_facts_alone(tmp_path: Path, kind: str) -> None:
    """Read masks as a prediction reads those that its manifest names."""
    draw(tmp_path, (kind,))
    stated = load(tmp_path).facts["mask_values"]
    path = tmp_path / f"gtFine/val/lindau/lindau_000003_000019_gtFine_{kind}.png"
    assert np.array_equal(MaskReader(**stated).read(path), train_ids(ids(3)))
