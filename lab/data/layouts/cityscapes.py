"""Cityscapes: `leftImg8bit/SET/CITY/ID_leftImg8bit.png` and `gtFine/SET/CITY/ID_gtFine_labelIds.png`.

Cordts et al., The Cityscapes Dataset for Semantic Urban Scene Understanding, CVPR 2016. The 19 classes that
its benchmark evaluates, and their order, are those of github.com/mcordts/cityscapesScripts.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from lab.config.mask_values import IGNORE_INDEX
from lab.data.file_discovery import find_images, visible
from lab.data.layouts.contents import Contents
from lab.data.mask_sources import MappedMask
from lab.data.masks import Label, MaskReader
from lab.data.segmentation_files import Entry
from lab.data.segmentation_sets import Sample
from lab.data.split_names import Part, part_names

CLASSES = {
    "road": 7, "sidewalk": 8, "building": 11, "wall": 12, "fence": 13, "pole": 17, "traffic light": 19,
    "traffic sign": 20, "vegetation": 21, "terrain": 22, "sky": 23, "person": 24, "rider": 25, "car": 26,
    "truck": 27, "bus": 28, "train": 31, "motorcycle": 32, "bicycle": 33,
}  # fmt: skip
"""The evaluated classes in the order of their training ids, and their label ids."""

_IMAGES = "leftImg8bit"
_TRUTHS = ("gtFine", "gtCoarse")
_LABELS, _TRAINED = "labelIds", "labelTrainIds"
_OTHERS = ("color", "instanceIds", "instanceTrainIds")


def is_cityscapes(root: Path) -> bool:
    """Return whether the folders of images and fine or coarse labels are there."""
    return (root / _IMAGES).is_dir() and any((root / name).is_dir() for name in _TRUTHS)


def read_cityscapes(root: Path, own_classes: Mapping[str, Label] | None) -> Contents:
    """Read images with their labels in the evaluated classes; all other label ids are ignored.

    Label ids are read where there are any, training ids else. A test set whose first labels are all ignored,
    as those of the published one are, counts as unlabelled.

    Args:
        own_classes: the user named classes by the files' own numbers, so that these are kept.
    """
    truths = [root / name for name in _TRUTHS if (root / name).is_dir()]
    # gtFine and gtCoarse label the same images: which one is meant is unknown.
    if len(truths) > 1:
        return Contents(problems=[f"{root}: both {' and '.join(_TRUTHS)}: move one of them"])
    contents = Contents()
    labels = _labels(truths[0], contents)
    kind = _LABELS if labels[_LABELS] or not labels[_TRAINED] else _TRAINED
    masks, used = labels[kind], set[str]()
    folders = visible(root / _IMAGES)
    named = part_names(folder.name for folder in folders).parts
    for folder in folders:
        part = named.get(folder.name)
        if part is None:
            contents.problems.append(f"{folder}: not a set by its name; move or rename it")
            continue
        found = find_images(folder)
        contents.problems += found.problems()
        for path in found.images:
            name = (
                path.parent.relative_to(root / _IMAGES) / path.stem.removesuffix(f"_{_IMAGES}")
            ).as_posix()
            if name not in masks and part is not Part.TEST:
                contents.problems.append(f"{path}: no {truths[0] / name}_{truths[0].name}_{kind}.png")
            contents.entries.append(Entry(Sample(name, split=part), path, masks.get(name)))
            used.add(name)
    contents.problems += [
        f"{path}: no image {root / _IMAGES / name}_{_IMAGES}.*"
        for name, path in masks.items()
        if name not in used
    ]
    if own_classes is None:
        contents.classes = {name: number for number, name in enumerate(CLASSES)}
        contents.ignore = IGNORE_INDEX
        _map(contents, by_label_id=kind == _LABELS)
    contents.description = f"Cityscapes: images in {_IMAGES}, {kind} in {truths[0].name}"
    return contents


def _labels(truth: Path, contents: Contents) -> dict[str, dict[str, Path]]:
    """The files of each kind by set, city and ID."""
    labels: dict[str, dict[str, Path]] = {kind: {} for kind in (_LABELS, _TRAINED, *_OTHERS)}
    found = find_images(truth)
    for path in found.images:
        name, _, kind = path.stem.partition(f"_{truth.name}_")
        if kind in labels:
            labels[kind][(path.parent.relative_to(truth) / name).as_posix()] = path
        else:
            contents.problems.append(f"{path}: none of {', '.join(labels)} by its name")
    return labels


def _map(contents: Contents, *, by_label_id: bool) -> None:
    """Map label ids to the classes of the benchmark, and placeholder labels of a test set to no mask."""
    values = dict(CLASSES) if by_label_id else {name: index for index, name in enumerate(CLASSES)}
    contents.values = {"classes": values, "ignore": None, "ignore_others": True}
    table = np.full(256, IGNORE_INDEX, np.uint8)
    for index, number in enumerate(values.values()):
        table[number] = index
    sources = [
        replace(entry, mask=MappedMask(entry.mask, table)) if isinstance(entry.mask, Path) else entry
        for entry in contents.entries
    ]
    # The published test set comes with placeholder masks of ignored pixels only. One look is enough.
    tests = [entry for entry in sources if entry.sample.split == Part.TEST and entry.mask is not None]
    if tests and _is_placeholder(tests[0]):
        sources = [replace(entry, mask=None) if entry in tests else entry for entry in sources]
    contents.entries = sources


def _is_placeholder(entry: Entry) -> bool:
    assert isinstance(entry.mask, MappedMask)
    try:
        return bool((entry.mask.draw(MaskReader()) == IGNORE_INDEX).all())
    except ValueError:  # reported where all files are read
        return False
