"""Report of a segmentation evaluation: JSON, a CSV table, an HTML page with images, and a text."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lab.config.mask_values import listed, mean_over
from lab.metrics.image_scores import HD95, MEASURES, Summary, summarise
from lab.report import evaluation_base as base
from lab.report import html_page
from lab.report import segmentation_figures as figures
from lab.report.evaluation_base import counted, format_score, spread
from lab.store import file_io

if TYPE_CHECKING:
    from lab.evaluate.segmentation import SegmentationEvaluation
    from lab.figures.panels import Image

IMAGES = "images.csv"
MEAN = "mean"
NAMES = {"dice": "Dice", "iou": "IoU", "precision": "precision", "recall": "recall", HD95: "HD95"}
_ENDING = {"px": "px", "µm": "um"}


@dataclass(frozen=True)
class Row:
    """The scores of one class, or of the mean over classes, by measure; None where no image has it.

    Args:
        label: the name to display, which for a mean lists the classes.
    """

    name: str
    label: str
    index: int | None
    summaries: dict[str, Summary | None]

    @property
    def images(self) -> int:
        """The number of images that have the class."""
        return max((each.count for each in self.summaries.values() if each), default=0)


def write(evaluation: "SegmentationEvaluation", directory: Path) -> Path:
    """Write `metrics.json`, `images.csv` and `report.html`; returns the page's path.

    Raises:
        OSError: the folder can't be written.
    """
    return base.write(
        directory, as_data(evaluation), {IMAGES: table(evaluation), base.REPORT: page(evaluation)}
    )


def rows(evaluation: "SegmentationEvaluation", part: str | None = None) -> list[Row]:
    """Return the scores by class, of several the mean first; of one part's images if `part` is given."""
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


def several(evaluation: "SegmentationEvaluation") -> bool:
    """Return whether means are over several classes."""
    return len(listed(evaluation.classes, evaluation.background)) > 1


def over_parts(evaluation: "SegmentationEvaluation") -> dict[str, Summary | None]:
    """Return the spread of means over folds or seeds, by measure."""
    firsts = (rows(evaluation, part)[0].summaries.items() for part in evaluation.parts)
    return base.over_parts([{name: each.mean if each else None for name, each in first} for first in firsts])


def as_data(evaluation: "SegmentationEvaluation") -> dict[str, object]:
    """Return everything as plain data: `mean` and `deviation` are over images, `whole` is over all pixels."""
    parts = {
        part: {
            "threshold": evaluation.thresholds.get(part),
            **base.plain(rows(evaluation, part)[0].summaries),
        }
        for part in evaluation.parts
    }
    return base.as_data(
        evaluation,
        images=len(evaluation.images),
        classes=evaluation.classes,
        mean_over=mean_over(evaluation.classes, evaluation.background),
        threshold=evaluation.thresholds.get(""),
        hd95_unit=evaluation.unit,
        scores={row.name: base.plain(row.summaries) for row in rows(evaluation)},
        **({"parts": parts, "over_parts": base.plain(over_parts(evaluation))} if parts else {}),
        tuning={part or "val": dict(curve) for part, curve in evaluation.tuning.items()},
    )


def table(evaluation: "SegmentationEvaluation") -> str:
    """Return `images.csv`: a row per image, in the order of evaluation; empty where it lacks a class."""
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
    return file_io.to_csv(["name", *part, "height", "width", *columns, *own], lines)


def as_text(evaluation: "SegmentationEvaluation", report: Path | None = None) -> str:
    """Return the tables for a terminal, warnings first."""
    thresholds = sorted(set(evaluation.thresholds.values()))
    text = counted(evaluation)
    text += f", threshold {' and '.join(f'{each:g}' for each in thresholds)}" if thresholds else ""
    text += " (tuned)" if evaluation.tuning else ""
    return base.as_text(evaluation, text, _tables(evaluation), report)


