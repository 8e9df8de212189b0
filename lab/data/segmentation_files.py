"""The sets of a run from files of images and masks; all problems are reported in one error."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from lab.config.mask_values import Auto, background_index
from lab.data.csv_tables import SPLIT, Row, cell, column_named, part, read_table
from lab.data.file_inventory import file_size, with_files
from lab.data.file_problems import raise_all
from lab.data.image_header import Pixels
from lab.data.image_reader import ImageReader
from lab.data.mask_sources import MaskSource
from lab.data.masks import Label, MaskReader
from lab.data.pair_cache import Pair, Store
from lab.data.segmentation_sets import Sample, Serving, assemble, divide
from lab.data.source_arguments import MaskFileArguments
from lab.data.splits import Cut, Splits


@dataclass(frozen=True)
class Entry:
    """An image file, its mask's and what else is known of it; without a mask it is not labelled."""

    sample: Sample
    image: Path
    mask: Path | MaskSource | None

    @property
    def size(self) -> int:
        """The bytes of image and mask."""
        if self.mask is None:
            return file_size(self.image)
        mask = file_size(self.mask) if isinstance(self.mask, Path) else self.mask.size
        return file_size(self.image) + mask


class Columns(NamedTuple):
    """The columns of a table with metadata of an image; None is not requested."""

    group: str | None
    split: str | None
    condition: str | None

    @classmethod
    def of(cls, arguments: MaskFileArguments) -> "Columns":
        """Return the columns that a data source gets as arguments."""
        return cls(arguments.get("group_by"), arguments.get("split_by"), arguments.get("condition"))

    @property
    def named(self) -> list[str]:
        """Those that the table must have."""
        return [column for column in self if column]

    def listed(self, table: Path, others: Sequence[str], problems: list[str]) -> tuple["Columns", list[Row]]:
        """The rows of a table with these columns and others; its `split` counts where none is requested."""
        rows = read_table(table, [*others, *self.named], problems)
        if not rows and not problems:
            problems.append(f"{table}: no row in it")
        columns = self._replace(split=column_named(rows, SPLIT)) if self.split is None else self
        return columns, rows

    def sample(self, name: str, row: Row, problems: list[str]) -> Sample:
        """An image by its row."""
        group, condition = cell(row, self.group, problems), cell(row, self.condition, problems)
        return Sample(name, group, condition, part(row, self.split, problems))


@dataclass(frozen=True)
class Reading:
    """Options of reading files, by `lab.data.source_arguments.MaskFileArguments`."""

    classes: Mapping[str, Label] | None = None
    ignore: Label | None = None
    mask_threshold: float | None = None
    grayscale: bool = False
    value_range: Sequence[float] | None = None
    cache_gb: float = 2.0
    background: str | None = Auto.AUTO


def read_sets(
    entries: Sequence[Entry],
    problems: Sequence[str],
    what: str,
    reading: Reading,
    cut: Cut,
    serving: Serving,
    warnings: Sequence[str] = (),
) -> Splits:
    """Cut the labelled entries into sets, read each file once, and build what `Splits` holds.

    Args:
        problems: what was found out about the entries already; the files are read nevertheless, so that all
            can be reported.
        what: the source, for the error.
        warnings: what the user should know of the source.
    Raises:
        ValueError: an argument is out of its range, the cut can't be made, or anything about the files is
            wrong: all problems in one message.
    """
    if reading.cache_gb < 0:
        raise ValueError(f"cache_gb must be >= 0, found {reading.cache_gb}")
    masks = MaskReader(reading.classes, reading.ignore, reading.mask_threshold)
    nothing = background_index(masks.names, reading.background)  # refused before an hour of reading
    images = ImageReader(1 if reading.grayscale else 3, reading.value_range)
    labelled = [entry for entry in entries if entry.mask is not None]
    unlabelled = [entry.sample.name for entry in entries if entry.mask is None]
    found = list(problems)
    # An impossible split is reported before an hour of reading.
    if not found:
        if not labelled:
            raise ValueError(f"{what}: no image has a mask")
        divide([entry.sample for entry in labelled], cut)
    full: list[bool] = []
    read = _noting(_pairs(labelled, images, masks, found), nothing, full)
    pairs = Store(read, reading.cache_gb * 1e9)
    raise_all(found, what, "correct or remove what is named")
    samples = [entry.sample for entry in labelled]
    parts = divide(samples, cut)
    splits = assemble(samples, pairs, parts, serving, masks.names, unlabelled, reading.background)
    splits = splits.declaring(images.info())
    names, paths = [sample.name for sample in samples], [entry.image for entry in labelled]
    sizes = [entry.size for entry in labelled]
    remarks = [*warnings, *_without_background(full, masks.names), *images.warnings()]
    return with_files(splits, names, paths, sizes, parts, remarks)


def _pairs(
    entries: Sequence[Entry], images: ImageReader, masks: MaskReader, problems: list[str]
) -> Iterator[Pair]:
    """Read entries one after another; none is yielded any more once there is a problem."""
    for entry in entries:
        assert entry.mask is not None
        image = _read(images.read, entry.image, problems)
        mask = _read(lambda source: _mask(source, masks), entry.mask, problems)
        if image is None or mask is None:
            continue
        if image.shape[:2] != mask.shape:
            (height, width), (mask_height, mask_width) = image.shape[:2], mask.shape
            problems.append(
                f"{entry.mask}: {mask_width} × {mask_height} pixels, but its image has {width} × {height}"
            )
        elif not problems:
            yield image, mask


def _noting(pairs: Iterator[Pair], background: int | None, full: list[bool]) -> Iterator[Pair]:
    """The pairs, with a note for each whether its mask has no pixel of background."""
    for image, mask in pairs:
        full.append(background is not None and not (mask == background).any())
        yield image, mask


def _without_background(full: Sequence[bool], classes: Sequence[str]) -> list[str]:
    """A sentence where all is foreground, as where images lie in place of masks, or background is 2."""
    if len(classes) > 2 or not full or not all(full):
        return []
    return [
        f"none of the {len(full)} masks has a pixel of background: are they masks, and read as they are "
        "meant (mask_threshold, classes)?"
    ]


def _mask(source: Path | MaskSource, reader: MaskReader) -> NDArray[np.uint8]:
    return reader.read(source) if isinstance(source, Path) else source.draw(reader)


Source = TypeVar("Source")


def _read(read: Callable[[Source], Pixels], source: Source, problems: list[str]) -> Pixels | None:
    try:
        return read(source)
    except ValueError as error:
        problems.append(str(error))
        return None
