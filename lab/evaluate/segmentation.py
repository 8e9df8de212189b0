"""Evaluation of segmentation on held-out images, image by image."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import PIL.Image
from torch import Tensor

from lab.config.mask_values import IGNORE_INDEX
from lab.data.image_mask_pairs import ImagePairs
from lab.evaluate.base import Evaluation, Evaluator, HeldOut, Progress, as_trained
from lab.figures.panels import Image, Masks, masks, pictures
from lab.metrics.base import with_mark
from lab.metrics.image_scores import ImageScores, ThresholdSearch, score_image
from lab.predict.masks import require_fit
from lab.predict.segmentation_run import (
    THRESHOLD,
    Segmenter,
    load_segmenter,
    require_in_range,
    transform_names,
)
from lab.store import file_io
from lab.tasks import Segmentation
from lab.tasks.base import array

TUNED_ON_ITSELF = (
    "the threshold was tuned on the images that it is evaluated on: scores are slightly too high"
)
WORST, BEST = 6, 3
_SIDE = 420  # pixels of each picture of a case, at most
_ENLARGED = 210  # up to here small ones are enlarged by whole numbers


@dataclass(frozen=True)
class Case:
    """An image to display: image, truth, prediction and error map, of one size (h, w, 3)."""

    scores: ImageScores
    shown: tuple[Image, Image, Image, Image]


@dataclass
class SegmentationEvaluation(Evaluation):
    """The scores of each image. `lab.report.segmentation` writes them.

    Args:
        classes: names by index.
        unit: of HD95, `px` or `µm`.
        thresholds: by part, the probability above which a pixel is foreground; empty where there are several
            classes. A run of one part calls it "".
        worst, best: by mean Dice, the most extreme first.
        tuning: by part, (threshold, mean Dice per image) on the validation images, where it was asked for.
        background: the index of the class that is not scored, if there is one.
    """

    classes: list[str]
    unit: str = "px"
    thresholds: dict[str, float] = field(default_factory=dict)
    images: list[ImageScores] = field(default_factory=list)
    worst: list[Case] = field(default_factory=list)
    best: list[Case] = field(default_factory=list)
    tuning: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    background: int | None = 0

    @property
    def items(self) -> list[ImageScores]:
        """The images."""
        return self.images


@dataclass(frozen=True)
class SegmentationEvaluator(Evaluator[Segmenter, SegmentationEvaluation]):
    """Evaluator of masks; a setting that is None is taken from the run.

    Images are predicted by `Task.infer`, one at a time, and scored by the metrics of the training, so that on
    the validation images the mean Dice is the run's best `val_dice`.

    Args:
        tune: tune the threshold on the validation images, and save it in the run's folder.
        flips: average over flipped images (test-time augmentation), if the run's task doesn't already.
        pixel_size: in micrometres.

    Raises:
        ValueError: a setting makes no sense.
    """

    threshold: float | None = None
    tune: bool = False
    flips: bool = False
    tile: int | None = None
    overlap: int | None = None
    pixel_size: float | None = None
    task = Segmentation

    def __post_init__(self) -> None:
        if self.threshold is not None and self.tune:
            raise ValueError("give a threshold or tune it, not both")
        require_in_range(threshold=self.threshold, pixel_size=self.pixel_size)

    def load(self, folder: Path, *, device: str | None, data: Mapping[str, object] | None) -> Segmenter:
        """Load a network and apply these settings to its task."""
        loaded = load_segmenter(folder, device=device, data=data)
        if self.tune or self.threshold is not None:
            loaded.require_binary()
        task = loaded.task
        task.tile = self.tile or task.tile
        task.overlap = task.overlap if self.overlap is None else self.overlap
        task.flips = task.flips or self.flips
        return loaded

    def begin(self, folder: Path, held_out: HeldOut[Segmenter]) -> SegmentationEvaluation:
        """Create a result with the network's classes."""
        loaded, size = held_out.loaded, self.pixel_size
        result = SegmentationEvaluation(folder, held_out.split, loaded.classes, background=loaded.background)
        result.about["tiles"] = f"{loaded.task.tile} pixels, {loaded.task.overlap} overlapping"
        result.about["flips averaged"] = "yes" if loaded.task.flips else "no"
        if size is not None:
            result.unit = "µm"
            result.about["pixel size"] = f"{size:g} µm"
        return result

    def evaluate_part(
        self, result: SegmentationEvaluation, held_out: HeldOut[Segmenter], on_progress: Progress
    ) -> None:
        """Add the images of one network."""
        loaded, part, background = held_out.loaded, held_out.part, held_out.loaded.background
        if result.classes != loaded.classes:
            raise ValueError(
                f"{loaded.place}: its classes are {loaded.classes}, and those before {result.classes}"
            )
        names = held_out.names()
        result.note(_notes(held_out, names))
        threshold = loaded.threshold if self.threshold is None else self.threshold
        # Always tuned on validation images, also when the test set is evaluated.
        if self.tune:
            threshold, result.tuning[part] = _tuned(replace(held_out, split="val"), on_progress)
            result.note([TUNED_ON_ITSELF] if held_out.split == "val" else [])
        if len(loaded.classes) == 2:
            result.thresholds[part] = threshold
        for image, prediction, target, name in _predictions(held_out, names, on_progress):
            require_fit(prediction[0], loaded)
            scores = score_image(
                name,
                prediction,
                target,
                threshold=threshold,
                spacing=self.pixel_size or 1.0,
                background=background,
                part=part,
            )
            result.images.append(scores)
            sample = masks(array(target)[0], array(prediction)[0], threshold, background)
            _keep(result.worst, WORST, 1, scores, image, sample)
            # A perfect score without any foreground shows nothing.
            if any(sum(scores.counts[index][1:]) for index in scores.counted):
                _keep(result.best, BEST, -1, scores, image, sample)


