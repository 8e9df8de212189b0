"""`--evaluate` of a classifier: what it says of images that it didn't learn from, and what that is worth."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lab.data.splits import Splits
from lab.figures.panels import Image, to_rgb
from lab.inference.answers import Probabilities, answers, class_names, require_classifier
from lab.inference.efficiency import Efficiency, measure
from lab.inference.held_out import (
    Split,
    about,
    as_trained,
    changes,
    names_of,
    normalisation,
    usual_split,
)
from lab.inference.loaded import Loaded, load, missing_parts, parts_of
from lab.metrics.class_scores import Scores, judge

Told = Callable[[int, int, str], object]
MISTAKES = 12
_ROUNDING = 1e-3  # how far a normalisation that is undone may leave [0, 1]


@dataclass(frozen=True, eq=False)
class Answer:
    """What was said of one image.

    Args:
        truth: index of the true class.
        probabilities: of the classes, (C,).
        part: the fold or seed whose network was asked, where there are several.
    """

    name: str
    truth: int
    probabilities: Probabilities
    part: str = ""

    @property
    def said(self) -> int:
        """The most probable class."""
        return int(self.probabilities.argmax())

    @property
    def confidence(self) -> float:
        """Its probability."""
        return float(self.probabilities.max())


@dataclass(frozen=True, eq=False)
class Mistake:
    """A wrong answer to look at; `picture` is None where the input is no image."""

    answer: Answer
    picture: Image | None


@dataclass
class ClassEvaluation:
    """What came of it. Plain data, which `lab.report.classification` writes down.

    Args:
        classes: names by index.
        mistakes: the most confident ones, first the surest.
        efficiency: of the network, of the first where there are several; None where it wasn't measured.
        about: how it was done, for the reader.
    """

    folder: Path
    split: Split
    classes: list[str]
    answers: list[Answer] = field(default_factory=list)
    mistakes: list[Mistake] = field(default_factory=list)
    efficiency: Efficiency | None = None
    notes: list[str] = field(default_factory=list)
    about: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    _scores: dict[str | None, Scores] = field(default_factory=dict, init=False, repr=False)

    @property
    def parts(self) -> list[str]:
        """The folds or seeds, in order; empty where the run is a single one."""
        return [part for part in dict.fromkeys(answer.part for answer in self.answers) if part]

    def arrays(self, part: str | None = None) -> tuple[NDArray[np.int64], Probabilities]:
        """Truths (N,) and probabilities (N, C) of all answers, or of one part's."""
        chosen = [answer for answer in self.answers if part is None or answer.part == part]
        return np.array([each.truth for each in chosen]), np.stack([each.probabilities for each in chosen])

    def scores(self, part: str | None = None) -> Scores:
        """The figures of all answers, or of one part's; computed once all answers are there.

        Raises:
            ValueError: an answer isn't finite, or a truth is no class.
        """
        if part not in self._scores:
            self._scores[part] = judge(*self.arrays(part))
        return self._scores[part]


def evaluate_run(
    folder: Path | str,
    split: Split | None = None,
    *,
    device: str | None = None,
    data: Mapping[str, Any] | None = None,
    efficiency: bool = True,
    told: Told = lambda done, images, what: None,
) -> ClassEvaluation:
    """Judge a run on images of its own data: each fold or seed by its own network, where there are several.

    The data is built anew from the run's config, and the network is asked as in validation.

    Args:
        split: by default `test` where there is one, else `val`; `val` for folds, whose validation images are
            those that the fold's network hasn't learnt from.
        device: other than the config says.
        data: where the run's data lies now, by path, such as `{"data.root": "elsewhere"}`.
        efficiency: measure size, arithmetic and speed, too: some seconds.
        told: called with the images that are done, how many there are, and whose they are.

    Raises:
        CheckpointError: there are no weights, or they don't fit.
        ConfigError: the config can't be read, or its data or network can't be built.
        ValueError: the run's task is another, there are no such images, their classes are not those of the
            training, or an answer isn't finite.
    """
    folder, started = Path(folder), time.perf_counter()
    result: ClassEvaluation | None = None
    for path, part in parts_of(folder):
        loaded = load(path, device=device, data=data)
        require_classifier(loaded)
        work = _Work(loaded, part)
        split = split or usual_split(work.splits, part)
        if result is None:
            result = ClassEvaluation(folder, split, [], about=about(loaded))
        else:
            result.about["weights"] += f"; {part}: {about(loaded)['weights']}"
        work.judge(result, told)
        if efficiency and result.efficiency is None:
            result.efficiency = measure(loaded, work.first(split))
    assert result is not None
    result.notes += missing_parts(folder)
    result.notes += _of_classes(result)
    result.seconds = time.perf_counter() - started
    return result


