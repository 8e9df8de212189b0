"""Common parts of all evaluation reports: files, numbers, header and provenance."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from lab.console.formatting import format_duration
from lab.console.table import render, terminal_width
from lab.metrics.image_scores import HD95, Summary, describe
from lab.report import html_page
from lab.store import file_io, run_folder

if TYPE_CHECKING:
    from lab.evaluate.base import Evaluation

METRICS, REPORT = "metrics.json", "report.html"
PARTS, SPREAD = "Folds and seeds", "mean ± spread"
T = TypeVar("T")
E = TypeVar("E", bound="Evaluation", contravariant=True)


class Report(Protocol[E]):
    """A module such as `lab.report.classification`, which reports one kind of evaluation."""

    def write(self, evaluation: E, directory: Path, /) -> Path:
        """Write its files; returns the most readable one."""

    def as_data(self, evaluation: E, /) -> Mapping[str, object]:
        """Return everything as plain data."""

    def as_text(self, evaluation: E, report: Path, /) -> str:
        """Return the tables for a terminal."""


def write_report(evaluation: E, report: Report[E], run: Path, output: str | None, as_json: bool) -> str:
    """Write the files of an evaluation, by default into the run's folder; returns the text to print."""
    path = report.write(evaluation, Path(output or run / run_folder.EVALUATION / evaluation.split))
    if as_json:
        return file_io.printed_json(report.as_data(evaluation), indent=2)
    return report.as_text(evaluation, path)


def write(directory: Path, data: Mapping[str, object], texts: Mapping[str, str] | None = None) -> Path:
    """Write `metrics.json` and other files by name; returns the path of the last one.

    Raises:
        OSError: the folder can't be written.
    """
    path = directory
    for name, text in {METRICS: file_io.to_json(data, indent=2) + "\n", **(texts or {})}.items():
        path = directory / name
        file_io.atomic_write(path, text)
    return path


def draw_plots(directory: Path, names: Iterable[str], draw: Callable[[Path], None]) -> dict[str, bytes]:
    """Draw plots into a folder; returns the PNG files by name, without those that have nothing to show."""
    paths = {name: directory / f"{name}.png" for name in names}
    for path in paths.values():  # an earlier evaluation may have left some there
        path.unlink(missing_ok=True)
    draw(directory)
    return {name: path.read_bytes() for name, path in paths.items() if path.exists()}


def as_data(evaluation: "Evaluation", **values: object) -> dict[str, object]:
    """Return the values as plain data, between what was evaluated and how."""
    return {
        "run": evaluation.folder.absolute(),
        "split": evaluation.split,
        **values,
        "notes": evaluation.notes,
        "about": evaluation.about,
        "seconds": round(evaluation.seconds, 3),
    }


def as_text(
    evaluation: "Evaluation", counted: str, lines: Iterable[str], report: Path | None, kind: str = "Warning"
) -> str:
    """Return lines for a terminal, between the notes and the path of the report."""
    return "\n".join(
        [
            *(f"{kind}: {note}" for note in evaluation.notes),
            f"{evaluation.folder.name}, {counted}, {format_duration(evaluation.seconds)}",
            "",
            *lines,
            *(["", f"Report: {report}"] if report else []),
        ]
    )


def page(
    template: str,
    evaluation: "Evaluation",
    counted: str,
    sections: Sequence[tuple[str, str, object]],
    *,
    what: str = "images",
    settings: Iterable[tuple[str, str]] = (),
    filters: Mapping[str, Callable[..., object]] | None = None,
    drawn: Mapping[str, bytes] | None = None,
    **values: object,
) -> str:
    """Render a page as HTML.

    Args:
        counted: the number of items evaluated, as text; `what` they are.
        sections: id, title and content of each; one without content is left out of the navigation.
        settings: name and value of each setting of this evaluation, for the provenance.
        filters: of the template, besides `score` and `spread`.
        drawn: PNG files by name, to embed as `pictures`.
        values: for the template.
    """
    provenance = [
        ("run", str(evaluation.folder)),
        (what, counted),
        *settings,
        *evaluation.about.items(),
        ("took", format_duration(evaluation.seconds)),
        ("written", datetime.now().astimezone().isoformat(" ", "seconds")),
    ]
    return html_page.render(
        template,
        {"score": format_score, "spread": spread, **(filters or {})},
        it=evaluation,
        counted=counted,
        sections=[(id, name) for id, name, there in (*sections, ("provenance", "Provenance", True)) if there],
        provenance=provenance,
        pictures={name: html_page.embedded(png) for name, png in (drawn or {}).items()},
        **values,
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]], names: int = 1) -> str:
    """A table for the terminal: the first columns are names, the others numbers."""
    return render(head, rows, ["<" if n < names else ">" for n in range(len(head))], terminal_width())


def counted(evaluation: "Evaluation", count: int | None = None, what: str = "image") -> str:
    """The items evaluated: `12 test images`, `60 held-out images of 5 folds`, `1,080 test images of 3 seeds`.

    Args:
        count: by default that of the evaluation's items.
        what: one of them.
    """
    parts, split = evaluation.parts, evaluation.split
    kind = "test" if split == "test" else "validation"
    if parts and parts[0].startswith("fold") and split == "val":
        kind = "held-out"
    count = len(evaluation.items) if count is None else count
    text = f"{count:,} {kind} {what}{'' if count == 1 else 's'}"
    return f"{text} of {len(parts)} {kind_of(parts)}s" if parts else text


def kind_of(parts: Sequence[str]) -> str:
    """`fold` or `seed`."""
    return parts[0].partition("_")[0]


def over_parts(values: Sequence[Mapping[str, float | None]]) -> dict[str, Summary | None]:
    """Return the spread of the values over folds or seeds, by name. None is no value."""
    names = values[0] if values else ()
    return {name: describe(found for each in values if (found := each[name]) is not None) for name in names}


def plain(summaries: Mapping[str, Summary | None]) -> dict[str, object]:
    """Summaries as plain data."""
    return {name: None if each is None else vars(each) for name, each in summaries.items()}


def apart(best: Iterable[T], worst: Iterable[T], key: Callable[[T], object]) -> list[T]:
    """Return the best cases that aren't among the worst too, in a small set; equal keys are the same case."""
    shown = [key(case) for case in worst]
    return [case for case in best if key(case) not in shown]


def format_score(value: float | None, measure: str = "dice") -> str:
    """Format a ratio as `0.912`, a distance as `17.3` or `4.21`, a missing value as `–`."""
    if value is None or math.isnan(value):
        return "–"
    if measure == HD95:
        return f"{value:.2f}" if value < 10 else f"{value:.1f}"
    return f"{value:.3f}"


def spread(
    summary: Summary | None, measure: str = "dice", shown: Callable[[float, str], str] = format_score
) -> str:
    """`0.912 ± 0.051`."""
    if summary is None:
        return "–"
    alone = math.isnan(summary.deviation)
    return shown(summary.mean, measure) + ("" if alone else f" ± {shown(summary.deviation, measure)}")
