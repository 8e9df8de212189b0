"""Report of a classifier's evaluation: JSON, CSV tables, plots, an HTML page, and a text."""

import math
from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path

from lab.evaluate.classification import Answer, ClassificationEvaluation, ClassificationEvaluator
from lab.evaluate.efficiency import Efficiency
from lab.figures import classification as figures
from lab.metrics.class_scores import MEASURES, SUMMARY, Shares, roc_curves, summary
from lab.report import evaluation_base as base
from lab.report.classification_rows import NAMES, area, confused, cost, headline, over_parts, pooling, speeds
from lab.report.evaluation_base import format_score, spread
from lab.store import file_io

PREDICTIONS, CONFUSION = "predictions.csv", "confusion.csv"
_MOST_CLASSES = 30  # in the text for the console


class ClassificationReport(base.Report[ClassificationEvaluation]):
    """`metrics.json`, `predictions.csv`, `confusion.csv`, a PNG of each of `plots`, and the page.

    ROC curves and mistakes have no plot where there are none.
    """

    evaluator = ClassificationEvaluator
    template = "classification_page.html.j2"
    plots = ("confusion", "reliability", "roc", "mistakes")
    filters = (area, summary, headline, over_parts, pooling, confused, cost, speeds)
    measures, names = MEASURES, NAMES
    most_wrong = 1000  # rows of wrong predictions on the page

    def draw(self, directory: Path) -> None:
        """Draw the plots as PNG files."""
        it, scores, classes = self.evaluation, self.evaluation.scores(), self.evaluation.classes
        run = f"{it.folder.name}:{' pooled' if it.parts else ''}"
        confusion, reliability, roc, mistakes = (directory / f"{name}.png" for name in self.plots)
        title = f"{run} accuracy {format_score(scores.accuracy)}"
        figures.confusion_figure(scores.confusion, classes, confusion, title=title)
        title = f"{run} ECE {format_score(scores.calibration_error)}"
        figures.reliability_figure([astuple(each) for each in scores.bins], reliability, title=title)
        if curves := roc_curves(*it.arrays()):
            figures.roc_figure(curves, classes, roc, title=f"{run} ROC-AUC {area(scores.auc)}")
        wrong = [
            figures.Wrong(picture, each.name, classes[each.predicted], classes[each.truth], each.confidence)
            for each, picture in it.mistakes
            if picture is not None
        ]
        if wrong:
            figures.mistakes_figure(wrong, mistakes, title=f"{it.folder.name}: most confident mistakes")

    def results(self) -> dict[str, object]:
        """Return the scores; of several parts means at the top, and those of all predictions in `pooled`."""
        it = self.evaluation
        return {
            "images": len(it.answers),
            "classes": it.classes,
            **(self._of_parts() if it.parts else self._of_all()),
            "mistakes": [
                {
                    "name": answer.name,
                    **({"part": answer.part} if it.parts else {}),
                    "true": it.classes[answer.truth],
                    "said": it.classes[answer.predicted],
                    "probability": answer.confidence,
                }
                for answer, _ in it.mistakes
            ],
            "efficiency": it.efficiency and _plain(it.efficiency),
        }

    def _of_all(self) -> dict[str, object]:
        """Return the scores of all predictions together."""
        scores = self.evaluation.scores()
        return {
            "accuracy": scores.accuracy,
            "macro": vars(scores.macro),
            "weighted": vars(scores.weighted),
            "roc_auc": scores.auc,
            "calibration_error": scores.calibration_error,
            "scores": {
                name: {
                    **vars(each.shares),
                    "roc_auc": each.auc,
                    "images": each.support,
                    "said": each.predicted,
                }
                for name, each in zip(self.evaluation.classes, scores.classes, strict=True)
            },
            "confusion": scores.confusion.tolist(),
            "reliability": [vars(each) for each in scores.bins],
        }

    def _of_parts(self) -> dict[str, object]:
        """Return means over folds or seeds, the scores of each, their spread, and the pooled scores."""
        over = over_parts(self.evaluation)
        means = {name: math.nan if each is None else each.mean for name, each in over.items()}
        return {
            "accuracy": means["accuracy"],
            "macro": {name: means[name] for name in MEASURES},
            "roc_auc": means["auc"],
            "calibration_error": means["calibration_error"],
            "parts": {part: summary(self.evaluation.scores(part)) for part in self.evaluation.parts},
            "over_parts": base.plain(over),
            "pooled": {"note": pooling(self.evaluation), **self._of_all()},
        }

    def tables(self) -> dict[str, str]:
        """Return a row per image in the order of evaluation, and a row per true class of the confusion."""
        it, classes = self.evaluation, self.evaluation.classes
        part = ["part"] if it.parts else []
        head = ["name", *part, "true", "class", "probability", "right", *(f"p_{name}" for name in classes)]
        predictions = (
            [
                each.name,
                *([each.part] if part else []),
                classes[each.truth],
                classes[each.predicted],
                each.confidence,
                int(each.predicted == each.truth),
                *each.probabilities.tolist(),
            ]
            for each in it.answers
        )
        confusion = zip(classes, it.scores().confusion.tolist(), strict=True)
        return {
            PREDICTIONS: file_io.to_csv(head, predictions),
            CONFUSION: file_io.to_csv(["true", *classes], ([name, *row] for name, row in confusion)),
        }

    def lines(self) -> Iterator[str]:
        """Yield the tables for a terminal."""
        it, shown = self.evaluation, headline(self.evaluation)
        yield (
            f"accuracy {shown['accuracy']}, ROC-AUC {shown['auc']}, "
            f"calibration error (ECE) {shown['calibration_error']}"
        )
        yield ""
        if it.parts:
            yield from (self._by_part(), "", f"Pooled: {pooling(it)}", "")
        yield from self._by_class()
        if mistaken := confused(it):
            pairs = (f"{true} → {predicted} ({count})" for true, predicted, count, _ in mistaken)
            yield from ("", f"Most frequent confusions (true → predicted): {', '.join(pairs)}")
        if it.efficiency is not None:
            yield from ("", *(f"{name}: {value}" for name, value in cost(it.efficiency)))
            if rows := [[f"batch {row[0]}", *row[1:]] for row in speeds(it.efficiency)]:
                yield base.table([it.efficiency.device, "median", "95th percentile", "images/s"], rows)

    def _by_part(self) -> str:
        """The table of folds or seeds, and their mean."""
        body = []
        for part in self.evaluation.parts:
            scores = self.evaluation.scores(part)
            body.append([part, *map(format_score, summary(scores).values()), str(scores.samples)])
        body.append([base.SPREAD, *map(spread, over_parts(self.evaluation).values()), ""])
        return base.table(["", *(NAMES[name] for name in SUMMARY), "images"], body)

    def _by_class(self) -> Iterator[str]:
        """The table of classes and means; of many classes those with the lowest F1."""
        scores = self.evaluation.scores()
        named = list(zip(self.evaluation.classes, scores.classes, strict=True))
        # A terminal has no room for hundreds of classes: show the worst, which matter most.
        if len(named) > _MOST_CLASSES:
            named.sort(key=lambda each: (math.isnan(each[1].shares.f1), each[1].shares.f1))
            del named[_MOST_CLASSES:]
        body = [
            [name, *map(format_score, vars(each.shares).values()), area(each.auc), str(each.support)]
            for name, each in named
        ]
        for name, means, curve in self.means():
            shares = map(format_score, vars(means).values())
            body.append([f"{name} mean", *shares, curve, str(scores.samples)])
        yield base.table(["", *(NAMES[name] for name in MEASURES), NAMES["auc"], "images"], body)
        if len(named) < len(scores.classes):
            which = f"The {len(named)} classes with the lowest F1 of {len(scores.classes)}"
            yield f"{which}; the others: {base.METRICS}"

    def means(self) -> list[tuple[str, Shares, str]]:
        """Return name, scores and ROC-AUC of both means over classes."""
        scores = self.evaluation.scores()
        return [("macro", scores.macro, area(scores.auc)), ("weighted", scores.weighted, "")]

    def wrong(self) -> list[Answer]:
        """Return the wrong predictions, most confident first: mislabelled images come to the top."""
        wrong = [each for each in self.evaluation.answers if each.predicted != each.truth]
        return sorted(wrong, key=lambda each: -each.confidence)

    def verdict(self) -> str:
        """Return two or three sentences with the main scores; of several parts their mean ± spread."""
        scores, classes, counted = self.evaluation.scores(), self.evaluation.classes, self.counted()
        wrong = round(scores.samples * (1 - scores.accuracy))
        if self.evaluation.parts:
            scored = headline(self.evaluation)
            text = f"Accuracy is {scored['accuracy']} and F1 {scored['f1']}, mean ± spread, on {counted}."
            text += f" Pooled, {wrong:,} of {scores.samples:,} predictions are wrong."
        else:
            text = f"{100 * scores.accuracy:.1f} % of {counted} are recognised, {wrong:,} are not; F1 is "
            text += f"{format_score(scores.macro.f1)}, averaged over {len(classes)} classes."
        # A class without images has no recall.
        found = [each for each in zip(classes, scores.classes, strict=True) if each[1].support]
        name, lowest = min(found, key=lambda each: each[1].shares.recall)
        if wrong:
            text += (
                f" Recognised least often: {name}, {100 * lowest.shares.recall:.0f} % of {lowest.support}."
            )
        return text


def _plain(efficiency: Efficiency) -> dict[str, object]:
    speeds = [
        {
            "batch": each.batch,
            "median_ms": 1000 * each.median,
            "p95_ms": 1000 * each.p95,
            "images_per_second": each.throughput,
            "passes": each.passes,
        }
        for each in efficiency.speeds
    ]
    return {**vars(efficiency), "speeds": speeds}
