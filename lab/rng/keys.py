"""Random streams from keys: equal keys give equal numbers, wherever and whenever they are drawn."""

import numpy as np


def derive_seed(*numbers: int) -> int:
    """Return one 63-bit seed from several non-negative numbers; near inputs give unrelated outputs."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


def sample_rng(seed: int, epoch: int, index: int) -> np.random.Generator:
    """Return the random stream of one sample in one epoch, whoever draws it and in whatever order."""
    return np.random.default_rng((seed, epoch, index))