class _Work:
    """One network and the data of its run."""

    def __init__(self, loaded: Loaded, part: str) -> None:
        self._loaded, self._part = loaded, part
        self.splits: Splits = loaded.create_splits()
        now = [str(name) for name in self.splits.facts.get("classes") or ()]
        if now and loaded.classes and now != loaded.classes:
            raise ValueError(
                f"{loaded.folder}: the classes of its data are {', '.join(now)}, and those of the training "
                f"were {', '.join(loaded.classes)}; restore the data, or use --predict"
            )

    def judge(self, result: ClassEvaluation, told: Told) -> None:
        """Add this network's answers to the result."""
        names = names_of(self.splits, result.split, self._loaded)
        found = changes(self._loaded, self.splits, result.split, names, self._part)
        result.notes += [note for note in found if note not in result.notes]
        asked = answers(self._loaded, self._items(result.split, names))
        ignored, unlabelled = self._loaded.ignored, 0
        for done, ((name, truth), inputs, likely) in enumerate(asked, 1):
            if not result.classes:
                result.classes = class_names(self._loaded, len(likely))
            if truth in ignored:
                unlabelled += 1
                continue
            answer = Answer(name, truth, likely, self._part)
            result.answers.append(answer)
            self._keep(result.mistakes, answer, inputs[0])
            told(done, len(names), self._part or "images")
        if unlabelled == len(names):
            raise ValueError(f"{self._loaded.folder}: no image of the {result.split} set has a class")
        note = f"{unlabelled} images of the {result.split} set have no class: not judged"
        if unlabelled and note not in result.notes:  # seeds share the set
            result.notes.append(note)

    def first(self, split: Split) -> list[Tensor]:
        """The first sample as the network gets it."""
        return next(self._items(split, ["0"]))[1]

    def _items(self, split: Split, names: Sequence[str]) -> Iterator[tuple[tuple[str, int], list[Tensor]]]:
        """Name and true class of each item, and what the network is asked."""
        dataset = getattr(self.splits, split)
        for index, name in enumerate(names):
            image, *others, target = dataset[index]
            asked = as_trained(image, self._loaded.facts, self.splits.facts)
            truth = torch.as_tensor(target)
            yield (name, int(truth.argmax() if truth.dim() else truth)), [asked, *others]

    def _keep(self, mistakes: list[Mistake], answer: Answer, image: Tensor) -> None:
        """Put the answer among the surest of the wrong ones, if it belongs there."""
        if answer.said == answer.truth:
            return
        if len(mistakes) == MISTAKES and answer.confidence <= mistakes[-1].answer.confidence:
            return
        mistakes.append(Mistake(answer, _picture(image, normalisation(self._loaded.facts))))
        mistakes.sort(key=lambda each: -each.answer.confidence)
        del mistakes[MISTAKES:]


def _picture(image: Tensor, normalised: tuple[list[float], list[float]] | None) -> Image | None:
    """The image (C, H, W) as a person knows it: as bright as it is, where its values are shares."""
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


def _of_classes(result: ClassEvaluation) -> Iterator[str]:
    """What the user should know of the answers."""
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
    said = [name for name, score in zip(result.classes, scores.classes, strict=True) if score.said]
    if len(said) == 1 and scores.samples > 1:
        yield f"all {scores.samples} images are said to be {said[0]}"
