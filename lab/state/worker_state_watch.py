"""Sees in a loader's worker that a dataset's attributes change there, where no checkpoint reaches them."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from lab.state.attributes import Held

_BYTES = 400  # for the names


class Watch:
    """Compares a dataset with itself in the process that reads it; the names lie in shared memory.

    Args:
        dataset: as it is before the workers start.
    """

    def __init__(self, dataset: object) -> None:
        self._dataset = dataset
        self._names = torch.zeros(_BYTES, dtype=torch.uint8).share_memory_()
        self._held: Held | None = None
        self._epoch: int | None = None
        self._fresh = True
        self._derived: set[str] = set()

    @contextmanager
    def reading(self, epoch: int) -> Iterator[None]:
        """The reading of one item: look before the first of an epoch, and after the very first."""
        if epoch != self._epoch:
            self.begin(epoch)
        yield
        if self._fresh:
            self._fresh = False
            self.look()

    def begin(self, epoch: int) -> None:
        """Look before an epoch."""
        self._epoch = epoch
        if self._held is None:
            self._held = Held({"dataset": self._dataset}, most=2**20, closely=False)
        else:
            self.look()

    @contextmanager
    def deriving(self) -> Iterator[None]:
        """Count what changes in this block as following from the epoch's number, and as no state."""
        held = Held({"dataset": self._dataset}, most=2**20, closely=False)
        yield
        self._derived.update(held.changed())

    def look(self) -> None:
        """Note what has changed since the first look."""
        if self._held is None:
            return
        if changed := [path for path in self._held.changed() if path not in self._derived]:
            # The shared memory has a fixed size; the names are for a message and may be cut off.
            text = ", ".join(changed).encode()[:_BYTES]
            self._names[: len(text)] = torch.frombuffer(bytearray(text), dtype=torch.uint8)

    @property
    def changed(self) -> str:
        """The names of what changes in the workers; empty while nothing is known to."""
        return bytes(self._names.tolist()).rstrip(b"\0").decode(errors="replace")
