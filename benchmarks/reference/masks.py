"""Figures of masks: overlap, distance, objects, and how images are normalised and stitched."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.reference.quantity import Pair, Quantity
from lab.data.normalization import statistics
from lab.metrics import Dice, IoU, Precision, Recall
from lab.metrics.boundary import hausdorff95
from lab.metrics.image_scores import THRESHOLDS, ThresholdSearch, describe
from lab.metrics.segmentation import OneClass, Overlap
from lab.predict.connected_objects import MaskObject, find_objects

IGNORE = 255
Rng = np.random.Generator


def blobs(rng: Rng, height: int, width: int, share: float | None = None) -> NDArray[np.bool_]:
    """A random mask with connected parts, sometimes empty or full."""
    kind = rng.random()
    if kind < 0.05:
        return np.full((height, width), kind < 0.025)
    noise = rng.random((height, width))
    for axis in (0, 1):
        noise = (noise + np.roll(noise, 1, axis) + np.roll(noise, 2, axis)) / 3
    return noise > np.quantile(noise, share if share is not None else rng.uniform(0.3, 0.95))


def cut(rng: Rng, count: int) -> list[NDArray[np.intp]]:
    """Any cut of `count` items into batches."""
    ends = np.flatnonzero(rng.random(max(0, count - 1)) < 0.4) + 1
    return np.split(np.arange(count), ends)


def measured(metric: Any, rng: Rng, prediction: Any, target: Any) -> float:
    """The metric of a set that is cut at random."""
    for rows in cut(rng, len(target)):
        metric.update(torch.from_numpy(prediction[rows]), torch.from_numpy(target[rows]))
    return float(metric.compute())


def binary(rng: Rng) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """Probabilities, masks with ignored pixels, and what is judged, (N, 1, H, W) each."""
    shape = int(rng.integers(1, 7)), 1, int(rng.integers(1, 13)), int(rng.integers(1, 13))
    truth = np.stack([blobs(rng, *shape[2:])[None] for _ in range(shape[0])])
    likely = np.clip(truth * 0.4 + rng.random(shape) * 0.7, 0, 1).astype(np.float32)
    if rng.random() < 0.1:
        likely[:] = 0
    judged = rng.random(shape) > (0.2 if rng.random() < 0.5 else 0.0)
    return likely, np.where(judged, truth, IGNORE).astype(np.float32), judged


def by_image(kind: type[Overlap], score: Callable[..., float]) -> Callable[[Rng], Pair]:
    """Of one foreground: the mean of each image's own figure, by scikit-learn; both masks empty: 1."""

    def draw(rng: Rng) -> Pair:
        likely, target, judged = binary(rng)
        expected = []
        for predicted, true, inside in zip(likely > 0.5, target == 1, judged, strict=True):
            p, g = predicted[inside], true[inside]
            if p.any() and g.any():
                expected.append(score(g, p))
            else:
                expected.append(float(not p.any() and not g.any()))
        return measured(kind(), rng, likely, target), np.mean(expected)

    return draw


def several(rng: Rng) -> tuple[NDArray[np.float32], NDArray[np.int64], int]:
    """Probabilities (N, K, H, W) and classes (N, H, W) with ignored pixels; some classes are nowhere."""
    classes, count = int(rng.integers(2, 7)), int(rng.integers(1, 5))
    shape = count, int(rng.integers(2, 12)), int(rng.integers(2, 12))
    known = rng.choice(classes, int(rng.integers(1, classes + 1)), replace=False)
    truth = rng.choice(known, shape)
    likely = rng.random((count, classes, *shape[1:])).astype(np.float32)
    likely += 0.5 * (np.moveaxis(np.eye(classes, dtype=np.float32)[truth], -1, 1))
    truth[rng.random(shape) < 0.1] = IGNORE
    return likely, truth.astype(np.int64), classes


def of_set(kind: type[Overlap], name: str) -> Callable[[Rng], Pair | None]:
    """Over all pixels and classes, by torchmetrics."""

    def draw(rng: Rng) -> Pair | None:
        from torchmetrics import classification as theirs

        likely, truth, classes = several(rng)
        predicted, judged = likely.argmax(1), truth != IGNORE
        there = np.union1d(predicted[judged], truth[judged])
        if not len(there):
            return None
        options: dict[str, Any] = {"num_classes": classes, "average": "none", "ignore_index": IGNORE}
        each = getattr(theirs, f"Multiclass{name}")(**options)
        values = each(torch.from_numpy(predicted), torch.from_numpy(truth)).numpy()
        return measured(kind(average="set", background=None), rng, likely, truth), values[there].mean()

    return draw


def without_background(rng: Rng) -> Pair | None:
    """Mean Dice over classes but the first, by MONAI."""
    from monai.metrics import compute_dice

    likely, truth, classes = several(rng)
    truth[truth == IGNORE] = 0
    predicted = torch.eye(classes)[torch.from_numpy(likely.argmax(1))].movedim(-1, 1)
    true = torch.eye(classes)[torch.from_numpy(truth)].movedim(-1, 1)
    each = compute_dice(predicted, true, include_background=False, ignore_empty=False).numpy()
    there = (predicted.sum((2, 3)) + true.sum((2, 3)) > 0).numpy()[:, 1:]
    means = [float(row[here].mean()) if here.any() else 1.0 for row, here in zip(each, there, strict=True)]
    return measured(Dice(background=0), rng, likely, truth), np.mean(means)


