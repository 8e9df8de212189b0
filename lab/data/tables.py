"""CSV files that describe images: rows with their line numbers, and what is wrong with them."""

import csv
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from lab.data.part_names import Part, part_of

PARTS: tuple[str, ...] = tuple(Part)


@dataclass(frozen=True)
class Row:
    """One row: the line it ends on, and its cells by column, stripped."""

    table: Path
    line: int
    cells: dict[str, str]

    def __str__(self) -> str:
        return f"{self.table}, line {self.line}"


def read_table(path: Path, columns: Sequence[str], problems: list[str]) -> list[Row]:
    """The rows of a CSV file (UTF-8, commas, a header); a row with too few or too many cells is a problem.

    Raises:
        ValueError: with the path; the file can't be read or lacks one of the columns.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = [name.strip() for name in next(reader, [])]
            missing = [column for column in columns if column not in header]
            if missing:
                raise ValueError(
                    f"{path}: no column {', '.join(missing)}; it has {', '.join(header) or 'no header'}"
                )
            if len(set(header)) < len(header):
                raise ValueError(f"{path}: a column's name is used twice: {', '.join(header)}")
            return list(_rows(path, reader, header, problems))
    except OSError as error:
        raise ValueError(f"{path}: can't be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text: {error.reason} at byte {error.start}") from error
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: not CSV: {error}") from error


def _rows(path: Path, reader: Any, header: Sequence[str], problems: list[str]) -> Iterator[Row]:
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue  # people leave empty lines at the end
        if len(cells) != len(header):
            problems.append(
                f"{path}, line {reader.line_num}: {len(cells)} cells, but the header has {len(header)}"
            )
            continue
        named = zip(header, (cell.strip() for cell in cells), strict=True)
        yield Row(path, reader.line_num, dict(named))


def unique(rows: Sequence[Row], column: str, problems: list[str]) -> dict[str, Row]:
    """Rows by a column that is to name each once; an empty name or a second one is a problem."""
    found: dict[str, Row] = {}
    for row in rows:
        name = row.cells[column]
        if not name:
            problems.append(f"{row}: {column} is empty")
        elif name in found:
            problems.append(f"{row}: {column} {name} is on line {found[name].line} already")
        else:
            found[name] = row
    return found


def cell(row: Row, column: str | None, problems: list[str]) -> str | None:
    """What a row has in a column that was asked for; nothing in it is a problem."""
    if column is None:
        return None
    if not row.cells[column]:
        problems.append(f"{row}: {column} is empty")
    return row.cells[column]


def part(row: Row, column: str | None, problems: list[str]) -> str | None:
    """`train`, `val` or `test`, as a column says, in these words or similar ones such as `Training`."""
    named = cell(row, column, problems)
    if not named:
        return named
    meant = part_of(named)
    if meant is None:
        problems.append(f"{row}: {column} is {named!r}, not one of {', '.join(PARTS)}")
    return meant


def below(root: Path, row: Row, column: str, problems: list[str]) -> Path | None:
    """The file that a row names relative to the root; one that is absent or elsewhere is a problem."""
    written = cell(row, column, problems)
    if not written:
        return None
    relative = PurePosixPath(written)
    depth = 0
    for name in relative.parts:
        depth += -1 if name == ".." else 1
        if depth < 0:
            break
    if relative.is_absolute() or PureWindowsPath(written).is_absolute() or depth < 0:
        problems.append(f"{row}: {column} {written} leads out of the data root {root}")
        return None
    path = root / relative
    if not os.path.isfile(path):  # noqa: PTH113 - says no of a name that no file can have
        problems.append(f"{row}: {column} {path}: no such file")
        return None
    return path
