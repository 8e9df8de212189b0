"""What `--evaluate` leaves of a classifier: figures for programs, tables, pictures, a page, and a text."""

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab import rundir
from lab.figures.classification import (
    Roc,
    Wrong,
    confusion_figure,
    mistakes_figure,
    reliability_figure,
    roc_figure,
)
from lab.metrics.class_scores import MEASURES, SUMMARY, roc_curves, summary
from lab.report import classification_page
from lab.report.classification_rows import NAMES, area, confused, cost, over_parts, speeds
from lab.report.evaluation import figure, spread
from lab.report.pages import counted
from lab.report.table import Align, render, terminal_width
from lab.wording import duration

if TYPE_CHECKING:
    from lab.inference.classified import ClassEvaluation

METRICS, PREDICTIONS, CONFUSION, REPORT = "metrics.json", "predictions.csv", "confusion.csv", "report.html"
PICTURES = ("confusion", "reliability", "roc", "mistakes")
_MOST_CLASSES = 30  # in the text for the console


def write(evaluation: "ClassEvaluation", directory: Path) -> Path:
    """Write the figures, the tables, the pictures and the page; returns the page's path.

    `metrics.json`, `predictions.csv`, `confusion.csv`, a PNG of each of `PICTURES`, and `report.html`. Of ROC
    curves and mistakes there is no picture where there are none.

    Raises:
        OSError: the folder can't be written.
    """
    rundir.atomic_write(directory / METRICS, rundir.to_json(as_data(evaluation), indent=2) + "\n")
    rundir.atomic_write(directory / PREDICTIONS, predictions(evaluation))
    rundir.atomic_write(directory / CONFUSION, confusion(evaluation))
    for name in PICTURES:  # what an earlier evaluation left there is not of these answers
        (directory / f"{name}.png").unlink(missing_ok=True)
    draw(evaluation, directory)
    paths = {name: directory / f"{name}.png" for name in PICTURES}
    drawn = {name: path.read_bytes() for name, path in paths.items() if path.exists()}
    rundir.atomic_write(directory / REPORT, classification_page.page(evaluation, drawn))
    return directory / REPORT


def draw(evaluation: "ClassEvaluation", directory: Path) -> None:
    """The pictures, as PNG files."""
    scores, classes = evaluation.scores(), evaluation.classes
    run = evaluation.folder.name
    confusion_figure(
        scores.confusion,
        classes,
        directory / "confusion.png",
        title=f"{run}: accuracy {figure(scores.accuracy)}",
    )
    reliability_figure(
        [astuple(each) for each in scores.bins],
        directory / "reliability.png",
        title=f"{run}: ECE {figure(scores.calibration_error)}",
    )
    curves = roc_curves(*evaluation.arrays())
    if curves:
        roc_figure(
            [Roc(classes[each.index], each.auc, each.false_alarms, each.found) for each in curves],
            directory / "roc.png",
            title=f"{run}: ROC-AUC {area(scores.auc)}",
        )
    wrong = [
        Wrong(
            each.picture,
            each.answer.name,
            classes[each.answer.said],
            classes[each.answer.truth],
            each.answer.confidence,
        )
        for each in evaluation.mistakes
        if each.picture is not None
    ]
    if wrong:
        mistakes_figure(wrong, directory / "mistakes.png", title=f"{run}: surest mistakes")


def as_data(evaluation: "ClassEvaluation") -> dict[str, Any]:
    """Everything as plain data; what isn't defined is NaN."""
    scores, classes = evaluation.scores(), evaluation.classes
    parts = {part: summary(evaluation.scores(part)) for part in evaluation.parts}
    over = {name: None if each is None else vars(each) for name, each in over_parts(evaluation).items()}
    return {
        "run": evaluation.folder.absolute(),
        "split": evaluation.split,
        "images": scores.samples,
        "classes": classes,
        "accuracy": scores.accuracy,
        "macro": vars(scores.macro),
        "weighted": vars(scores.weighted),
        "roc_auc": scores.auc,
        "calibration_error": scores.calibration_error,
        "scores": {
            name: {**vars(each.shares), "roc_auc": each.auc, "images": each.support, "said": each.said}
            for name, each in zip(classes, scores.classes, strict=True)
        },
        "confusion": scores.confusion.tolist(),
        "reliability": [vars(each) for each in scores.bins],
        **({"parts": parts, "over_parts": over} if parts else {}),
        "mistakes": [
            {
                "name": each.answer.name,
                **({"part": each.answer.part} if parts else {}),
                "true": classes[each.answer.truth],
                "said": classes[each.answer.said],
                "probability": each.answer.confidence,
            }
            for each in evaluation.mistakes
        ],
        "efficiency": _efficiency(evaluation),
        "notes": evaluation.notes,
        "about": evaluation.about,
        "seconds": round(evaluation.seconds, 3),
    }


