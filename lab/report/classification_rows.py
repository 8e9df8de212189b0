"""A classifier's scores as text, for the page and for the console."""

import math
from collections.abc import Iterator

from lab.console.formatting import format_duration
from lab.evaluate.classification import ClassificationEvaluation
from lab.evaluate.efficiency import Efficiency
from lab.metrics.class_scores import SUMMARY, most_confused, summary
from lab.metrics.image_scores import Summary
from lab.report import evaluation_base as base
from lab.report.evaluation_base import format_score, kind_of, spread

NAMES = {name: name for name in SUMMARY} | {"f1": "F1", "auc": "ROC-AUC", "calibration_error": "ECE"}
_OPERATIONS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1, ""))


def area(value: float) -> str:
    """Format a ROC-AUC, `0.9996`: with one more digit than ratios, since most are close to 1."""
    return "–" if math.isnan(value) else f"{value:.4f}"


def over_parts(evaluation: ClassificationEvaluation) -> dict[str, Summary | None]:
    """Return the spread of scores over folds or seeds, by name."""
    found = [summary(evaluation.scores(part)) for part in evaluation.parts]
    return base.over_parts(
        [{name: None if math.isnan(value) else value for name, value in each.items()} for each in found]
    )


def headline(evaluation: ClassificationEvaluation) -> dict[str, str]:
    """Return the scores of `SUMMARY` by name, as text: of several parts `0.912 ± 0.051`, mean and spread.

    Not those of pooled predictions: probabilities of different networks, sorted together, rank worse than
    each network's own. Where some parts lack a score, the number of those that have it is added.
    """
    if not (parts := evaluation.parts):
        return {name: _shown(value, name) for name, value in summary(evaluation.scores()).items()}
    shown = {}
    for name, over in over_parts(evaluation).items():
        some = (
            f" ({over.count} of {len(parts)} {kind_of(parts)}s)" if over and over.count < len(parts) else ""
        )
        shown[name] = spread(over, name, _shown) + some
    return shown


def pooling(evaluation: ClassificationEvaluation) -> str:
    """Describe what pooled scores are computed from, where there are several parts."""
    kind = kind_of(evaluation.parts)
    text = f"the {len(evaluation.answers):,} predictions of {len(evaluation.parts)} {kind}s together"
    if kind == "fold" and evaluation.split == "val":  # each image is held out once
        return text
    return f"{text}; each image is counted once a {kind}"


def confused(evaluation: ClassificationEvaluation) -> list[tuple[str, str, int, float]]:
    """Return (true class, predicted class, images, fraction of the true class) of frequent mistakes."""
    scores, names = evaluation.scores(), evaluation.classes
    return [
        (names[true], names[predicted], count, count / scores.classes[true].support)
        for true, predicted, count in most_confused(scores.confusion)
    ]


def cost(efficiency: Efficiency) -> Iterator[tuple[str, str]]:
    """Yield the network's size and arithmetic, without its time."""
    yield "parameters", f"{efficiency.parameters:,}"
    yield "weights", _megabytes(efficiency.weight_bytes)
    yield "checkpoint", f"{_megabytes(efficiency.checkpoint_bytes)}, including the state for resuming"
    shape = " × ".join(map(str, efficiency.input))
    yield "operations", f"{_operations(efficiency)} for an image of {shape}"


def speeds(efficiency: Efficiency) -> list[list[str]]:
    """Batch size, median and 95th percentile of its time, and images a second."""
    return [
        [str(each.batch), format_duration(each.median), format_duration(each.p95), f"{each.throughput:,.0f}"]
        for each in efficiency.speeds
    ]


def _shown(value: float, name: str) -> str:
    return area(value) if name == "auc" else format_score(value)


def _megabytes(size: int) -> str:
    return f"{size / 2**20:.2f} MB"


def _operations(efficiency: Efficiency) -> str:
    """`3.63 GFLOP`, a multiplication and an addition being two."""
    flops = efficiency.flops
    if flops is None:
        names = ", ".join(efficiency.uncounted)
        return f"not countable ({names})" if names else "not countable"
    size, prefix = next(each for each in _OPERATIONS if flops >= each[0])
    return f"{flops / size:.3g} {prefix}FLOP"
