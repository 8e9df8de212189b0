"""Pascal VOC: `JPEGImages`, `SegmentationClass`, and lists of names in `ImageSets/Segmentation`.

Everingham et al., The Pascal Visual Object Classes (VOC) Challenge, IJCV 2010. Masks are indices of a
palette; 255 is the unlabelled border between objects.
"""

from collections.abc import Mapping
from pathlib import Path

from lab.config.mask_values import IGNORE_INDEX
from lab.data.layouts.contents import Contents, images_by_stem
from lab.data.masks import Label
from lab.data.segmentation_files import Entry
from lab.data.segmentation_sets import Sample
from lab.data.split_names import Part, part_of

CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)  # fmt: skip

_IMAGES, _MASKS, _LISTS = "JPEGImages", "SegmentationClass", "ImageSets/Segmentation"
_LABELS = "labelmap.txt"
_BOTH = "trainval"


def is_voc(root: Path) -> bool:
    """Return whether the folders of images and masks are there."""
    return (root / _IMAGES).is_dir() and (root / _MASKS).is_dir()


def read_voc(root: Path, own_classes: Mapping[str, Label] | None) -> Contents:
    """The images of the lists train, val and test; trainval stands in for the first two.

    Without such lists every image with a mask is used. Where `labelmap.txt` lists classes and colours, as
    CVAT writes it, they are the classes.

    Args:
        own_classes: the user named classes, which take the place of the published ones.
    """
    contents = Contents()
    if own_classes is None and not (root / _LABELS).is_file():
        contents.classes = {name: number for number, name in enumerate(CLASSES)}
        contents.ignore = IGNORE_INDEX
    elif own_classes is None:
        contents.classes = _labels(root / _LABELS, contents.problems)
    images, masks = (images_by_stem(root / name, contents) for name in (_IMAGES, _MASKS))
    contents.problems += [
        f"{path}: no image {root / _IMAGES / stem}.*" for stem, path in masks.items() if stem not in images
    ]
    parts = _parts(root / _LISTS, contents.problems)
    for name, part in parts.items():
        if name not in images:
            contents.problems.append(f"{root / _LISTS}: {name} is listed, but there is no {_IMAGES}/{name}.*")
        elif name not in masks and part is not Part.TEST:
            contents.problems.append(f"{images[name]}: listed for {part}, but no mask {_MASKS}/{name}.*")
        else:
            contents.entries.append(Entry(Sample(name, split=part), images[name], masks.get(name)))
    if not parts:
        contents.entries += [Entry(Sample(name), path, masks.get(name)) for name, path in images.items()]
    left = [name for name in images if name not in parts]
    if parts and left:
        contents.warnings.append(f"{root / _IMAGES}: not used: {len(left)} images, which no list names")
    lists = f"lists in {_LISTS}" if parts else "no lists of sets"
    contents.description = f"Pascal VOC: images in {_IMAGES}, masks in {_MASKS}, {lists}"
    return contents


def _parts(folder: Path, problems: list[str]) -> dict[str, Part]:
    """The part of each name that a list of the folder has."""
    files = sorted(folder.glob("*.txt")) if folder.is_dir() else []
    lists = {path: part for path in files if (part := part_of(path.stem)) is not None}
    exact = {path: part for path, part in lists.items() if path.stem.lower() != _BOTH}
    # trainval.txt counts only where there is no train.txt.
    both = [] if Part.TRAIN in exact.values() else [path for path in lists if path not in exact]
    found: dict[str, Part] = {}
    for path, part in exact.items():
        for name in _names(path, problems):
            if found.setdefault(name, part) is not part:
                problems.append(f"{path}: {name} is listed for {found[name]} too")
    for path in both:  # less what val.txt lists
        for name in _names(path, problems):
            if found.setdefault(name, Part.TRAIN) is Part.TEST:
                problems.append(f"{path}: {name} is listed for {found[name]} too")
    return found


def _names(path: Path, problems: list[str]) -> list[str]:
    names = path.read_text(encoding="utf-8-sig", errors="replace").split()
    if not names:
        problems.append(f"{path}: the list is empty; remove it, or list the images of the set")
    return names


def _labels(path: Path, problems: list[str]) -> Mapping[str, Label] | None:
    """Classes by colour from lines `name:r,g,b:parts:actions`."""
    classes: dict[str, Label] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8-sig", errors="replace").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, rest = line.partition(":")
        colour = rest.partition(":")[0].split(",")
        if len(colour) != 3 or not all(part.strip().isdecimal() and int(part) < 256 for part in colour):
            problems.append(f"{path}, line {number}: expected name:red,green,blue::, found {line[:80]!r}")
            return None
        classes[name] = "#{:02x}{:02x}{:02x}".format(*map(int, colour))
    return classes
