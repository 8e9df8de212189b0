"""The position within an epoch: a resumed run continues at the batch where its checkpoint was taken."""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import torch

from lab.data.epoch_loader import EpochLoader
from lab.rng.seeding import RngState


class Loader(Protocol):
    """A `lab.data.loaders.Loader`; an `EpochLoader` jumps to where the epoch continues."""

    def __iter__(self) -> Iterator[Any]: ...

    def __len__(self) -> int: ...


class Sums(Protocol):
    """The sums of an epoch so far; a `lab.train.evaluation.EpochMetrics`."""

    def state_dict(self) -> Mapping[str, Any]: ...

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None: ...


class Data(Protocol):
    """The state of a loader; a `lab.data.loader_state.LoaderState`."""

    @property
    def continues(self) -> bool: ...

    def begin(self) -> None: ...


class EpochCursor:
    """Gives the batches of an epoch, from the position of the checkpoint that was loaded.

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
        self.data: Data | None = None
        self._state: dict[str, Any] = {}

    @property
    def step(self) -> int:
        """The batches of the coming epoch that are done already."""
        return int(self._state.get("step", 0))

    @property
    def seconds(self) -> float:
        """The time that they took."""
        return float(self._state.get("seconds", 0.0))

    @property
    def values(self) -> dict[str, float]:
        """The values that the epoch noted at its beginning; empty where it is yet to begin."""
        return dict(self._state.get("values", {}))

    def begin_at(self, steps: int) -> int:
        """Like `step`, for an epoch of so many batches: in proportion where it had more or fewer."""
        if not self._state:
            return 0
        share = self.step * steps // int(self._state["steps"])
        return share // self._accumulate * self._accumulate

    def batches(self, loader: Loader, tally: Sums) -> Iterator[tuple[int, Any]]:
        """(step, batch) of what is left of an epoch, steps counted from 1; `tally` gets what is done."""
        done = self.begin_at(len(loader))
        if self.data is not None and self.every is not None:
            self.data.begin()
        batches = iter(loader) if self.data is not None and self.data.continues else _skipped(loader, done)
        if self._state:
            if self._state["tally"] is not None:
                tally.load_state_dict(self._state["tally"], self._device)
            RngState().load_state_dict(self._state["rng"])
            self._state = {}
        return enumerate(batches, done + 1)

    def due(self, step: int, steps: int) -> bool:
        """Return whether a checkpoint is due after this step; after the last one the epoch's own follows."""
        if self.every is None or step >= steps or step % self._accumulate:
            return False
        return step // self.every > (step - self._accumulate) // self.every

    def position(
        self, step: int, steps: int, seconds: float, values: Mapping[str, float], tally: Sums
    ) -> dict[str, Any]:
        """The position after a step, as a checkpoint keeps it.

        Args:
            seconds: since the epoch began.
            values: those that the epoch noted at its beginning.

        Raises:
            Unkeepable: a metric's state is no plain data.
        """
        return {
            "step": step,
            "steps": steps,
            "seconds": seconds,
            "values": dict(values),
            "tally": tally.state_dict(),
            "rng": RngState().state_dict(),
        }

    def state_dict(self) -> dict[str, Any]:
        """The position to continue from; empty once its epoch has begun."""
        return dict(self._state)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Let the next epoch continue from there."""
        self._state = dict(state)


def _skipped(loader: Loader, done: int) -> Iterator[Any]:
    """A pass without its first batches: the loaders here don't read them, another reads and drops them."""
    left_out = loader.skip(done) if done and isinstance(loader, EpochLoader) else 0
    batches = iter(loader)
    for _ in itertools.islice(batches, done - left_out):
        pass
    return batches
