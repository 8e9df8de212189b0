"""A folder of images beside a folder of their masks."""

from dataclasses import replace
from pathlib import Path
from typing import Literal, Unpack

from lab.data.csv_tables import Row, read_table, unique
from lab.data.file_discovery import key_in
from lab.data.layouts import Contents, Layout, read_layout, unnamed_classes
from lab.data.segmentation_files import Columns, Entry, Reading, read_sets
from lab.data.source_arguments import MaskFileArguments, options_from, required_path
from lab.data.splits import Splits
from lab.data.unicode_names import composed

WHAT = "the image folder"
FOLDERS = ("images", "masks")


def image_folder(
    root: str | None,
    images: str = "images",
    masks: str = "masks",
    metadata: str | None = None,
    metadata_name: str = "frame_id",
    layout: Literal["auto", "pairs", "named", "objects", "voc", "cityscapes", "coco"] = "auto",
    **arguments: Unpack[MaskFileArguments],
) -> Splits:
    """Images and masks from `root/images` and `root/masks`, or in one of the layouts of public datasets.

    Layouts and formats: docs/input.md; sizes may differ. An item is (image, mask), or (image, sequence, mask)
    with a condition. Validation and test images are whole.

    Args:
        root: the folder that holds both; a relative path counts from where the command runs.
        metadata: a CSV below root with a row for each image, named in its column `metadata_name`.
        layout: how files lie below root; `auto` finds out, or refuses what fits several.
        arguments: see `lab.data.source_arguments.MaskFileArguments`; its columns are those of `metadata`.
    Raises:
        ValueError: an argument doesn't fit, or anything about the files: all problems in one message.
    """
    folder = required_path("root", root, f"PATH, the folder that holds {images}/ and {masks}/")
    reading, cut, serving = options_from(arguments, MaskFileArguments, Reading)
    columns = Columns.of(arguments)
    contents, reading = _found(folder, Layout(layout), (images, masks), reading)
    entries = _described(contents, None if metadata is None else folder / metadata, metadata_name, columns)
    splits = read_sets(entries, contents.problems, WHAT, reading, cut, serving, contents.warnings)
    return splits.declaring(contents.info())


def _found(
    root: Path, layout: Layout, folders: tuple[str, str], reading: Reading
) -> tuple[Contents, Reading]:
    """The content of the folder, and how its files are read where the layout determines that."""
    if folders != FOLDERS:
        if layout not in (Layout.AUTO, Layout.PAIRS):
            raise ValueError(f"images and masks name folders of layout: pairs, but layout is {layout}")
        layout = Layout.PAIRS
    contents = read_layout(root, layout, folders, reading.classes)
    # Some layouts define the values of masks; arguments that contradict them are refused, not ignored.
    own_ignore = reading.ignore is not None and reading.ignore != contents.ignore
    if contents.classes is not None:
        if own_ignore or reading.mask_threshold is not None:
            raise ValueError("ignore and mask_threshold have no effect: the layout defines what masks hold")
        reading = replace(reading, classes=contents.classes, ignore=contents.ignore)
    elif contents.may_hold_classes and reading.classes is None and reading.mask_threshold is None:
        contents.problems += unnamed_classes(contents)
    return contents, reading


def _described(contents: Contents, table: Path | None, name: str, columns: Columns) -> list[Entry]:
    """Return the entries with the metadata of the table; images and rows without one another are problems."""
    entries, problems = contents.entries, contents.problems
    if table is None:
        if columns.named:
            raise ValueError(
                "group_by, split_by and condition name columns: give the CSV below root as metadata"
            )
        return entries
    try:
        rows = unique(read_table(table, [name, *columns.named], problems), name, problems)
    except ValueError as error:
        problems.append(str(error))
        return entries
    keys = {composed(entry.sample.name) for entry in entries}
    by_name: dict[str, Row] = {}
    for written, own in rows.items():
        meant = key_in(written, keys)
        if (other := by_name.setdefault(meant, own)) is not own:
            problems.append(f"{own}: {name} {written} is the image of line {other.line}")
    problems += [f"{row}: no image is named {name}.*" for name, row in by_name.items() if name not in keys]
    described = []
    for entry in entries:
        row = by_name.get(composed(entry.sample.name))
        if row is None:
            problems.append(f"{entry.image}: {table} has no row whose {name} is {entry.sample.name}")
        else:
            sample = columns.sample(entry.sample.name, row, problems)
            if columns.split is None:
                sample = replace(sample, split=entry.sample.split)
            described.append(replace(entry, sample=sample))
    return described
