"""Report of a segmentation evaluation: JSON, a CSV table, an HTML page with images, and a text."""

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import PIL.Image
from markupsafe import Markup

from lab.config.mask_values import listed, mean_over
from lab.evaluate.segmentation import Case, SegmentationEvaluation, SegmentationEvaluator
from lab.figures.panels import IGNORED, Image, colour_meanings
from lab.metrics.image_scores import HD95, MEASURES, ImageScores, Summary, summarise
from lab.report import evaluation_base as base
from lab.report import html_page, svg
from lab.report.evaluation_base import format_score, spread
from lab.report.svg import Scale
from lab.store import file_io

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
    summaries: dict[str, Summary | None]

    @property
    def images(self) -> int:
        """The number of images that have the class."""
        return max((each.count for each in self.summaries.values() if each), default=0)


def whole(summary: Summary | None) -> str:
    """Format the score over all pixels."""
    return "–" if summary is None else format_score(summary.whole)


def _mean(summary: Summary | None) -> float | None:
    return None if summary is None else summary.mean


def dice(image: ImageScores) -> float:
    """Return the Dice of an image; 0 where it has no class that counts."""
    return image.value("dice") or 0.0


def source(picture: Image) -> str:
    """Return an image as a data URI."""
    buffer = io.BytesIO()
    PIL.Image.fromarray(picture).save(buffer, "png", optimize=True)
    return html_page.embedded(buffer.getvalue())


_WIDTH, _LEFT = 760.0, 46.0


def histogram(values: Sequence[float]) -> Markup:
    """Draw the histogram of Dice over images, from the lowest value rounded down to a tenth up to 1."""
    low = min(0.9, math.floor(min(values) * 10 + 1e-9) / 10)
    width = 0.05 if low < 0.5 else 0.02 if low < 0.8 else 0.01
    bins = round((1 - low) / width)
    counts = [0] * bins
    for value in values:
        counts[min(bins - 1, int((value - low) / width + 1e-9))] += 1
    x = Scale(low, 1.0, _LEFT, _WIDTH - 14)
    y = Scale(0, max(counts) * 1.05, 196, 30, whole=True)
    parts = [svg.frame(x, y, "Dice of the image", "images", 8, 4)]
    for number, count in enumerate(counts):
        if not count:
            continue
        start, stop = low + number * width, low + (number + 1) * width
        title = svg.tag("title", f"{count} between {start:.2f} and {stop:.2f}")
        left, top = x(start) + 1, y(count)
        box = {"x": left, "y": top, "width": x(stop) - left - 1, "height": y.start - top}
        parts.append(svg.tag("rect", title, **box, class_="pile"))
    middle = sum(values) / len(values)
    parts.append(svg.tag("line", x1=x(middle), x2=x(middle), y1=y.start, y2=y.stop, class_="median"))
    parts.append(svg.text(x(middle), y.stop - 6, f"mean {middle:.3f}", anchor="middle"))
    label = f"Histogram of the Dice of {len(values)} images, mean {middle:.3f}"
    return svg.svg_figure(_WIDTH, 236, label, *parts)


def tuning(curves: Mapping[str, Sequence[tuple[float, float]]], chosen: Mapping[str, float]) -> Markup | None:
    """Draw mean Dice over the threshold, a line per part with its choice; None if nothing was tuned."""
    if not curves:
        return None
    values = [value for curve in curves.values() for _, value in curve]
    low, high = svg.padded(min(values), max(values))
    x, y = Scale(0, 1, _LEFT + 14, _WIDTH - 14), Scale(low, high, 196, 30)
    parts = [svg.frame(x, y, "threshold", "mean Dice on the validation images", 8, 5)]
    for part, curve in curves.items():
        points = [(x(at), y(value)) for at, value in curve]
        parts.append(svg.line(points, "curve l-completed", part))
        best, heights = chosen.get(part), dict(curve)
        if best is not None and best in heights:
            title = f"{part or 'chosen'}: {best:g}, {heights[best]:.4f}"
            parts.append(svg.mark("winner", x(best), y(heights[best]), title))
    return svg.svg_figure(_WIDTH, 236, "Mean Dice over the threshold", *parts)


def legend(
    classes: Sequence[str], errors: Sequence[Image] = (), background: int | None = 0
) -> list[tuple[str, str]]:
    """Return (meaning, colour) for error maps, and for the classes where several are objects.

    Args:
        errors: the error maps, which show whether any pixel was ignored.
        background: the index of the background class, if there is one.
    """
    ignored = any((picture == IGNORED).all(axis=2).any() for picture in errors)
    meanings = colour_meanings(classes, background, ignored)
    return [(name, "#{:02x}{:02x}{:02x}".format(*colour)) for name, colour in meanings]


