from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from lab.data import Splits, manifest

HEADER = "basename,image_path,mask_path"


def picture(path: Path, value: int, size: tuple[int, int] = (8, 10)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full(size, value, np.uint8))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Twelve images that tell their number, of sequences 1 to 4 by turns; masks that tell it too."""
    for k in range(12):
        picture(tmp_path / "in" / f"{k}.png", 10 + k)
        mask = np.zeros((8, 10), np.uint8)
        mask.flat[: k + 1] = 255
        (tmp_path / "out").mkdir(exist_ok=True)
        assert cv2.imwrite(str(tmp_path / "out" / f"{k}.png"), mask)
    return tmp_path


def write(root: Path, lines: list[str], header: str = HEADER) -> str:
    path = root / "manifest.csv"
    path.write_text("\n".join([header, *lines]) + "\n")
    return str(path)


def row(k: int, *more: object) -> str:
    return ",".join(map(str, [f"case{k}", f"in/{k}.png", f"out/{k}.png", *more]))


def numbers(splits: Splits) -> list[list[int]]:
    found = []
    for part in splits[:3]:
        dataset: Any = part
        pairs = [(dataset[i][0], dataset[i][-1]) for i in range(len(dataset) if dataset else 0)]
        found.append([round(image[0, 0, 0].item() * 255) - 10 for image, _ in pairs])
        assert found[-1] == [int(mask.sum()) - 1 for _, mask in pairs]
        if dataset:
            assert dataset.names == [f"case{k}" for k in found[-1]]
    return found


def everywhere(splits: Splits) -> list[int]:
    return sorted(number for part in numbers(splits) for number in part)


def test_rows_become_pairs_by_seed(root: Path) -> None:
    path = write(root, [row(k) for k in range(12)])
    splits = manifest(path, normalise="none", val_share=0.25, test_share=0.25)
    assert [len(part) for part in numbers(splits)] == [6, 3, 3]
    assert everywhere(splits) == list(range(12))
    assert numbers(splits) == numbers(manifest(path, normalise="none", val_share=0.25, test_share=0.25))


def test_the_root_may_be_elsewhere(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("lists")
    path = write(other, [row(k) for k in range(12)])
    assert everywhere(manifest(path, str(root), normalise="none")) == list(range(12))
    with pytest.raises(ValueError, match=r"24 problems.*\n.*line 2: image_path .*no such file"):
        manifest(path)


def test_the_split_column_decides_where_there_is_one(root: Path) -> None:
    parts = ["train", "val", "test"]
    path = write(root, [row(k, parts[k % 3]) for k in range(12)], HEADER + ",split")
    assert numbers(manifest(path, normalise="none")) == [[0, 3, 6, 9], [1, 4, 7, 10], [2, 5, 8, 11]]
    path = write(root, [row(k, parts[k // 4]) for k in range(12)], HEADER + ",part")
    assert numbers(manifest(path, normalise="none", split_by="part"))[1] == [4, 5, 6, 7]
    held = [numbers(manifest(path, normalise="none", split_by="part", folds=2, fold=fold)) for fold in (0, 1)]
    assert sorted(held[0][1] + held[1][1]) == list(range(8)) and held[0][2] == held[1][2] == [8, 9, 10, 11]


def test_groups_stay_together(root: Path) -> None:
    path = write(root, [row(k, k % 4) for k in range(12)], HEADER + ",sequence_id")
    splits = manifest(path, group_by="sequence_id", normalise="none", test_share=0.25, val_share=0.25)
    groups = [{k % 4 for k in part} for part in numbers(splits)]
    assert [len(group) for group in groups] == [2, 1, 1] and len(set.union(*groups)) == 4
    unsaid = manifest(path, normalise="none", test_share=0.25, val_share=0.25)
    assert numbers(unsaid) == numbers(splits), "a column of sequences is a column of groups"


def test_a_condition_is_numbered_by_the_training_set(root: Path) -> None:
    names = [(20, 3)[k % 2] if k < 8 else (100, 3)[k % 2] for k in range(12)]
    lines = [row(k, names[k], "train" if k < 8 else "val") for k in range(12)]
    path = write(root, lines, HEADER + ",sequence_id,split")
    splits = manifest(path, condition="sequence_id")
    assert splits.facts["sequences"] == {"3": 0, "20": 1}  # as numbers: 3 before 20
    train: Any = splits.train
    val: Any = splits.val
    assert [train[i][1].item() for i in range(8)] == [1, 0] * 4
    assert [val[i][1].item() for i in range(4)] == [-1, 0, -1, 0]


def test_rows_without_a_mask_are_counted_and_left_out(root: Path) -> None:
    lines = [row(k, "") if k < 9 else f"case{k},in/{k}.png,," for k in range(12)]
    splits = manifest(write(root, lines, HEADER + ",sequence_id"), normalise="none", val_share=0.3)
    assert everywhere(splits) == list(range(9))
    assert splits.facts["counts"] == {"train": 6, "val": 3, "test": 0, "unlabelled": 3}
    with pytest.raises(ValueError, match=r"manifest\.csv: no image has a mask"):
        manifest(write(root, [f"case{k},in/{k}.png," for k in range(3)]))


def test_all_problems_are_told_at_once_with_their_lines(root: Path) -> None:
    picture(root / "out" / "5.png", 0, (4, 4))
    (root / "in" / "6.png").write_bytes((root / "in" / "6.png").read_bytes()[:-20])
    lines = [
        row(0, 1, "train"),
        "case1,in/1.png,out/gone.png,1,train",
        "case2,../in/2.png,out/2.png,1,train",
        "case3,/in/3.png,out/3.png,1,train",
        row(0, 1, "val"),
        row(5, 1, "val"),
        row(6, 1, "val"),
        row(7, "", "val"),
        row(8, 2, "eval"),
        row(9, 2),
        "case10,,out/10.png,2,val",
        "case11,in/nope.png,,2,val",
    ]
    path = write(root, lines, HEADER + ",sequence_id,split")
    with pytest.raises(ValueError) as error:
        manifest(path, group_by="sequence_id")
    text = str(error.value)
    assert text.startswith(f"11 problems with the images of {path}")
    for part in (
        f"line 3: mask_path {root / 'out' / 'gone.png'}: no such file",
        "line 4: image_path ../in/2.png leads out of the data root",
        "line 5: image_path /in/3.png leads out of the data root",
        "line 6: basename case0 is on line 2 already",
        f"{root / 'out' / '5.png'}: 4 × 4 pixels, but its image has 10 × 8",
        f"{root / 'in' / '6.png'}: not a readable image; cut short",
        "line 9: sequence_id is empty",
        "line 10: split is 'eval', not one of train, val, test",
        "line 11: 4 cells, but the header has 5",
        "line 12: image_path is empty",
        f"line 13: image_path {root / 'in' / 'nope.png'}: no such file",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": None}, r"--set data\.path=FILE"),
        ({"group_by": "patient"}, "no column patient; it has basename, image_path, mask_path"),
        ({"split_by": "part"}, "no column part"),
        ({"folds": 13}, "folds=13, but there are 12 images: folds=12 leaves one out"),
        ({"cache_gb": -1.0}, "cache_gb must be >= 0"),
        ({"normalise": "all"}, "normalise must be train, image or none, found 'all'"),
    ],
)
def test_arguments_that_do_not_fit(root: Path, options: dict[str, Any], message: str) -> None:
    path = write(root, [row(k) for k in range(12)])
    with pytest.raises(ValueError, match=message):
        manifest(**{"path": path, **options})


def test_an_empty_list(root: Path) -> None:
    with pytest.raises(ValueError, match=r"manifest\.csv: no row in it"):
        manifest(write(root, []))
