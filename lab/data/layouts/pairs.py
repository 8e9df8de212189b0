"""A folder of images beside a folder of their masks, paired by their paths below."""

from collections.abc import Iterator
from pathlib import Path, PurePath

from lab.data.file_discovery import READ, Found, find_images, key, visible
from lab.data.layouts.contents import Contents, by_key, require_folders
from lab.data.layouts.pairing import Key, pair
from lab.data.layouts.roles import role
from lab.data.segmentation_files import Entry
from lab.data.segmentation_sets import Sample
from lab.data.split_names import Part, part_names
from lab.data.unicode_names import composed


def is_pairs(images: Path, masks: Path) -> bool:
    """Return whether both folders are there and are not divided into folders of sets."""
    divided = [
        Part.TRAIN in part_names(path.name for path in visible(folder)).parts.values()
        for folder in (images, masks)
    ]
    return images.is_dir() and masks.is_dir() and not all(divided)


def read_pairs(images: Path, masks: Path) -> Contents:
    """Pair the files of both folders by `key`, in order of the keys."""
    require_folders(
        [images, masks], "data.root must be the folder that holds both: pass --set data.root=PATH"
    )
    found, found_masks = find_images(images), find_images(masks)
    contents = Contents(problems=[*found.problems(), *found_masks.problems()])
    contents.warnings = [*found.warnings(), *found_masks.warnings()]
    contents.warnings += _beside(images, masks)
    keyed, keyed_masks = (by_key(_keyed(each), contents.problems) for each in (found, found_masks))
    for folder, paths in ((images, keyed), (masks, keyed_masks)):
        if not paths:
            contents.problems.append(f"{folder}: no {READ} file in it")
    if keyed and keyed_masks:
        pairs, contents.description = pair(keyed, keyed_masks, (images, masks), contents.problems)
        contents.entries = [Entry(Sample(key(image, images)), image, mask) for image, mask in pairs]
    return contents


def _beside(images: Path, masks: Path) -> list[str]:
    """A line for each folder beside both that by its name holds images, masks or a set, and is not read."""
    if images.parent != masks.parent:
        return []
    named = [path for path in visible(images.parent) if path not in (images, masks)]
    folders = [path for path in named if (meant := role(PurePath(path.name))).kind or meant.parts]
    counts = [(path, len(find_images(path).images)) for path in folders]
    return [f"{path}: not used: {count} image{'s' if count > 1 else ''}" for path, count in counts if count]


def _keyed(found: Found) -> Iterator[tuple[Key, Path]]:
    """The files with their keys in one Unicode form: a folder may come from a Mac, and the other one not."""
    return ((tuple(composed(key(path, found.folder)).split("/")), path) for path in found.images)
