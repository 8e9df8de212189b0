"""Whole plates of wells, as a scanner sees them: few images, far larger than what a network trains on."""

from typing import Literal, Unpack

import numpy as np

from lab.config.mask_values import BINARY
from lab.data.pair_cache import Pair
from lab.data.segmentation_sets import Sample, Serving, assemble, divide
from lab.data.source_arguments import PairArguments, fields_from, require_known
from lab.data.sources.spheroids import Scene, draw_plate
from lab.data.splits import Cut, Splits


def spheroid_plates(
    count: int = 6,
    size: int = 2048,
    wells: int = 8,
    empty: float = 0.15,
    channels: Literal[1, 3] = 1,
    noise: float = 0.03,
    blur: float = 1.0,
    debris: float = 12.0,
    touching: float = 0.6,
    **arguments: Unpack[PairArguments],
) -> Splits:
    """Draw plates of spheroids in wells with their masks, under a second each, and keep them in memory.

    Items and sets are those of `lab.data.image_folder`, `channels` to `touching` those of
    `lab.data.spheroids`. Plate i depends on (seed, i) alone. `folds` = `count` leaves one
    plate out at a time.

    Args:
        size: side of a plate in pixels, a multiple of `wells`; a well must have 32 at least.
        wells: in a row, and in a column.
        empty: probability that a well has no spheroid, in [0, 1).
        seed: decides the images and the cut. The others: see `lab.data.source_arguments.PairArguments`.
    Raises:
        ValueError: an argument is out of its range, or the cut can't be made.
    """
    require_known(arguments, PairArguments)
    if count < 2 or wells < 1 or size % wells or size // wells < 32:
        raise ValueError(
            "count must be at least 2, size a multiple of wells with 32 pixels or more for each, found "
            f"count={count}, size={size}, wells={wells}"
        )
    if not 0 <= empty < 1 or channels not in (1, 3):
        raise ValueError(f"empty must be in [0, 1) and channels 1 or 3, found {empty} and {channels}")
    samples = [Sample(f"plate-{index}") for index in range(count)]
    cut, serving = fields_from(Cut, arguments), fields_from(Serving, arguments)
    parts = divide(samples, cut)
    scene = Scene(size // wells, noise, blur, debris, touching)
    pairs: list[Pair] = []
    for index in range(count):
        image, mask = draw_plate(scene, wells, empty, np.random.default_rng((cut.seed, index)))
        pairs.append((np.repeat(image[..., None], channels, axis=2), mask))
    return assemble(samples, pairs, parts, serving, BINARY)
