"""The position within an epoch: a resumed run continues at the batch where its checkpoint was taken."""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from lab.checkpoint import StateDict
from lab.data.epoch_loader import EpochLoader
from lab.data.loader_state import LoaderState
from lab.data.loaders import Loader
from lab.rng.seeding import RngState
from lab.train.evaluation import EpochMetrics


class EpochCursor:
    """An iterator over the batches of an epoch, from the position of the checkpoint that was loaded.

    Its state is that position from loading until its epoch begins, and empty otherwise: a checkpoint within
    an epoch gets its `position` explicitly. The random streams are part of it: each epoch seeds its own, and
    a resumed one continues in the middle of them.

    Args:
        every: batches between two checkpoints; None: none within an epoch.
        accumulate: batches that share an optimizer step; only after such a step is the state complete.
        device: where metrics accumulate.

    Attributes:
        data: the state of the training loader, where there is one.
    """

    def __init__(self, every: int | None, accumulate: int, device: torch.device | str = "cpu") -> None:
        self.every, self._accumulate, self._device = every, accumulate, torch.device(device)
        self.data: LoaderState | None = None
        self._state: StateDict = {}

    @property
    def step(self) -> int:
        """The number of batches of the coming epoch that are done already."""
        return int(self._state.get("step", 0))

    @property
    def seconds(self) -> float:
        """The time that these batches took."""
        return float(self._state.get("seconds", 0.0))

    @property
    def values(self) -> dict[str, float]:
        """The values that were recorded at the epoch's beginning; empty where it is yet to begin."""
        return dict(self._state.get("values", {}))

    def begin_at(self, steps: int) -> int:
        """Return `step` for an epoch of so many batches: in proportion where it had more or fewer."""
        if not self._state:
            return 0
        done = self.step * steps // int(self._state["steps"])
        return done // self._accumulate * self._accumulate  # whole groups: gradients aren't in a checkpoint

    def batches(self, loader: Loader, sums: EpochMetrics) -> Iterator[tuple[int, Any]]:
        """Return (step, batch) of the rest of an epoch, steps counted from 1; restore the `sums` so far."""
        done = self.begin_at(len(loader))
        if self.data is not None and self.every is not None:
            self.data.begin()
        batches = iter(loader) if self.data is not None and self.data.continues else _skipped(loader, done)
        if self._state:
            if self._state["tally"] is not None:
                sums.load_state_dict(self._state["tally"], self._device)
            # After the loader has begun: what it draws at its beginning belongs to the time before.
            RngState().load_state_dict(self._state["rng"])
            self._state = {}
        return enumerate(batches, done + 1)

    def due(self, step: int, steps: int) -> bool:
        """Return whether a checkpoint is due after this step; after the last one the epoch's own follows."""
        if self.every is None or step >= steps or step % self._accumulate:
            return False
        return step // self.every > (step - self._accumulate) // self.every

    def position(
        self, step: int, steps: int, seconds: float, values: Mapping[str, float], sums: EpochMetrics
    ) -> dict[str, object]:
        """Return the position after a step, as a checkpoint keeps it.

        Args:
            seconds: since the epoch began.
            values: those that were recorded at the epoch's beginning.

        Raises:
            Unkeepable: a metric's state is no plain data.
        """
        return {
            "step": step,
            "steps": steps,
            "seconds": seconds,
            "values": dict(values),
            "tally": sums.state_dict(),
            "rng": RngState().state_dict(),
        }

    def state_dict(self) -> StateDict:
        """Return the position to continue from; empty once its epoch has begun."""
        return dict(self._state)

    def load_state_dict(self, state: StateDict) -> None:
        """Let the next epoch continue from a `position`."""
        self._state = dict(state)


def _skipped(loader: Loader, done: int) -> Iterator[Any]:
    """Start a pass without its first batches: our loaders don't read them, others read and drop them."""
    left_out = loader.skip(done) if done and isinstance(loader, EpochLoader) else 0
    batches = iter(loader)
    for _ in itertools.islice(batches, done - left_out):
        pass
    return batches
