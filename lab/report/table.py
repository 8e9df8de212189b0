"""Tables for a terminal: aligned, as wide as it is at most, and numbers as a person reads them."""

import shutil
import sys
import unicodedata
from collections.abc import Sequence
from typing import Any, Literal

Align = Literal["<", ">"]
_GAP = 2


def render(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    align: Sequence[Align] = (),
    width: int | None = None,
) -> str:
    """The table as text, without a line feed at its end.

    Args:
        align: `<` or `>` per column; text to the left where none is given.
        width: columns of the terminal; the widest columns are cut, with `…`, until it fits. None: never.
    """
    left: list[Align] = ["<"] * (len(header) - len(align))
    sides = [*align, *left]
    widths = [max(map(columns_of, cells)) for cells in zip(header, *rows, strict=True)]
    if width is not None:
        widths = _fit(widths, width)
    lines = [[*header], ["─" * each for each in widths], *rows]
    return "\n".join(
        (" " * _GAP)
        .join(pad(cut(cell, room), room, side) for cell, room, side in zip(line, widths, sides, strict=True))
        .rstrip()
        for line in lines
    )


def _fit(widths: Sequence[int], width: int) -> list[int]:
    """Take from the widest until the sum fits, but leave each column six characters."""
    fitted = list(widths)
    while sum(fitted) + _GAP * (len(fitted) - 1) > width and max(fitted) > 6:
        fitted[fitted.index(max(fitted))] -= 1
    return fitted


def terminal_width() -> int | None:
    """Columns of the terminal; None where output goes to a file or another program, which wants all of it."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def columns_of(text: str) -> int:
    """How many columns a terminal takes for the text: two for East Asian wide characters."""
    if text.isascii():
        return len(text)
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else not unicodedata.combining(c) for c in text)


def cut(text: str, room: int) -> str:
    """The text's beginning, with `…` where something is left out."""
    if columns_of(text) <= room:
        return text
    while text and columns_of(text) > room - 1:
        text = text[:-1]
    return f"{text}…"


def pad(text: str, room: int, side: Align = "<") -> str:
    """The text filled up with blanks to `room` columns."""
    blanks = " " * (room - columns_of(text))
    return blanks + text if side == ">" else text + blanks


def number(value: Any) -> str:
    """Four significant digits of a number; `–` where there is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return "–"
    if isinstance(value, int) or (value.is_integer() and abs(value) < 1e6):
        return f"{value:.0f}" if abs(value) < 1e6 else f"{value:.4g}"
    return f"{value:.4g}" if abs(value) < 1e-3 or abs(value) >= 1e4 else f"{value:#.4g}".rstrip(".")


def duration(seconds: Any) -> str:
    """`0.8 s`, `42 s`, `3 min 05 s`, `2 h 07 min`, `3 d 04 h`; `–` for what is no duration."""
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds < 1e12:
        return "–"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for big, small, size in (("d", "h", 86400), ("h", "min", 3600), ("min", "s", 60)):
        if whole >= size:
            rest = whole % size // {"h": 3600, "min": 60, "s": 1}[small]
            return f"{whole // size} {big} {rest:02d} {small}"
    return f"{whole} s"


def age(seconds: float) -> str:
    """How long ago, in one unit: `12 s`, `5 min`, `3 h`, `8 d`; a clock that went back counts as now."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{max(0, int(seconds))} s"
