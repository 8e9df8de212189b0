"""Static files that the dashboard serves from a studies folder.

Reports, leaderboards, and files of the best trial. Not the study file, which may hold the password of its
database, and no weights.
"""

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from lab.report import html_page
from lab.report.study import LEADERBOARD, REPORT

BEST = "best"
KINDS = {
    ".html": "text/html", ".csv": "text/csv", ".json": "application/json", ".yaml": "text/plain",
    ".txt": "text/plain", ".png": "image/png",
}  # fmt: skip
_MOST = 64 * 2**20  # bytes of a file


@dataclass(frozen=True)
class Page:
    """A response: content and media type.

    Args:
        generated: here and now; else it is a file, which may be from anywhere.
    """

    content: bytes
    kind: str
    generated: bool = False


@dataclass(frozen=True)
class Shelf:
    """Pages of a studies folder, by request path.

    Args:
        root: of the studies; nothing outside it is ever read, wherever a link in it points.
    """

    root: Path

    def find(self, path: str) -> Page | None:
        """Return the page of `/`, `/NAME/`, `/NAME/report.html` or `/NAME/best/history.png`, or None."""
        parts = [part for part in path.split("/") if part]
        if any(part.startswith(".") or "\\" in part or not part.isprintable() for part in parts):
            return None
        try:
            place = self.root.joinpath(*parts).resolve(strict=True)
            where = place.relative_to(self.root.resolve()).parts  # raises where a link points outside
            if place.is_dir():
                return self._listing(place, parts)
            return _read(place) if _is_shown(parts) and _is_shown(where) else None
        except (OSError, ValueError, RuntimeError):  # deleted meanwhile, a name too long, a loop of links
            return None

    def _listing(self, place: Path, parts: list[str]) -> Page | None:
        if parts[1:] not in ([], [BEST]):
            return None
        below = sorted(each.name for each in place.iterdir() if not each.name.startswith("."))
        if not parts:
            names = [f"{name}/{REPORT}" for name in below if (place / name / REPORT).is_file()]
        else:
            names = [name for name in below if _is_shown([*parts, name])]
            names += [f"{BEST}/"] if parts[1:] == [] and BEST in below else []
        base = "/".join(["/studies", *map(quote, parts)])
        links = [(f"{base}/{quote(os.fsencode(name))}", ascii(name)[1:-1]) for name in names]
        title = " / ".join(["Studies", *parts])
        page = html_page.render("studies_folder.html.j2", {}, title=title, links=links)
        return Page(page.encode(), "text/html", generated=True)


def _is_shown(parts: Sequence[str]) -> bool:
    match parts:
        case [_, name]:
            return name in (REPORT, LEADERBOARD)
        case [_, folder, *_, name]:
            return folder == BEST and Path(name).suffix in KINDS
        case _:
            return False


def _read(path: Path) -> Page | None:
    """Read a regular file; one that was replaced by a link after the check is not followed."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(handle, "rb") as file:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode) or about.st_size > _MOST:
            return None
        return Page(file.read(), KINDS[path.suffix])
