"""Regression on a known function, y = f(x) + noise: seconds to train, and the truth is known."""

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import TensorDataset

from lab.data.splits import Splits, require_counts, require_range

Values = NDArray[np.float64]
FUNCTIONS: dict[str, Callable[[Values], Values]] = {
    "sin": lambda x: np.sin(np.pi * x),
    "chirp": lambda x: np.sin(3 * np.pi * x * np.abs(x)),
    "polynomial": lambda x: 4 * x**3 - 3 * x,
    "step": lambda x: np.sign(x),
}


def function(
    name: Literal["sin", "chirp", "polynomial", "step"] = "sin",
    train_count: int = 1024,
    val_count: int = 256,
    test_count: int = 0,
    dims: int = 1,
    noise: float = 0.1,
    low: float = -1.0,
    high: float = 1.0,
    seed: int = 0,
) -> Splits:
    """Points of y = mean over dimensions of f(x_d), plus noise, in memory.

    An item is (x, y): float32 (dims,) uniform in [low, high), float32 (1,). The same seed gives the same
    points; the sets have streams of their own, so that a larger train set doesn't change the others.

    Args:
        name: f; `sin` is sin(πx), `chirp` sin(3πx|x|), `polynomial` 4x³ − 3x (Chebyshev), `step` sign(x).
        noise: standard deviation of the Gaussian noise on y, ≥ 0; noise² is the least MSE that can be
            reached.
        seed: decides the points; independent of the run's seed, so that seeds share their sets.
    Raises:
        ValueError: the name is unknown, a count or `dims` is too small, or the range is empty.
    """
    if name not in FUNCTIONS:
        raise ValueError(f"name must be one of {', '.join(FUNCTIONS)}, found {name!r}")
    require_counts(train_count, val_count, test_count)
    require_range(1, dims=dims)
    if noise < 0 or not low < high:
        raise ValueError(f"noise must be >= 0 and low < high, found noise={noise}, low={low}, high={high}")

    def draw(split: int, count: int) -> TensorDataset:
        rng = np.random.default_rng((seed, split))
        x = rng.uniform(low, high, (count, dims))
        y = FUNCTIONS[name](x).mean(1, keepdims=True) + noise * rng.standard_normal((count, 1))
        return TensorDataset(torch.from_numpy(x.astype(np.float32)), torch.from_numpy(y.astype(np.float32)))

    return Splits(draw(0, train_count), draw(1, val_count), draw(2, test_count) if test_count else None)
