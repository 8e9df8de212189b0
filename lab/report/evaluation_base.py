"""Common parts of all evaluation reports: files, numbers, header and provenance."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from lab.console.formatting import format_duration
from lab.console.table import render, terminal_width
from lab.metrics.image_scores import HD95, Summary, describe
from lab.report import html_page
from lab.store import file_io, paths, run_folder

if TYPE_CHECKING:
    from lab.evaluate.base import Evaluation

METRICS, REPORT = "metrics.json", "report.html"
SPREAD = "mean ± spread"
T = TypeVar("T")
E = TypeVar("E", bound="Evaluation")


class Report(Generic[E]):
    """The report of one kind of evaluation: its files, its page, and its text for a terminal.

    Attributes:
        evaluator: the class of the evaluator.
        template: of the page, which gets the report, and the evaluation as `it`; none: there is no page.
        plots: the names of the PNG files that `draw` writes.
        filters: of the template by their own names, besides those of all pages.
        items, notes: headings of what was evaluated, and of the evaluation's notes.
    """

    evaluator: ClassVar[Any]
    template = ""
    plots: tuple[str, ...] = ()
    filters: tuple[Callable[..., object], ...] = ()
    items, notes = "images", "Warning"

    def __init__(self, evaluation: E) -> None:
        self.evaluation = evaluation

    def counted(self) -> str:
        """Return the number of evaluated items as text."""
        return counted(self.evaluation)

    def results(self) -> Mapping[str, object]:
        """Return the scores as plain data."""
        raise NotImplementedError

    def lines(self) -> Iterable[str]:
        """Return the tables for a terminal."""
        raise NotImplementedError

    def tables(self) -> Mapping[str, str]:
        """Return the CSV files by name."""
        return {}

    def draw(self, directory: Path) -> None:
        """Draw the plots that have something to show."""

    def details(self) -> str:
        """Return more on the evaluation for the first line on a terminal, such as its settings."""
        return ""

    def settings(self) -> Iterable[tuple[str, str]]:
        """Return name and value of the settings that `Evaluation.about` lacks."""
        return ()

    def write(self, directory: Path) -> Path:
        """Write `metrics.json`, the tables, the plots and the page; returns the path of the most readable.

        Raises:
            OSError: the folder can't be written.
        """
        metrics, page = directory / METRICS, directory / REPORT
        file_io.atomic_write(metrics, file_io.to_json(self.as_data(), indent=2) + "\n")
        if not self.template:
            return metrics
        for name, table in self.tables().items():
            file_io.atomic_write(directory / name, table)
        file_io.atomic_write(page, self.page(draw_plots(directory, self.plots, self.draw)))
        return page

    def publish(self, run: Path, output: str | None, as_json: bool) -> str:
        """Write the files, by default into the run's folder; returns the text to print."""
        folder = Path(output or paths.shown(run / run_folder.EVALUATION / self.evaluation.split))
        path = folder / self.write(paths.absolute(folder)).name
        return file_io.printed_json(self.as_data(), indent=2) if as_json else self.as_text(path)

    def as_data(self) -> Mapping[str, object]:
        """Return everything as plain data; undefined values are NaN."""
        it = self.evaluation
        return {
            "run": it.folder.absolute(),
            "split": it.split,
            **self.results(),
            "notes": it.notes,
            "about": it.about,
            "seconds": round(it.seconds, 3),
        }

    def as_text(self, report: Path | None = None) -> str:
        """Return the tables for a terminal, between the notes and the path of the report."""
        it = self.evaluation
        noted = [f"{self.notes}: {note}" for note in it.notes]
        head = f"{it.folder.name}, {self.counted()}{self.details()}, {format_duration(it.seconds)}"
        written = ["", f"Report: {report}"] if report else []
        return "\n".join([*noted, head, "", *self.lines(), *written])

    def page(self, drawn: Mapping[str, bytes] | None = None) -> str:
        """Render the page as HTML, with the plots that were drawn as `pictures`."""
        filters = {each.__name__: each for each in (spread, *self.filters)}
        return html_page.render(
            self.template,
            {"score": format_score, "duration": format_duration, **filters},
            it=self.evaluation,
            report=self,
            written=datetime.now().astimezone().isoformat(" ", "seconds"),
            pictures={name: html_page.embedded(png) for name, png in (drawn or {}).items()},
        )


def draw_plots(directory: Path, names: Iterable[str], draw: Callable[[Path], None]) -> dict[str, bytes]:
    """Draw plots into a folder; returns the PNG files by name, without those that have nothing to show."""
    paths = {name: directory / f"{name}.png" for name in names}
    for path in paths.values():  # an earlier evaluation may have left some there
        path.unlink(missing_ok=True)
    draw(directory)
    return {name: path.read_bytes() for name, path in paths.items() if path.exists()}


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
