from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from lab.data import Splits, class_table


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """12 images of 6 patients, dark ones `benign` and bright ones `malignant`, both in every patient."""
    (tmp_path / "images").mkdir()
    lines = ["image_path,label,patient,part"]
    for k in range(12):
        bright = k % 2
        image = np.full((8, 8, 3), (50, 200)[bright], np.uint8)
        assert cv2.imwrite(str(tmp_path / "images" / f"{k}.png"), image)
        part = "test" if k >= 10 else "val" if k >= 8 else "train"
        lines.append(f"images/{k}.png,{('benign', 'malignant')[bright]},p{k // 2},{part}")
    file = tmp_path / "table.csv"
    file.write_text("\n".join(lines) + "\n")
    return file


def load(table: Path, **options: Any) -> Splits:
    return class_table(str(table), **{"size": 8, "normalise": "none", **options})


def test_classes_are_cut_each_for_itself(table: Path) -> None:
    splits = load(table, val_share=1 / 3)
    assert splits.facts["counts"]["train"] == {"benign": 4, "malignant": 4}
    assert splits.facts["counts"]["val"] == {"benign": 2, "malignant": 2}
    for name, (image, label) in zip(splits.facts["split"]["val"], splits.val, strict=True):  # type: ignore[call-overload]
        bright = int(Path(name).stem) % 2
        assert label == bright
        assert torch.equal(image, torch.full((3, 8, 8), (50, 200)[bright] / 255))


def test_the_order_of_the_rows_is_of_no_matter(table: Path) -> None:
    before = load(table).facts["split"]["val"]
    header, *rows = table.read_text().splitlines()
    table.write_text("\n".join([header, *reversed(rows)]))
    assert sorted(load(table).facts["split"]["val"]) == sorted(before)


def test_groups_stay_together(table: Path) -> None:
    names = load(table, group_by="patient", val_share=1 / 3, test_share=1 / 6).facts["split"]
    patients = [{int(Path(name).stem) // 2 for name in names[side]} for side in ("train", "val", "test")]
    assert [len(own) for own in patients] == [3, 2, 1] and len(set.union(*patients)) == 6


def test_the_table_can_name_the_split(table: Path) -> None:
    names = load(table, split_by="part").facts["split"]
    assert names["val"] == ["images/8.png", "images/9.png"]
    assert names["test"] == ["images/10.png", "images/11.png"] and len(names["train"]) == 8
    for before, own in (("part", "split"), ("split", "Split")):
        table.write_text(table.read_text().replace(f",{before}\n", f",{own}\n"))
        assert load(table).facts["split"] == names  # by its name
    with pytest.raises(ValueError, match="test_share has no effect"):
        load(table, test_share=0.2)


def test_validation_is_cut_from_what_is_not_the_test_set(table: Path) -> None:
    table.write_text(table.read_text().replace(",val\n", ",train\n"))
    for group_by in (None, "patient"):
        names = load(table, split_by="part", group_by=group_by, val_share=0.2).facts["split"]
        assert names["test"] == ["images/10.png", "images/11.png"]
        assert (len(names["train"]), len(names["val"])) == (8, 2)
    assert {int(Path(name).stem) // 2 for name in names["val"]} != {5}


def test_groups_on_both_sides_of_the_test_set(table: Path) -> None:
    torn = table.read_text().replace(",val\n", ",train\n").replace("p4,train", "p5,train")
    table.write_text(torn)
    with pytest.raises(ValueError, match="groups are both in the test set and outside of it: p5"):
        load(table, split_by="part", group_by="patient")


def test_columns_by_other_names_and_a_root(table: Path) -> None:
    table.write_text(table.read_text().replace("image_path,label", "file,kind").replace("images/", ""))
    splits = load(table, image="file", label="kind", root=str(table.parent / "images"))
    assert splits.facts["classes"] == ["benign", "malignant"]
    assert "0.png" in [*splits.facts["split"]["train"], *splits.facts["split"]["val"]]
    with pytest.raises(ValueError, match="no column image_path, label; it has file, kind, patient, part"):
        load(table)


def test_everything_wrong_with_the_table_is_told_at_once(table: Path) -> None:
    (table.parent / "images" / "3.png").write_bytes(b"")
    with table.open("a") as file:
        file.write("images/99.png,benign,p1,train\nimages/0.png,benign,p1,train\n../x.png,benign,p1,train\n")
        file.write("images/1.png\n")
    text = table.read_text().replace("images/4.png,benign", "images/4.png,")
    table.write_text(text)
    with pytest.raises(ValueError, match=f"6 problems with the images of {table}") as error:
        load(table)
    for part in (
        f"{table}, line 14: image_path {table.parent / 'images' / '99.png'}: no such file",
        f"{table}, line 15: image_path images/0.png is on line 2 already",
        f"{table}, line 16: image_path ../x.png leads out of the data root",
        f"{table}, line 17: 1 cells, but the header has 4",
        f"{table}, line 6: label is empty",
        f"{table.parent / 'images' / '3.png'}: the file is empty",
    ):
        assert part in str(error.value)


def test_tables_that_say_nothing(table: Path) -> None:
    with pytest.raises(ValueError, match=r"data\.path is not set"):
        class_table(None)
    table.write_text("image_path,label\n")
    with pytest.raises(ValueError, match="no row in it"):
        load(table)


@pytest.mark.parametrize("written", ["./images/0.png", "images/../images/0.png", "images/link.png"])
def test_a_file_that_two_rows_name_is_a_problem(table: Path, written: str) -> None:
    (table.parent / "images" / "link.png").symlink_to("0.png")
    table.write_text(table.read_text() + f"{written},malignant,p0,train\n")
    with pytest.raises(ValueError, match=f"line 14: image_path {written} is the file of line 2"):
        load(table)


@pytest.mark.parametrize(
    ("label", "other"), [("benign", "Benign"), ("benign", "BENIGN"), ("1", "1.0"), ("not sick", "not_sick")]
)
def test_classes_whose_names_nearly_agree_are_named(table: Path, label: str, other: str) -> None:
    lines = table.read_text().replace("benign", label).splitlines()
    some = [line.replace(f",{label},", f",{other},") if k % 4 == 1 else line for k, line in enumerate(lines)]
    table.write_text("\n".join(some))
    facts = load(table, val_share=1 / 3).facts
    assert set(facts["classes"]) == {label, other, "malignant"}
    (warning,) = (text for text in facts["warnings"] if "nearly agree" in text)
    assert repr(label) in warning and repr(other) in warning and "malignant" not in warning


@pytest.mark.parametrize("labels", [("1.5", "1.0"), ("10", "1"), ("a1", "a1.0"), ("0", "1")])
def test_classes_of_other_names_are_not_named(table: Path, labels: tuple[str, str]) -> None:
    text = table.read_text().replace("malignant", labels[0]).replace("benign", labels[1])
    table.write_text(text)
    assert not any("nearly agree" in warning for warning in load(table).facts["warnings"])
