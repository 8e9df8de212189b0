"""Images and masks that a CSV file lists."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from lab.data.files import Columns, Entry, Reading, read_sets
from lab.data.masks import Label
from lab.data.normalise import Mode
from lab.data.pairs import Transforms
from lab.data.patches import Patches
from lab.data.sets import Sample, Serving
from lab.data.splits import Cut, Splits
from lab.data.tables import SPLIT, Row, below, column_named, read_table, unique
from lab.labels import Auto
from lab.paths import expanded

COLUMNS = ("basename", "image_path", "mask_path")
SEQUENCE = "sequence_id"


def manifest(
    path: str | None,
    root: str | None = None,
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
    """Images and masks from a CSV with the columns basename, image_path and mask_path, one row an image.

    An empty mask_path is an image without labels: neither trained nor validated on, and counted in the facts.

    Args:
        path: the CSV; UTF-8, commas, a header.
        root: the folder that its paths are relative to and may not leave; by default the CSV's own.
        split_by: the column that says train, val or test; by default `split`, where the CSV has one.
        group_by: a column whose values stay on one side; by default sequence_id, where every labelled row has
            one, there are three or more, and no column says the split.
        condition: a further column. It and all others are as for `lab.data.image_folder`.
    Raises:
        ValueError: an argument doesn't fit, or anything about the files: all problems in one message.
    """
    if not path:
        raise ValueError("data.path is not set: pass --set data.path=FILE, a CSV that lists the images")
    cut = Cut(val_share, test_share, seed, folds, fold)
    serving = Serving(patches, normalise, transforms, val_transforms)
    reading = Reading(classes, ignore, mask_threshold, grayscale, value_range, cache_gb, background)
    file = expanded(path)
    folder = expanded(root) if root else file.parent
    problems: list[str] = []
    entries = _listed(file, folder, Columns(group_by, split_by, condition), problems)
    return read_sets(entries, problems, f"the images of {file}", reading, cut, serving)


def _several(rows: Sequence[Row], column: str) -> bool:
    """Whether each labelled row says something there, and there are enough values to be groups."""
    values = {row.cells.get(column) for row in rows if row.cells["mask_path"]}
    return "" not in values and None not in values and len(values) >= 3


def _listed(table: Path, root: Path, columns: Columns, problems: list[str]) -> list[Entry]:
    """What the rows name; an unlabelled row needs no group, sequence or split."""
    rows = read_table(table, [*COLUMNS, *columns.named], problems)
    if not rows and not problems:
        problems.append(f"{table}: no row in it")
    if columns.split is None:
        columns = columns._replace(split=column_named(rows, SPLIT))
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
