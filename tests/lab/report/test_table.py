import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.report.table import age, columns_of, cut, duration, number, pad, render


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
    ("value", "text"),
    [
        (0.912345, "0.9123"),
        (0.5, "0.5000"),
        (12.3456, "12.35"),
        (1.0, "1"),
        (20.0, "20"),
        (0, "0"),
        (1234.5, "1234"),
        (123456, "123456"),
        (3.2e-5, "3.2e-05"),
        (2.5e7, "2.5e+07"),
        (-0.25, "-0.2500"),
        (None, "–"),
        (True, "–"),
        ("x", "–"),
    ],
)
def test_numbers(value: object, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.84, "0.8 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (161.2, "2 min 41 s"),
        (3599.7, "1 h 00 min"),
        (7620, "2 h 07 min"),
        (273600, "3 d 04 h"),
        (float("nan"), "–"),
        (-1, "–"),
        (None, "–"),
    ],
)
def test_durations(seconds: object, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(-5, "0 s"), (12.9, "12 s"), (61, "1 min"), (7300, "2 h"), (8.5 * 86400, "8 d")]
)
def test_ages(seconds: float, text: str) -> None:
    assert age(seconds) == text
