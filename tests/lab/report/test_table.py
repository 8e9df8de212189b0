import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.report.table import age, columns_of, cut, pad, render


def test_columns_are_aligned() -> None:
    text = render(["run", "value"], [["a", "0.5"], ["long", "12"]], ["<", ">"])
    assert text.splitlines() == ["run   value", "────  ─────", "a       0.5", "long     12"]


def test_the_widest_column_is_cut_where_the_terminal_is_narrow() -> None:
    text = render(["run", "value"], [["abcdefghijklmnop", "0.5"]], width=17)
    assert text.splitlines() == ["run         value", "──────────  ─────", "abcdefghi…  0.5"]


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