def _tables(evaluation: "SegmentationEvaluation") -> Iterator[str]:
    """Yield the table of classes, and that of parts."""
    header = headings(evaluation)
    body = []
    for row in rows(evaluation):
        count = str(row.images)
        body.append(
            [f"{row.label}, per image", *(spread(row.summaries[name], name) for name in MEASURES), count]
        )
        body.append([f"{row.label}, all pixels", *(whole(row.summaries[name]) for name in MEASURES), count])
    yield base.table(["", *header, "images"], body)
    if not evaluation.parts:
        return
    body = []
    for part in evaluation.parts:
        first = rows(evaluation, part)[0]
        means = (format_score(each.mean if each else None, name) for name, each in first.summaries.items())
        body.append([part, *means, str(first.images)])
    pooled = over_parts(evaluation)
    body.append([base.SPREAD, *(spread(pooled[name], name) for name in MEASURES), ""])
    yield ""
    yield base.table(["means per image", *header, "images"], body)


def headings(evaluation: "SegmentationEvaluation") -> list[str]:
    """Return the headings of the measures' columns."""
    return [f"{NAMES[name]} ({evaluation.unit})" if name == HD95 else NAMES[name] for name in MEASURES]


def whole(summary: Summary | None) -> str:
    """Format the score over all pixels."""
    return "–" if summary is None else format_score(summary.whole)


def page(evaluation: "SegmentationEvaluation") -> str:
    """Render the page as HTML."""
    errors = [case.shown[3] for case in (*evaluation.worst, *evaluation.best)]
    images = sorted(evaluation.images, key=lambda image: image.value("dice") or 0.0)
    best = base.apart(evaluation.best, evaluation.worst, lambda case: case.scores)
    thresholds = evaluation.thresholds.items()
    return base.page(
        "segmentation_page.html.j2",
        evaluation,
        counted(evaluation),
        [
            ("scores", "Scores", True),
            ("parts", base.PARTS, evaluation.parts),
            ("spread", "Spread", True),
            ("tuning", "Threshold", evaluation.tuning),
            ("worst", "Worst cases", evaluation.worst),
            ("best", "Best cases", best),
            ("images", "All images", True),
        ],
        settings=[("threshold" + (f", {part}" if part else ""), f"{value:g}") for part, value in thresholds],
        filters={"whole": whole, "source": source},
        verdict=verdict(evaluation),
        measures=MEASURES,
        names=NAMES,
        headings=headings(evaluation),
        rows=rows(evaluation),
        parts=[(part, rows(evaluation, part)[0]) for part in evaluation.parts],
        pooled=over_parts(evaluation),
        histogram=figures.histogram([image.value("dice") or 0.0 for image in images]),
        tuning=figures.tuning(evaluation.tuning, evaluation.thresholds),
        legend=figures.legend(evaluation.classes, errors, evaluation.background),
        cases=[("Worst cases", "worst", evaluation.worst), ("Best cases", "best", best)],
        images=images,
        several=several(evaluation),
        listed=listed(evaluation.classes, evaluation.background),
    )


def verdict(evaluation: "SegmentationEvaluation") -> str:
    """Return one or two sentences with the main scores."""
    first = rows(evaluation)[0]
    dice, iou = first.summaries["dice"], first.summaries["iou"]
    if dice is None or iou is None:
        return "There is nothing to evaluate."
    classes = mean_over(evaluation.classes, evaluation.background)
    over = f", averaged over {classes}" if several(evaluation) else ""
    text = f"Dice {spread(dice)} and IoU {spread(iou)} per image{over}, on {counted(evaluation)}."
    low = sum((image.value("dice") or 0.0) < 0.5 for image in evaluation.images)
    if low:
        text += f" {low} of them {'is' if low == 1 else 'are'} below a Dice of 0.5."
    return text


def source(picture: "Image") -> str:
    """Return an image as a data URI."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "png", optimize=True)
    return html_page.embedded(buffer.getvalue())
