"""Evaluation of a classifier on held-out images: predictions, scores, mistakes and efficiency."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lab.evaluate.base import Evaluation, Evaluator, HeldOut, Progress, as_trained, normalisation
from lab.evaluate.efficiency import Efficiency, measure
from lab.figures.panels import Image, to_rgb
from lab.metrics.class_scores import Scores, judge
from lab.predict.classification import Probabilities, answers, class_names
from lab.predict.loaded_run import LoadedRun, load
from lab.tasks import Classification

MISTAKES = 12
_ROUNDING = 1e-3  # how far a normalisation that is undone may leave [0, 1]


@dataclass(frozen=True, eq=False)
class Answer:
    """The prediction for one image.

    Args:
        truth: index of the true class.
        probabilities: of the classes, (C,).
        part: the fold or seed of the network, where there are several.
    """

    name: str
    truth: int
    probabilities: Probabilities
    part: str = ""

    @property
    def predicted(self) -> int:
        """The most probable class."""
        return int(self.probabilities.argmax())

    @property
    def confidence(self) -> float:
        """Its probability."""
        return float(self.probabilities.max())


class Mistake(NamedTuple):
    """A wrong prediction to display; `picture` is None where the input is not an image."""

    answer: Answer
    picture: Image | None


@dataclass
class ClassificationEvaluation(Evaluation):
    """The predictions for all images. `lab.report.classification` writes them and their scores.

    Args:
        classes: names by index.
        mistakes: the most confident ones, in descending order.
        efficiency: of the network, of the first where there are several; None where it wasn't measured.
    """

    classes: list[str] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    mistakes: list[Mistake] = field(default_factory=list)
    efficiency: Efficiency | None = None
    _scores: dict[str | None, Scores] = field(default_factory=dict, init=False, repr=False)

    @property
    def items(self) -> list[Answer]:
        """The predictions."""
        return self.answers

    def arrays(self, part: str | None = None) -> tuple[NDArray[np.int64], Probabilities]:
        """Return truths (N,) and probabilities (N, C) of all predictions, or of one part's."""
        chosen = [answer for answer in self.answers if part is None or answer.part == part]
        return np.array([each.truth for each in chosen]), np.stack([each.probabilities for each in chosen])

    def scores(self, part: str | None = None) -> Scores:
        """Return the scores of all predictions, or of one part's; call it once all are there.

        Raises:
            ValueError: a probability isn't finite, or a truth is not a class.
        """
        if part not in self._scores:
            self._scores[part] = judge(*self.arrays(part))
        return self._scores[part]


@dataclass(frozen=True)
class ClassificationEvaluator(Evaluator[LoadedRun, ClassificationEvaluation]):
    """Evaluator of classifiers; the network predicts as in validation.

    Args:
        efficiency: also measure size, operations and speed, which takes some seconds.
    """

    efficiency: bool = True
    task = Classification
    load = staticmethod(load)

    def begin(self, folder: Path, held_out: HeldOut[LoadedRun]) -> ClassificationEvaluation:
        """Create a result; the network's first output determines the number of classes."""
        return ClassificationEvaluation(folder, held_out.split)

    def evaluate_part(
        self, result: ClassificationEvaluation, held_out: HeldOut[LoadedRun], on_progress: Progress
    ) -> None:
        """Add the predictions of one network.

        Raises:
            ValueError: the classes are not those of the training, or no image has one.
        """
        _require_same_classes(held_out)
        loaded, which = held_out.loaded, f"of the {held_out.split} set"
        names = held_out.names()
        result.note(held_out.changes(names))
        ignored, unlabelled = loaded.ignored, 0
        for done, ((name, truth), inputs, likely) in enumerate(answers(loaded, _items(held_out, names)), 1):
            if not result.classes:
                result.classes = class_names(loaded, len(likely))
            if truth in ignored:
                unlabelled += 1
                continue
            answer = Answer(name, truth, likely, held_out.part)
            result.answers.append(answer)
            _keep(result.mistakes, answer, inputs[0], loaded)
            on_progress(done, len(names), held_out.part or "images")
        if unlabelled == len(names):
            raise ValueError(f"{loaded.place}: no image {which} has a class")
        result.note([f"{unlabelled} images {which} have no class: not evaluated"] if unlabelled else [])
        if self.efficiency and result.efficiency is None:
            _, first = next(_items(held_out, ["0"]))
            result.efficiency = measure(loaded, first)

    def finish(self, result: ClassificationEvaluation) -> None:
        """Add notes on unusual predictions of all parts."""
        result.notes += _class_notes(result)