def predictions(evaluation: "ClassEvaluation") -> str:
    """`predictions.csv`: a row an image, in the order in which they were asked, with all probabilities."""
    classes = evaluation.classes
    part = ["part"] if evaluation.parts else []
    head = ["name", *part, "true", "class", "probability", "right", *(f"p_{name}" for name in classes)]
    rows = (
        [
            each.name,
            *([each.part] if part else []),
            classes[each.truth],
            classes[each.said],
            f"{each.confidence:.6g}",
            int(each.said == each.truth),
            *(f"{share:.6g}" for share in each.probabilities.tolist()),
        ]
        for each in evaluation.answers
    )
    return _csv(head, rows)


def confusion(evaluation: "ClassEvaluation") -> str:
    """`confusion.csv`: a row a true class, a column what was said."""
    rows = evaluation.scores().confusion.tolist()
    named = ([name, *row] for name, row in zip(evaluation.classes, rows, strict=True))
    return _csv(["true", *evaluation.classes], named)


def as_text(evaluation: "ClassEvaluation", report: Path | None = None) -> str:
    """The tables for a terminal, warnings first."""
    scores, width = evaluation.scores(), terminal_width()
    lines = [f"Warning: {note}" for note in evaluation.notes]
    lines += [f"{evaluation.folder.name}, {_counted(evaluation)}, {duration(evaluation.seconds)}", ""]
    lines += [
        f"accuracy {figure(scores.accuracy)}, ROC-AUC {area(scores.auc)}, "
        f"calibration error (ECE) {figure(scores.calibration_error)}",
        "",
        *_by_class(evaluation, width),
    ]
    if mistaken := confused(evaluation):
        pairs = (f"{true} for {said} ({count})" for true, said, count, _ in mistaken)
        lines += ["", f"Taken for another most often: {', '.join(pairs)}"]
    if evaluation.parts:
        head = ["", *(NAMES[name] for name in SUMMARY), "images"]
        body = []
        for part in evaluation.parts:
            values = summary(evaluation.scores(part))
            body.append([part, *map(figure, values.values()), str(evaluation.scores(part).samples)])
        pooled = over_parts(evaluation)
        body.append(["mean ± spread", *(spread(pooled[name]) for name in SUMMARY), ""])
        lines += ["", render(head, body, _aligned(head), width)]
    if evaluation.efficiency is not None:
        lines += ["", *(f"{name}: {value}" for name, value in cost(evaluation.efficiency))]
        head = [evaluation.efficiency.device, "median", "95th percentile", "images/s"]
        rows = [[f"batch {row[0]}", *row[1:]] for row in speeds(evaluation.efficiency)]
        lines += [render(head, rows, _aligned(head), width)] if rows else []
    lines += ["", f"Report: {report}"] if report else []
    return "\n".join(lines)


def _by_class(evaluation: "ClassEvaluation", width: int | None) -> Iterator[str]:
    """The table of classes and means; of many classes those with the lowest F1."""
    scores = evaluation.scores()
    head = ["", *(NAMES[name] for name in MEASURES), NAMES["auc"], "images"]
    named = list(zip(evaluation.classes, scores.classes, strict=True))
    if len(named) > _MOST_CLASSES:
        worst = sorted(
            named, key=lambda each: math.inf if math.isnan(each[1].shares.f1) else each[1].shares.f1
        )
        named = worst[:_MOST_CLASSES]
    body = [
        [name, *map(figure, vars(each.shares).values()), area(each.auc), str(each.support)]
        for name, each in named
    ]
    for name, means, curve in (
        ("macro mean", scores.macro, area(scores.auc)),
        ("weighted mean", scores.weighted, ""),
    ):
        body.append([name, *map(figure, vars(means).values()), curve, str(scores.samples)])
    yield render(head, body, _aligned(head), width)
    if len(named) < len(scores.classes):
        yield f"The {len(named)} classes with the lowest F1 of {len(scores.classes)}; the others: {METRICS}"


def _aligned(head: Sequence[str]) -> list[Align]:
    """Names to the left, figures to the right."""
    right: list[Align] = [">"] * (len(head) - 1)
    return ["<", *right]


def _efficiency(evaluation: "ClassEvaluation") -> dict[str, Any] | None:
    found = evaluation.efficiency
    if found is None:
        return None
    timed = [
        {
            "batch": each.batch,
            "median_ms": 1000 * each.median,
            "p95_ms": 1000 * each.p95,
            "images_per_second": each.throughput,
            "passes": each.passes,
        }
        for each in found.speeds
    ]
    return {**vars(found), "speeds": timed}


def _csv(head: Sequence[str], rows: Iterator[list[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return text.getvalue()


def _counted(evaluation: "ClassEvaluation") -> str:
    return counted(len(evaluation.answers), evaluation.split, evaluation.parts)
