"""Where within an epoch a training stands: kept every so many batches, for a resumed run to go on there."""

import itertools
import time
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import torch

from lab.components import Components
from lab.epoch_loader import EpochLoader
from lab.events import Listeners, MidEpoch, Note
from lab.metrics.gathered import Unkeepable
from lab.monitoring import NotFinite
from lab.reach import Reach
from lab.seeding import RngState


class Loader(Protocol):
    """A `lab.data.loaders.Loader`; an `EpochLoader` jumps to where the epoch continues."""

    def __iter__(self) -> Iterator[Any]: ...

    def __len__(self) -> int: ...


class Sums(Protocol):
    """What an epoch adds up to so far; a `lab.evaluation.Tally`."""

    def read(self) -> float: ...

    def state_dict(self) -> Mapping[str, Any]: ...

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None: ...


class Data(Protocol):
    """The state of a loader; a `lab.data.state.LoaderState`."""

    @property
    def continues(self) -> bool: ...

    def begin(self) -> None: ...


class Midway:
    """Gives an epoch's batches, from where the checkpoint was taken, and tells when the next can be taken.

    Its state is empty but for that moment, and between loading one and the epoch that goes on from it. The
    random streams are part of it: each epoch seeds its own, and this goes on in the middle of them.

    Args:
        reach: whose parameters must be finite in a checkpoint: that of a training gone wrong is none.
        every: batches between two checkpoints; None: none within an epoch.
        accumulate: batches that share an optimizer step; only after such a step is the state whole.
        listeners: hear of `MidEpoch`, and take the state then.
        device: where metrics gather.
        components: what else has a state within an epoch.

    Attributes:
        data: the state of the training loader, where there is one.
    """

    def __init__(
        self,
        reach: Reach,
        every: int | None,
        accumulate: int,
        listeners: Listeners,
        device: torch.device | str = "cpu",
        components: Components | None = None,
    ) -> None:
        self._reach, self._every, self._accumulate, self._listeners = reach, every, accumulate, listeners
        self._device = torch.device(device)
        self._components = components or Components()
        self.data: Data | None = None
        self._state: dict[str, Any] = {}
        self._values: dict[str, float] = {}

    @property
    def step(self) -> int:
        """How many batches of the epoch to come are done already."""
        return int(self._state.get("step", 0))

    @property
    def seconds(self) -> float:
        """How long they took."""
        return float(self._state.get("seconds", 0.0))

    def begin_at(self, steps: int) -> int:
        """The same, of an epoch of so many batches; as many in proportion where it had more or fewer."""
        if not self._state:
            return 0
        share = self.step * steps // int(self._state["steps"])
        return share // self._accumulate * self._accumulate

    def begin(self, values: dict[str, float]) -> dict[str, float]:
        """What an epoch notes of itself at its beginning: the given values, or those noted then."""
        self._values = dict(self._state.get("values", values))
        return dict(self._values)

    def batches(self, loader: Loader, tally: Sums, epoch: int) -> Iterator[tuple[int, Any]]:
        """(step, batch) of an epoch, steps counted from 1.

        Raises:
            NotFinite: as the tally's `read`, or a weight is not finite where a checkpoint is to be taken.
        """
        steps, started, earlier = len(loader), time.perf_counter(), self.seconds
        done = self.begin_at(steps)
        if self.data is not None and self._every is not None:
            self.data.begin()
        batches = iter(loader) if self.data is not None and self.data.continues else _going_on(loader, done)
        if self._state:
            if self._state["tally"] is not None:
                tally.load_state_dict(self._state["tally"], self._device)
            RngState().load_state_dict(self._state["rng"])
            self._state = {}
        kept = done
        for step, batch in enumerate(batches, done + 1):
            yield step, batch
            if self._every is None or step >= steps or step % self._accumulate:
                continue
            if step // self._every > kept // self._every:
                kept = step
                tally.read()
                seconds = earlier + time.perf_counter() - started
                self._tell(tally, MidEpoch(epoch, step, steps), seconds)

    def _tell(self, tally: Sums, event: MidEpoch, seconds: float) -> None:
        """The listeners take the state within this call; without it a checkpoint is one between epochs."""
        finite = [weight.detach().isfinite().all() for weight in self._reach.parameters()]
        if finite and not torch.stack(finite).all():
            raise NotFinite(f"a weight is not finite after step {event.step}")
        try:
            sums = tally.state_dict()
        except Unkeepable as error:
            self._every = None
            message = f"checkpoint.every_n_steps has no effect: the metric's {error}, which a checkpoint"
            hint = "can't hold; give it state_dict and load_state_dict, of tensors and numbers"
            self._listeners.on_note(Note(f"{message} {hint}", "warning"))
            return
        self._state = {
            "step": event.step,
            "steps": event.steps,
            "seconds": seconds,
            "values": dict(self._values),
            "tally": sums,
            "rng": RngState().state_dict(),
        }
        self._components.within = True
        try:
            self._listeners.on_mid_epoch(event)
        finally:
            self._state, self._components.within = {}, False

    def state_dict(self) -> dict[str, Any]:
        """Empty between epochs."""
        return dict(self._state)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Let the next epoch go on from there."""
        self._state = dict(state)


def _going_on(loader: Loader, done: int) -> Iterator[Any]:
    """A pass without its first batches: the loaders here don't read them, another reads and drops them."""
    left_out = loader.skip(done) if done and isinstance(loader, EpochLoader) else 0
    batches = iter(loader)
    for _ in itertools.islice(batches, done - left_out):
        pass
    return batches
