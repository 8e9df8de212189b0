"""Image files of a folder: those that are used, and all others, so that nothing is left out silently."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.data.reading import SUFFIXES

READ = ", ".join(sorted(SUFFIXES))
"""The endings of files that are read, for messages."""

_UNREAD = {
    ".avif", ".cr2", ".czi", ".dcm", ".dib", ".dng", ".exr", ".heic", ".heif", ".ico", ".j2k", ".jfif",
    ".jp2", ".jpe", ".jxl", ".lsm", ".nd2", ".nef", ".pbm", ".pgm", ".pnm", ".ppm", ".psd", ".ras", ".svg",
    ".svs", ".tga",
}  # fmt: skip
_NO_ENDING = "no ending"


@dataclass(frozen=True)
class Found:
    """The content of a folder. Hidden files and folders (a dot before the name) are in none of the lists.

    Args:
        images: files of the formats that are read, in the order of their paths.
        unread: images of other formats; to leave them out could remove half a class.
        others: files that are no images, such as tables and notes.
        unvisited: folders in it that were not searched.
    """

    folder: Path
    images: Sequence[Path]
    unread: Sequence[Path]
    others: Sequence[Path]
    unvisited: Sequence[Path] = ()

    def problems(self) -> list[str]:
        """A line for each image that is not read."""
        return [f"{path}: not read, only {READ} are; convert or remove it" for path in self.unread]

    def warnings(self) -> list[str]:
        """One line that counts the files and folders that are not used; empty where all are used."""
        kinds = Counter(path.suffix.lower() or _NO_ENDING for path in self.others)
        parts = [f"{count} {kind}" for kind, count in sorted(kinds.items())]
        if self.unvisited:
            names = ", ".join(path.name for path in self.unvisited[:3])
            more = ", …" if len(self.unvisited) > 3 else ""
            plural = "s" if len(self.unvisited) > 1 else ""
            parts.append(f"{len(self.unvisited)} folder{plural} ({names}{more})")
        return [f"{self.folder}: not used: {', '.join(parts)}"] if parts else []


def find_images(folder: Path, *, nested: bool = True, skip: Callable[[Path], bool] | None = None) -> Found:
    """List the files of a folder by their kind.

    Args:
        nested: also search the folders in it, links to folders included.
        skip: true for a folder that is not to be searched.
    """
    images, unread, others, unvisited = list[Path](), list[Path](), list[Path](), list[Path]()
    visited = {os.path.realpath(folder)}  # a link may lead back to a folder above it
    for parent, folders, names in os.walk(folder, followlinks=True):
        for path in (Path(parent, name) for name in names if not name.startswith(".")):
            ending = path.suffix.lower()
            (images if ending in SUFFIXES else unread if ending in _UNREAD else others).append(path)
        inner = [Path(parent, name) for name in folders if not name.startswith(".")]
        folders.clear()
        for path in inner:
            place = os.path.realpath(path)
            if not nested or (skip is not None and skip(path)):
                unvisited.append(path)
            elif place not in visited:
                visited.add(place)
                folders.append(path.name)
    return Found(folder, *(sorted(paths) for paths in (images, unread, others, unvisited)))


def is_image(path: Path) -> bool:
    """Return whether a file has the ending of a format that is read, and is not hidden."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def key(path: Path, folder: Path) -> str:
    """The name that pairs images and masks: the path below the folder, with slashes and without ending."""
    return path.relative_to(folder).with_suffix("").as_posix()
