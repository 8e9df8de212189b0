"""COCO: images, and JSON files with polygons or run-length codes of the objects in them.

Lin et al., Microsoft COCO: Common Objects in Context, ECCV 2014; the format: cocodataset.org/#format-data.
"""

import codecs
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lab.config.mask_values import BINARY, IGNORE_INDEX
from lab.data.file_discovery import find_images, is_hidden
from lab.data.layouts.contents import Contents
from lab.data.masks import Label, MaskReader
from lab.data.segmentation_files import Entry
from lab.data.segmentation_sets import Sample
from lab.data.split_names import Part, meanings
from lab.data.unicode_names import composed

_KEYS = ("images", "annotations", "categories")
_LONGEST = 1 << 15  # pixels of a side: more would be a mistake, or an attempt to exhaust the memory
_OTHER_TASKS = ("captions", "person_keypoints", "panoptic", "image_info", "stuff")

Record: TypeAlias = Mapping[str, Any]
"""An object of an annotation file, or the file itself; its values are checked where they are read."""


@dataclass(frozen=True)
class CocoMask:
    """The annotations of one image as a mask.

    Crowds are ignored. Objects are drawn over them and over one another from the largest to the smallest area
    of pixels, those of one area in the order of the file.

    Args:
        where: the JSON file and the image, for errors.
        annotations: with the class index of each.
    """

    where: str
    height: int
    width: int
    annotations: Sequence[tuple[int, Record]]

    def __str__(self) -> str:
        return self.where

    @property
    def size(self) -> int:
        return sum(len(json.dumps(annotation, default=str)) for _, annotation in self.annotations)

    def draw(self, reader: MaskReader) -> NDArray[np.uint8]:
        mask = np.zeros((self.height, self.width), np.uint8)
        objects = []
        for index, annotation in self.annotations:
            area = self._area(annotation)
            if annotation.get("iscrowd"):
                mask[area] = IGNORE_INDEX
            else:
                objects.append((index, area))
        # Large objects first, so that small ones on top of them stay visible.
        for index, area in sorted(objects, key=lambda each: -int(each[1].sum())):
            mask[area] = index
        return mask

    def _area(self, annotation: Record) -> NDArray[np.bool_]:
        """The pixels of an annotation.

        Raises:
            ValueError: its segmentation is neither polygons nor a run-length code of the image's size.
        """
        from pycocotools import mask as coco  # needed by this layout alone

        code = annotation.get("segmentation")
        where = f"{self.where}, annotation {annotation.get('id')}"
        try:
            if isinstance(code, list) and code:
                if not all(_is_polygon(polygon) for polygon in code):
                    raise ValueError("polygons are lists of at least three points x, y")
                codes = coco.frPyObjects(code, self.height, self.width)
                area = coco.decode(coco.merge(codes))
            elif isinstance(code, Mapping):
                if list(code.get("size", ())) != [self.height, self.width]:
                    raise ValueError(f"its size is {code.get('size')}, not {[self.height, self.width]}")
                area = coco.decode(self._run_lengths(code))
            else:
                raise ValueError("no segmentation, as for detection")
        except (ValueError, TypeError, OverflowError) as error:
            raise ValueError(f"{where}: {error}") from error
        return np.asarray(area, bool)

    def _run_lengths(self, code: Record) -> object:
        """The library's code of an annotation's, whose counts must cover the image: it doesn't check that."""
        from pycocotools import mask as coco

        counts = code.get("counts")
        if isinstance(counts, str):
            counts = _counts(counts)
        if not isinstance(counts, list) or not all(type(count) is int and count >= 0 for count in counts):
            raise ValueError("counts are neither text nor a list of whole numbers")
        if sum(counts) != self.height * self.width:
            raise ValueError(f"counts sum up to {sum(counts)}, not {self.height * self.width} pixels")
        return coco.frPyObjects(
            {"size": [self.height, self.width], "counts": counts}, self.height, self.width
        )


def _counts(text: str) -> list[int]:
    """The run lengths in COCO's text: 5 bits a character, and from the fourth on differences to two before.

    Raises:
        ValueError: it is no such text.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 30:
            raise ValueError("counts are not in the text format of run lengths")
        value |= (bits & 0x1F) << shift
        shift += 5
        if not bits & 0x20:
            value -= (bits & 0x10) << (shift - 4)
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    if shift:
        raise ValueError("counts are cut short")
    return counts


def is_coco(root: Path) -> bool:
    """Return whether there is a JSON file of COCO's kind."""
    return bool(_annotation_files(root))


