"""The result of `--evaluate`, written by the module of this package that is for its kind."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from lab.store import file_io, run_folder

if TYPE_CHECKING:
    from lab.evaluate.base import Evaluation

E = TypeVar("E", bound="Evaluation", contravariant=True)


class Report(Protocol[E]):
    """A module such as `lab.report.classification`."""

    def write(self, evaluation: E, directory: Path, /) -> Path:
        """Write its files; returns the most readable one."""

    def as_data(self, evaluation: E, /) -> dict[str, Any]:
        """Everything as plain data."""

    def as_text(self, evaluation: E, report: Path, /) -> str:
        """The tables for a terminal."""


def written(evaluation: E, report: Report[E], run: Path, output: str | None, as_json: bool) -> str:
    """Write the files, by default into the run's folder; returns the text to print."""
    path = report.write(evaluation, Path(output or run / run_folder.EVALUATION / evaluation.split))
    if as_json:
        return file_io.printed_json(report.as_data(evaluation), indent=2)
    return report.as_text(evaluation, path)
