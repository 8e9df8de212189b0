from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.data.csv_tables import Row, below, cell, column_named, part, read_table, unique


def table(folder: Path, text: str | bytes) -> Path:
    path = folder / "table.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_rows_have_their_lines_and_stripped_cells(tmp_path: Path) -> None:
    problems: list[str] = []
    text = '\ufeffname, group\r\na, "1"\r\n\r\n"b, with\na break", 2 \r\n,\r\n'
    rows = read_table(table(tmp_path, text), ["name", "group"], problems)
    assert [(row.line, row.cells) for row in rows] == [
        (2, {"name": "a", "group": "1"}),
        (5, {"name": "b, with\na break", "group": "2"}),
    ]
    assert problems == [] and str(rows[0]) == f"{tmp_path / 'table.csv'}, line 2"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("first", ["", "sep=;"])
def test_lines_of_every_system_and_columns_without_a_name(tmp_path: Path, end: str, first: str) -> None:
    problems: list[str] = []
    lines = [first] * bool(first) + ["name;group;;", "a;1;;", ' "b"; 2;x;']
    rows = read_table(table(tmp_path, end.join(lines)), ["name", "group"], problems)
    assert [(row.cells["name"], row.cells["group"]) for row in rows] == [("a", "1"), ("b", "2")]
    assert problems == []


def test_a_column_is_found_in_any_capitals() -> None:
    assert column_named(rows_of({"a": "1", "Split": "2"}), "split") == "Split"
    assert column_named(rows_of({"a": "1"}), "split") is None and column_named([], "split") is None


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
        ("c,d,,c,\n", "a column's name is used twice: c, d, c"),
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


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_delimiters_and_encodings(tmp_path: Path, delimiter: str, encoding: str, newline: str) -> None:
    text = newline.join([delimiter.join(["name", "größe"]), delimiter.join(["ä", '"1,5; |\t"']), ""])
    mark = "\ufeff" if encoding in ("utf-16-le", "utf-16-be") else ""
    (row,) = read_table(table(tmp_path, (mark + text).encode(encoding)), ["größe", "name"], [])
    assert (row.line, row.cells) == (2, {"name": "ä", "größe": "1,5; |"})


def test_a_line_that_names_the_separator_is_skipped(tmp_path: Path) -> None:
    problems: list[str] = []
    rows = read_table(table(tmp_path, "sep=;\r\na;b\r\n1;2\r\n3\r\n"), ["a"], problems)
    assert [(row.line, row.cells) for row in rows] == [(3, {"a": "1", "b": "2"})]
    assert problems == [f"{tmp_path / 'table.csv'}, line 4: 1 cells, but the header has 2"]


def test_a_semicolon_within_a_table_of_commas(tmp_path: Path) -> None:
    (row,) = read_table(table(tmp_path, "a,b;c\n1,2;3\n"), ["a"], [])
    assert row.cells == {"a": "1", "b;c": "2;3"}


@pytest.mark.parametrize("data", ["name,x\nä,1\n".encode("latin-1"), b"\xff\xfea\x00,"])
def test_other_encodings_are_refused_with_the_way_out(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(ValueError, match="save the table as UTF-8"):
        read_table(table(tmp_path, data), ["name"], [])


NFC, NFD = "Pr\u00fcf", "Pru\u0308f"


@pytest.mark.parametrize(("stored", "written"), [(NFC, NFD), (NFD, NFC)])
def test_names_in_another_unicode_form_are_found(tmp_path: Path, stored: str, written: str) -> None:
    (tmp_path / stored).mkdir()
    (tmp_path / stored / f"{stored}.png").touch()
    problems: list[str] = []
    (row,) = rows_of({"p": f"{written}/{written}.png"})
    assert below(tmp_path, row, "p", problems) == tmp_path / stored / f"{stored}.png" and not problems
    unique(rows_of({"n": NFC}, {"n": NFD}), "n", problems)
    assert problems == [f"t.csv, line 3: n {NFD} is on line 2 already"]


def test_paths_of_other_programs(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    inside = tmp_path / "in" / "1.PNG"
    inside.touch()
    outside = tmp_path.parent / "outside.png"
    problems: list[str] = []
    good = [str(inside), "in\\1.PNG", ".\\in\\1.PNG", "./in/1.PNG", "in//1.PNG"]
    for row in rows_of(*({"p": path} for path in good)):
        found = below(tmp_path, row, "p", problems)
        assert found is not None and found.samefile(inside)
    assert problems == []
    bad = [
        str(outside),
        f"{tmp_path}/in/../../outside.png",
        "..\\outside.png",
        "in\\..\\..\\outside.png",
        "C:\\in\\1.PNG",
        "\\\\server\\in\\1.PNG",
        str(tmp_path) + "2/1.PNG",
    ]
    for row in rows_of(*({"p": path} for path in bad)):
        assert below(tmp_path, row, "p", problems) is None
    assert len(problems) == len(bad) and all("leads out of the data root" in line for line in problems)
    problems.clear()
    below(tmp_path, rows_of({"p": "in/1.png"})[0], "p", problems)
    assert problems[0].endswith("no such file; there is 1.PNG, whose name differs in upper and lower case")
