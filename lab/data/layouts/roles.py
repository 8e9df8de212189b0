"""Folder and file names that mean images, masks and parts of a dataset."""

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePath

from lab.data.split_names import Part, meanings, words


class Kind(StrEnum):
    """The purpose of a file."""

    IMAGE = "image"
    MASK = "mask"


_IMAGES = frozenset({
    "image", "images", "img", "imgs", "jpegimages", "input", "inputs", "rgb", "photo", "photos", "picture",
    "pictures", "frame", "frames", "original", "originals", "raw",
})  # fmt: skip
_MASKS = frozenset({
    "mask", "masks", "msk", "msks", "label", "labels", "labeled", "labelled", "annotation", "annotations",
    "annot", "annots", "annotated", "ann", "anns", "gt", "gts", "groundtruth", "groundtruths", "truth",
    "truths", "target", "targets", "segmentation", "segmentations", "seg", "segs", "segmap", "segmaps",
    "trimap", "trimaps", "manual",
})  # fmt: skip
_SHORT = {"tr": Part.TRAIN, "ts": Part.TEST}  # imagesTr, labelsTr, imagesTs

_MASK_ENDS = (
    "masks?|labels?|seg|segmentation|gt|groundtruth|ground_truth|truth|annotation|annot|trimap|manual\\d*|msk"
)
_IMAGE_ENDS = "image|img|im|sat|rgb|original|orig|photo|frame|input"
_FILES = (
    (Kind.MASK, re.compile(rf"(?P<base>.+?)[_\-. ]+(?:(?i:{_MASK_ENDS})|L)")),
    (Kind.MASK, re.compile(rf"(?i:{_MASK_ENDS})[_\-. ]+(?P<base>.+)")),
    (Kind.IMAGE, re.compile(rf"(?P<base>.+?)[_\-. ]+(?i:{_IMAGE_ENDS})")),
    (Kind.IMAGE, re.compile(rf"(?i:{_IMAGE_ENDS})[_\-. ]+(?P<base>.+)")),
)


@dataclass(frozen=True)
class Role:
    """The meaning of a file's folders.

    Args:
        parts: those that folders name; more than one, or None among them, is unclear.
        place: the folders that mean something, `*` for others between them.
        key: the other folders, which distinguish images.
    """

    parts: frozenset[Part | None]
    kind: Kind | None
    place: tuple[str, ...]
    key: tuple[str, ...]

    @property
    def part(self) -> Part | None:
        """The part, where there is one."""
        return next(iter(self.parts)) if len(self.parts) == 1 else None

    @property
    def where(self) -> str:
        """The place, for messages."""
        return "/".join(self.place) or "."


def role(folders: PurePath) -> Role:
    """The meaning of folders such as `leftImg8bit/train/aachen`; the deepest one decides about the kind."""
    parts: set[Part | None] = set()
    kind: Kind | None = None
    place, key = list[str](), list[str]()
    for name in folders.parts:
        found = set(words(name))
        own = Kind.MASK if found & _MASKS else Kind.IMAGE if found & _IMAGES else None
        meant = meanings(name) or ({_SHORT[word] for word in found & _SHORT.keys()} if own else set())
        parts |= meant
        kind = own or kind
        if own or meant:
            place.append(name)
        else:
            place.append("*")
            key.append(name)
    while place and place[-1] == "*":
        place.pop()
    return Role(frozenset(parts), kind, tuple(place), tuple(key))


def file_kind(stem: str) -> tuple[Kind | None, str]:
    """The meaning of the end or the beginning of a name, such as `x_mask`, and the rest of it."""
    for kind, pattern in _FILES:
        match = pattern.fullmatch(stem)
        if match:
            return kind, match["base"]
    return None, stem
