"""Progress bars: one line on a terminal, as wide as it is, and nothing elsewhere."""

from typing import Any, TypeAlias

from tqdm import tqdm

from lab.console.streams import SafeStream, columns

Bar: TypeAlias = "tqdm[Any]"
_NARROW = 40  # columns; with fewer, the count comes first, for the end of the line is cut
_SHORT = "{n_fmt}/{total_fmt} {desc}{postfix}"
_ROWS = 24


def progress_bar(
    total: int | None,
    unit: str,
    label: str | None = None,
    shown: bool | None = None,
    out: SafeStream | None = None,
) -> Bar:
    """A bar that is gone when it is closed; it follows the terminal's width, and its signs the encoding.

    Args:
        shown: by default where `out` is a terminal on which a line can be rewritten.
        out: by default standard output.
    """
    console = out or SafeStream()

    def room() -> int:
        return max(columns(console) - 1, 1)

    made = tqdm(
        total=total, desc=label, unit=unit, leave=False, ncols=room(), file=console,
        disable=not (console.live if shown is None else shown),
        bar_format=_SHORT if room() < _NARROW else None,
    )  # fmt: skip
    # tqdm would keep the width of the beginning; the terminal may be resized meanwhile.
    if not made.disable:
        made.dynamic_ncols = lambda _: (room(), _ROWS)  # type: ignore[assignment]  # tqdm's own takes an unknown width for none
    return made
