"""Report all problems of a set of files at once: nobody wants to start a run once per mistake."""

from collections.abc import Sequence
from pathlib import Path

from lab.store.paths import with_relative_paths

MOST_SHOWN = 20  # a folder full of the same mistake should not fill the screen


def raise_all(problems: Sequence[str], what: str, advice: str = "") -> None:
    """Raise one ValueError for all problems with `what`, or do nothing where there are none."""
    if not problems:
        return
    head = f"{len(problems)} problem{'s' if len(problems) > 1 else ''} with {what}"
    lines = [f"{head}{': ' + advice if advice else ''}", *indented(problems)]
    raise ValueError(with_relative_paths("\n".join(lines)))


def read_bytes(path: str | Path) -> bytes:
    """Return the content of a file.

    Raises:
        ValueError: with the path; it can't be read.
    """
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: can't be read: {error.strerror or error}") from error


def shown(lines: Sequence[str]) -> list[str]:
    """The first of many lines, and a line that counts the others."""
    more = [f"… and {len(lines) - MOST_SHOWN} more"] if len(lines) > MOST_SHOWN else []
    return [*lines[:MOST_SHOWN], *more]


def indented(lines: Sequence[str]) -> list[str]:
    """The same, as they stand below a heading."""
    return [f"  {line}" for line in shown(lines)]