def read_coco(root: Path, own_classes: Mapping[str, Label] | None) -> Contents:
    """The images of each annotation file, whose name or folder names the set.

    Args:
        own_classes: name to category id; the first is the background, which all others are drawn over. By
            default all categories, in the order of their ids, after `background`.
    """
    contents = Contents(description="COCO: ")
    files = _annotation_files(root)
    loaded = {path: _load(path, contents.problems) for path in files}
    categories = _categories(loaded, own_classes, contents)
    parts = {path: _part(path, root, contents.problems) for path in files}
    named = any(parts.values())
    if len(files) > 1 and len(set(parts.values())) < len(files):
        names = ", ".join(str(path.relative_to(root)) for path in files)
        contents.problems.append(f"{root}: several annotation files of one set ({names}): move all but one")
        return contents
    index = _Images(root)
    for path, data in loaded.items():
        if named and parts[path] is None:
            contents.problems.append(f"{path}: neither train, val nor test by its name")
        elif data is not None:
            _add(path, data, parts[path], categories, index, contents)
    contents.warnings += index.warnings()
    contents.description += ", ".join(str(path.relative_to(root)) for path in files)
    return contents


def _annotation_files(root: Path) -> list[Path]:
    """JSON files that begin as those of COCO do, in the folder and up to three folders below."""
    found = []
    for pattern in ("*.json", "*/*.json", "*/*/*.json"):
        for path in sorted(root.glob(pattern)):
            hidden = any(map(is_hidden, path.relative_to(root).parts))
            if not hidden and not path.stem.lower().startswith(_OTHER_TASKS) and _has_keys(path):
                found.append(path)
    return found


def _has_keys(path: Path) -> bool:
    """Return whether a file has COCO's keys; of a large one only a part is read."""
    try:
        with path.open("rb") as file:
            begin = file.read(1 << 16)
            if not begin.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"{"):
                return False
            text = begin + file.read()
    except OSError:
        return False
    return all(f'"{key}"'.encode() in text for key in _KEYS)


def _load(path: Path, problems: list[str]) -> Record | None:
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        problems.append(f"{path}: can't be read as JSON: {error}")
        return None
    if not isinstance(data, dict) or not all(
        isinstance(data.get(key), list) and all(isinstance(row, dict) for row in data[key]) for key in _KEYS
    ):
        problems.append(f"{path}: expected lists of objects under {', '.join(_KEYS)}")
        return None
    return data


def _categories(
    loaded: Mapping[Path, Record | None], own_classes: Mapping[str, Label] | None, contents: Contents
) -> dict[int, int]:
    """The class index of each category; sets the classes of the contents."""
    names: dict[int, str] = {}
    for path, data in loaded.items():
        for row in data["categories"] if data else ():
            number, name = row.get("id"), row.get("name")
            if type(number) is not int or not isinstance(name, str):
                contents.problems.append(f"{path}: a category without a whole number as id and a name: {row}")
            elif names.setdefault(number, name) != name:
                contents.problems.append(
                    f"{path}: category {number} is {name!r} here and {names[number]!r} elsewhere"
                )
    background = BINARY[0]
    if own_classes is None:
        objects = [number for number in sorted(names) if names[number].lower() != background]
        labels = [names[number] for number in objects]
        if len(set(labels)) < len(labels):
            contents.problems.append(f"two categories have one name: {', '.join(labels)}")
        contents.classes = {name: index for index, name in enumerate([background, *labels])}
    else:
        chosen = list(own_classes.values())[1:]
        unknown = [f"{label!r}" for label in chosen if label not in names]
        if unknown:
            known = ", ".join(f"{number} ({name})" for number, name in sorted(names.items()))
            contents.problems.append(
                f"classes: no category id {', '.join(unknown)}; the ids, after the background, are {known}"
            )
        objects = [label for label in chosen if isinstance(label, int)]
        contents.classes = {name: index for index, name in enumerate(own_classes)}
    contents.ignore = IGNORE_INDEX
    return dict.fromkeys(names, 0) | {number: index for index, number in enumerate(objects, 1)}


