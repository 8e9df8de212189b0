"""Keyword arguments that several data sources share; the dataclasses that they fill have their defaults."""

import typing
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, TypeVar

from lab.config.problems import did_you_mean
from lab.data.augment import Transforms
from lab.data.classification_files import Size
from lab.data.masks import Label
from lab.data.normalization import Mode
from lab.data.patches import Patches
from lab.data.segmentation_sets import Serving
from lab.data.splits import Cut
from lab.store.paths import absolute

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

D = TypeVar("D", bound="DataclassInstance")


class CutArguments(TypedDict, total=False):
    """Fields of `lab.data.splits.Cut`: which items are trained on.

    Args:
        val_share: fraction of the items to validate on, in [0, 1); 0: none, and the run has `val: null`;
            meaningless with `folds`.
        test_share: fraction that is kept for the final evaluation, in [0, 1); set aside before the folds are
            made.
        seed: decides what goes where.
        folds: cut what is not the test set into so many folds, as equal as can be.
        fold: the one to validate on, from 0; the others are trained on.
    """

    val_share: float
    test_share: float
    seed: int
    folds: int | None
    fold: int


class PairArguments(CutArguments, total=False):
    """Fields of `lab.data.segmentation_sets.Serving`: how images and their masks become items.

    Args:
        normalise: see `lab.data.normalization.Mode`.
        patches: train on patches; see `lab.data.patches.Patches`.
        transforms, val_transforms: albumentations for the train set; for the others (fixed).
    """

    normalise: Mode
    patches: Patches | None
    transforms: Transforms
    val_transforms: Transforms


class MaskFileArguments(PairArguments, total=False):
    """Fields of `lab.data.segmentation_files.Columns` and `Reading`: how files of images and masks are read.

    Args:
        group_by, split_by, condition: columns of a table: images of one group stay together; train, val or
            test instead of fractions; an input of the network beside the image.
        classes: name to value or colour ("#ff0000"); None: foreground is what is greater than
            `mask_threshold` in the file's units, by default 0, and 127 for JPEG masks.
        ignore: value or colour of unlabelled pixels.
        grayscale: read one channel, not three.
        value_range: the values that become 0 and 1, for files of other depths than 8 bits: docs/input.md.
        cache_gb: decoded files to keep in memory; the rest is mapped from a temporary file.
        background: the class that means leave out, or null; by default the one called `background`.
    """

    group_by: str | None
    split_by: str | None
    condition: str | None
    classes: Mapping[str, Label] | None
    ignore: Label | None
    mask_threshold: float | None
    grayscale: bool
    value_range: list[float] | None
    cache_gb: float
    background: str | None


class ClassFileArguments(CutArguments, total=False):
    """Fields of `lab.data.classification_files.LabelledReading` and `Serving`: images of one class each.

    Args:
        size: pixels a side, or [height, width], to which every image is resized as it is read, whatever its
            sides' ratio; by default 128; null: they have one size already.
        grayscale: read one channel, not three.
        value_range: the values that become 0 and 1, for files of other depths than 8 bits: docs/input.md.
        sample_size: take at most so many images of each class (and of each set, where they are folders).
        normalise: see `lab.data.normalization.Mode`.
        transforms: albumentations, for the training set.
        cache_gb: images to keep in memory; the rest is mapped from a temporary file.
    """

    size: Size | None
    grayscale: bool
    value_range: list[float] | None
    sample_size: int | None
    normalise: Mode
    transforms: Transforms
    cache_gb: float


def fields_from(kind: type[D], arguments: Mapping[str, object]) -> D:
    """Build a dataclass of those arguments that are its fields; the others keep their defaults."""
    names = {each.name for each in fields(kind)}
    return kind(**{name: value for name, value in arguments.items() if name in names})


def options_from(arguments: Mapping[str, object], declared: type, reading: type[D]) -> tuple[D, Cut, Serving]:
    """The options of reading, cutting and serving that a source of files gets as keyword arguments.

    Raises:
        TypeError: the TypedDict doesn't declare one of them.
    """
    require_known(arguments, declared)
    return fields_from(reading, arguments), fields_from(Cut, arguments), fields_from(Serving, arguments)


def required_path(name: str, value: str | None, what: str) -> Path:
    """Return the path of an argument that must be set; `what` is an example of its value, and what it holds.

    Raises:
        ValueError: it is not set.
    """
    if not value:
        raise ValueError(f"data.{name} is not set: pass --set data.{name}={what}")
    return absolute(value)


def require_known(arguments: Mapping[str, object], declared: type) -> None:
    """Refuse keyword arguments that the TypedDict doesn't declare, as the call of a function does.

    Raises:
        TypeError: there is one.
    """
    known = typing.get_type_hints(declared)
    for name in arguments.keys() - known.keys():
        raise TypeError(f"got an unexpected keyword argument '{name}'{did_you_mean(name, known)}")
