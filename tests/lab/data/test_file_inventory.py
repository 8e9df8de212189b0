import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from lab.config.dataset_info import DatasetInfo
from lab.data import Splits, class_folder, class_table, image_folder, manifest
from lab.data.file_inventory import changes, repeated
from lab.data.splits import Parts


def write(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.random.default_rng(seed).integers(0, 255, (8, 8, 3), np.uint8))
    return path


def parts(train: list[int], val: list[int], test: list[int]) -> Parts:
    return Parts(*(np.array(part, np.intp) for part in (train, val, test)))


def test_copies_in_held_out_sets_are_named(tmp_path: Path) -> None:
    contents = [b"aaaa", b"bbbb", b"cccc", b"bbbb", b"dddd", b"aaaa", b"bbbb", b"aaa"]
    images = [tmp_path / str(k) for k in range(len(contents))]
    for path, content in zip(images, contents, strict=True):
        path.write_bytes(content)
    names = [f"n{k}" for k in range(len(contents))]
    val, test = repeated(names, images, parts([0, 1, 2], [3, 4, 7], [5, 6]))
    assert val.startswith(
        "1 of the 3 validation images are also in the training set, with equal content: n3 (n1);"
    )
    assert test.startswith("2 of the 2 test images") and ": n5 (n0), n6 (n1);" in test
    assert repeated(names, images, parts([0, 3, 1], [2, 4], [7])) == []  # twice within training data


def test_only_files_of_equal_size_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = [tmp_path / str(k) for k in range(4)]
    for k, path in enumerate(images):
        path.write_bytes(b"x" * max(k, 1))  # 1, 1, 2, 3
    read: list[str] = []
    opened = Path.open
    monkeypatch.setattr(
        Path, "open", lambda self, *a, **b: (read.append(self.name), opened(self, *a, **b))[1]
    )
    assert len(repeated(list("0123"), images, parts([0, 3], [1, 2], []))) == 1
    assert sorted(read) == ["0", "1"]


def test_of_many_copies_some_are_named(tmp_path: Path) -> None:
    images = [tmp_path / str(k) for k in range(10)]
    for path in images:
        path.write_bytes(b"same")
    (text,) = repeated([f"n{k}" for k in range(10)], images, parts([0, 1], list(range(2, 10)), []))
    assert text.startswith("8 of the 8") and ": n2 (n0), n3 (n0), n4 (n0), …;" in text


def sources(folder: Path) -> dict[str, Any]:
    """The same images for each kind of source; image 5 is a copy of image 0."""
    rows, labels = ["basename,image_path,mask_path,split"], ["image_path,label,split"]
    for k in range(6):
        part = "train" if k < 4 else "val"
        image = write(folder / "pairs" / "images" / f"{k}.png", 0 if k == 5 else k)
        mask = write(folder / "pairs" / "masks" / f"{k}.png", 9)
        shown = folder / "classes" / part / "ab"[k % 2] / f"{k}.png"
        shown.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(image, shown)
        rows.append(f"{k},{image.relative_to(folder)},{mask.relative_to(folder)},{part}")
        labels.append(f"{image.relative_to(folder)},{'ab'[k % 2]},{part}")
    (folder / "rows.csv").write_text("\n".join(rows))
    (folder / "labels.csv").write_text("\n".join(labels))
    (folder / "pairs" / "about.csv").write_text(
        "\n".join(["frame_id,split", *(f"{k},{'train' if k < 4 else 'val'}" for k in range(6))])
    )
    return {
        "image_folder": lambda: image_folder(str(folder / "pairs"), metadata="about.csv", split_by="split"),
        "manifest": lambda: manifest(str(folder / "rows.csv")),
        "class_folder": lambda: class_folder(str(folder / "classes"), size=8),
        "class_table": lambda: class_table(str(folder / "labels.csv"), size=8),
    }


@pytest.mark.parametrize("source", ["image_folder", "manifest", "class_folder", "class_table"])
def test_every_source_of_files_records_them(tmp_path: Path, source: str) -> None:
    load = sources(tmp_path)[source]
    splits: Splits = load()
    text = splits.info.warnings[-1]  # the masks of two sources are all foreground, another warning
    assert text.startswith("1 of the 2 validation images")
    recorded, split = splits.info.file_sizes, splits.info.split
    assert [len(recorded[part]) for part in ("train", "val", "test")] == [4, 2, 0]
    pair = "label" not in source and "class" not in source
    for part in ("train", "val"):
        for name, size in zip(split[part], recorded[part], strict=True):
            own = (tmp_path / "pairs" / "images" / f"{Path(name).stem}.png").stat().st_size
            mask = (tmp_path / "pairs" / "masks" / f"{Path(name).stem}.png").stat().st_size
            assert size == own + (mask if pair else 0)
    assert changes(splits.info, load().info) == []


def info(**files: int) -> DatasetInfo:
    names = list(files)
    sizes = list(files.values())
    return DatasetInfo(
        split={"train": names[:2], "val": names[2:], "test": []},
        file_sizes={"train": sizes[:2], "val": sizes[2:], "test": []},
    )


def test_what_has_become_of_the_files() -> None:
    then = info(a=10, b=2000, c=30)
    assert changes(then, info(a=10, b=2000, c=30)) == []
    assert changes(then, info(c=30, a=10, b=2000)) == []  # another split of the same files
    assert changes(then, info(a=10, b=2001, d=1, e=1)) == [
        "2 added: d, e",
        "1 removed: c",
        "1 of another size: b (2,000 -> 2,001 bytes)",
    ]
    assert changes(info(), info(**{f"n{k}": 1 for k in range(5)})) == ["5 added: n0, n1, n2, …"]


@pytest.mark.parametrize("old", [{}, {"split": {"train": ["a"]}}, {"file_sizes": {"train": [1]}}])
def test_facts_of_no_files_or_an_older_version_are_not_compared(old: dict[str, Any]) -> None:
    then = DatasetInfo.from_facts(old)
    assert changes(then, info(a=1)) == [] == changes(info(a=1), then)
