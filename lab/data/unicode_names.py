"""Names that look alike: the same characters in another Unicode form, or in upper and lower case."""

import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path


def composed(name: str) -> str:
    """The name in Unicode's composed form (NFC): macOS writes `ü` as two characters, others as one."""
    return unicodedata.normalize("NFC", name)


def numbers_first(name: str) -> tuple[bool, int, str]:
    """Return the key that sorts numbers by their value, and before other names."""
    return not name.isdecimal(), int(name) if name.isdecimal() else 0, name


def same_file(path: Path) -> Path | None:
    """The file of this name, or the only one whose name differs from it in its Unicode form alone."""
    if os.path.isfile(path):  # noqa: PTH113 - false for a name that no file can have
        return path
    if composed(str(path)).isascii():
        return None
    parent = path.parent
    if not os.path.isdir(parent):  # noqa: PTH112
        found = _alike(parent)
        if found is None:
            return None
        parent = found
    matches = _matches(parent, path.name)
    return matches[0] if len(matches) == 1 and matches[0].is_file() else None


def alike(name: str, names: Iterable[str]) -> str | None:
    """One of the names that differs from this one in upper and lower case or its Unicode form alone."""
    wanted = composed(name).casefold()
    return next((other for other in names if other != name and composed(other).casefold() == wanted), None)


def _alike(folder: Path) -> Path | None:
    """The folder whose path differs from this one in its Unicode form alone."""
    if os.path.isdir(folder) or folder == folder.parent:  # noqa: PTH112
        return folder
    parent = _alike(folder.parent)
    matches = [] if parent is None else _matches(parent, folder.name)
    return matches[0] if len(matches) == 1 and matches[0].is_dir() else None


def _matches(parent: Path, name: str) -> list[Path]:
    try:
        return [path for path in parent.iterdir() if composed(path.name) == composed(name)]
    except (OSError, ValueError):
        return []
