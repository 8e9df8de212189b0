"""One figure, how to compute it twice, and how far the two may be apart."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

Pair = tuple[ArrayLike, ArrayLike]


@dataclass(frozen=True)
class Quantity:
    """A figure.

    Args:
        name: what it is.
        reference: what it is compared with.
        draw: draws an input and returns the project's figure or figures and the expected ones; None where the
            reference isn't defined for that input.
        tolerance: the largest difference, relative to the expected value where that is above 1.
        inputs: how many are drawn, at most.
    """

    name: str
    reference: str
    draw: Callable[[np.random.Generator], Pair | None]
    tolerance: float = 1e-6
    inputs: int = 300


@dataclass(frozen=True)
class Compared:
    """The largest difference over `inputs` inputs, and the input (its seed) that has it."""

    quantity: Quantity
    inputs: int
    difference: float
    seed: int

    @property
    def agrees(self) -> bool:
        """Return whether there was an input, and none differs by more than the tolerance."""
        return self.inputs > 0 and self.difference <= self.quantity.tolerance


def compare(quantity: Quantity, inputs: int | None = None) -> Compared:
    """Draw inputs by seeds from 0."""
    worst, at, count = 0.0, 0, 0
    for seed in range(min(inputs or quantity.inputs, quantity.inputs)):
        pair = quantity.draw(np.random.default_rng(seed))
        if pair is None:
            continue
        count += 1
        difference = apart(*pair)
        if not difference <= worst:
            worst, at = difference, seed
    return Compared(quantity, count, worst, at)


def apart(found: ArrayLike, expected: ArrayLike) -> float:
    """The largest relative difference, absolute below 1; infinite where one alone is NaN or shapes differ."""
    ours, theirs = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    if ours.shape != theirs.shape:
        return math.inf
    same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
    with np.errstate(invalid="ignore"):
        distance = np.where(same, 0.0, np.abs(ours - theirs) / np.maximum(1.0, np.abs(theirs)))
    return float(np.nan_to_num(distance, nan=math.inf, posinf=math.inf).max(initial=0.0))
