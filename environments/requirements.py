"""The content of the requirements files."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
ALL = ROOT / "requirements-dev.txt"
CONSTRAINTS = ROOT / "constraints.txt"
_LINE = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(?P<extras>\[[^\]]*\])?(?P<bounds>[^;#]*)")


def lines(path: Path = ALL) -> Iterator[str]:
    """The requirements of a file and of those that it includes, without its constraints."""
    for line in path.read_text(encoding="utf-8").splitlines():
        text = line.partition("#")[0].strip()
        if text.startswith("-r "):
            yield from lines(path.parent / text.removeprefix("-r ").strip())
        elif text and not text.startswith("-"):
            yield text


def named(line: str) -> str:
    """The package's name as the registry compares it."""
    match = _LINE.match(line)
    assert match is not None, line
    return normal(match["name"])


def extras(line: str) -> list[str]:
    """`[binary]` and the like."""
    match = _LINE.match(line)
    assert match is not None, line
    return [normal(each.strip()) for each in (match["extras"] or "[]")[1:-1].split(",") if each.strip()]


def normal(name: str) -> str:
    """A name in lower case with single hyphens: `PyYAML`, `typing_extensions`."""
    return re.sub(r"[-_.]+", "-", name).lower()


def lowest(line: str) -> str:
    """The same requirement with its lower bound as the only version: `numpy>=1.26,<3` becomes `numpy==1.26`.

    Raises:
        ValueError: it has no lower bound.
    """
    match = _LINE.match(line)
    assert match is not None, line
    found = re.search(r"[>=]=\s*([\w.]+)", match["bounds"])
    if found is None:
        raise ValueError(f"{line!r} has no lower bound: give it one with >=")
    return f"{match['name']}{match['extras'] or ''}=={found[1]}"
