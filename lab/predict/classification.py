"""`--predict` of a classifier: a table of predicted classes."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lab.console import progress_bars
from lab.console.formatting import format_duration
from lab.data.classification_sets import prepare
from lab.data.csv_tables import listed_file, read_table
from lab.data.file_discovery import READ
from lab.data.file_problems import MOST_SHOWN, raise_all
from lab.data.image_reader import SUFFIXES, ImageReader
from lab.predict.input_files import RECORD, Item, Layout, images_in
from lab.predict.loaded_run import LoadedRun, require_task
from lab.predict.prediction import Prediction, prepare_output
from lab.store import file_io, paths
from lab.tasks import Classification

PREDICTIONS = "predictions.csv"
COLUMN = "image_path"


T = TypeVar("T")
Probabilities = NDArray[np.float32]


def answers(
    loaded: LoadedRun, samples: Iterable[tuple[T, Sequence[Tensor]]]
) -> Iterator[tuple[T, Sequence[Tensor], Probabilities]]:
    """Yield each sample with the probabilities of its classes, (C,), in order.

    Args:
        samples: an identifier of any type, and the network's inputs without the batch axis. Consecutive
            samples of one shape are batched, up to the batch size of the training.
    """
    waiting: list[tuple[T, Sequence[Tensor]]] = []
    for sample in samples:
        if waiting and (len(waiting) >= loaded.config.batch_size or _shapes(sample) != _shapes(waiting[0])):
            yield from _predicted(loaded, waiting)
            waiting = []
        waiting.append(sample)
    if waiting:
        yield from _predicted(loaded, waiting)


def class_names(loaded: LoadedRun, classes: int) -> list[str]:
    """Return the class names of the data; indices where it has none, or another number of them."""
    return loaded.classes if len(loaded.classes) == classes else [str(index) for index in range(classes)]


def _shapes(sample: tuple[object, Sequence[Tensor]]) -> list[torch.Size]:
    return [each.shape for each in sample[1]]


def _predicted(
    loaded: LoadedRun, samples: Sequence[tuple[T, Sequence[Tensor]]]
) -> Iterator[tuple[T, Sequence[Tensor], Probabilities]]:
    inputs = [torch.stack(each) for each in zip(*(inputs for _, inputs in samples), strict=True)]
    likely = loaded.predicted(*inputs).float().cpu().numpy()
    for (what, shown), row in zip(samples, likely, strict=True):
        yield what, shown, row


@dataclass
class ClassificationPrediction(Prediction):
    """The counts of a prediction.

    Args:
        counts: the number of images predicted to be of each class.
    """

    counts: dict[str, int] = field(default_factory=dict)

    def lines(self) -> Iterator[str]:
        """Yield the path of the table, and the most frequent classes."""
        counted = f"{self.images:,} image{'' if self.images == 1 else 's'}"
        table = paths.shown(self.output / PREDICTIONS)
        yield f"Predicted {counted} in {format_duration(self.seconds)}: {table}"
        most = sorted(self.counts.items(), key=lambda each: -each[1])
        if listed := ", ".join(f"{name} {count:,}" for name, count in most[:MOST_SHOWN] if count):
            yield f"Predicted: {listed}{', …' if len(most) > MOST_SHOWN else ''}"


def predict(
    loaded: LoadedRun,
    input: Path | str,
    output: Path | str,
    *,
    value_range: Sequence[float] | None = None,
    force: bool = False,
    bar: bool | None = None,
) -> ClassificationPrediction:
    """Predict the class of every image; write `predictions.csv` and `prediction.json`.

    Images are prepared as the training prepared its own. A row has the image's name and path, its most
    probable class with the probability, and a column `p_<class>` for each class; unreadable images have none.

    Args:
        input: an image, a folder with images in it or in folders below, or a CSV; see `find_items`.
        value_range: the values that become 0 and 1, for files of other depths than 8 bits; by default as in
            the training.
        force: replace files that are there.
        bar: show progress; by default on a terminal.

    Raises:
        ValueError: the run is no classifier of images, there is nothing to predict, or a file is there
            already. Nothing has been written then.
    """
    started = time.perf_counter()
    require_task(loaded, Classification)
    # New images are prepared like those of the training, so its facts must be complete.
    known = {"in_channels": loaded.info.in_channels, "size": loaded.info.size}
    missing = [name for name, value in known.items() if value is None]
    if missing:
        raise ValueError(
            f"{loaded.place}: cannot predict: the training data does not provide {' and '.join(missing)} "
            "of its images (Splits.facts), so new images cannot be prepared like them"
        )
    reader = loaded.image_reader(value_range)
    done = ClassificationPrediction(paths.absolute(output), notes=list(loaded.notes))
    # Everything that can be refused is refused before the first image is predicted.
    items = _found(paths.absolute(input), loaded.config.data.arguments, done.notes)
    prepare_output([done.output / PREDICTIONS, done.output / RECORD], [paths.absolute(input)], force)
    rows, classes = list[list[object]](), loaded.classes
    with progress_bars.progress_bar(len(items), "image", shown=bar) as progress:
        for item, _, likely in answers(loaded, _prepared(loaded, items, reader, done, progress)):
            classes = class_names(loaded, len(likely))
            # A non-finite output has no class: it fails like an unreadable image.
            if np.isfinite(likely).all():
                rows.append(_row(item, likely, classes))
            else:
                done.fail(item.name, _not_finite(item, likely))
    done.notes += reader.depths.unlike(loaded.info, reader.value_range)
    done.images = len(rows)
    predicted = Counter(row[2] for row in rows)
    done.counts = {name: predicted[name] for name in classes}
    if done.images > 1 and len(predicted) == 1:
        done.notes.append(f"the model predicts '{rows[0][2]}' for all {done.images} images")
    done.seconds = time.perf_counter() - started
    head = ["name", "path", "class", "probability", *(f"p_{name}" for name in classes)]
    file_io.atomic_write(done.output / PREDICTIONS, file_io.to_csv(head, rows))
    done.write_record(loaded, classes=classes, images=done.images, counts=done.counts)
    return done


def find_items(
    path: Path | str, column: str = COLUMN, root: Path | None = None, notes: list[str] | None = None
) -> list[Item]:
    """List what `path` names: an image, a folder's images, those of folders below included, or a CSV's.

    A folder's images come in the order of their paths, and are called by them; a CSV's in that of its rows.
    Whether they can be read is not checked.

    Args:
        column: of a CSV, that holds the paths.
        root: what they are relative to, if not the CSV's own folder.
        notes: takes a sentence on the files of a folder that are not used.

    Raises:
        ValueError: there is no such path, nothing to predict in it, or the CSV is no such one: all its
            problems at once.
    """
    path = paths.absolute(path)
    if path.is_dir():
        return [Item(each.relative_to(path).as_posix(), each) for each in images_in(path, notes)]
    if not path.is_file():
        raise ValueError(f"{paths.shown(path)}: no such file or folder")
    if path.suffix.lower() == ".csv":
        return _of_table(path, column, root or path.parent)
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{paths.shown(path)}: expected a table (.csv) or an image ({READ})")
    return [Item(path.name, path)]


def _of_table(path: Path, column: str, root: Path) -> list[Item]:
    problems: list[str] = []
    rows = read_table(path, [column], problems)
    problems += [f"{row}: {column} is empty" for row in rows if not row.cells[column]]
    raise_all(problems, paths.shown(path))
    if not rows:
        raise ValueError(f"{paths.shown(path)}: it has no rows")
    return [Item(row.cells[column], listed_file(root, row.cells[column])) for row in rows]


def _found(path: Path, data: Mapping[str, object], notes: list[str]) -> list[Item]:
    """Find the images; a CSV is read like that of the run's `data`, whose root applies to that CSV only."""
    column, root = data.get("image"), Layout.of(data).root_for(path)
    return find_items(path, column if isinstance(column, str) else COLUMN, root, notes)


def _prepared(
    loaded: LoadedRun,
    items: Sequence[Item],
    reader: ImageReader,
    done: Prediction,
    progress: progress_bars.Bar,
) -> Iterator[tuple[Item, list[Tensor]]]:
    """Yield the readable images, prepared for the network."""
    for item in items:
        try:
            image = reader.read(item.image)
        except ValueError as error:
            done.fail(item.name, error)
        else:
            yield item, [prepare(image, loaded.facts)]
        progress.update()


def _not_finite(item: Item, likely: Probabilities) -> str:
    return f"{paths.shown(item.image)}: the network's output is not finite: {likely.tolist()}"


def _row(item: Item, likely: Probabilities, classes: Sequence[str]) -> list[object]:
    best = int(likely.argmax())
    shares = likely.tolist()
    return [item.name, paths.shown(item.image), classes[best], shares[best], *shares]
