"""The result of reading a layout: images with their masks and sets, and their problems."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

import numpy as np

from lab.config.dataset_info import DatasetInfo, MaskValues
from lab.config.mask_values import IGNORE_INDEX
from lab.data.file_discovery import find_images, visible
from lab.data.file_problems import raise_all
from lab.data.mask_sources import NUMBERS
from lab.data.masks import Label
from lab.data.segmentation_files import Entry

_LOOKED_AT = 8  # masks, spread over all of them
_LARGEST = 64  # values up to here are classes; an antialiased edge has larger ones too

K = TypeVar("K", bound=Hashable)


class Layout(StrEnum):
    """Arrangements of images and masks in a folder; docs/input.md describes each."""

    AUTO = "auto"
    PAIRS = "pairs"
    NAMED = "named"
    OBJECTS = "objects"
    VOC = "voc"
    CITYSCAPES = "cityscapes"
    COCO = "coco"


@dataclass
class Contents:
    """The samples and problems that were found in a folder.

    Args:
        description: of what was read as images, masks and sets, for the user.
        classes, ignore: those that the layout defines; they take the place of the arguments.
        values: the values in mask files, where they differ from classes and ignore.
        may_hold_classes: masks of class indices are usual in this layout.
    """

    entries: list[Entry] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    description: str = ""
    classes: Mapping[str, Label] | None = None
    ignore: Label | None = None
    values: MaskValues | None = None
    may_hold_classes: bool = False

    def info(self) -> DatasetInfo:
        """Metadata of how the folder was read."""
        values = self.values
        if values is None and self.classes is not None:
            values = {"classes": dict(self.classes), "ignore": self.ignore, "ignore_others": False}
        return DatasetInfo(layout=self.description, mask_values=values)


def unwrapped(root: Path) -> Path:
    """The folder, or the only one in it where that wraps all else."""
    below = visible(root)
    files = [path for path in root.iterdir() if path.is_file() and not path.name.startswith(".")]
    if len(below) != 1 or files or not visible(below[0]):
        return root
    return unwrapped(below[0])


def require_folders(folders: Sequence[Path], advice: str) -> None:
    """Raise an error that names the folders that are absent.

    Raises:
        ValueError: some are.
    """
    raise_all(
        [f"{path}: no such folder" for path in folders if not path.is_dir()], "the image folder", advice
    )


def images_by_stem(folder: Path, contents: Contents) -> dict[str, Path]:
    """The images directly in a folder, by their name without the ending."""
    found = find_images(folder, nested=False)
    contents.problems += found.problems()
    return by_key(((path.stem, path) for path in found.images), contents.problems)


def by_key(files: Iterable[tuple[K, Path]], problems: list[str]) -> dict[K, Path]:
    """Files by what distinguishes an image or a mask from others; a second file of one key is a problem."""
    found: dict[K, Path] = {}
    for key, path in files:
        if key in found:
            problems.append(
                f"{path}: by its name the same image or mask as {found[key]}, so the pair is ambiguous"
            )
        found[key] = path
    return found


def unnamed_classes(contents: Contents) -> list[str]:
    """A problem where masks hold 0, 1, 2 and so on, and would be read as foreground and background."""
    paths = [entry.mask for entry in contents.entries if isinstance(entry.mask, Path)]
    found: set[int] = set()
    for path in paths[:: max(1, len(paths) // _LOOKED_AT)]:
        with suppress(ValueError):  # coloured, or of larger numbers; what can't be read is reported with all
            found |= set(np.unique(NUMBERS.read(path)).tolist()) - {IGNORE_INDEX}
    if not {1, 2} <= found or max(found) > _LARGEST:
        return []
    values = sorted(found)
    shown = f"{', '.join(map(str, values[:12]))}{', …' if len(values) > 12 else ''}"
    return [
        f"the masks hold the values {shown}: set data.classes to a name for each value, in this order, or "
        "mask_threshold: 0 where every value above 0 is foreground"
    ]
