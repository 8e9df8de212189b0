"""Images and their classes that a CSV file lists."""

from pathlib import Path
from typing import Unpack

from lab.data.classification_files import LabelledFile, LabelledReading, read_labelled
from lab.data.csv_tables import below, cell, unique
from lab.data.segmentation_files import Columns
from lab.data.source_arguments import ClassFileArguments, options_from, required_path
from lab.data.splits import Splits
from lab.store.paths import absolute


def class_table(
    path: str | None,
    root: str | None = None,
    image: str = "image_path",
    label: str = "label",
    group_by: str | None = None,
    split_by: str | None = None,
    **arguments: Unpack[ClassFileArguments],
) -> Splits:
    """Images from a CSV with a row for each: a column of paths, and one of classes.

    Without groups each class is cut for itself; with groups the fractions are met as nearly as whole groups
    allow, whatever their classes. Where the split names no `val`, it is cut from what is not `test`.

    Args:
        path: the CSV; UTF-8, commas, a header.
        root: the folder that its paths are relative to and may not leave; by default the CSV's own.
        image, label: the columns' names.
        group_by: a column whose values stay on one side.
        split_by: the column that holds train, val or test; by default `split`, where the CSV has one.
        arguments: see `lab.data.source_arguments.ClassFileArguments`.
    Raises:
        ValueError: an argument doesn't fit, or anything about the files: all problems in one message.
    """
    table = required_path("path", path, "FILE, a CSV that lists images and classes")
    reading, cut, serving = options_from(arguments, ClassFileArguments, LabelledReading)
    folder = absolute(root) if root else table.parent
    problems: list[str] = []
    columns = Columns(group_by, split_by, None)
    files = _listed(table, folder, (image, label), columns, problems)
    return read_labelled(files, problems, f"the images of {table}", reading, cut, serving)


def _listed(
    table: Path, root: Path, names: tuple[str, str], columns: Columns, problems: list[str]
) -> list[LabelledFile]:
    image, label = names
    columns, rows = columns.listed(table, names, problems)
    files = list[LabelledFile]()
    lines: dict[Path, int] = {}  # a file may be written in several ways, such as ./a.png
    for name, row in unique(rows, image, problems).items():
        file, named = below(root, row, image, problems), cell(row, label, problems)
        sample = columns.sample(name, row, problems)
        if file is not None and (line := lines.setdefault(file.resolve(), row.line)) != row.line:
            problems.append(f"{row}: {image} {name} is the file of line {line}")
        elif file is not None and named:
            files.append(LabelledFile(sample, file, named))
    return files
