"""Tables for a terminal: aligned, and as wide as it is at most."""

import re
import sys
import unicodedata
from collections.abc import Sequence
from typing import Literal

from lab.console.streams import columns, writable_here

Align = Literal["<", ">"]
_GAP = 2
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def render(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    align: Sequence[Align] = (),
    width: int | None = None,
) -> str:
    """The table as text, without a line feed at its end.

    Args:
        align: `<` or `>` per column; text to the left where none is given.
        width: columns of the terminal; the widest columns are cut, with `…`, until it fits. Where that is not
            enough, each row becomes lines of its own, a cell each. None: never.
    """
    left: list[Align] = ["<"] * (len(header) - len(align))
    sides = [*align, *left]
    header, *rows = [[*map(_cell, cells)] for cells in (header, *rows)]
    widths = [max(map(columns_of, cells)) for cells in zip(header, *rows, strict=True)]
    if width is not None:
        # Take from the widest until the sum fits, but leave each column six characters.
        while _whole(widths) > width and max(widths) > 6:
            widths[widths.index(max(widths))] -= 1
        if _whole(widths) > width:
            return _stacked(header, rows)
    lines = [[*header], ["─" * each for each in widths], *rows]
    return "\n".join(
        (" " * _GAP)
        .join(pad(cut(cell, room), room, side) for cell, room, side in zip(line, widths, sides, strict=True))
        .rstrip()
        for line in lines
    )


def _cell(text: str) -> str:
    """The text as it can be written in one place of one line: a folder's name may contain anything."""
    return writable_here(_CONTROL.sub(lambda sign: ascii(sign[0])[1:-1], text))


def _whole(widths: Sequence[int]) -> int:
    return sum(widths) + _GAP * (len(widths) - 1)


def _stacked(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The rows below one another, each as lines of `name  value`; empty cells are left out."""
    room = max(map(columns_of, header))
    return "\n\n".join(
        "\n".join(
            f"{pad(name, room)}{' ' * _GAP}{cell}" for name, cell in zip(header, row, strict=True) if cell
        )
        for row in rows
    )


def terminal_width() -> int | None:
    """Columns of the terminal; None where output goes to a file or another program, which wants all of it."""
    return columns() if sys.stdout is not None and sys.stdout.isatty() else None


def columns_of(text: str) -> int:
    """The number of columns that a text takes on a terminal: two for East Asian wide characters."""
    if text.isascii():
        return len(text)
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else not unicodedata.combining(c) for c in text)


def cut(text: str, room: int) -> str:
    """The text's beginning, with `…` where something is left out."""
    if columns_of(text) <= room:
        return text
    mark = writable_here("…")[: max(room, 0)]
    # One character at a time: a wide one takes two columns.
    while text and columns_of(text) > room - len(mark):
        text = text[:-1]
    return f"{text}{mark}"


def pad(text: str, room: int, side: Align = "<") -> str:
    """The text filled up with blanks to `room` columns."""
    blanks = " " * (room - columns_of(text))
    return blanks + text if side == ">" else text + blanks


def age(seconds: float) -> str:
    """Format an age in one unit: `12 s`, `5 min`, `3 h`, `8 d`; a clock that went back counts as now."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{max(0, int(seconds))} s"
