from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from lab.data.csv_tables import Row
from lab.data.segmentation_files import Columns, Entry, Reading, read_sets
from lab.data.segmentation_sets import Sample, Serving
from lab.data.splits import Cut, Splits


def entries(folder: Path, count: int = 4, labelled: int = 4) -> list[Entry]:
    found = []
    for k in range(count):
        image, mask = folder / f"{k}.png", folder / f"{k}_mask.png"
        cv2.imwrite(str(image), np.full((6, 6, 3), 50 + k, np.uint8))
        cv2.imwrite(str(mask), np.eye(6, dtype=np.uint8) * (k + 1))
        found.append(Entry(Sample(str(k)), image, mask if k < labelled else None))
    return found


def sets(given: list[Entry], problems: tuple[str, ...] = (), **options: Any) -> Splits:
    return read_sets(given, problems, "the test", Reading(**options), Cut(), Serving(normalise="none"))


def test_labelled_entries_are_read_and_others_counted(tmp_path: Path) -> None:
    splits = sets(entries(tmp_path, 5, 3))
    assert splits.facts["counts"] == {"train": 2, "val": 1, "test": 0, "unlabelled": 2}
    assert "unlabelled" not in sets(entries(tmp_path)).facts["counts"]


@pytest.mark.parametrize(("grayscale", "channels"), [(True, 1), (False, 3)])
def test_channels(tmp_path: Path, grayscale: bool, channels: int) -> None:
    splits = sets(entries(tmp_path), grayscale=grayscale)
    train: Any = splits.train
    assert train[0][0].shape == (channels, 6, 6) and splits.facts["in_channels"] == channels


def test_classes_reach_the_items_and_the_facts(tmp_path: Path) -> None:
    splits = sets(entries(tmp_path), classes={"none": 0, **{f"c{k}": k for k in (1, 2, 3, 4)}})
    train: Any = splits.train
    assert splits.facts["classes"] == ["none", "c1", "c2", "c3", "c4"]
    for index, name in enumerate(train.names):
        assert train[index][1].unique().tolist() == [0, int(name) + 1]


def test_known_problems_and_those_of_the_files_come_together(tmp_path: Path) -> None:
    given = entries(tmp_path)
    given[1].image.write_bytes(b"")
    cv2.imwrite(str(given[2].mask), np.zeros((6, 7), np.uint8))
    given[3].mask.unlink()  # type: ignore[union-attr]
    cv2.imwrite(str(given[0].mask), np.full((6, 6), 9, np.uint8))
    with pytest.raises(ValueError) as error:
        sets(given, ("a row is wrong",), classes={"a": 0, "b": 1, "c": 2})
    lines = str(error.value).split("\n")
    assert lines[0] == "5 problems with the test: correct or remove what is named"
    assert [line.split("/")[-1].strip() for line in lines[1:]] == [
        "a row is wrong",
        "0_mask.png: 36 pixels of no class, of value 9",
        "1.png: the file is empty",
        "2_mask.png: 7 × 6 pixels, but its image has 6 × 6",
        "3_mask.png: can't be read: No such file or directory",
    ]


def test_a_cut_that_cannot_be_made_is_told_before_any_file_is_read(tmp_path: Path) -> None:
    missing = [Entry(Sample("a"), tmp_path / "no.png", tmp_path / "no.png")]
    with pytest.raises(ValueError, match="1 items are too few"):
        sets(missing)
    with pytest.raises(ValueError, match="the test: no image has a mask"):
        sets(entries(tmp_path, 3, 0))


def test_columns_say_more_of_an_image() -> None:
    row = Row(Path("t.csv"), 2, {"p": "1", "s": "val", "q": "7", "other": ""})
    columns = Columns("p", "s", "q")
    problems: list[str] = []
    assert columns.sample("a", row, problems) == Sample("a", group="1", sequence="7", split="val")
    assert columns.named == ["p", "s", "q"] and Columns(None, "s", None).named == ["s"]
    assert Columns(None, None, None).sample("a", row, problems) == Sample("a") and not problems
