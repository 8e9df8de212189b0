"""Report of a classifier's evaluation: JSON, CSV tables, plots, an HTML page, and a text."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING

from lab.figures import classification as figures
from lab.metrics.class_scores import MEASURES, SUMMARY, Scores, roc_curves, summary
from lab.report import evaluation_base as base
from lab.report.classification_rows import NAMES, area, confused, cost, headline, over_parts, pooling, speeds
from lab.report.evaluation_base import counted, format_score, spread
from lab.store import file_io

if TYPE_CHECKING:
    from lab.evaluate.classification import ClassificationEvaluation

PREDICTIONS, CONFUSION = "predictions.csv", "confusion.csv"
PLOTS = ("confusion", "reliability", "roc", "mistakes")
_MOST_CLASSES = 30  # in the text for the console
_MOST_WRONG = 1000  # rows of wrong answers on the page


def write(evaluation: "ClassificationEvaluation", directory: Path) -> Path:
    """Write metrics, tables, plots and the page; returns the page's path.

    `metrics.json`, `predictions.csv`, `confusion.csv`, a PNG of each of `PLOTS`, and `report.html`. ROC
    curves and mistakes have no plot where there are none.

    Raises:
        OSError: the folder can't be written.
    """
    tables = {PREDICTIONS: predictions(evaluation), CONFUSION: confusion(evaluation)}
    base.write(directory, as_data(evaluation), tables)
    drawn = base.draw_plots(directory, PLOTS, lambda folder: draw(evaluation, folder))
    file_io.atomic_write(directory / base.REPORT, page(evaluation, drawn))
    return directory / base.REPORT


def draw(evaluation: "ClassificationEvaluation", directory: Path) -> None:
    """Draw the plots as PNG files."""
    scores, classes = evaluation.scores(), evaluation.classes
    run = f"{evaluation.folder.name}:{' pooled' if evaluation.parts else ''}"
    figures.confusion_figure(
        scores.confusion,
        classes,
        directory / "confusion.png",
        title=f"{run} accuracy {format_score(scores.accuracy)}",
    )
    figures.reliability_figure(
        [astuple(each) for each in scores.bins],
        directory / "reliability.png",
        title=f"{run} ECE {format_score(scores.calibration_error)}",
    )
    curves = roc_curves(*evaluation.arrays())
    if curves:
        figures.roc_figure(
            [figures.Roc(classes[each.index], each.auc, each.false_alarms, each.found) for each in curves],
            directory / "roc.png",
            title=f"{run} ROC-AUC {area(scores.auc)}",
        )
    wrong = [
        figures.Wrong(
            each.picture,
            each.answer.name,
            classes[each.answer.predicted],
            classes[each.answer.truth],
            each.answer.confidence,
        )
        for each in evaluation.mistakes
        if each.picture is not None
    ]
    if wrong:
        figures.mistakes_figure(
            wrong, directory / "mistakes.png", title=f"{evaluation.folder.name}: most confident mistakes"
        )


def as_data(evaluation: "ClassificationEvaluation") -> dict[str, object]:
    """Return everything as plain data; undefined values are NaN.

    Of several parts the scores at the top are means over them, and those of all predictions are in `pooled`.
    """
    classes, parts = evaluation.classes, evaluation.parts
    return base.as_data(
        evaluation,
        images=len(evaluation.answers),
        classes=classes,
        **(_of_parts(evaluation) if parts else _of_all(evaluation)),
        mistakes=[
            {
                "name": each.answer.name,
                **({"part": each.answer.part} if parts else {}),
                "true": classes[each.answer.truth],
                "said": classes[each.answer.predicted],
                "probability": each.answer.confidence,
            }
            for each in evaluation.mistakes
        ],
        efficiency=_efficiency(evaluation),
    )


def _of_all(evaluation: "ClassificationEvaluation") -> dict[str, object]:
    """Return the scores of all predictions together."""
    scores = evaluation.scores()
    return {
        "accuracy": scores.accuracy,
        "macro": vars(scores.macro),
        "weighted": vars(scores.weighted),
        "roc_auc": scores.auc,
        "calibration_error": scores.calibration_error,
        "scores": {
            name: {**vars(each.shares), "roc_auc": each.auc, "images": each.support, "said": each.predicted}
            for name, each in zip(evaluation.classes, scores.classes, strict=True)
        },
        "confusion": scores.confusion.tolist(),
        "reliability": [vars(each) for each in scores.bins],
    }


def _of_parts(evaluation: "ClassificationEvaluation") -> dict[str, object]:
    """Return means over folds or seeds, the scores of each, their spread, and those of all predictions."""
    over = over_parts(evaluation)
    means = {name: math.nan if each is None else each.mean for name, each in over.items()}
    return {
        "accuracy": means["accuracy"],
        "macro": {name: means[name] for name in MEASURES},
        "roc_auc": means["auc"],
        "calibration_error": means["calibration_error"],
        "parts": {part: summary(evaluation.scores(part)) for part in evaluation.parts},
        "over_parts": base.plain(over),
        "pooled": {"note": pooling(evaluation), **_of_all(evaluation)},
    }


def predictions(evaluation: "ClassificationEvaluation") -> str:
    """`predictions.csv`: a row an image, in the order in which they were asked, with all probabilities."""
    classes = evaluation.classes
    part = ["part"] if evaluation.parts else []
    head = ["name", *part, "true", "class", "probability", "right", *(f"p_{name}" for name in classes)]
    rows = (
        [
            each.name,
            *([each.part] if part else []),
            classes[each.truth],
            classes[each.predicted],
            each.confidence,
            int(each.predicted == each.truth),
            *each.probabilities.tolist(),
        ]
        for each in evaluation.answers
    )
    return file_io.to_csv(head, rows)


def confusion(evaluation: "ClassificationEvaluation") -> str:
    """Return `confusion.csv`: a row per true class, a column per predicted class."""
    rows = evaluation.scores().confusion.tolist()
    named = ([name, *row] for name, row in zip(evaluation.classes, rows, strict=True))
    return file_io.to_csv(["true", *evaluation.classes], named)


def as_text(evaluation: "ClassificationEvaluation", report: Path | None = None) -> str:
    """Return the tables for a terminal, warnings first."""
    return base.as_text(evaluation, counted(evaluation), _lines(evaluation), report)


def _lines(evaluation: "ClassificationEvaluation") -> Iterator[str]:
    shown = headline(evaluation)
    yield (
        f"accuracy {shown['accuracy']}, ROC-AUC {shown['auc']}, "
        f"calibration error (ECE) {shown['calibration_error']}"
    )
    yield ""
    if evaluation.parts:
        yield from (_by_part(evaluation), "", f"Pooled: {pooling(evaluation)}", "")
    yield from _by_class(evaluation)
    if mistaken := confused(evaluation):
        pairs = (f"{true} → {predicted} ({count})" for true, predicted, count, _ in mistaken)
        yield from ("", f"Most frequent confusions (true → predicted): {', '.join(pairs)}")
    if evaluation.efficiency is not None:
        yield from ("", *(f"{name}: {value}" for name, value in cost(evaluation.efficiency)))
        if rows := [[f"batch {row[0]}", *row[1:]] for row in speeds(evaluation.efficiency)]:
            head = [evaluation.efficiency.device, "median", "95th percentile", "images/s"]
            yield base.table(head, rows)


def _by_part(evaluation: "ClassificationEvaluation") -> str:
    """The table of folds or seeds, and their mean."""
    head = ["", *(NAMES[name] for name in SUMMARY), "images"]
    body = []
    for part in evaluation.parts:
        values = summary(evaluation.scores(part))
        body.append([part, *map(format_score, values.values()), str(evaluation.scores(part).samples)])
    over = over_parts(evaluation)
    body.append([base.SPREAD, *(spread(over[name]) for name in SUMMARY), ""])
    return base.table(head, body)


def _by_class(evaluation: "ClassificationEvaluation") -> Iterator[str]:
    """The table of classes and means; of many classes those with the lowest F1."""
    scores = evaluation.scores()
    head = ["", *(NAMES[name] for name in MEASURES), NAMES["auc"], "images"]
    named = list(zip(evaluation.classes, scores.classes, strict=True))
    # A terminal has no room for hundreds of classes: show the worst, which matter most.
    if len(named) > _MOST_CLASSES:
        worst = sorted(
            named, key=lambda each: math.inf if math.isnan(each[1].shares.f1) else each[1].shares.f1
        )
        named = worst[:_MOST_CLASSES]
    body = [
        [name, *map(format_score, vars(each.shares).values()), area(each.auc), str(each.support)]
        for name, each in named
    ]
    for name, means, curve in (
        ("macro mean", scores.macro, area(scores.auc)),
        ("weighted mean", scores.weighted, ""),
    ):
        body.append([name, *map(format_score, vars(means).values()), curve, str(scores.samples)])
    yield base.table(head, body)
    if len(named) < len(scores.classes):
        which = f"The {len(named)} classes with the lowest F1 of {len(scores.classes)}"
        yield f"{which}; the others: {base.METRICS}"


def _efficiency(evaluation: "ClassificationEvaluation") -> dict[str, object] | None:
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


def page(evaluation: "ClassificationEvaluation", drawn: Mapping[str, bytes]) -> str:
    """Render the page as HTML.

    Args:
        drawn: PNG files by name; a missing one is left out.
    """
    scores, parts = evaluation.scores(), evaluation.parts
    # The page lists mistakes with the highest confidence first: mislabelled images come to the top.
    wrong = sorted(
        (each for each in evaluation.answers if each.predicted != each.truth),
        key=lambda each: -each.confidence,
    )
    scored, counts = headline(evaluation), counted(evaluation)
    return base.page(
        "classification_page.html.j2",
        evaluation,
        counts,
        [
            ("parts", base.PARTS, parts),
            ("scores", "Scores", True),
            ("confusion", "Confusion", "confusion" in drawn),
            ("calibration", "Calibration", "reliability" in drawn),
            ("roc", "ROC", "roc" in drawn),
            ("mistakes", "Most confident mistakes", "mistakes" in drawn),
            ("efficiency", "Efficiency", evaluation.efficiency),
            ("wrong", "Wrong predictions", wrong),
        ],
        filters={"area": area},
        verdict=verdict(evaluation, scores, counts),
        tiles=[
            ("accuracy", scored["accuracy"]),
            ("F1, macro", scored["f1"]),
            ("ROC-AUC", scored["auc"]),
            ("calibration error", scored["calibration_error"]),
        ],
        scores=scores,
        measures=MEASURES,
        summary=SUMMARY,
        names=NAMES,
        by_class=list(zip(evaluation.classes, scores.classes, strict=True)),
        means=[("macro", scores.macro, area(scores.auc)), ("weighted", scores.weighted, "")],
        parts=[(part, summary(evaluation.scores(part)), evaluation.scores(part).samples) for part in parts],
        over=over_parts(evaluation),
        pooling=pooling(evaluation) if parts else "",
        confused=confused(evaluation),
        drawn=drawn,
        costs=list(cost(evaluation.efficiency)) if evaluation.efficiency else [],
        speeds=speeds(evaluation.efficiency) if evaluation.efficiency else [],
        wrong=wrong,
        shown=min(len(wrong), _MOST_WRONG),
    )


def verdict(evaluation: "ClassificationEvaluation", scores: Scores, counted: str) -> str:
    """Return two or three sentences with the main scores; of several parts their mean ± spread."""
    wrong = round(scores.samples * (1 - scores.accuracy))
    if evaluation.parts:
        scored = headline(evaluation)
        text = f"Accuracy is {scored['accuracy']} and F1 {scored['f1']}, mean ± spread, on {counted}."
        text += f" Pooled, {wrong:,} of {scores.samples:,} predictions are wrong."
    else:
        text = f"{100 * scores.accuracy:.1f} % of {counted} are recognised, {wrong:,} are not; F1 is "
        text += f"{format_score(scores.macro.f1)}, averaged over {len(evaluation.classes)} classes."
    # A class without images has no recall.
    found = [each for each in zip(evaluation.classes, scores.classes, strict=True) if each[1].support]
    name, lowest = min(found, key=lambda each: each[1].shares.recall)
    if wrong:
        text += f" Recognised least often: {name}, {100 * lowest.shares.recall:.0f} % of {lowest.support}."
    return text
