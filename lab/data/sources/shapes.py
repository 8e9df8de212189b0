"""Drawn images of one shape each, of adjustable difficulty."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lab.data.augment import Transforms
from lab.data.classification_sets import Labelled, assemble
from lab.data.normalization import Mode
from lab.data.splits import Splits, generated, require_counts, require_range

SHAPES = ("circle", "square", "triangle", "pentagon", "star", "cross", "ring")
_POINTS = 3  # samples a pixel and side, of which its brightness is the mean


def shapes(
    classes: Sequence[str] = ("circle", "square", "triangle", "star"),
    train_count: int = 800,
    val_count: int = 200,
    test_count: int = 200,
    size: int = 32,
    noise: float = 0.1,
    channels: Literal[1, 3] = 1,
    normalise: Mode = "none",
    seed: int = 0,
    transforms: Transforms = (),
) -> Splits:
    """Draw the images, a second for a few thousand: a shape of any place, size, angle and two brightnesses.

    An item is (image, class): float32 (channels, size, size), int64 (). Image i of a set shows shape
    i % len(classes) and depends on (seed, set, i) alone.

    Args:
        classes: two or more of circle, square, triangle, pentagon, star, cross and ring.
        train_count, val_count, test_count: images in each set; at least one of each class to train on.
        size: pixels a side, at least 8.
        noise: standard deviation, as a fraction of full scale, >= 0: the difficulty.
        channels: 3 gives shape and ground a colour each.
        normalise: see `lab.data.normalization.Mode`.
        seed: decides the images; independent of the run's seed, so that seeds share their sets.
        transforms: albumentations, for the training set.
    Raises:
        ValueError: an argument is out of its range.
    """
    unknown = [name for name in classes if name not in SHAPES]
    if unknown or len(set(classes)) < max(2, len(classes)):
        raise ValueError(
            f"classes must be two or more different ones of {', '.join(SHAPES)}, found {classes}"
        )
    require_counts(train_count, val_count, test_count)
    if train_count < len(classes):
        raise ValueError(f"train_count must be at least {len(classes)} (the classes), found {train_count}")
    require_range(8, size=size)
    require_range(0, noise=noise)
    if channels not in (1, 3):
        raise ValueError(f"channels must be 1 or 3, found {channels}")
    images: list[Labelled] = []
    items, parts = generated(train_count, val_count, test_count)
    for _, split, index in items:
        label = index % len(classes)
        rng = np.random.default_rng((seed, split, index))
        images.append((draw_shape(classes[label], size, noise, channels, rng), np.array([label])))
    names = [name for name, _, _ in items]
    return assemble(images, names, parts, classes, normalise=normalise, transforms=transforms)


def draw_shape(
    name: str, size: int, noise: float, channels: int, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Draw one image (size, size, channels): a shape of radius 0.22 to 0.42 sides, whole within the image.

    Ground and shape differ by 0.25 of full scale or more in every channel, either of them the brighter.
    """
    radius = rng.uniform(0.22, 0.42)
    x0, y0 = rng.uniform(radius, 1 - radius, 2)
    angle = rng.uniform(0, 2 * np.pi)
    grid = (np.arange(size * _POINTS) + 0.5) / (size * _POINTS)
    x, y = (grid[None, :] - x0) / radius, (grid[:, None] - y0) / radius
    inside = _inside(name, x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle))
    covered = inside.reshape(size, _POINTS, size, _POINTS).mean((1, 3))[..., None]
    dark = rng.uniform(0.1, 0.4, channels)
    bright = dark + rng.uniform(0.25, 0.5, channels)
    ground, shape = (dark, bright) if rng.random() < 0.5 else (bright, dark)
    light = ground + covered * (shape - ground) + noise * rng.standard_normal((size, size, channels))
    return np.asarray(np.clip(np.rint(light * 255), 0, 255).astype(np.uint8))


def _inside(name: str, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return the points inside of the shape, which are at most 1 away from its centre (0, 0)."""
    distance = np.hypot(x, y)
    if name == "circle":
        return np.asarray(distance <= 1)
    if name == "ring":
        return np.asarray((distance <= 1) & (distance >= 0.55))
    if name == "cross":
        arm, width = np.cos(0.35), np.sin(0.35)  # so that its corners are 1 away
        across, along = np.abs(x), np.abs(y)
        return np.asarray((np.minimum(across, along) <= width) & (np.maximum(across, along) <= arm))
    corners = {"triangle": 3, "square": 4, "pentagon": 5, "star": 5}[name]
    turn = np.pi / corners  # between a corner and the middle of a side, or a star's inner corner
    depth = 0.4 if name == "star" else np.cos(turn)
    off = np.abs((np.arctan2(y, x) + turn) % (2 * turn) - turn)
    # The edge leads from (1, 0) to the inner point; inside, the cross product is not negative.
    end_x, end_y = depth * np.cos(turn), depth * np.sin(turn)
    px, py = distance * np.cos(off), distance * np.sin(off)
    return np.asarray((end_x - 1) * py - end_y * (px - 1) >= 0)
