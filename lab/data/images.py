"""A folder of images beside a folder of their masks."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from lab.data.discovery import READ, Found, find_images, key
from lab.data.files import Columns, Entry, Reading, read_sets
from lab.data.masks import Label
from lab.data.normalise import Mode
from lab.data.pairs import Transforms
from lab.data.patches import Patches
from lab.data.problems import raise_all
from lab.data.sets import Sample, Serving
from lab.data.splits import Cut, Splits
from lab.data.tables import read_table, unique
from lab.data.unicode_names import alike, composed
from lab.labels import Auto
from lab.rundir import expanded

_NO_ROOT = "data.root is not set: pass --set data.root=PATH, which holds {images}/ and {masks}/"


def image_folder(
    root: str | None,
    images: str = "images",
    masks: str = "masks",
    metadata: str | None = None,
    metadata_name: str = "frame_id",
    group_by: str | None = None,
    split_by: str | None = None,
    condition: str | None = None,
    classes: Mapping[str, Label] | None = None,
    ignore: Label | None = None,
    mask_threshold: float | None = None,
    grayscale: bool = False,
    value_range: list[float] | None = None,
    normalise: Mode = "train",
    val_share: float = 0.2,
    test_share: float = 0.0,
    seed: int = 0,
    folds: int | None = None,
    fold: int = 0,
    patches: Patches | None = None,
    transforms: Transforms = (),
    val_transforms: Transforms = (),
    cache_gb: float = 2.0,
    background: str | None = Auto.AUTO,
) -> Splits:
    """Images and masks from `root/images` and `root/masks`, paired by their paths below without the ending.

    Formats: docs/input.md. An item is (image, mask), or (image, sequence, mask) with a condition; validation
    and test images are whole. Arguments that aren't here: `Cut`, `Patches`.

    Args:
        root: the folder that holds both; a relative path counts from where the command runs.
        metadata: a CSV below root with a row for each image, named in its column `metadata_name`.
        group_by, split_by, condition: its columns: groups that stay together, the set, a further input.
        classes: name to value or colour ("#ff0000"); None: foreground is above `mask_threshold`.
        ignore: value or colour of pixels that nobody judged.
        value_range: the values that become 0 and 1, for files of other depths than 8 bits: docs/input.md.
        normalise: see `lab.data.normalise.Mode`.
        transforms, val_transforms: albumentations for the train set, and for the others (fixed).
        background: the class that means leave out, or null; by default the one called `background`.
        cache_gb: decoded files to keep in memory; the rest is mapped from a temporary file.
    Raises:
        ValueError: an argument doesn't fit, or anything about the files: all problems in one message.
    """
    if not root:
        raise ValueError(_NO_ROOT.format(images=images, masks=masks))
    cut = Cut(val_share, test_share, seed, folds, fold)
    serving = Serving(patches, normalise, transforms, val_transforms)
    reading = Reading(classes, ignore, mask_threshold, grayscale, value_range, cache_gb, background)
    folder = expanded(root)
    entries, problems, warnings = _paired(folder / images, folder / masks)
    columns = Columns(group_by, split_by, condition)
    if metadata is not None:
        entries = _described(entries, folder / metadata, metadata_name, columns, problems)
    elif columns.named:
        raise ValueError("group_by, split_by and condition name columns: give the CSV below root as metadata")
    return read_sets(entries, problems, "the image folder", reading, cut, serving, warnings)


def _paired(images: Path, masks: Path) -> tuple[list[Entry], list[str], list[str]]:
    """Pair the files of both folders by `key`, in order of the keys; also problems and warnings."""
    absent = [f"{path}: no such folder" for path in (images, masks) if not path.is_dir()]
    raise_all(
        absent,
        "the image folder",
        "data.root must be the folder that holds both: pass --set data.root=PATH",
    )
    found, found_masks = find_images(images), find_images(masks)
    problems = [*found.problems(), *found_masks.problems()]
    by_key, masks_by_key = _by_key(found, problems), _by_key(found_masks, problems)
    for folder, paths in ((images, by_key), (masks, masks_by_key)):
        if not paths:
            problems.append(f"{folder}: no {READ} file in it")
    if by_key and masks_by_key:
        problems += [
            f"{path}: no mask {masks / name}.*{_hint(name, masks_by_key)}"
            for name, path in by_key.items()
            if name not in masks_by_key
        ]
        problems += [
            f"{path}: no image {images / name}.*{_hint(name, by_key)}"
            for name, path in masks_by_key.items()
            if name not in by_key
        ]
    both = [name for name in by_key if name in masks_by_key]
    entries = [Entry(Sample(key(by_key[name], images)), by_key[name], masks_by_key[name]) for name in both]
    return entries, problems, [*found.warnings(), *found_masks.warnings()]


def _hint(name: str, names: Iterable[str]) -> str:
    found = alike(name, names)
    return f"; there is {found}, whose name differs in upper and lower case" if found else ""


def _by_key(found: Found, problems: list[str]) -> dict[str, Path]:
    """The files by their keys in one Unicode form: a folder may come from a Mac, and the other one not."""
    paths: dict[str, Path] = {}
    for path in found.images:
        name = composed(key(path, found.folder))
        if name in paths:
            problems.append(f"{path}: {paths[name].name} has the same name, so the pair is ambiguous")
        paths[name] = path
    return paths


def _described(
    entries: list[Entry], table: Path, name: str, columns: Columns, problems: list[str]
) -> list[Entry]:
    """The entries with what the table says of each; images and rows without one another are problems."""
    try:
        rows = unique(read_table(table, [name, *columns.named], problems), name, problems)
    except ValueError as error:
        problems.append(str(error))
        return entries
    by_name = {composed(name): row for name, row in rows.items()}
    stems = {composed(entry.sample.name) for entry in entries}
    problems += [f"{row}: no image is named {stem}.*" for stem, row in by_name.items() if stem not in stems]
    described = []
    for entry in entries:
        row = by_name.get(composed(entry.sample.name))
        if row is None:
            problems.append(f"{entry.image}: {table} has no row whose {name} is {entry.sample.name}")
        else:
            described.append(replace(entry, sample=columns.sample(entry.sample.name, row, problems)))
    return described
