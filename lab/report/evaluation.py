"""What `--evaluate` leaves: figures for programs, a table, a page with pictures, a text for the console."""

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab import rundir
from lab.labels import listed, mean_over
from lab.metrics.scores import HD95, MEASURES, ImageScores, Summary, describe, summarise
from lab.report import evaluation_figures as figures
from lab.report import pages
from lab.report.table import Align, render, terminal_width
from lab.wording import duration

if TYPE_CHECKING:
    from lab.figures.panels import Image
    from lab.inference.judged import Case, Evaluation

METRICS, IMAGES, REPORT = "metrics.json", "images.csv", "report.html"
MEAN = "mean"
NAMES = {"dice": "Dice", "iou": "IoU", "precision": "precision", "recall": "recall", HD95: "HD95"}
_ALIGN: list[Align] = ["<", ">", ">", ">", ">", ">", ">"]
_ENDING = {"px": "px", "µm": "um"}


@dataclass(frozen=True)
class Row:
    """The figures of one class, or of the mean over classes, by measure; None where no image has it.

    Args:
        label: the name as a person reads it, which for a mean is what it is over.
    """

    name: str
    label: str
    index: int | None
    summaries: dict[str, Summary | None]

    @property
    def images(self) -> int:
        """How many have the class."""
        return max((each.count for each in self.summaries.values() if each), default=0)


def write(evaluation: "Evaluation", directory: Path) -> Path:
    """Write `metrics.json`, `images.csv` and `report.html`; returns the page's path.

    Raises:
        OSError: the folder can't be written.
    """
    rundir.atomic_write(directory / METRICS, rundir.to_json(as_data(evaluation), indent=2) + "\n")
    rundir.atomic_write(directory / IMAGES, table(evaluation))
    rundir.atomic_write(directory / REPORT, page(evaluation))
    return directory / REPORT


def rows(evaluation: "Evaluation", part: str | None = None) -> list[Row]:
    """The figures by class, of several the mean first; of one part's images, where one is named."""
    images = [image for image in evaluation.images if part is None or image.part == part]
    classes = evaluation.classes
    chosen: list[tuple[str, str, int | None]] = [
        (classes[index], classes[index], index) for index in listed(classes, evaluation.background)
    ]
    if several(evaluation):
        chosen.insert(0, (MEAN, f"mean of {mean_over(classes, evaluation.background)}", None))
    return [
        Row(name, label, index, {measure: summarise(images, measure, index) for measure in MEASURES})
        for name, label, index in chosen
    ]


def several(evaluation: "Evaluation") -> bool:
    """Return whether means are over several classes."""
    return len(listed(evaluation.classes, evaluation.background)) > 1


def over_parts(evaluation: "Evaluation") -> dict[str, Summary | None]:
    """The spread of the parts' means, by measure: of a fold or seed from the next."""
    firsts = [rows(evaluation, part)[0].summaries for part in evaluation.parts]
    return {name: describe(found.mean for each in firsts if (found := each[name])) for name in MEASURES}


def as_data(evaluation: "Evaluation") -> dict[str, Any]:
    """Everything as plain data. `mean`, `deviation` and so on are over images, `whole` is over all pixels."""

    def plain(summaries: dict[str, Summary | None]) -> dict[str, Any]:
        return {name: None if each is None else vars(each) for name, each in summaries.items()}

    parts = {
        part: {"threshold": evaluation.thresholds.get(part), **plain(rows(evaluation, part)[0].summaries)}
        for part in evaluation.parts
    }
    return {
        "run": evaluation.folder.absolute(),
        "split": evaluation.split,
        "images": len(evaluation.images),
        "classes": evaluation.classes,
        "mean_over": mean_over(evaluation.classes, evaluation.background),
        "threshold": evaluation.thresholds.get(""),
        "hd95_unit": evaluation.unit,
        "scores": {row.name: plain(row.summaries) for row in rows(evaluation)},
        **({"parts": parts, "over_parts": plain(over_parts(evaluation))} if parts else {}),
        "tuning": {part or "val": dict(curve) for part, curve in evaluation.tuning.items()},
        "notes": evaluation.notes,
        "about": evaluation.about,
        "seconds": round(evaluation.seconds, 3),
    }


def table(evaluation: "Evaluation") -> str:
    """`images.csv`: a row an image, in the order in which they were judged; empty where it lacks a class."""
    distance = f"{HD95}_{_ENDING[evaluation.unit]}"
    columns = [distance if name == HD95 else name for name in MEASURES]
    shown = listed(evaluation.classes, evaluation.background) if several(evaluation) else []
    classes = [(index, evaluation.classes[index]) for index in shown]
    part = ["part"] if evaluation.parts else []
    own = [f"{name}_{column}" for _, name in classes for column in columns]
    lines = []
    for image in evaluation.images:
        values = [image.value(measure) for measure in MEASURES]
        values += [image.value(measure, index) for index, _ in classes for measure in MEASURES]
        lines.append([image.name, *([image.part] if part else []), image.height, image.width, *values])
    return rundir.to_csv(["name", *part, "height", "width", *columns, *own], lines)


