"""`metrics.csv`: the record of a run's numbers, one row an epoch, in a format that every program reads."""

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from lab.events import EpochEnd, RunStart
from lab.store import file_io, run_folder
from lab.trackers.base import Tracker

_EPOCH, _SECONDS = "epoch", "seconds"


class CsvTracker(Tracker):
    """Writes `epoch, <the values' names>, seconds`; every row is on disk before the next epoch begins.

    The file is opened for each row and closed again: an epoch is long beside 50 µs, and nothing is left to
    lose when the process is killed. A resumed run drops the rows of the epochs that it will do again.
    """

    def __init__(self) -> None:
        self._path: Path | None = None
        self._columns: list[str] = []

    def start(self, event: RunStart) -> None:
        """Keep the rows before `event.first_epoch`, drop the others and a last line that was torn."""
        self._path = event.run_dir / run_folder.METRICS
        columns, rows = _read(self._path)
        self._columns = columns
        self._rewrite(row for row in rows if int(row[_EPOCH]) < event.first_epoch)

    def epoch(self, event: EpochEnd) -> None:
        """Append one row; a name that was never seen before widens the whole file first."""
        assert self._path is not None, "start comes before epoch"
        assert not {_EPOCH, _SECONDS} & event.values.keys(), "these columns are taken"
        row = {
            _EPOCH: str(event.epoch),
            **{name: repr(float(value)) for name, value in event.values.items()},
            _SECONDS: repr(float(event.seconds)),
        }
        # A value that first appears in a later epoch adds a column, and the file is rewritten.
        new = [name for name in row if name not in self._columns]
        if new:
            middle = [name for name in [*self._columns, *new] if name not in (_EPOCH, _SECONDS)]
            self._columns = [_EPOCH, *middle, _SECONDS]
            self._rewrite(_read(self._path)[1])
        file_io.append(self._path, file_io.to_csv([row.get(name, "") for name in self._columns], []))

    def _rewrite(self, rows: Iterable[dict[str, str]]) -> None:
        """Replace the file as a whole, under the present columns."""
        assert self._path is not None
        lines = ([row.get(name, "") for name in self._columns] for row in rows)
        file_io.atomic_write(self._path, file_io.to_csv(self._columns, lines) if self._columns else "")


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """The rows of a run folder's `metrics.csv` in order of epoch; empty where no epoch has ended yet.

    A row lacks the names that were not measured in its epoch; a NaN that was measured is a NaN. A last line
    that is still being written, or was torn by a kill, is left out.

    Raises:
        ValueError: a line before the last can't be read; the message names file and line.
    """
    rows = _read(folder / run_folder.METRICS)[1]
    return [{name: float(value) for name, value in row.items() if value} for row in rows]


def _read(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """The columns and the whole rows of the file; nothing where there is no file."""
    table = list(csv.reader(io.StringIO(file_io.whole_lines(path))))
    if not table:
        return [], []
    columns = table[0]
    for number, cells in enumerate(table[1:], start=2):
        if len(cells) != len(columns):
            raise ValueError(f"{path}, line {number}: {len(cells)} values under {len(columns)} columns")
        for column, cell in zip(columns, cells, strict=True):
            try:
                int(cell) if column == _EPOCH else float(cell or "nan")
            except ValueError:
                raise ValueError(
                    f"{path}, line {number}: expected a number for {column}, found {cell!r}"
                ) from None
    return columns, [dict(zip(columns, cells, strict=True)) for cells in table[1:]]
