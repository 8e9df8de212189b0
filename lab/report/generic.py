"""Report of a task without a specific evaluation: its loss and metrics."""

from pathlib import Path
from typing import TYPE_CHECKING

from lab.console.formatting import format_number
from lab.report import evaluation_base as base

if TYPE_CHECKING:
    from lab.evaluate.generic import GenericEvaluation


def write(evaluation: "GenericEvaluation", directory: Path) -> Path:
    """Write `metrics.json`; returns its path.

    Raises:
        OSError: the folder can't be written.
    """
    return base.write(directory, as_data(evaluation))


def as_data(evaluation: "GenericEvaluation") -> dict[str, object]:
    """Return everything as plain data."""
    return {
        "run": evaluation.folder.absolute(),
        "split": evaluation.split,
        "scores": dict(evaluation.values),
        "notes": evaluation.notes,
    }


def as_text(evaluation: "GenericEvaluation", report: Path | None = None) -> str:
    """Return a line per value, for a terminal."""
    width = max(map(len, evaluation.values))
    lines = [f"{name:<{width}}  {format_number(value)}" for name, value in evaluation.values.items()]
    written = ["", f"Report: {report}"] if report else []
    noted = [f"Note: {note}" for note in evaluation.notes]
    return "\n".join([f"{evaluation.folder.name}, {evaluation.split} set", *lines, *noted, *written])