def _part(path: Path, root: Path, problems: list[str]) -> Part | None:
    """The set that the name of a file means, or the names of its folders."""
    meant = meanings(path.stem)
    for folder in path.parent.relative_to(root).parts if not meant else ():
        meant |= meanings(folder)
    if len(meant) > 1 or None in meant:
        problems.append(f"{path}: which set is this? Rename it so that it names train, val or test alone")
    return next(iter(meant), None) if len(meant) == 1 else None


class _Images:
    """The image files below a folder, found by the names that annotations have for them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._used: set[Path] = set()
        self._by_name: dict[str, list[Path]] = {}
        for path in find_images(root).images:
            self._by_name.setdefault(composed(path.name), []).append(path)

    def find(self, written: str, beside: Path, part: Part | None) -> Path:
        """The file of a name, which may have folders before it.

        Args:
            beside: the folder of the annotations, whose own images come first.
            part: then those in folders of this part.
        Raises:
            ValueError: there is none, or it is unclear which one.
        """
        name = PurePosixPath(composed(written.replace("\\", "/")))
        if name.is_absolute() or ".." in name.parts:
            raise ValueError(f"file_name {written} leads out of the data root")
        found = [
            path
            for path in self._by_name.get(name.name, ())
            if tuple(map(composed, path.parts[-len(name.parts) :])) == name.parts
        ]
        # The image beside the annotations comes first, then one in a folder named after the set, then any.
        for own in (
            [path for path in found if path == beside.joinpath(*path.parts[-len(name.parts) :])],
            [path for path in found if _means(path.parent.relative_to(self.root), part)],
            found,
        ):
            if len(own) == 1:
                self._used.add(own[0])
                return own[0]
        if not found:
            raise ValueError(f"no image {written} below {self.root}")
        raise ValueError(f"{written} is the name of several images, such as {found[0]} and {found[1]}")

    def warnings(self) -> list[str]:
        """A line that counts the images that were not found, as no annotation file names them."""
        left = [path for paths in self._by_name.values() for path in paths if path not in self._used]
        if not left:
            return []
        plural = "s" if len(left) > 1 else ""
        some = f"{len(left)} image{plural}, which no annotation file names, such as {min(left).name}"
        return [f"{self.root}: not used: {some}"]


def _means(folder: Path, part: Part | None) -> bool:
    meant: set[Part | None] = set()
    return part is not None and meant.union(*map(meanings, folder.parts)) == {part}


def _add(
    path: Path,
    data: Record,
    part: Part | None,
    categories: Mapping[int, int],
    images: _Images,
    contents: Contents,
) -> None:
    problems = contents.problems
    if not data["annotations"] and part is not Part.TEST:
        problems.append(f"{path}: no annotation in it")
    own: dict[object, list[tuple[int, Record]]] = {}
    known = {row.get("id") for row in data["images"]}
    for row in data["annotations"]:
        if row.get("category_id") not in categories:
            problems.append(f"{path}, annotation {row.get('id')}: no category {row.get('category_id')}")
        elif row.get("image_id") not in known:
            problems.append(f"{path}, annotation {row.get('id')}: no image {row.get('image_id')}")
        elif index := categories[row["category_id"]]:
            own.setdefault(row["image_id"], []).append((index, row))
    if len(known) < len(data["images"]):
        problems.append(f"{path}: ids of images are used twice")
    for row in data["images"]:
        where = f"{path}, image {row.get('id')}"
        height, width = row.get("height"), row.get("width")
        if not all(type(side) is int and 0 < side <= _LONGEST for side in (height, width)):
            problems.append(f"{where}: height and width are not numbers of pixels: {height}, {width}")
            continue
        try:
            image = images.find(str(row.get("file_name")), path.parent, part)
        except ValueError as error:
            problems.append(f"{where}: {error}")
            continue
        sample = Sample(image.relative_to(images.root).with_suffix("").as_posix(), split=part)
        mask = CocoMask(f"{where} ({image.name})", height, width, own.get(row.get("id"), []))
        contents.entries.append(Entry(sample, image, mask if data["annotations"] else None))


def _is_polygon(points: object) -> bool:
    """Return whether it is a list x, y, x, y, … of at least three points."""
    return (
        isinstance(points, list)
        and len(points) >= 6
        and len(points) % 2 == 0
        and all(type(number) in (int, float) and abs(number) <= 2 * _LONGEST for number in points)
    )
