"""Report of a task without a specific evaluation: its loss and metrics."""

from pathlib import Path

from lab.console.formatting import format_number
from lab.evaluate.generic import GenericEvaluation, GenericEvaluator
from lab.report.evaluation_base import Report


class GenericReport(Report[GenericEvaluation]):
    """`metrics.json`, and a line per value for a terminal."""

    evaluator = GenericEvaluator

    def as_data(self) -> dict[str, object]:
        """Return everything as plain data."""
        it = self.evaluation
        return {
            "run": it.folder.absolute(),
            "split": it.split,
            "scores": dict(it.values),
            "notes": it.notes,
        }

    def as_text(self, report: Path | None = None) -> str:
        """Return a line per value, for a terminal."""
        it = self.evaluation
        width = max(map(len, it.values))
        lines = [f"{name:<{width}}  {format_number(value)}" for name, value in it.values.items()]
        noted = [f"Note: {note}" for note in it.notes]
        written = ["", f"Report: {report}"] if report else []
        return "\n".join([f"{it.folder.name}, {it.split} set", *lines, *noted, *written])
