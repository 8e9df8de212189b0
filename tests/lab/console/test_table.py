import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.console.table import age, columns_of, cut, pad, render


def test_columns_are_aligned() -> None:
    text = render(["run", "value"], [["a", "0.5"], ["long", "12"]], ["<", ">"])
    assert text.splitlines() == ["run   value", "────  ─────", "a       0.5", "long     12"]


def test_the_widest_column_is_cut_where_the_terminal_is_narrow() -> None:
    text = render(["run", "value"], [["abcdefghijklmnop", "0.5"]], width=17)
    assert text.splitlines() == ["run         value", "──────────  ─────", "abcdefghi…  0.5"]


def test_where_cutting_is_not_enough_each_cell_has_a_line_of_its_own() -> None:
    rows = [["A", "20261130-163003_t", "0.8088"], ["B", "20261130-162956_größe", ""]]
    text = render(["", "run", "val_loss"], rows, width=16)
    assert text == (
        "          A\nrun       20261130-163003_t\nval_loss  0.8088\n\n"
        "          B\nrun       20261130-162956_größe"
    )
    assert render(["", "run", "val_loss"], rows, width=17).count("\n") == 3, "one column more is enough"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_what_stands_in_for_signs_is_counted(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    text = render(["größe ≥ 3", "b"], [["abcdefghijklmnopqrst", "0.5"]], width=20)
    name = {"ascii": "gr\\xf6\\xdfe ...", "latin-1": "größe >= 3"}[encoding]
    head, rule, line = text.split("\n")
    assert rule == "─" * 15 + "  ───" and line == "abcdefghijkl...  0.5"
    assert head == f"{name:<15}  b"


def test_wide_characters_count_twice() -> None:
    assert columns_of("細胞a") == 5
    assert cut("細胞細胞", 5) == "細胞…"
    assert pad("細胞", 6, ">") == "  細胞"


@given(
    st.lists(st.lists(st.text("ab細 ", max_size=12), min_size=3, max_size=3), max_size=4), st.integers(22, 60)
)
def test_no_line_is_wider_than_the_terminal(rows: list[list[str]], width: int) -> None:
    lines = render(["a", "b", "c"], rows, width=width).split("\n")
    assert len(lines) == len(rows) + 2
    assert all(columns_of(line) <= width for line in lines)


@pytest.mark.parametrize(
    ("seconds", "text"), [(-5, "0 s"), (12.9, "12 s"), (61, "1 min"), (7300, "2 h"), (8.5 * 86400, "8 d")]
)
def test_ages(seconds: float, text: str) -> None:
    assert age(seconds) == text