def as_text(evaluation: "Evaluation", report: Path | None = None) -> str:
    """The tables for a terminal, warnings first."""
    lines = [f"Warning: {note}" for note in evaluation.notes]
    thresholds = sorted(set(evaluation.thresholds.values()))
    said = f", threshold {' and '.join(f'{each:g}' for each in thresholds)}" if thresholds else ""
    tuned = " (tuned)" if evaluation.tuning else ""
    took = duration(evaluation.seconds)
    lines += [f"{evaluation.folder.name}, {_counted(evaluation)}{said}{tuned}, {took}", ""]
    header = ["", *headings(evaluation), "images"]
    body = []
    for row in rows(evaluation):
        counted = str(row.images)
        body.append(
            [f"{row.label}, per image", *(spread(row.summaries[name], name) for name in MEASURES), counted]
        )
        body.append([f"{row.label}, all pixels", *(whole(row.summaries[name]) for name in MEASURES), counted])
    width = terminal_width()
    lines.append(render(header, body, _ALIGN, width))
    if evaluation.parts:
        body = []
        for part in evaluation.parts:
            first = rows(evaluation, part)[0]
            means = (figure(each.mean if each else None, name) for name, each in first.summaries.items())
            body.append([part, *means, str(first.images)])
        pooled = over_parts(evaluation)
        body.append(["mean ± spread", *(spread(pooled[name], name) for name in MEASURES), ""])
        lines += ["", render(["means per image", *header[1:]], body, _ALIGN, width)]
    lines += ["", f"Report: {report}"] if report else []
    return "\n".join(lines)


def headings(evaluation: "Evaluation") -> list[str]:
    """Of the measures' columns."""
    return [f"{NAMES[name]} ({evaluation.unit})" if name == HD95 else NAMES[name] for name in MEASURES]


def figure(value: float | None, measure: str = "dice") -> str:
    """A share as `0.912`, a distance as `17.3` or `4.21`, nothing as `–`."""
    if value is None or math.isnan(value):
        return "–"
    if measure == HD95:
        return f"{value:.2f}" if value < 10 else f"{value:.1f}"
    return f"{value:.3f}"


def spread(summary: Summary | None, measure: str = "dice") -> str:
    """`0.912 ± 0.051`."""
    if summary is None:
        return "–"
    alone = math.isnan(summary.deviation)
    return figure(summary.mean, measure) + ("" if alone else f" ± {figure(summary.deviation, measure)}")


def whole(summary: Summary | None) -> str:
    """The figure of all pixels."""
    return "–" if summary is None else figure(summary.whole)


def page(evaluation: "Evaluation") -> str:
    """The page's HTML."""
    errors = [case.shown[3] for case in (*evaluation.worst, *evaluation.best)]
    images = sorted(evaluation.images, key=lambda image: image.value("dice") or 0.0)
    return pages.render(
        "evaluation_page.html.j2",
        {"figure": figure, "spread": spread, "whole": whole, "source": source},
        it=evaluation,
        verdict=verdict(evaluation),
        counted=_counted(evaluation),
        measures=MEASURES,
        names=NAMES,
        headings=headings(evaluation),
        rows=rows(evaluation),
        parts=[(part, rows(evaluation, part)[0]) for part in evaluation.parts],
        pooled=over_parts(evaluation),
        histogram=figures.histogram([image.value("dice") or 0.0 for image in images]),
        tuning=figures.tuning(evaluation.tuning, evaluation.thresholds),
        legend=figures.legend(evaluation.classes, errors, evaluation.background),
        cases=[("Worst cases", "worst", evaluation.worst), ("Best cases", "best", _apart(evaluation))],
        images=images,
        several=several(evaluation),
        listed=listed(evaluation.classes, evaluation.background),
        provenance=list(_provenance(evaluation)),
        sections=list(_sections(evaluation)),
    )


def verdict(evaluation: "Evaluation") -> str:
    """One or two sentences with the figure that matters."""
    first = rows(evaluation)[0]
    dice, iou = first.summaries["dice"], first.summaries["iou"]
    if dice is None or iou is None:
        return "There is nothing to judge."
    classes = mean_over(evaluation.classes, evaluation.background)
    over = f", averaged over {classes}" if several(evaluation) else ""
    text = f"Dice {spread(dice)} and IoU {spread(iou)} per image{over}, on {_counted(evaluation)}."
    low = sum((image.value("dice") or 0.0) < 0.5 for image in evaluation.images)
    if low:
        text += f" {low} of them {'is' if low == 1 else 'are'} below a Dice of 0.5."
    return text


def source(picture: "Image") -> str:
    """A picture as a data URI."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "png", optimize=True)
    return pages.embedded(buffer.getvalue())


def _apart(evaluation: "Evaluation") -> Sequence["Case"]:
    """The best cases that aren't among the worst too, in a small set."""
    shown: set[ImageScores] = {case.scores for case in evaluation.worst}
    return [case for case in evaluation.best if case.scores not in shown]


def _counted(evaluation: "Evaluation") -> str:
    return pages.counted(len(evaluation.images), evaluation.split, evaluation.parts)


def _sections(evaluation: "Evaluation") -> Iterator[tuple[str, str]]:
    """The page's parts: id and name of those that there are."""
    for id, name, there in (
        ("scores", "Scores", True),
        ("parts", "Folds and seeds", bool(evaluation.parts)),
        ("spread", "Spread", True),
        ("tuning", "Threshold", bool(evaluation.tuning)),
        ("worst", "Worst cases", bool(evaluation.worst)),
        ("best", "Best cases", bool(_apart(evaluation))),
        ("images", "All images", True),
        ("provenance", "Provenance", True),
    ):
        if there:
            yield id, name


def _provenance(evaluation: "Evaluation") -> Iterator[tuple[str, str]]:
    yield "run", str(evaluation.folder)
    yield "images", _counted(evaluation)
    for part, threshold in evaluation.thresholds.items():
        yield "threshold" + (f", {part}" if part else ""), f"{threshold:g}"
    yield from evaluation.about.items()
    yield "took", duration(evaluation.seconds)
    yield "written", datetime.now().astimezone().isoformat(" ", "seconds")
