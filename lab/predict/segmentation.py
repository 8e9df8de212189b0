"""`--predict` of segmentation: masks, overlays and tables."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lab.config.mask_values import mean_over
from lab.console import progress_bars
from lab.console.formatting import format_duration
from lab.data.file_problems import MOST_SHOWN
from lab.data.image_reader import ImageReader
from lab.data.masks import MaskReader
from lab.predict.connected_objects import class_counts, find_objects, outlined, scaled
from lab.predict.input_files import RECORD, Item, Layout, find_items
from lab.predict.masks import Settings, Source, predict_mask, write_png
from lab.predict.prediction import Prediction, prepare_output
from lab.predict.segmentation_run import Segmenter, left_out, require_in_range
from lab.predict.tables import MEAN, METRICS, OBJECTS, means, metrics_csv, object_rows, objects_csv, score
from lab.store import file_io, paths

UNKNOWN = -1  # the index of a sequence that the training didn't have


@dataclass
class SegmentationPrediction(Prediction):
    """The counts and scores of a prediction; a failure of the ground truth alone leaves the mask in place.

    Args:
        metrics: means over the images with truth, by class and measure.
        mean_over: the classes that the mean of classes is over.
    """

    objects: int = 0
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    mean_over: str = ""

    def lines(self) -> Iterator[str]:
        """Yield the path of the output, and the mean scores."""
        counted = f"{self.images} image{'' if self.images == 1 else 's'}, {self.objects:,} object"
        counted += "" if self.objects == 1 else "s"
        yield f"Predicted {counted} in {format_duration(self.seconds)}: {paths.shown(self.output)}"
        for name, values in self.metrics.items():
            figures = "  ".join(f"{key} {value:.4f}" for key, value in values.items())
            over = f" and {self.mean_over}" if name == MEAN and self.mean_over else ""
            yield f"{name:<10} {figures}  (means over images{over})"


@dataclass(frozen=True)
class _Files:
    """The paths of all output files."""

    output: Path
    probabilities: str | None  # the files' suffix, if they are wanted

    def mask(self, item: Item) -> Path:
        return self.output / "masks" / f"{item.name}.png"

    def overlay(self, item: Item) -> Path:
        return self.output / "overlays" / f"{item.name}.png"

    def likely(self, item: Item) -> Path | None:
        name = f"{item.name}{self.probabilities}"
        return None if self.probabilities is None else self.output / "probabilities" / name

    def all(self, items: Sequence[Item]) -> Iterator[Path]:
        for item in items:
            yield from (path for path in (self.mask(item), self.overlay(item), self.likely(item)) if path)
        yield from (self.output / name for name in (OBJECTS, METRICS, RECORD))


def predict(
    loaded: Segmenter,
    input: Path | str,
    output: Path | str,
    *,
    tile: int | None = None,
    overlap: int | None = None,
    flips: bool = False,
    threshold: float | None = None,
    min_area: int = 0,
    probabilities: bool = False,
    pixel_size: float | None = None,
    sequence: str | None = None,
    value_range: Sequence[float] | None = None,
    root: Path | None = None,
    force: bool = False,
    bar: bool | None = None,
) -> SegmentationPrediction:
    """Predict every image; write `masks/`, `overlays/`, `objects.csv`, and where truth exists `metrics.csv`.

    A mask is 0 and 255, or class indices of more than two classes, and lies on the image as viewers show it.

    Args:
        input: a folder, an image, or a manifest; see `find_items`.
        tile, overlap: pixels; by default those of the run's validation, so that both give the same answer.
        flips: average the logits over the image and its three flips (test-time augmentation), if the run's
            task doesn't already; four times slower.
        threshold: instead of the run's own.
        min_area: objects of fewer pixels become background.
        probabilities: also write those, 16-bit PNGs, or float16 arrays where there are more classes.
        pixel_size: micrometres a pixel is wide; adds columns in µm to `objects.csv`.
        sequence: the id of all images' sequence, for a network that takes one.
        value_range: as for `ImageReader`; by default that of the training.
        root: what a manifest's paths are relative to, if not its own folder.
        force: replace files that are there.
        bar: show progress; by default on a terminal.

    Raises:
        ValueError: an argument makes no sense or has no effect, there is nothing to predict, or a file is
            there already. Nothing has been written then.
    """
    started = time.perf_counter()
    settings = _settings(loaded, tile, overlap, flips, threshold)
    _require_sense(loaded, min_area, pixel_size)
    done = SegmentationPrediction(paths.absolute(output), notes=[*loaded.notes, *left_out(loaded.config)])
    done.mean_over = mean_over(loaded.classes, loaded.background)
    items = find_items(input, Layout.of(loaded.config.data.arguments), root, done.notes)
    files = _Files(done.output, (".png" if len(loaded.classes) == 2 else ".npy") if probabilities else None)
    indices = _sequence_indices(loaded, items, sequence, done.notes)
    inputs = [path for item in items for path in (item.image, item.truth) if path is not None]
    prepare_output(list(files.all(items)), inputs, force)
    work = _Work(loaded, settings, files, done, loaded.image_reader(value_range), min_area, pixel_size)
    with progress_bars.progress_bar(len(items), "image", shown=bar) as progress:
        for item, index in zip(items, indices, strict=True):
            progress.set_description(item.name[-30:], refresh=False)
            work.predict(item, index, lambda rows, of: progress.set_postfix(rows=f"{rows}/{of}"))
            progress.update()
    done.seconds = time.perf_counter() - started
    work.finish()
    return done


@dataclass
class _Work:
    """Predictor of one image after the other; collects the rows of the tables."""

    loaded: Segmenter
    settings: Settings
    files: _Files
    done: SegmentationPrediction
    reader: ImageReader
    min_area: int
    pixel_size: float | None
    objects: list[list[object]] = field(default_factory=list)
    scores: dict[str, dict[str, dict[str, float | None]]] = field(default_factory=dict)
    pixels: NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))

    def __post_init__(self) -> None:
        self.truth = _truth_reader(self.loaded)

    def predict(self, item: Item, sequence: int | None, on_progress: Callable[[int, int], object]) -> None:
        """Predict one image and write its files, or record that it can't be read."""
        loaded, files, done = self.loaded, self.files, self.done
        try:
            source = Source(item.image, self.reader)
        except ValueError as error:
            done.fail(item.name, error)
            return
        mask = predict_mask(loaded, source, self.settings, sequence, files.likely(item), on_progress)
        picture = scaled(source.pixels)
        del source  # frees memory before the objects are counted, which takes as much
        found = find_objects(mask, self.min_area, loaded.background)
        self.objects += object_rows(item.name, found, loaded.classes, self.pixel_size)
        self.pixels += class_counts(mask)
        write_png(files.overlay(item), outlined(picture, mask, loaded.background))
        self._score(item, mask)
        write_png(files.mask(item), np.multiply(mask, 255, out=mask) if len(loaded.classes) == 2 else mask)
        done.images += 1
        done.objects += len(found)

    def _score(self, item: Item, mask: NDArray[np.uint8]) -> None:
        if item.truth is None:
            return
        try:
            truth = self.truth.read(item.truth)
        except ValueError as error:
            self.done.fail(item.name, error)
            return
        try:
            self.scores[item.name] = score(mask, truth, self.loaded.classes, self.loaded.background)
        except ValueError as error:
            self.done.fail(item.name, f"{item.truth}: {error}")

    def finish(self) -> None:
        """Write the tables and the record."""
        done, output = self.done, self.files.output
        done.metrics = means(self.scores)
        done.notes += self.reader.depths.unlike(self.loaded.info, self.reader.value_range)
        # Scores on training images overestimate the network.
        learnt = set((self.loaded.info.split or {}).get("train") or ())
        if seen := sum(name in learnt for name in self.scores):
            done.notes.append(f"the metrics include {seen} images that the network was trained on")
        counts = self.pixels[: len(self.loaded.classes)]
        if np.count_nonzero(counts) == 1:
            only = self.loaded.classes[int(counts.argmax())]
            which = "the image" if done.images == 1 else f"all {done.images} images"
            done.notes.append(f"every pixel of {which} is predicted to be {only}")
        file_io.atomic_write(output / OBJECTS, objects_csv(self.objects, self.pixel_size))
        if self.scores:
            file_io.atomic_write(output / METRICS, metrics_csv(self.scores))
        else:  # with `force`, a table of an earlier prediction may be there
            (output / METRICS).unlink(missing_ok=True)
        done.write_record(
            self.loaded,
            mean_over=done.mean_over,
            settings={
                **vars(self.settings),
                "min_area": self.min_area,
                "pixel_size_um": self.pixel_size,
                "value_range": self.reader.value_range,
            },
            images=done.images,
            objects=done.objects,
            metrics=done.metrics,
        )


