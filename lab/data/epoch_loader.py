"""The base of the loaders of `lab.data`: the calls by which a training asks for an epoch or a part of one."""

import warnings
from collections.abc import Callable, Sequence


class Unstackable(ValueError):
    """Items of a batch can't be stacked."""


class MixedSizes(Unstackable):
    """They are images that differ in size."""


class EpochLoader:
    """The base of the loaders here, which draw an epoch from (seed, epoch).

    Attributes:
        samples: how many an epoch has.
    """

    samples: int
    notes: Sequence[str] = ()
    """Notes from before the first batch."""
    warn: Callable[[str], None] = staticmethod(warnings.warn)
    """Receives the warnings that are issued while reading."""

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration; call it before iterating."""
        raise NotImplementedError

    def skip(self, batches: int) -> int:
        """Leave out the first batches of the next iteration; returns how many it can leave out."""
        return 0
