import unicodedata
from pathlib import Path

import pytest

from lab.data.file_discovery import find_images, key, key_in


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


FILES = (
    "b.PNG",
    "a.webp",
    "c/d.gif",
    "c/e/f.bmp",
    ".x.png",
    ".y/z.png",
    "c/@eaDir/d.gif/SYNOPHOTO_THUMB_M.jpg",
    "__MACOSX/a.webp",
    "n.TXT",
    "c/m.txt",
    "LICENSE",
    "q.HEIC",
)


def test_every_file_is_in_one_list_and_hidden_ones_are_in_none(tmp_path: Path) -> None:
    found = find_images(touch(tmp_path, *FILES))
    assert [path.relative_to(tmp_path).as_posix() for path in found.images] == [
        "a.webp", "b.PNG", "c/d.gif", "c/e/f.bmp",
    ]  # fmt: skip
    assert found.unread == [tmp_path / "q.HEIC"] and found.unvisited == []
    assert found.warnings() == [f"{tmp_path}: not used: 2 .txt, 1 no ending"]
    assert [problem.partition(":")[0] for problem in found.problems()] == [str(tmp_path / "q.HEIC")]


@pytest.mark.parametrize("options", [{"nested": False}, {"skip": lambda path: path.name == "c"}])
def test_folders_that_are_not_searched_are_named(tmp_path: Path, options: dict[str, bool]) -> None:
    found = find_images(touch(tmp_path, *FILES), **options)  # type: ignore[arg-type]
    assert [path.name for path in found.images] == ["a.webp", "b.PNG"]
    assert found.warnings() == [f"{tmp_path}: not used: 1 .txt, 1 no ending, 1 folder (c)"]


def test_a_linked_folder_is_searched_once_and_a_circle_ends(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/1.png", "set/2.png")
    (tmp_path / "set" / "more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set" / "again").symlink_to(tmp_path / "set")
    found = find_images(tmp_path / "set")
    assert [key(path, tmp_path / "set") for path in found.images] == ["2", "more/1"]


def test_names_in_a_table_mean_keys() -> None:
    assert key(Path("in/a/x.y.TIF"), Path("in")) == "a/x.y"
    keys = {"a/x.y", "scan.png", "ü"}
    names = ("a/x.y", "a/x.y.TIF", "scan.png", "scan.png.png", unicodedata.normalize("NFD", "ü"), "x.5")
    assert [key_in(name, keys) for name in names] == ["a/x.y", "a/x.y", "scan.png", "scan.png", "ü", "x.5"]
