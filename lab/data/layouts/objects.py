"""A folder for each image, with a mask for each of its objects: `ID/images/ID.png` and `ID/masks/*.png`."""

from collections.abc import Mapping
from pathlib import Path

from lab.data.file_discovery import find_images, visible
from lab.data.layouts.contents import Contents
from lab.data.mask_sources import UnitedMasks
from lab.data.masks import Label
from lab.data.segmentation_files import Entry
from lab.data.segmentation_sets import Sample
from lab.data.split_names import Part, PartNames, part_names

_IMAGES, _MASKS = "images", "masks"


def is_objects(root: Path) -> bool:
    """Return whether there are several folders with one image each, and folders of its masks."""
    own = [
        folder
        for parent in (root, *visible(root))
        for folder in visible(parent)
        if (folder / _MASKS).is_dir()
    ]
    singles = [folder for folder in own if len(find_images(folder / _IMAGES, nested=False).images) == 1]
    return len(singles) > 1 and len(singles) == len(own)


def read_objects(root: Path, own_classes: Mapping[str, Label] | None) -> Contents:
    """The folders, below `root` or below folders of sets; a mask is the union of its objects' masks.

    Raises:
        ValueError: there are classes.
    """
    if own_classes is not None:
        raise ValueError("layout: objects has no classes: a mask is one object; remove data.classes")
    contents = Contents(description="a folder for each image; its mask is the union of the objects' masks")
    folders = visible(root)
    names = part_names(folder.name for folder in folders)
    named = names if names.parts else PartNames()
    for folder in folders:
        part = named.parts.get(folder.name)
        if folder.name in named.unclear:
            contents.problems.append(f"{folder}: validation or test data? Rename it to val or test")
        elif part is not None:
            for own in visible(folder):
                _add(own, root, part, contents)
        elif named.parts:
            contents.problems.append(f"{folder}: beside folders of sets, but none by its name")
        else:
            _add(folder, root, None, contents)
    return contents


def _add(folder: Path, root: Path, part: Part | None, contents: Contents) -> None:
    images, masks = (find_images(folder / name, nested=False) for name in (_IMAGES, _MASKS))
    contents.problems += [*images.problems(), *masks.problems()]
    if len(images.images) != 1:
        contents.problems.append(f"{folder / _IMAGES}: expected one image, found {len(images.images)}")
        return
    sample = Sample(folder.relative_to(root).as_posix(), split=part)
    if masks.images:
        source = UnitedMasks(folder / _MASKS, masks.images)
        contents.entries.append(Entry(sample, images.images[0], source))
    elif part is Part.TEST and not (folder / _MASKS).exists():
        contents.entries.append(Entry(sample, images.images[0], None))
    else:
        contents.problems.append(f"{folder / _MASKS}: no mask in it")
