"""`--evaluate`: what a run's network is worth on images that it didn't learn from, image by image."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch
from torch import Tensor

from lab import rundir
from lab.data.pairs import ImagePairs
from lab.figures.panels import Image, Masks, masks, pictures
from lab.inference.held_out import Split, about, as_trained, changes, names_of, usual_split
from lab.inference.loaded import missing_parts, parts_of
from lab.inference.masks import require_fit
from lab.inference.segmenter import THRESHOLD, Segmenter, load_segmenter, transform_names
from lab.labels import IGNORE
from lab.metrics.base import with_mark
from lab.metrics.scores import ImageScores, ThresholdSearch, score_image
from lab.tasks.base import array

Told = Callable[[int, int, str], object]
TUNED_ON_ITSELF = "the threshold was tuned on the images it is judged on: expect a little less on others"
WORST, BEST = 6, 3
_SIDE = 420  # pixels of each picture of a case, at most
_ENLARGED = 210  # up to here small ones are enlarged by whole numbers


@dataclass(frozen=True)
class Case:
    """An image to look at: the four pictures image, truth, prediction and errors, of one size (h, w, 3)."""

    scores: ImageScores
    shown: tuple[Image, Image, Image, Image]


@dataclass
class Evaluation:
    """What came of it. Plain data, which `lab.report.evaluation` writes down.

    Args:
        classes: names by index.
        background: the index of the class that means leave out, if there is one.
        thresholds: by part, the probability above which a pixel was foreground; empty where there are several
            classes. A run of one part calls it "".
        worst, best: by mean Dice, the most telling first.
        unit: of HD95, `px` or `µm`.
        tuning: by part, (threshold, mean Dice per image) on the validation images, where it was asked for.
        about: how it was done, for the reader.
    """

    folder: Path
    split: Split
    classes: list[str]
    unit: str = "px"
    thresholds: dict[str, float] = field(default_factory=dict)
    images: list[ImageScores] = field(default_factory=list)
    worst: list[Case] = field(default_factory=list)
    best: list[Case] = field(default_factory=list)
    tuning: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    background: int | None = 0
    notes: list[str] = field(default_factory=list)
    about: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def parts(self) -> list[str]:
        """The folds or seeds, in order; empty where the run is a single one."""
        return [part for part in dict.fromkeys(image.part for image in self.images) if part]


@dataclass(frozen=True)
class Settings:
    """How a run is judged; what is None is taken from the run. `pixel_size` is in micrometres."""

    threshold: float | None = None
    tune: bool = False
    flips: bool = False
    tile: int | None = None
    overlap: int | None = None
    pixel_size: float | None = None

    def __post_init__(self) -> None:
        if self.threshold is not None and self.tune:
            raise ValueError("give a threshold or have it tuned, not both")
        if self.threshold is not None and not 0 <= self.threshold < 1:
            raise ValueError(f"threshold must be in [0, 1), found {self.threshold}")
        if self.pixel_size is not None and not 0 < self.pixel_size < math.inf:
            raise ValueError(f"pixel_size must be above 0 µm, found {self.pixel_size}")


def evaluate_run(
    folder: Path | str,
    split: Split | None = None,
    *,
    device: str | None = None,
    data: Mapping[str, Any] | None = None,
    told: Told = lambda done, images, what: None,
    **settings: Any,
) -> Evaluation:
    """Judge a run on images of its own data: each fold or seed by its own network, where there are several.

    The data is built anew from the run's config. Images are asked for by `Task.infer`, one at a time, and
    judged by the metrics of the training, so that on the validation images the mean Dice is the run's best
    `val_dice`.

    Args:
        split: by default `test` where there is one, else `val`; `val` for folds, whose validation images are
            those that the fold's network hasn't learnt from.
        device: other than the config says.
        data: where the run's data lies now, by path, such as `{"data.root": "elsewhere"}`.
        told: called with the images that are done, how many there are, and what is being done.
        settings: of `Settings`: `threshold`, `tune` (find it on the validation images and keep it in the
            run's folder), `flips`, `tile`, `overlap`, `pixel_size`.

    Raises:
        CheckpointError: there are no weights, or they don't fit.
        ConfigError: the config can't be read, or its data or network can't be built.
        ValueError: an argument makes no sense, or there are no such images.
    """
    folder, started = Path(folder), time.perf_counter()
    chosen = Settings(**settings)
    result: Evaluation | None = None
    for path, part in parts_of(folder):
        work = _Work(load_segmenter(path, device=device, data=data), chosen, part)
        split = split or usual_split(work.splits, part)
        if result is None:
            unit = "px" if chosen.pixel_size is None else "µm"
            known = work.loaded
            result = Evaluation(
                folder, split, known.classes, unit, about=work.about(), background=known.background
            )
        elif result.classes != work.loaded.classes:
            raise ValueError(
                f"{path}: its classes are {work.loaded.classes}, and those before {result.classes}"
            )
        else:
            result.about["weights"] += f"; {path.name}: {work.about()['weights']}"
        work.judge(result, split, told)
    assert result is not None
    result.notes += missing_parts(folder)
    result.seconds = time.perf_counter() - started
    return result


class _Work:
    """One network and the data of its run."""

    def __init__(self, loaded: Segmenter, settings: Settings, part: str) -> None:
        if len(loaded.classes) > 2 and (settings.tune or settings.threshold is not None):
            raise ValueError(
                f"a threshold has no effect on {len(loaded.classes)} classes: the most probable one is taken"
            )
        self.loaded, self._settings, self._part = loaded, settings, part
        task = loaded.task
        task.tile = settings.tile or task.tile
        task.overlap = task.overlap if settings.overlap is None else settings.overlap
        task.flips = task.flips or settings.flips
        self.splits = loaded.create_splits()

    def about(self) -> dict[str, str]:
        """How the network was asked."""
        loaded = self.loaded
        found = {
            **about(loaded),
            "tiles": f"{loaded.task.tile} pixels, {loaded.task.overlap} overlapping",
            "flips averaged": "yes" if loaded.task.flips else "no",
        }
        if self._settings.pixel_size is not None:
            found["pixel size"] = f"{self._settings.pixel_size:g} µm"
        return found

    def judge(self, result: Evaluation, split: Split, told: Told) -> None:
        """Add this network's images to the result."""
        result.notes += [note for note in self._notes(split) if note not in result.notes]
        threshold = self.loaded.threshold if self._settings.threshold is None else self._settings.threshold
        if self._settings.tune:
            threshold, result.tuning[self._part] = self._tuned(told)
            if split == "val":
                result.notes += [] if TUNED_ON_ITSELF in result.notes else [TUNED_ON_ITSELF]
        if len(self.loaded.classes) == 2:
            result.thresholds[self._part] = threshold
        background = self.loaded.background
        for image, prediction, target, name in self._predictions(split, told):
            require_fit(prediction[0], self.loaded)
            scores = score_image(
                name,
                prediction,
                target,
                threshold=threshold,
                spacing=self._settings.pixel_size or 1.0,
                background=background,
                part=self._part,
            )
            result.images.append(scores)
            sample = masks(array(target)[0], array(prediction)[0], threshold, background)
            _keep(result.worst, WORST, 1, scores, image, sample)
            if any(sum(scores.counts[index][1:]) for index in scores.counted):  # nothing is no sight
                _keep(result.best, BEST, -1, scores, image, sample)

    def _tuned(self, told: Told) -> tuple[float, list[tuple[float, float]]]:
        """The best threshold on the validation images, kept in the run's folder for later predictions."""
        search = ThresholdSearch(self.loaded.background)
        images = 0
        for _, prediction, target, _ in self._predictions("val", told, "tuning"):
            search.add(prediction, target)
            images += 1
        best, curve = search.best(), search.curve()
        record = {
            "threshold": best,
            "epoch": self.loaded.epoch,
            "split": "val",
            "images": images,
            "dice": dict(curve)[best],
            "dice_at_0.5": dict(curve)[0.5],
            "flips": self.loaded.task.flips,
        }
        rundir.atomic_write(self.loaded.folder / THRESHOLD, rundir.to_json(record, indent=2) + "\n")
        return best, curve

    def _predictions(
        self, split: Split, told: Told, what: str = "images"
    ) -> Iterator[tuple[Tensor, Tensor, Tensor, str]]:
        """Image (C, H, W), probabilities, target and name of each item; the first three on the CPU."""
        dataset = getattr(self.splits, split)
        loaded = self.loaded
        names = names_of(self.splits, split, loaded)
        label = " ".join(word for word in (self._part, what) if word)
        ignored = loaded.ignored
        for index, name in enumerate(names):
            *inputs, target = (part[None] for part in dataset[index])
            target = with_mark(target, ignored, IGNORE)
            asked = [as_trained(inputs[0], loaded.facts, self.splits.facts), *inputs[1:]]
            with torch.no_grad(), loaded.runtime.autocast():
                prediction = loaded.task.predict(loaded.task.infer(loaded.model, *loaded.runtime.move(asked)))
            yield inputs[0][0], prediction.cpu(), target, name
            told(index + 1, len(names), label)

    def _notes(self, split: Split) -> Iterator[str]:
        """What the user should know of these images."""
        names = names_of(self.splits, split, self.loaded)
        yield from changes(self.loaded, self.splits, split, names, self._part)
        facts, now = self.loaded.facts, self.splits.facts
        where = f"{self._part}: " if self._part else ""
        cuts = [name for name in transform_names(self.loaded.config) if "Crop" in name]
        if cuts:
            yield f"{where}judged on cuts of the images, by {', '.join(cuts)} in data.val_transforms"
        dataset = getattr(self.splits, split)
        numbers = (dataset.sequences if isinstance(dataset, ImagePairs) else None) or ()
        unknown = sum(int(number) < 0 for number in numbers)
        if unknown:
            yield f"{where}{unknown} images are of sequences that the training didn't have: judged without"
        if facts.get("sequences") != now.get("sequences") and facts:
            raise ValueError(
                f"{self.loaded.folder}: the sequences of its data are not those of the training any more, "
                "and the network knows them by number; restore the data, or use --predict with a manifest"
            )


def _keep(
    cases: list[Case],
    count: int,
    sign: int,
    scores: ImageScores,
    image: Tensor,
    sample: Masks,
) -> None:
    """Put the image among the first `count` by sign · Dice, if it belongs there."""

    def key(each: ImageScores) -> float:
        return sign * (each.value("dice") or 0.0)

    if len(cases) == count and key(scores) >= key(cases[-1].scores):
        return
    shown = tuple(_reduced(each, smooth=not n) for n, each in enumerate(pictures(array(image), sample)))
    assert len(shown) == 4
    cases.append(Case(scores, shown))
    cases.sort(key=lambda case: key(case.scores))
    del cases[count:]


def _reduced(picture: Image, smooth: bool) -> Image:
    """At most `_SIDE` pixels a side; small ones enlarged by a whole number, so that pixels stay square."""
    height, width = picture.shape[:2]
    longest = max(height, width)
    if longest <= _ENLARGED:
        factor = _SIDE // longest
        return np.ascontiguousarray(picture.repeat(factor, 0).repeat(factor, 1))
    if longest <= _SIDE:
        return picture
    size = max(1, round(width * _SIDE / longest)), max(1, round(height * _SIDE / longest))
    way = PIL.Image.Resampling.BOX if smooth else PIL.Image.Resampling.NEAREST
    return np.asarray(PIL.Image.fromarray(picture).resize(size, way))