def _require_same_classes(held_out: HeldOut[LoadedRun]) -> None:
    loaded = held_out.loaded
    now = [str(name) for name in held_out.splits.info.classes or ()]
    if now and loaded.classes and now != loaded.classes:
        raise ValueError(
            f"{loaded.place}: the classes of its data are {', '.join(now)}, and those of the training "
            f"were {', '.join(loaded.classes)}; restore the data, or use --predict"
        )


def _items(
    held_out: HeldOut[LoadedRun], names: Sequence[str]
) -> Iterator[tuple[tuple[str, int], list[Tensor]]]:
    """Yield name and true class of each item, and the network's inputs."""
    for index, name in enumerate(names):
        image, *others, target = held_out.dataset[index]
        asked = as_trained(image, held_out.loaded.info, held_out.splits.info)
        truth = torch.as_tensor(target)
        yield (name, int(truth.argmax() if truth.dim() else truth)), [asked, *others]


def _keep(mistakes: list[Mistake], answer: Answer, image: Tensor, loaded: LoadedRun) -> None:
    """Keep the prediction if it is among the most confident mistakes."""
    if answer.predicted == answer.truth:
        return
    if len(mistakes) == MISTAKES and answer.confidence <= mistakes[-1].answer.confidence:
        return
    mistakes.append(Mistake(answer, _picture(image, normalisation(loaded.info))))
    mistakes.sort(key=lambda each: -each.answer.confidence)
    del mistakes[MISTAKES:]


def _picture(image: Tensor, normalised: tuple[list[float], list[float]] | None) -> Image | None:
    """Return the image (C, H, W) for display, with its original brightness if its values lie in [0, 1]."""
    if image.dim() != 3:
        return None
    if normalised is not None:
        mean, std = (torch.tensor(each).reshape(-1, 1, 1) for each in normalised)
        image = image * std + mean
    low, high = (float(edge) for edge in image.float().aminmax())
    if len(image) not in (1, 3) or not (low > -_ROUNDING and high < 1 + _ROUNDING):
        return to_rgb(image.numpy())
    whole: Image = (255 * image.clamp(0, 1)).round().byte().expand(3, -1, -1).permute(1, 2, 0).numpy().copy()
    return whole


def _class_notes(result: ClassificationEvaluation) -> Iterator[str]:
    """Yield notes on the predictions for the user."""
    scores = result.scores()
    absent = [name for name, score in zip(result.classes, scores.classes, strict=True) if not score.support]
    if absent:
        shown = ", ".join(absent[:8]) + (", …" if len(absent) > 8 else "")
        areas = [not math.isnan(score.auc) for score in scores.classes]
        rest = "and the mean is that of the others" if any(areas) else "nor is that of any other class"
        yield f"no image is of the class {shown}: its ROC-AUC isn't defined, {rest}"
    lacking = [part for part in result.parts if math.isnan(result.scores(part).auc)]
    if lacking and len(lacking) < len(result.parts):
        yield f"ROC-AUC isn't defined for {', '.join(lacking)}: its mean is that of the others"
    predicted = [name for name, score in zip(result.classes, scores.classes, strict=True) if score.predicted]
    if len(predicted) == 1 and scores.samples > 1:
        yield f"the model predicts '{predicted[0]}' for all {scores.samples} images"
