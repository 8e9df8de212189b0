"""Drawn images whose right answer depends on the sequence they are from, and on nothing that they show."""

import numpy as np
from numpy.typing import NDArray

from lab.config.mask_values import BINARY
from lab.data.image_mask_pairs import Transforms
from lab.data.pair_cache import Pair
from lab.data.segmentation_sets import Sample, Serving, assemble
from lab.data.splits import Splits, generated, require_counts, require_range

CEILING = 2 / 3
"""The best expected Dice of a network that doesn't receive the sequence; see `conditioned_discs`."""

_RADII = (0.06, 0.12)  # of the discs, as fractions of the image's side
_LEVELS = {"bright": 0.8, "dark": 0.2}


def conditioned_discs(
    train_count: int = 240,
    val_count: int = 64,
    test_count: int = 0,
    size: int = 64,
    sequences: int = 4,
    discs: int = 2,
    noise: float = 0.05,
    seed: int = 0,
    transforms: Transforms = (),
    val_transforms: Transforms = (),
) -> Splits:
    """Bright and dark discs of equal total area: in even sequences the bright ones count, else the dark.

    An item is (image, sequence, mask): float32 (1, size, size) in [0, 1], int64 () and float32
    (1, size, size) in {0, 1}. Image i of a set is from sequence i % sequences and depends on (seed, set, i)
    alone.

    The image alone does not show which discs are meant. A prediction of a fraction x of the bright area and y
    of the dark one has an expected Dice of ½·2x / (1 + x + y) + ½·2y / (1 + x + y) = (x + y) / (1 + x + y),
    at most 2/3 (`CEILING`), for both kinds in whole; every pixel of background reduces it.

    Args:
        size: side of the images in pixels, at least 32.
        sequences: how many, even, so that both answers are equally frequent.
        discs: of each kind in an image, 1 to 4.
        noise: standard deviation of the noise, as a fraction of full scale, >= 0.
        seed: decides the images; independent of the run's seed, so that seeds share their sets.
    Raises:
        ValueError: an argument is out of its range.
    """
    counts = (train_count, val_count, test_count)
    require_counts(*counts)
    if sequences < 2 or sequences % 2:
        raise ValueError(f"sequences must be even and at least 2, found {sequences}")
    require_range(32, size=size)
    require_range(1, 4, discs=discs)
    require_range(0, noise=noise)
    if train_count < sequences:
        raise ValueError(f"train_count must not be below sequences, found {train_count} and {sequences}")
    samples: list[Sample] = []
    pairs: list[Pair] = []
    items, parts = generated(*counts)
    for name, split, index in items:
        image, bright, dark = draw_discs(size, discs, noise, np.random.default_rng((seed, split, index)))
        sequence = index % sequences
        samples.append(Sample(name, sequence=str(sequence)))
        pairs.append((image[..., None], dark if sequence % 2 else bright))
    return assemble(samples, pairs, parts, Serving(None, "none", transforms, val_transforms), BINARY)


def draw_discs(
    size: int, discs: int, noise: float, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw one image, the mask of its bright discs and that of its dark ones, each (size, size) uint8.

    The discs come in pairs of one radius and lie on whole pixels: both masks have equally many.
    """
    y, x = np.ogrid[:size, :size]
    # Draw again until no two discs touch: overlaps would make the areas unequal.
    while True:
        radii = np.repeat(rng.uniform(*_RADII, discs) * size, 2)
        centres = [rng.integers(int(r) + 1, size - int(r) - 1, 2) for r in radii]
        apart = [
            np.hypot(*(centres[i] - centres[k])) > radii[i] + radii[k] + 1
            for i in range(len(radii))
            for k in range(i)
        ]
        if all(apart):
            break
    light = np.full((size, size), 0.5)
    masks = {kind: np.zeros((size, size), np.uint8) for kind in _LEVELS}
    for index, (centre, radius) in enumerate(zip(centres, radii, strict=True)):
        kind = ("bright", "dark")[index % 2]
        inside = (y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2
        light[inside], masks[kind][inside] = _LEVELS[kind], 1
    light += noise * rng.standard_normal(light.shape)
    image = np.clip(np.rint(light * 255), 0, 255).astype(np.uint8)
    return image, masks["bright"], masks["dark"]