def _settings(
    loaded: Segmenter, tile: int | None, overlap: int | None, flips: bool, threshold: float | None
) -> Settings:
    """Return the inference settings; those not given are the run's."""
    if threshold is not None:
        loaded.require_binary()
    task = loaded.task
    return Settings(
        task.tile if tile is None else tile,
        task.overlap if overlap is None else overlap,
        task.divisor,
        flips or task.flips,
        loaded.threshold if threshold is None else threshold,
    )


def _require_sense(loaded: Segmenter, min_area: int, pixel_size: float | None) -> None:
    if min_area and loaded.background is None:
        raise ValueError(
            "min_area turns small objects into background, but this run has no background class: "
            f"{', '.join(loaded.classes)}; leave it out"
        )
    if min_area < 0:
        raise ValueError(f"min_area must be at least 0 pixels, found {min_area}")
    require_in_range(pixel_size=pixel_size)


def _sequence_indices(
    loaded: Segmenter, items: Sequence[Item], sequence: str | None, notes: list[str]
) -> list[int | None]:
    """Return the sequence index of each image for the network; unknown sequences get `UNKNOWN`."""
    known = loaded.sequences
    if known is None:
        if sequence is not None:
            raise ValueError("a sequence has no effect: this run's network is not conditioned on it")
        return [None] * len(items)
    ids = [item.sequence if sequence is None else sequence for item in items]
    strange = sorted({each for each in ids if each is not None and each not in known})
    if strange:
        named = ", ".join(strange[:MOST_SHOWN]) + (", …" if len(strange) > MOST_SHOWN else "")
        count = sum(each in strange for each in ids)
        notes.append(
            f"the training had no sequence {named}: {count} image{'s are' if count > 1 else ' is'} predicted "
            "without a condition"
        )
    if None in ids:
        notes.append(
            f"{ids.count(None)} of {len(ids)} images have no sequence id: they are predicted without a "
            "condition; a manifest's column sequence_id gives them one"
        )
    return [UNKNOWN if each is None else known.get(each, UNKNOWN) for each in ids]


def _truth_reader(loaded: Segmenter) -> MaskReader:
    """Return a reader of ground truth, as in the training; by class index for data not read from files."""
    # Newer checkpoints record how masks were read; for older ones the config's arguments decide.
    stated = loaded.info.mask_values
    if stated is not None:
        labels = {name: stated["classes"][name] for name in loaded.classes}
        return MaskReader(labels, stated["ignore"], ignore_others=stated["ignore_others"])
    data = loaded.config.data.arguments
    classes, ignore, threshold = (data.get(name) for name in ("classes", "ignore", "mask_threshold"))
    if not isinstance(classes, Mapping):
        several = len(loaded.classes) > 2
        classes = {name: index for index, name in enumerate(loaded.classes)} if several else None
    return MaskReader(
        classes,
        ignore if isinstance(ignore, (int, str)) else None,
        threshold if isinstance(threshold, (int, float)) else None,
    )
