"""Numbers, durations and errors as text, the same wherever they are shown."""

import math
from collections.abc import Sequence


def format_number(value: object) -> str:
    """Format a number, with four digits: `0.0123`, `1.200e-04`; a count as it is; `–` for no number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return "–"
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    if not 0.001 <= abs(value) < 10_000 and not (isinstance(value, int) and abs(value) < 1_000_000):
        return f"{value:.3e}"
    return str(value) if isinstance(value, int) else f"{value:.4f}"


def format_duration(seconds: object) -> str:
    """`2.5 ms`, `840 ms`, `42.0 s`, `3 min 05 s`, `2 h 07 min`, `3 d 04 h`; `–` for what is no duration."""
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds < 1e12:
        return "–"
    if 0 < seconds < 0.9995:
        return f"{seconds * 1000:.{0 if seconds >= 0.01 else 1}f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for big, small, size, part in (("d", "h", 86400, 3600), ("h", "min", 3600, 60)):
        if whole >= size:
            return f"{whole // size} {big} {whole % size // part:02d} {small}"
    return f"{whole // 60} min {whole % 60:02d} s"


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its class where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].strip()


def format_list(names: Sequence[str], between: str = ", ", most: int = 5) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return between.join(names[:most]) + more
