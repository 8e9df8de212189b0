from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.data.tables import Row, below, cell, part, read_table, unique


def table(folder: Path, text: str | bytes) -> Path:
    path = folder / "table.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_rows_have_their_lines_and_stripped_cells(tmp_path: Path) -> None:
    problems: list[str] = []
    text = '\ufeffname, group\r\na,1\r\n\r\n"b, with\na break", 2 \r\n,\r\n'
    rows = read_table(table(tmp_path, text), ["name", "group"], problems)
    assert [(row.line, row.cells) for row in rows] == [
        (2, {"name": "a", "group": "1"}),
        (5, {"name": "b, with\na break", "group": "2"}),
    ]
    assert problems == [] and str(rows[0]) == f"{tmp_path / 'table.csv'}, line 2"


def test_rows_of_another_width_are_problems(tmp_path: Path) -> None:
    problems: list[str] = []
    rows = read_table(table(tmp_path, "a,b\n1,2\n1\n1,2,3\n3,4\n"), ["a"], problems)
    assert [row.line for row in rows] == [2, 5]
    assert [problem.split("table.csv, ")[1] for problem in problems] == [
        "line 3: 1 cells, but the header has 2",
        "line 4: 3 cells, but the header has 2",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", r"table\.csv: no column c, d; it has a, b"),
        ("", r"table\.csv: no column c, d; it has no header"),
        ("c,d,c\n", "a column's name is used twice: c, d, c"),
        (b"c,d\n\xff,1\n", "not UTF-8 text: invalid start byte at byte 4"),
        ('c,d\n"1"2,3\n', r"line 2: not CSV"),
    ],
)
def test_tables_that_are_none(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_table(table(tmp_path, text), ["c", "d"], [])


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"gone\.csv: can't be read: No such file"):
        read_table(tmp_path / "gone.csv", [], [])


def rows_of(*cells: dict[str, str]) -> list[Row]:
    return [Row(Path("t.csv"), line, row) for line, row in enumerate(cells, 2)]


def test_names_are_unique_and_there() -> None:
    problems: list[str] = []
    rows = rows_of({"n": "a"}, {"n": ""}, {"n": "b"}, {"n": "a"})
    assert list(unique(rows, "n", problems)) == ["a", "b"]
    assert problems == ["t.csv, line 3: n is empty", "t.csv, line 5: n a is on line 2 already"]


def test_cells_that_were_asked_for() -> None:
    problems: list[str] = []
    full, empty = rows_of({"g": "1", "s": "Training"}, {"g": "", "s": "eval"})
    assert (cell(full, None, problems), cell(full, "g", problems), part(full, "s", problems)) == (
        None,
        "1",
        "train",
    )
    assert problems == []
    cell(empty, "g", problems)
    part(empty, "s", problems)
    assert problems == [
        "t.csv, line 3: g is empty",
        "t.csv, line 3: s is 'eval', not one of train, val, test",
    ]


@pytest.mark.parametrize(
    "written",
    ["../x.png", "a/../../x.png", "/etc/passwd", "a/../../../home/x.png", "C:\\x.png", "..", "./../x.png"],
)
def test_paths_that_leave_the_root(tmp_path: Path, written: str) -> None:
    problems: list[str] = []
    (tmp_path / "root" / "a").mkdir(parents=True)
    (tmp_path / "x.png").write_text("outside")
    (row,) = rows_of({"p": written})
    assert below(tmp_path / "root", row, "p", problems) is None
    assert problems == [f"t.csv, line 2: p {written} leads out of the data root {tmp_path / 'root'}"]


@pytest.mark.parametrize("written", ["x" * 300, "a\0b"])
def test_names_that_no_file_can_have(tmp_path: Path, written: str) -> None:
    problems: list[str] = []
    (row,) = rows_of({"p": written})
    assert below(tmp_path, row, "p", problems) is None
    assert problems == [f"t.csv, line 2: p {tmp_path / written}: no such file"]


def test_paths_within_the_root(tmp_path: Path) -> None:
    problems: list[str] = []
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.png").write_text("inside")
    good, turned, gone, folder = rows_of(
        {"p": "a/x.png"}, {"p": "a/../a/x.png"}, {"p": "a/y.png"}, {"p": "a"}
    )
    assert below(tmp_path, good, "p", problems) == tmp_path / "a" / "x.png"
    assert below(tmp_path, turned, "p", problems) is not None and problems == []
    assert below(tmp_path, gone, "p", problems) is below(tmp_path, folder, "p", problems) is None
    assert problems == [
        f"t.csv, line 4: p {tmp_path / 'a' / 'y.png'}: no such file",
        f"t.csv, line 5: p {tmp_path / 'a'}: no such file",
    ]


@given(names=st.lists(st.sampled_from(["..", ".", "a", "b"]), min_size=1, max_size=7))
def test_no_path_gets_out_of_the_root(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    root = tmp_path_factory.getbasetemp() / "inner"
    problems: list[str] = []
    below(root, rows_of({"p": "/".join(names)})[0], "p", problems)
    depth, lowest = 0, 0
    for name in names:
        depth += {"..": -1, ".": 0}.get(name, 1)
        lowest = min(lowest, depth)
    assert ("leads out" in problems[0]) is (lowest < 0)