class SegmentationReport(base.Report[SegmentationEvaluation]):
    """`metrics.json`, `images.csv`, and a page with the worst and the best images."""

    evaluator = SegmentationEvaluator
    template = "segmentation_page.html.j2"
    filters = (whole, dice, source, histogram, tuning)
    measures, names = MEASURES, NAMES

    def __init__(self, evaluation: SegmentationEvaluation) -> None:
        super().__init__(evaluation)
        classes, unit = evaluation.classes, evaluation.unit
        self.listed = listed(classes, evaluation.background)
        self.several = len(self.listed) > 1  # classes, which means are over
        self.mean_over = mean_over(classes, evaluation.background)
        self.headings = [f"{NAMES[name]} ({unit})" if name == HD95 else NAMES[name] for name in MEASURES]

    def rows(self, part: str | None = None) -> list[Row]:
        """Return the scores by class, of several the mean first; of one part's images if `part` is given."""
        images = [image for image in self.evaluation.images if part is None or image.part == part]
        classes = self.evaluation.classes
        chosen: list[tuple[str, str, int | None]] = [(classes[n], classes[n], n) for n in self.listed]
        if self.several:
            chosen.insert(0, (MEAN, f"mean of {self.mean_over}", None))
        return [
            Row(name, label, {measure: summarise(images, measure, index) for measure in MEASURES})
            for name, label, index in chosen
        ]

    def parts(self) -> dict[str, Row]:
        """Return the first row of each fold or seed."""
        return {part: self.rows(part)[0] for part in self.evaluation.parts}

    def over_parts(self) -> dict[str, Summary | None]:
        """Return the spread of means over folds or seeds, by measure."""
        firsts = [row.summaries.items() for row in self.parts().values()]
        return base.over_parts([{name: _mean(each) for name, each in first} for first in firsts])

    def results(self) -> dict[str, object]:
        """Return the scores: `mean` and `deviation` are over images, `whole` is over all pixels."""
        it = self.evaluation
        parts = {
            part: {"threshold": it.thresholds.get(part), **base.plain(row.summaries)}
            for part, row in self.parts().items()
        }
        return {
            "images": len(it.images),
            "classes": it.classes,
            "mean_over": self.mean_over,
            "threshold": it.thresholds.get(""),
            "hd95_unit": it.unit,
            "scores": {row.name: base.plain(row.summaries) for row in self.rows()},
            **({"parts": parts, "over_parts": base.plain(self.over_parts())} if parts else {}),
            "tuning": {part or "val": dict(curve) for part, curve in it.tuning.items()},
        }

    def tables(self) -> dict[str, str]:
        """Return `images.csv`: a row per image, in the order of evaluation; empty where it lacks a class."""
        distance = f"{HD95}_{_ENDING[self.evaluation.unit]}"
        columns = [distance if name == HD95 else name for name in MEASURES]
        classes = self.listed if self.several else []
        part = ["part"] if self.evaluation.parts else []
        own = [f"{self.evaluation.classes[index]}_{column}" for index in classes for column in columns]
        lines = []
        for image in self.evaluation.images:
            values = [image.value(measure, index) for index in (None, *classes) for measure in MEASURES]
            lines.append([image.name, *([image.part] if part else []), image.height, image.width, *values])
        return {IMAGES: file_io.to_csv(["name", *part, "height", "width", *columns, *own], lines)}

    def lines(self) -> Iterator[str]:
        """Yield the table of classes, and that of parts."""
        body = []
        for row in self.rows():
            spreads = [spread(row.summaries[name], name) for name in MEASURES]
            body.append([f"{row.label}, per image", *spreads, str(row.images)])
            body.append([f"{row.label}, all pixels", *map(whole, row.summaries.values()), str(row.images)])
        yield base.table(["", *self.headings, "images"], body)
        if not self.evaluation.parts:
            return
        body = []
        for part, first in self.parts().items():
            means = [format_score(_mean(each), name) for name, each in first.summaries.items()]
            body.append([part, *means, str(first.images)])
        pooled = [spread(each, name) for name, each in self.over_parts().items()]
        yield ""
        yield base.table(["means per image", *self.headings, "images"], [*body, [base.SPREAD, *pooled, ""]])

    def details(self) -> str:
        """Return the thresholds."""
        thresholds = sorted(set(self.evaluation.thresholds.values()))
        text = f", threshold {' and '.join(f'{each:g}' for each in thresholds)}" if thresholds else ""
        return f"{text} (tuned)" if self.evaluation.tuning else text

    def settings(self) -> list[tuple[str, str]]:
        """Return the threshold of each part."""
        thresholds = self.evaluation.thresholds.items()
        return [("threshold" + (f", {part}" if part else ""), f"{value:g}") for part, value in thresholds]

    def verdict(self) -> str:
        """Return one or two sentences with the main scores."""
        first = self.rows()[0]
        dice_scores, iou = first.summaries["dice"], first.summaries["iou"]
        if dice_scores is None or iou is None:
            return "There is nothing to evaluate."
        over = f", averaged over {self.mean_over}" if self.several else ""
        text = f"Dice {spread(dice_scores)} and IoU {spread(iou)} per image{over}, on {self.counted()}."
        low = sum(dice(image) < 0.5 for image in self.evaluation.images)
        if low:
            text += f" {low} of them {'is' if low == 1 else 'are'} below a Dice of 0.5."
        return text

    def images(self) -> list[ImageScores]:
        """Return all images, the worst first."""
        return sorted(self.evaluation.images, key=dice)

    def best(self) -> list[Case]:
        """Return the best cases that aren't among the worst too."""
        return base.apart(self.evaluation.best, self.evaluation.worst, lambda case: case.scores)

    def legend(self) -> list[tuple[str, str]]:
        """Return meaning and colour of what the pictures of cases show."""
        errors = [case.shown[3] for case in (*self.evaluation.worst, *self.evaluation.best)]
        return legend(self.evaluation.classes, errors, self.evaluation.background)
