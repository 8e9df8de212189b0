"""What every data source returns, and the seeded cut of one set into several."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset


class Splits(NamedTuple):
    """The sets of one run. Items are tuples of tensors `(*inputs, target)`; `test` is for the last word only.

    A dataset whose items are random (augmentation) also has `sample(index, rng)`: the loader hands it a
    generator seeded by (seed, epoch, index), so that an item depends neither on the number of workers nor on
    the order of calls. Its plain `[index]` gives the item with a fixed generator.
    """

    train: Dataset[Any]
    val: Dataset[Any]
    test: Dataset[Any] | None = None


def split_counts(total: int, val_share: float, test_share: float) -> tuple[int, int, int]:
    """How many of `total` items go to train, val and test; a share above 0 gets at least one item.

    Raises:
        ValueError: a share is outside its range, or no item is left for train.
    """
    if not 0 < val_share < 1 or not 0 <= test_share < 1 or val_share + test_share >= 1:
        raise ValueError(
            f"val_share must be in (0, 1), test_share in [0, 1) and their sum below 1, "
            f"found val_share={val_share}, test_share={test_share}"
        )
    val = max(1, round(total * val_share))
    test = max(1, round(total * test_share)) if test_share else 0
    if val + test >= total:
        raise ValueError(
            f"{total} items are too few for val_share={val_share}, test_share={test_share}: "
            "none is left to train on"
        )
    return total - val - test, val, test


def split_indices(
    total: int, val_share: float, test_share: float, seed: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Shuffle `range(total)` by `seed` and cut it into train, val and test (disjoint, together everything).

    Raises:
        ValueError: as for `split_counts`.
    """
    train, val, _ = split_counts(total, val_share, test_share)
    order = np.random.default_rng(seed).permutation(total)
    return order[:train], order[train : train + val], order[train + val :]
