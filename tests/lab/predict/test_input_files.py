"""Which images a path names, what they are called, and which truth and sequence they have."""

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.predict.input_files import Item, Layout, _file_name, find_items


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


def test_a_folder_is_its_images_in_order(tmp_path: Path) -> None:
    touch(tmp_path, "b.png", "a.TIF", "c.jpeg", "notes.txt", ".hidden.png", "below/d.png", "dir.png/x")
    touch(tmp_path, "output/prediction.json", "output/masks/b.png", "e.heic")
    notes: list[str] = []
    assert find_items(tmp_path, notes=notes) == [
        Item("a", tmp_path / "a.TIF"),
        Item("b", tmp_path / "b.png"),
        Item("below/d", tmp_path / "below/d.png"),
        Item("c", tmp_path / "c.jpeg"),
    ]
    assert notes[0].startswith(f"{tmp_path / 'e.heic'}: not read, only .bmp, ")
    assert notes[1:] == [f"{tmp_path}: not used: 1 .txt, 1 no ending, 1 folder (output)"]


def test_of_many_files_that_are_not_read_the_rest_is_counted(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", *(f"{number:02}.heic" for number in range(25)))
    notes: list[str] = []
    find_items(tmp_path, notes=notes)
    assert len(notes) == 21 and "19.heic: not read" in notes[19] and notes[20] == "… and 5 more"


def test_folders_below_images_are_mirrored_below_masks(tmp_path: Path) -> None:
    touch(tmp_path, "images/a/1.png", "images/b/1.png", "masks/b/1.tif", "masks/1.png")
    assert find_items(tmp_path) == [
        Item("a/1", tmp_path / "images/a/1.png"),
        Item("b/1", tmp_path / "images/b/1.png", tmp_path / "masks/b/1.tif"),
    ]


def test_equal_stems_keep_their_endings(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png", "images/a.tif", "images/b.png", "masks/a.png", "masks/b.tif")
    found = [(item.name, item.truth) for item in find_items(tmp_path / "images")]
    assert found == [("a.png", None), ("a.tif", None), ("b", tmp_path / "masks" / "b.tif")]


def test_truths_and_sequences_lie_where_the_training_had_them(tmp_path: Path) -> None:
    layout = Layout.of(
        {
            "images": "Original",
            "masks": "Ground Truth",
            "metadata": "metadata.csv",
            "metadata_name": "frame_id",
            "condition": "seq",
            "val_share": 0.2,
        }
    )
    touch(tmp_path, "Original/1.png", "Original/2.png", "Original/3.png", "Ground Truth/2.tif")
    (tmp_path / "metadata.csv").write_text("frame_id,seq\n1.png,7\n2,8\n3,\n")
    root = [
        Item("1", tmp_path / "Original/1.png", None, "7"),
        Item("2", tmp_path / "Original/2.png", tmp_path / "Ground Truth/2.tif", "8"),
        Item("3", tmp_path / "Original/3.png"),
    ]
    assert find_items(tmp_path, layout) == root == find_items(tmp_path / "Original", layout)
    assert find_items(tmp_path / "Original" / "2.png", layout) == root[1:2]


def test_truths_and_sequences_are_found_in_any_unicode_form_and_with_dots(tmp_path: Path) -> None:
    """As the training pairs them: folders and tables come from different systems."""
    name, stored = (unicodedata.normalize(form, "über") for form in ("NFC", "NFD"))
    touch(tmp_path, f"images/{stored}.png", "images/x.5.png", f"masks/{name}.png", "masks/x.5.png")
    (tmp_path / "about.csv").write_text(f"frame_id,seq\n{name}.png,7\nx.5,8\n")
    layout = Layout(metadata="about.csv", name="frame_id", sequence="seq")
    items = {item.image.name: item for item in find_items(tmp_path, layout)}
    assert items[f"{stored}.png"].truth == tmp_path / "masks" / f"{name}.png"
    assert items["x.5.png"].truth == tmp_path / "masks" / "x.5.png"
    assert [items[each].sequence for each in (f"{stored}.png", "x.5.png")] == ["7", "8"]


def test_a_manifest_is_read_row_by_row(tmp_path: Path) -> None:
    (tmp_path / "set.csv").write_text(
        "basename, image_path,mask_path,sequence_id\n"
        'x,img/1.png,mask/1.png,4\n"y, too",img/2.png,,\n,img/3.png,,\nz.tif,/abs/4.png,,9\n'
    )
    items = find_items(tmp_path / "set.csv")
    assert items == [
        Item("x", tmp_path / "img/1.png", tmp_path / "mask/1.png", "4"),
        Item("y, too", tmp_path / "img/2.png"),
        Item("3", tmp_path / "img/3.png"),
        Item("z", Path("/abs/4.png"), None, "9"),
    ]
    assert find_items(tmp_path / "set.csv", root=Path("/data"))[0].image == Path("/data/img/1.png")
    layout = Layout.of({"path": str(tmp_path / "set.csv"), "root": "/elsewhere"})  # the training's manifest
    assert find_items(tmp_path / "set.csv", layout)[0].image == Path("/elsewhere/img/1.png")
    other = Layout.of({"path": str(tmp_path / "train.csv"), "root": "/elsewhere"})
    assert find_items(tmp_path / "set.csv", other) == items


def test_all_that_is_wrong_with_a_manifest_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "set.csv").write_text("basename,image_path\na,1.png\nb,\na,2.png\n..,3.png\n")
    with pytest.raises(ValueError) as error:
        find_items(tmp_path / "set.csv")
    assert str(error.value).splitlines() == [
        f"{tmp_path}/set.csv:",
        "  line 3: image_path is empty",
        "  line 4: 'a' is in line 2 already",
        "  line 5: '..' is not a valid file name",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("basename,path\n", "no column image_path; it has basename, path"),
        ("", "no column basename, image_path; it has no header"),
        ("basename,image_path\n", "it has no rows"),
        ("basename,image_path\nx,a.png,y\n", "line 2: 3 cells, but the header has 2"),
    ],
)
def test_what_is_no_manifest(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "set.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        find_items(tmp_path / "set.csv")


def test_what_holds_nothing_to_predict(tmp_path: Path) -> None:
    touch(tmp_path, "a.txt")
    for path, message in (
        (tmp_path / "none", "no such file or folder"),
        (tmp_path / "a.txt", r"expected a manifest \(.csv\) or an image"),
        (tmp_path, "no .bmp"),
    ):
        with pytest.raises(ValueError, match=message):
            find_items(path)


@given(st.text())
def test_a_basename_never_leaves_its_folder(name: str) -> None:
    plain = _file_name(name)
    assert "/" not in plain and plain not in (".", "..") and not plain.startswith(".")


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("zelle ä.png", "zelle ä"),
        ("\u202egnp.exe", "gnp.exe"),  # would be shown the other way round
        ("a\nb", "a-b"),
        ("a\0b", "a-b"),
        ("x" * 201, "x" * 80),
        ("ä" * 101, "a" * 80),
    ],
)
def test_a_strange_basename_is_made_file_name(name: str, plain: str) -> None:
    assert _file_name(name) == plain


@pytest.mark.parametrize(
    ("delimiter", "encoding", "end", "slash"),
    [(";", "utf-8-sig", "\r\n", "/"), ("\t", "utf-16", "\n", "\\"), (",", "utf-8", "\r", "\\")],
)
def test_manifests_of_other_programs_are_read_as_those_of_the_training(
    tmp_path: Path, delimiter: str, encoding: str, end: str, slash: str
) -> None:
    name, stored = (unicodedata.normalize(form, "über") for form in ("NFC", "NFD"))
    touch(tmp_path, f"img/{stored}.png", f"mask/{stored}.png")
    rows = [
        ("basename", "image_path", "mask_path"),
        ("x", f"img{slash}{name}.png", f"mask{slash}{name}.png"),
        ("y", "img/gone.png", ""),
    ]
    text = end.join(delimiter.join(row) for row in rows)
    (tmp_path / "set.csv").write_bytes(text.encode(encoding))
    assert find_items(tmp_path / "set.csv") == [
        Item("x", tmp_path / f"img/{stored}.png", tmp_path / f"mask/{stored}.png"),
        Item("y", tmp_path / "img/gone.png"),
    ]
