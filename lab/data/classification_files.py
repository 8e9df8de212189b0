"""The sets of a run from image files and their classes; all problems are reported in one error."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lab.data.classification_sets import Labelled, assemble, resize
from lab.data.file_inventory import file_size, with_files
from lab.data.file_problems import raise_all
from lab.data.image_reader import ImageReader
from lab.data.pair_cache import Store
from lab.data.segmentation_sets import Sample, Serving
from lab.data.splits import Cut, Parts, Splits
from lab.data.stratified_split import shuffled, stratified
from lab.data.unicode_names import composed, numbers_first

Size = int | list[int]
"""Side of a square, or [height, width], in pixels."""


@dataclass(frozen=True)
class LabelledFile:
    """An image file, the name of its class, and what else is known of it."""

    sample: Sample
    image: Path
    label: str


@dataclass(frozen=True)
class LabelledReading:
    """Options of reading files, by `lab.data.source_arguments.ClassFileArguments`.

    Raises:
        ValueError: one of them is out of its range.
    """

    size: Size | None = 128
    grayscale: bool = False
    sample_size: int | None = None
    cache_gb: float = 2.0
    value_range: Sequence[float] | None = None

    def __post_init__(self) -> None:
        if self.sides is not None and (len(self.sides) != 2 or min(self.sides) < 1):
            raise ValueError(f"size must be a number of pixels or [height, width], found {self.size}")
        if self.sample_size is not None and self.sample_size < 2:
            raise ValueError(f"sample_size must be at least 2 images of a class, found {self.sample_size}")
        if self.cache_gb < 0:
            raise ValueError(f"cache_gb must be >= 0, found {self.cache_gb}")

    @property
    def sides(self) -> list[int] | None:
        """[height, width], or None: as the files are."""
        return [self.size, self.size] if isinstance(self.size, int) else self.size


def read_labelled(
    files: Sequence[LabelledFile],
    problems: Sequence[str],
    what: str,
    reading: LabelledReading,
    cut: Cut,
    serving: Serving,
    warnings: Sequence[str] = (),
) -> Splits:
    """Cut the files into sets, read each once, and build what `Splits` holds.

    Args:
        problems: what was found out about the files already; they are read nevertheless, so that all can be
            reported.
        what: the source, for the error.
        warnings: what the user should know of the source.
    Raises:
        ValueError: the cut can't be made, or anything about the files is wrong: all problems in one message.
    """
    chosen = list(files) if reading.sample_size is None else _some(files, reading.sample_size, cut.seed)
    found = list(problems)
    classes = sorted({file.label for file in files}, key=numbers_first)
    # An impossible split is reported before an hour of reading.
    if not found:
        if len(classes) < 2:
            raise ValueError(f"{what}: at least two classes are needed, found {', '.join(classes) or 'none'}")
        trained = {chosen[index].label for index in divide(chosen, cut).train.tolist()}
        first = {file.label: file.image for file in reversed(files)}
        found += [
            f"{first[label]}: class {label!r} has no image in the training set"
            for label in classes
            if label not in trained
        ]
    images = ImageReader(1 if reading.grayscale else 3, reading.value_range)
    # Each file is read once, although after the first problem only to find the others.
    store = Store(_labelled(chosen, classes, reading, images, found), reading.cache_gb * 1e9)
    raise_all(found, what, "correct or remove what is named")
    names, parts = [file.sample.name for file in chosen], divide(chosen, cut)
    splits = assemble(
        store,
        names,
        parts,
        classes,
        normalise=serving.normalise,
        transforms=serving.transforms,
        stacked_bytes=reading.cache_gb * 1e9 / 2,  # stacking holds them twice for a moment
    )
    splits = splits.declaring(images.info())
    paths = [file.image for file in chosen]
    sizes = list(map(file_size, paths))
    remarks = [*warnings, *_similar(classes), *images.warnings()]
    return with_files(splits, names, paths, sizes, parts, remarks)


def divide(files: Sequence[LabelledFile], cut: Cut) -> Parts:
    """Divide the files into sets: as named, and the others by fractions or into folds.

    Where some are named `val`, the others are trained on; where only `test` is named, the others are cut
    into training and validation. Groups stay whole, else each class is cut for itself (`stratified`).

    Raises:
        ValueError: as for `Cut.parts` and `stratified`; or `test_share` is not used.
    """
    named = {file.sample.split for file in files} & {"val", "test"}
    held = np.array([file.sample.split == "test" for file in files], bool)
    groups = [str(file.sample.group) for file in files]
    grouped = any(file.sample.group is not None for file in files)
    if cut.test_share and (held.any() or (named and cut.folds is None)):
        raise ValueError("test_share has no effect where the sets are named already: leave it at 0")
    # Named validation images: the sets are as named, and nothing is cut.
    if "val" in named and cut.folds is None:
        return cut.parts(len(files), groups if grouped else None, [str(f.sample.split) for f in files])
    # At most the test set is named, and the other files are cut.
    free, test = np.flatnonzero(~held), np.flatnonzero(held)
    if grouped:
        torn = sorted({groups[index] for index in test} & {groups[index] for index in free})
        if torn:
            raise ValueError(f"groups are both in the test set and outside of it: {', '.join(torn[:8])}")
        parts = cut.parts(len(free), [groups[index] for index in free])
    else:
        labels, names = zip(*((files[i].label, files[i].sample.name) for i in free.tolist()), strict=True)
        parts = stratified(labels, names, cut)
    return Parts(free[parts.train], free[parts.val], test if len(test) else free[parts.test])


def _some(files: Sequence[LabelledFile], most: int, seed: int) -> list[LabelledFile]:
    """At most so many of each class, and of each set where they are named; in the order they had."""
    members: dict[tuple[str, str | None], list[int]] = {}
    for index, file in enumerate(files):
        members.setdefault((file.label, file.sample.split), []).append(index)
    kept = [
        own[index]
        for own in members.values()
        for index in shuffled([files[number].sample.name for number in own], seed)[:most]
    ]
    return [files[index] for index in sorted(kept)]


def _labelled(
    files: Sequence[LabelledFile],
    classes: Sequence[str],
    reading: LabelledReading,
    images: ImageReader,
    problems: list[str],
) -> Iterator[Labelled]:
    """Read files one after another; none is yielded any more once there is a problem."""
    numbers = {label: number for number, label in enumerate(classes)}
    expected, of = reading.sides, "data.size"
    for file in files:
        try:
            image = images.read(file.image)
        except ValueError as error:
            problems.append(str(error))
            continue
        if reading.sides is not None:
            image = resize(image, reading.sides)
        elif expected is None:
            expected, of = list(image.shape[:2]), str(file.image)
        elif list(image.shape[:2]) != expected:
            problems.append(
                f"{file.image}: {image.shape[1]} × {image.shape[0]} pixels, but {of} has "
                f"{expected[1]} × {expected[0]}; set data.size, and every image is resized"
            )
        if not problems:
            yield image, np.array([numbers[file.label]])


def _similar(classes: Sequence[str]) -> list[str]:
    """A sentence where classes differ only in how their names are written: they may be meant as one."""
    alike: dict[str, list[str]] = {}
    for name in classes:
        alike.setdefault(_plain(name), []).append(name)
    shown = [" and ".join(map(repr, names)) for names in alike.values() if len(names) > 1]
    return [f"classes whose names nearly agree are kept apart: {', '.join(shown)}"] if shown else []


def _plain(name: str) -> str:
    """A name without what is often written in two ways: capitals, Unicode forms, blanks, `1` and `1.0`."""
    name = re.sub(r"[\s_-]+", " ", composed(name)).strip().casefold()
    return re.sub(r"0*(\d+)(\.0*)?", r"\1", name) if re.fullmatch(r"\d+(\.0*)?", name) else name
