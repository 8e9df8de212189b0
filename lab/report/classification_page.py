"""A classifier's evaluation as one HTML page."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from lab.metrics.class_scores import MEASURES, SUMMARY, Scores, summary
from lab.report import pages
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
from lab.wording import duration

if TYPE_CHECKING:
    from lab.inference.classified import ClassEvaluation

_MOST_WRONG = 1000  # rows of wrong answers


def page(evaluation: "ClassEvaluation", drawn: Mapping[str, bytes]) -> str:
    """The page's HTML.

    Args:
        drawn: PNG files by name; a picture that isn't there is left out.
    """
    scores, parts = evaluation.scores(), evaluation.parts
    wrong = sorted(
        (each for each in evaluation.answers if each.said != each.truth), key=lambda each: -each.confidence
    )
    said = headline(evaluation)
    counted = pages.counted(len(evaluation.answers), evaluation.split, parts)
    return pages.render(
        "classification_page.html.j2",
        {"figure": figure, "spread": spread, "area": area},
        it=evaluation,
        verdict=verdict(evaluation, scores, counted),
        counted=counted,
        tiles=[
            ("accuracy", said["accuracy"]),
            ("F1, macro", said["f1"]),
            ("ROC-AUC", said["auc"]),
            ("calibration error", said["calibration_error"]),
        ],
        sections=list(_sections(evaluation, drawn, bool(wrong))),
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
        pictures={name: pages.embedded(png) for name, png in drawn.items()},
        costs=list(cost(evaluation.efficiency)) if evaluation.efficiency else [],
        speeds=speeds(evaluation.efficiency) if evaluation.efficiency else [],
        wrong=wrong,
        shown=min(len(wrong), _MOST_WRONG),
        provenance=list(_provenance(evaluation, counted)),
    )


def verdict(evaluation: "ClassEvaluation", scores: Scores, counted: str) -> str:
    """Two or three sentences with the figure that matters; of several parts it is their mean ± spread."""
    wrong = round(scores.samples * (1 - scores.accuracy))
    if evaluation.parts:
        said = headline(evaluation)
        text = f"Accuracy is {said['accuracy']} and F1 {said['f1']}, mean ± spread, on {counted}."
        text += f" Pooled, {wrong:,} of {scores.samples:,} answers are wrong."
    else:
        text = f"{100 * scores.accuracy:.1f} % of {counted} are recognised, {wrong:,} are not; F1 is "
        text += f"{figure(scores.macro.f1)}, averaged over {len(evaluation.classes)} classes."
    found = [each for each in zip(evaluation.classes, scores.classes, strict=True) if each[1].support]
    name, lowest = min(found, key=lambda each: each[1].shares.recall)
    if wrong:
        text += f" Recognised least often: {name}, {100 * lowest.shares.recall:.0f} % of {lowest.support}."
    return text


def _sections(
    evaluation: "ClassEvaluation", drawn: Mapping[str, bytes], wrong: bool
) -> Iterator[tuple[str, str]]:
    for id, name, there in (
        ("parts", "Folds and seeds", bool(evaluation.parts)),
        ("scores", "Scores", True),
        ("confusion", "Confusion", "confusion" in drawn),
        ("calibration", "Calibration", "reliability" in drawn),
        ("roc", "ROC", "roc" in drawn),
        ("mistakes", "Surest mistakes", "mistakes" in drawn),
        ("efficiency", "Efficiency", evaluation.efficiency is not None),
        ("wrong", "Wrong answers", wrong),
        ("provenance", "Provenance", True),
    ):
        if there:
            yield id, name


def _provenance(evaluation: "ClassEvaluation", counted: str) -> Iterator[tuple[str, str]]:
    yield "run", str(evaluation.folder)
    yield "images", counted
    yield from evaluation.about.items()
    yield "took", duration(evaluation.seconds)
    yield "written", datetime.now().astimezone().isoformat(" ", "seconds")
