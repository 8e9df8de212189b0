"""Images and masks that a CSV file lists."""

from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

from lab.data.csv_tables import Row, below, unique
from lab.data.segmentation_files import Columns, Entry, Reading, read_sets
from lab.data.segmentation_sets import Sample
from lab.data.source_arguments import MaskFileArguments, options_from, required_path
from lab.data.splits import Splits
from lab.store.paths import absolute

COLUMNS = ("basename", "image_path", "mask_path")
SEQUENCE = "sequence_id"


def manifest(path: str | None, root: str | None = None, **arguments: Unpack[MaskFileArguments]) -> Splits:
    """Images and masks from a CSV with the columns basename, image_path and mask_path, one row an image.

    An empty mask_path is an image without labels: neither trained nor validated on, and counted in the facts.

    Args:
        path: the CSV; UTF-8, commas, a header.
        root: the folder that its paths are relative to and may not leave; by default the CSV's own.
        split_by: the column that holds train, val or test; by default `split`, where the CSV has one.
        group_by: a column whose values stay on one side; by default sequence_id, where every labelled row has
            one, there are three or more, and no column holds the split.
        condition: a further column. The others: see `lab.data.source_arguments.MaskFileArguments`.
    Raises:
        ValueError: an argument doesn't fit, or anything about the files: all problems in one message.
    """
    file = required_path("path", path, "FILE, a CSV that lists the images")
    reading, cut, serving = options_from(arguments, MaskFileArguments, Reading)
    folder = absolute(root) if root else file.parent
    problems: list[str] = []
    entries = _listed(file, folder, Columns.of(arguments), problems)
    return read_sets(entries, problems, f"the images of {file}", reading, cut, serving)


def _several(rows: Sequence[Row], column: str) -> bool:
    """Return whether each labelled row has a value there, and there are enough values to be groups."""
    values = {row.cells.get(column) for row in rows if row.cells["mask_path"]}
    return "" not in values and None not in values and len(values) >= 3


def _listed(table: Path, root: Path, columns: Columns, problems: list[str]) -> list[Entry]:
    """Return the entries of the rows; an unlabelled row needs no group, sequence or split."""
    columns, rows = columns.listed(table, COLUMNS, problems)
    # Images of one sequence resemble each other: without a split, they stay in one set.
    if columns.group is None and columns.split is None and _several(rows, SEQUENCE):
        columns = columns._replace(group=SEQUENCE)
    entries = []
    for name, row in unique(rows, "basename", problems).items():
        image = below(root, row, "image_path", problems)
        if not row.cells["mask_path"]:
            if image is not None:
                entries.append(Entry(Sample(name), image, None))
            continue
        mask = below(root, row, "mask_path", problems)
        sample = columns.sample(name, row, problems)
        if image is not None and mask is not None:
            entries.append(Entry(sample, image, mask))
    return entries
