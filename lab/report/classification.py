"""What `--evaluate` leaves of a classifier: figures for programs, tables, pictures, a page, and a text."""

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
from lab.report.classification_rows import (
    NAMES,
    area,
    confused,
    cost,
    headline,
    over_parts,
    pooling,
    speeds,
)
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
    run = f"{evaluation.folder.name}:{' pooled' if evaluation.parts else ''}"
    confusion_figure(
        scores.confusion,
        classes,
        directory / "confusion.png",
        title=f"{run} accuracy {figure(scores.accuracy)}",
    )
    reliability_figure(
        [astuple(each) for each in scores.bins],
        directory / "reliability.png",
        title=f"{run} ECE {figure(scores.calibration_error)}",
    )
    curves = roc_curves(*evaluation.arrays())
    if curves:
        roc_figure(
            [Roc(classes[each.index], each.auc, each.false_alarms, each.found) for each in curves],
            directory / "roc.png",
            title=f"{run} ROC-AUC {area(scores.auc)}",
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
        mistakes_figure(wrong, directory / "mistakes.png", title=f"{evaluation.folder.name}: surest mistakes")


def as_data(evaluation: "ClassEvaluation") -> dict[str, Any]:
    """Everything as plain data; what isn't defined is NaN.

    Of several parts the figures at the top are means over them, and those of all answers are in `pooled`.
    """
    classes, parts = evaluation.classes, evaluation.parts
    return {
        "run": evaluation.folder.absolute(),
        "split": evaluation.split,
        "images": len(evaluation.answers),
        "classes": classes,
        **(_of_parts(evaluation) if parts else _of_all(evaluation)),
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


def _of_all(evaluation: "ClassEvaluation") -> dict[str, Any]:
    """The figures of all answers together."""
    scores = evaluation.scores()
    return {
        "accuracy": scores.accuracy,
        "macro": vars(scores.macro),
        "weighted": vars(scores.weighted),
        "roc_auc": scores.auc,
        "calibration_error": scores.calibration_error,
        "scores": {
            name: {**vars(each.shares), "roc_auc": each.auc, "images": each.support, "said": each.said}
            for name, each in zip(evaluation.classes, scores.classes, strict=True)
        },
        "confusion": scores.confusion.tolist(),
        "reliability": [vars(each) for each in scores.bins],
    }


def _of_parts(evaluation: "ClassEvaluation") -> dict[str, Any]:
    """The means over folds or seeds, the figures of each, their spread, and those of all answers."""
    over = over_parts(evaluation)
    means = {name: math.nan if each is None else each.mean for name, each in over.items()}
    return {
        "accuracy": means["accuracy"],
        "macro": {name: means[name] for name in MEASURES},
        "roc_auc": means["auc"],
        "calibration_error": means["calibration_error"],
        "parts": {part: summary(evaluation.scores(part)) for part in evaluation.parts},
        "over_parts": {name: None if each is None else vars(each) for name, each in over.items()},
        "pooled": {"note": pooling(evaluation), **_of_all(evaluation)},
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
            each.confidence,
            int(each.said == each.truth),
            *each.probabilities.tolist(),
        ]
        for each in evaluation.answers
    )
    return rundir.to_csv(head, rows)


def confusion(evaluation: "ClassEvaluation") -> str:
    """`confusion.csv`: a row a true class, a column what was said."""
    rows = evaluation.scores().confusion.tolist()
    named = ([name, *row] for name, row in zip(evaluation.classes, rows, strict=True))
    return rundir.to_csv(["true", *evaluation.classes], named)


def as_text(evaluation: "ClassEvaluation", report: Path | None = None) -> str:
    """The tables for a terminal, warnings first."""
    said, width = headline(evaluation), terminal_width()
    lines = [f"Warning: {note}" for note in evaluation.notes]
    lines += [f"{evaluation.folder.name}, {_counted(evaluation)}, {duration(evaluation.seconds)}", ""]
    lines += [
        f"accuracy {said['accuracy']}, ROC-AUC {said['auc']}, "
        f"calibration error (ECE) {said['calibration_error']}",
        "",
    ]
    if evaluation.parts:
        lines += [_by_part(evaluation, width), "", f"Pooled: {pooling(evaluation)}", ""]
    lines += _by_class(evaluation, width)
    if mistaken := confused(evaluation):
        pairs = (f"{true} for {said} ({count})" for true, said, count, _ in mistaken)
        lines += ["", f"Taken for another most often: {', '.join(pairs)}"]
    if evaluation.efficiency is not None:
        lines += ["", *(f"{name}: {value}" for name, value in cost(evaluation.efficiency))]
        head = [evaluation.efficiency.device, "median", "95th percentile", "images/s"]
        rows = [[f"batch {row[0]}", *row[1:]] for row in speeds(evaluation.efficiency)]
        lines += [render(head, rows, _aligned(head), width)] if rows else []
    lines += ["", f"Report: {report}"] if report else []
    return "\n".join(lines)


def _by_part(evaluation: "ClassEvaluation", width: int | None) -> str:
    """The table of folds or seeds, and their mean."""
    head = ["", *(NAMES[name] for name in SUMMARY), "images"]
    body = []
    for part in evaluation.parts:
        values = summary(evaluation.scores(part))
        body.append([part, *map(figure, values.values()), str(evaluation.scores(part).samples)])
    over = over_parts(evaluation)
    body.append(["mean ± spread", *(spread(over[name]) for name in SUMMARY), ""])
    return render(head, body, _aligned(head), width)


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


def _counted(evaluation: "ClassEvaluation") -> str:
    return counted(len(evaluation.answers), evaluation.split, evaluation.parts)