def one_class(rng: Rng) -> Pair:
    likely, truth, classes = several(rng)
    predicted = likely.argmax(1)[truth != IGNORE]
    most = np.bincount(predicted, minlength=classes).max(initial=0) / max(1, predicted.size)
    return measured(OneClass(), rng, likely, truth), most


def distance(rng: Rng) -> Pair | None:
    from medpy.metric.binary import hd95

    height, width = (int(size) for size in rng.integers(2, 40, 2))
    a, b = blobs(rng, height, width), blobs(rng, height, width)
    if not a.any() or not b.any():
        return None
    spacing = tuple(rng.uniform(0.3, 3, 2).tolist()) if rng.random() < 0.5 else (1.0, 1.0)
    return hausdorff95(a, b, spacing=spacing), hd95(a, b, voxelspacing=spacing, connectivity=1)


def threshold(rng: Rng) -> Pair:
    likely, target, judged = binary(rng)
    search = ThresholdSearch()
    for rows in cut(rng, len(target)):
        search.add(torch.from_numpy(likely[rows]), torch.from_numpy(target[rows]))
    expected = []
    for edge in THRESHOLDS:
        values = []
        for predicted, true, inside in zip(likely > np.float32(edge), target == 1, judged, strict=True):
            total = predicted[inside].sum() + true[inside].sum()
            values.append(2 * (predicted & true)[inside].sum() / total if total else 1.0)
        expected.append(np.mean(values))
    return [value for _, value in search.curve()], expected


def objects(get: Callable[[MaskObject], Any], expected: Callable[[Any], Any]) -> Callable[[Rng], Pair]:
    def draw(rng: Rng) -> Pair:
        from skimage.measure import label, regionprops

        mask = blobs(rng, *(int(size) for size in rng.integers(3, 60, 2))).astype(np.uint8)
        theirs = regionprops(label(mask, connectivity=2))
        ours = {(o.left, o.top, o.width, o.height, o.area): get(o) for o in find_objects(mask.copy())}
        wanted = {
            (p.bbox[1], p.bbox[0], p.bbox[3] - p.bbox[1], p.bbox[2] - p.bbox[0], int(p.area)): expected(p)
            for p in theirs
        }
        if ours.keys() != wanted.keys():
            return [np.nan], [0.0]
        return [ours[key] for key in wanted], [wanted[key] for key in wanted]

    return draw


def crofton(region: Any) -> float:
    from skimage.measure import perimeter_crofton

    return float(perimeter_crofton(np.pad(region.image, 1), directions=4))


def pixels(rng: Rng) -> Pair:
    shapes = [(*(int(n) for n in rng.integers(1, 20, 2)), 3) for _ in range(int(rng.integers(1, 6)))]
    images = [rng.integers(0, 256, shape).astype(np.uint8) for shape in shapes]
    if rng.random() < 0.5:
        images = [(image / 255).astype(np.float32) for image in images]
    flat = np.concatenate([image.reshape(-1, 3).astype(np.float64) for image in images])
    flat = flat / 255 if images[0].dtype == np.uint8 else flat
    mean, std = statistics(images)
    return [*mean, *std], [*flat.mean(0), *np.where(flat.std(0) < 1e-6, 1, flat.std(0))]


def spread(rng: Rng) -> Pair:
    values = rng.normal(10 ** rng.uniform(-3, 9), 1, int(rng.integers(2, 40)))
    found = describe(values)
    assert found is not None
    expected = [values.mean(), values.std(ddof=1), np.median(values), values.min(), values.max()]
    return [found.mean, found.deviation, found.median, found.low, found.high], expected


def _sklearn(name: str) -> Callable[..., float]:
    def score(truth: object, predicted: object) -> float:
        from sklearn import metrics

        return float(getattr(metrics, name)(truth, predicted))

    return score


QUANTITIES = (
    Quantity("Dice per image, ignored pixels", "scikit-learn", by_image(Dice, _sklearn("f1_score"))),
    Quantity("IoU per image, ignored pixels", "scikit-learn", by_image(IoU, _sklearn("jaccard_score"))),
    Quantity("precision per image", "scikit-learn", by_image(Precision, _sklearn("precision_score"))),
    Quantity("recall per image", "scikit-learn", by_image(Recall, _sklearn("recall_score"))),
    Quantity("mean Dice over all pixels and classes", "torchmetrics", of_set(Dice, "F1Score")),
    Quantity("mean IoU over all pixels and classes", "torchmetrics", of_set(IoU, "JaccardIndex")),
    Quantity("mean precision over all pixels and classes", "torchmetrics", of_set(Precision, "Precision")),
    Quantity("mean recall over all pixels and classes", "torchmetrics", of_set(Recall, "Recall")),
    Quantity("mean Dice without background, per image", "MONAI", without_background),
    Quantity("share of the most frequent class", "NumPy", one_class),
    Quantity("HD95, any pixel size", "MedPy", distance, 1e-9),
    Quantity("mean Dice at every threshold", "plain loop", threshold),
    Quantity("objects: area", "scikit-image", objects(lambda o: o.area, lambda p: p.area)),
    Quantity(
        "objects: centroid", "scikit-image", objects(lambda o: [o.y, o.x], lambda p: list(p.centroid)), 1e-9
    ),
    Quantity("objects: perimeter", "scikit-image", objects(lambda o: o.perimeter, crofton), 1e-9),
    Quantity(
        "objects: diameter",
        "scikit-image",
        objects(lambda o: o.diameter, lambda p: p.equivalent_diameter_area),
        1e-9,
    ),
    Quantity("mean and deviation of pixels", "NumPy", pixels, 1e-7),
    Quantity("mean, deviation, median, range", "NumPy", spread, 1e-9),
)