def _tuned(validation: HeldOut[Segmenter], on_progress: Progress) -> tuple[float, list[tuple[float, float]]]:
    """Find the best threshold on the validation images; save it in the run's folder for predictions."""
    loaded, names = validation.loaded, validation.names()
    search = ThresholdSearch(loaded.background)
    for _, prediction, target, _ in _predictions(validation, names, on_progress, "tuning"):
        search.add(prediction, target)
    best, curve = search.best(), search.curve()
    record = {
        "threshold": best,
        "epoch": loaded.epoch,
        "split": validation.split,
        "images": len(names),
        "dice": dict(curve)[best],
        "dice_at_0.5": dict(curve)[0.5],
        "flips": loaded.task.flips,
    }
    file_io.atomic_write(loaded.folder / THRESHOLD, file_io.to_json(record, indent=2) + "\n")
    return best, curve


def _predictions(
    held_out: HeldOut[Segmenter], names: list[str], on_progress: Progress, what: str = "images"
) -> Iterator[tuple[Tensor, Tensor, Tensor, str]]:
    """Yield image (C, H, W), probabilities, target and name of each item; the first three on the CPU."""
    loaded, dataset, ignored = held_out.loaded, held_out.dataset, held_out.loaded.ignored
    for index, name in enumerate(names):
        *inputs, target = (part[None] for part in dataset[index])
        target = with_mark(target, ignored, IGNORE_INDEX)
        asked = [as_trained(inputs[0], loaded.info, held_out.splits.info), *inputs[1:]]
        yield inputs[0][0], loaded.predicted(*asked).cpu(), target, name
        on_progress(index + 1, len(names), held_out.label(what))


def _notes(held_out: HeldOut[Segmenter], names: list[str]) -> Iterator[str]:
    """Yield notes on these images for the user."""
    loaded, dataset, where = held_out.loaded, held_out.dataset, held_out.where
    yield from held_out.changes(names)
    # Validation transforms are part of the data set: crops make scores incomparable with whole images.
    cuts = [name for name in transform_names(loaded.config) if "Crop" in name]
    if cuts:
        yield f"{where}evaluated on crops of the images, by {', '.join(cuts)} in data.val_transforms"
    numbers = (dataset.sequences if isinstance(dataset, ImagePairs) else None) or ()
    unknown = sum(int(number) < 0 for number in numbers)
    if unknown:
        yield f"{where}{unknown} images are of sequences unknown from the training: evaluated without"
    if loaded.facts:
        advice = "restore the data, or use --predict with a manifest"
        held_out.require_same("sequences", loaded.info.sequences, held_out.splits.info.sequences, advice)


def _keep(
    cases: list[Case], count: int, sign: int, scores: ImageScores, image: Tensor, sample: Masks
) -> None:
    """Keep the image if it is among the first `count` by sign · Dice."""

    def key(each: ImageScores) -> float:
        return sign * (each.value("dice") or 0.0)

    if len(cases) == count and key(scores) >= key(cases[-1].scores):
        return
    # Reduced at once: full-size images of all cases would fill the memory.
    shown = tuple(_reduced(each, smooth=not n) for n, each in enumerate(pictures(array(image), sample)))
    assert len(shown) == 4
    cases.append(Case(scores, shown))
    cases.sort(key=lambda case: key(case.scores))
    del cases[count:]


def _reduced(picture: Image, smooth: bool) -> Image:
    """Resize to at most `_SIDE` pixels a side; small images are enlarged by an integer factor."""
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
