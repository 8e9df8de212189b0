"""CSV files that describe images: rows with their line numbers, and what is wrong with them."""

import codecs
import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from lab.data.file_problems import read_bytes
from lab.data.split_names import Part, part_of
from lab.data.unicode_names import alike, composed, same_file

_DELIMITERS = (",", ";", "\t", "|")

SPLIT = "split"
"""The column that states the sets where `split_by` names none."""

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
    """The rows of a CSV file with a header; a row with too few or too many cells is a problem.

    The text is UTF-8, or UTF-16 with a byte order mark. Cells are separated by commas, or by semicolons, tabs
    or bars where the header has the columns that way.

    Raises:
        ValueError: with the path; the file can't be read or lacks one of the columns.
    """
    text = _text(path)
    first = re.match(r"sep=.(\r\n|\n|\r)", text)  # Excel begins some tables with such a line
    skipped = first is not None
    text = text[first.end() :] if first else text
    delimiter = _delimiter(re.split(r"[\r\n]", text, maxsplit=1)[0], columns)
    lines = io.StringIO(text, newline="")
    reader = csv.reader(lines, strict=True, delimiter=delimiter, skipinitialspace=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        missing = [column for column in columns if column not in header]
        if missing:
            raise ValueError(
                f"{path}: no column {', '.join(missing)}; it has {', '.join(header) or 'no header'}"
            )
        named = [name for name in header if name]  # some programs leave columns without a name at the end
        if len(set(named)) < len(named):
            raise ValueError(f"{path}: a column's name is used twice: {', '.join(named)}")
        numbered = ((reader.line_num + skipped, cells) for cells in reader)
        return list(_rows(path, numbered, header, problems))
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num + skipped}: not CSV: {error}") from error


def _text(path: Path) -> str:
    data = read_bytes(path)
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: not {'UTF-16' if wide else 'UTF-8'} text: {error.reason} at byte {error.start}; save "
            "the table as UTF-8 (in Excel: CSV UTF-8)"
        ) from error


def _delimiter(header: str, columns: Sequence[str]) -> str:
    """The delimiter of the cells: the first by which the header has all columns."""
    for delimiter in _DELIMITERS:
        names = [name.strip() for name in next(csv.reader([header], delimiter=delimiter), [])]
        if len(names) > 1 and all(column in names for column in columns):
            return delimiter
    return ","


def _rows(
    path: Path, numbered: Iterable[tuple[int, list[str]]], header: Sequence[str], problems: list[str]
) -> Iterator[Row]:
    for line, cells in numbered:
        if not any(cell.strip() for cell in cells):
            continue  # people leave empty lines at the end
        if len(cells) != len(header):
            problems.append(f"{path}, line {line}: {len(cells)} cells, but the header has {len(header)}")
            continue
        named = zip(header, (cell.strip() for cell in cells), strict=True)
        yield Row(path, line, dict(named))


def unique(rows: Sequence[Row], column: str, problems: list[str]) -> dict[str, Row]:
    """Rows by a column that is to name each once; an empty name or a second one is a problem."""
    found: dict[str, Row] = {}
    seen: dict[str, Row] = {}
    for row in rows:
        name = row.cells[column]
        if not name:
            problems.append(f"{row}: {column} is empty")
        elif (other := seen.setdefault(composed(name), row)) is not row:
            problems.append(f"{row}: {column} {name} is on line {other.line} already")
        else:
            found[name] = row
    return found


def column_named(rows: Sequence[Row], name: str) -> str | None:
    """The column of this name, in upper or lower case, where the table has one."""
    return next((column for column in rows[0].cells if column.lower() == name), None) if rows else None


def cell(row: Row, column: str | None, problems: list[str]) -> str | None:
    """Return the cell of a row in a column, None without a column; an empty cell is a problem."""
    if column is None:
        return None
    if not row.cells[column]:
        problems.append(f"{row}: {column} is empty")
    return row.cells[column]


def part(row: Row, column: str | None, problems: list[str]) -> str | None:
    """`train`, `val` or `test`, as a column has them, in these words or similar ones such as `Training`."""
    named = cell(row, column, problems)
    if not named:
        return named
    meant = part_of(named)
    if meant is None:
        problems.append(f"{row}: {column} is {named!r}, not one of {', '.join(PARTS)}")
    return meant


def below(root: Path, row: Row, column: str, problems: list[str]) -> Path | None:
    """The file that a row names relative to the root; one that is absent or elsewhere is a problem.

    An absolute path below the root, backslashes, and another Unicode form of the name are fine.
    """
    written = cell(row, column, problems)
    if not written:
        return None
    relative = [_below(root, spelling) for spelling in _spellings(written)]
    for inside in relative:
        if inside is not None and (path := same_file(root / inside)) is not None:
            return path
    # The last spelling has slashes only: it is the one to report.
    if relative[-1] is None:
        problems.append(f"{row}: {column} {written} leads out of the data root {root}")
    else:
        path = root / relative[-1]
        problems.append(f"{row}: {column} {path}: no such file{_hint(path)}")
    return None


def listed_file(root: Path, written: str) -> Path:
    """The file that a table names, in any folder; where there is none, the path as it is written.

    Backslashes and another Unicode form of the name are fine, as for `below`.
    """
    found = (same_file(root / spelling) for spelling in _spellings(written))
    return next((path for path in found if path is not None), root / written)


def _spellings(written: str) -> list[str]:
    return [written, written.replace("\\", "/")] if "\\" in written else [written]


def _below(root: Path, written: str) -> PurePosixPath | None:
    """The path relative to the root; None: it leads out of it."""
    path = PurePosixPath(written)
    if path.is_absolute():
        if ".." in path.parts:
            return None
        # The table may name the root by its own path or by that of a folder it links to.
        for own in (root.absolute(), root.resolve()):
            if path.is_relative_to(own):
                return path.relative_to(own)
        return None
    if PureWindowsPath(written).is_absolute():
        return None
    # `..` is fine within the root: a/../b never leaves it, and ../a does.
    depth = 0
    for name in path.parts:
        depth += -1 if name == ".." else 1
        if depth < 0:
            return None
    return path


def _hint(path: Path) -> str:
    """The reason why a file is not found, where there is one whose name looks alike."""
    try:
        found = alike(path.name, (other.name for other in path.parent.iterdir()))
    except (OSError, ValueError):
        return ""
    return f"; there is {found}, whose name differs in upper and lower case" if found else ""
