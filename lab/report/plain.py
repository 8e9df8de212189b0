"""What `--evaluate` leaves of a task that has no evaluation of its own: its figures, as they are."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab import rundir
from lab.wording import figure

if TYPE_CHECKING:
    from lab.inference.plain import Plain

METRICS = "metrics.json"


def write(evaluation: "Plain", directory: Path) -> Path:
    """Write `metrics.json`; returns its path.

    Raises:
        OSError: the folder can't be written.
    """
    rundir.atomic_write(directory / METRICS, rundir.to_json(as_data(evaluation), indent=2) + "\n")
    return directory / METRICS


def as_data(evaluation: "Plain") -> dict[str, Any]:
    """Everything as plain data."""
    return {
        "run": evaluation.folder.absolute(),
        "split": evaluation.split,
        "scores": dict(evaluation.values),
        "notes": list(evaluation.notes),
    }


def as_text(evaluation: "Plain", report: Path | None = None) -> str:
    """A line a figure, for a terminal."""
    width = max(map(len, evaluation.values))
    lines = [f"{name:<{width}}  {figure(value)}" for name, value in evaluation.values.items()]
    written = ["", f"Report: {report}"] if report else []
    noted = [f"Note: {note}" for note in evaluation.notes]
    return "\n".join([f"{evaluation.folder.name}, {evaluation.split} set", *lines, *noted, *written])
