"""The progress of a training: its epochs, and the best of them by the monitored value."""

import math
from collections import deque
from collections.abc import Iterable

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from lab.checkpoint import StateDict
from lab.config.sections import Monitor
from lab.events import Values, named


class NotFinite(ArithmeticError):
    """A loss, gradient or weight is NaN or infinite; the message says which and where."""


class FiniteMonitor:
    """A check for values that are not finite, without a wait for the device.

    A CPU answers at once. A GPU computes asynchronously: each call starts a test there, and reads the results
    that are ready, mostly of the step before. On other devices nothing is checked.
    """

    def __init__(self) -> None:
        self._pending: deque[tuple[torch.cuda.Event, Tensor]] = deque()

    def __call__(self, value: Tensor) -> bool:
        """Check one value, 0-dim; True where it, or a former one, is known not to be finite."""
        value = value.detach()
        if value.device.type == "cpu":
            return not math.isfinite(value.float().numpy())
        if value.device.type != "cuda":
            return False
        answer = torch.empty((), dtype=torch.bool, pin_memory=True)
        answer.copy_(value.isfinite(), non_blocking=True)
        copied = torch.cuda.Event()
        copied.record()
        self._pending.append((copied, answer))
        while self._pending and self._pending[0][0].query():
            if not self._pending.popleft()[1].numpy():
                return True
        return False


class BestEpoch:
    """The best epoch and its values.

    Args:
        monitor: the value that counts, and the direction that is better.
    """

    def __init__(self, monitor: Monitor) -> None:
        self.monitor = monitor
        self.epoch = 0
        self.values: dict[str, float] = {}

    @property
    def worst(self) -> float:
        """The worst possible value."""
        return math.inf if self.monitor.mode == "min" else -math.inf

    def monitored(self, values: Values) -> float:
        """Return the monitored value.

        Raises:
            ValueError: nothing is logged under that name.
        """
        return named(values, self.monitor.metric)

    def update(self, epoch: int, values: Values) -> bool:
        """Add one epoch; True where it is the best so far. A value that is not finite never is."""
        new = self.monitored(values)
        best = self.values.get(self.monitor.metric, self.worst)
        improved = math.isfinite(new) and (new < best if self.monitor.mode == "min" else new > best)
        if improved:
            self.epoch, self.values = epoch, dict(values)
        return improved

    def state_dict(self) -> dict[str, object]:
        """Return the best epoch and its values."""
        return {"epoch": self.epoch, "values": self.values}

    def load_state_dict(self, state: StateDict) -> None:
        """Continue from a `state_dict`."""
        self.epoch, self.values = state["epoch"], dict(state["values"])


class TrainerState:
    """The course of one training: its epochs' values, the best of them, and what they cost.

    Args:
        monitor: the value that counts, and whether the best or the last one is the training's result.
    """

    def __init__(self, monitor: Monitor) -> None:
        self.best = BestEpoch(monitor)
        self.epoch = 0  # the last finished one; they count from 1
        self.history: list[dict[str, float]] = []
        self.samples = 0
        self.train_seconds = 0.0
        self.seconds = 0.0

    def end_epoch(self, values: dict[str, float], seconds: float) -> None:
        """Add a finished epoch."""
        self.epoch += 1
        self.history.append(values)
        self.seconds += seconds

    @property
    def value(self) -> float:
        """The monitor's best or last value; infinitely bad where there is none."""
        if not self.history:
            return self.best.worst
        values = self.best.values if self.best.monitor.returns == "best" else self.history[-1]
        return values.get(self.best.monitor.metric, self.best.worst)

    @property
    def samples_per_second(self) -> float:
        """Training samples per second of training, validation not counted."""
        return self.samples / self.train_seconds if self.train_seconds else 0.0

    def state_dict(self) -> StateDict:
        """Return all of it, as plain numbers."""
        return {
            "epoch": self.epoch,
            "best": self.best.state_dict(),
            "history": self.history,
            "cost": (self.samples, self.train_seconds, self.seconds),
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Continue after the epoch at which the state was taken."""
        self.epoch = state["epoch"]
        self.best.load_state_dict(state["best"])
        self.history = [dict(row) for row in state["history"]]
        self.samples, self.train_seconds, self.seconds = state["cost"]


class Schedule:
    """A scheduler with the time of its moves, and the value that it gets.

    Args:
        interval: `epoch` or `step`.
        monitor: the value that a scheduler for plateaus gets.
    """

    def __init__(self, scheduler: LRScheduler | None, interval: str, monitor: str) -> None:
        if interval not in ("epoch", "step"):
            raise ValueError(f"expected scheduler_interval epoch or step; found {interval}")
        self._scheduler, self._by_step, self._monitor = scheduler, interval == "step", monitor

    @property
    def watched(self) -> list[str]:
        """The values that it needs."""
        return [self._monitor] if isinstance(self._scheduler, ReduceLROnPlateau) else []

    def after_step(self) -> None:
        """Move after an optimizer step."""
        if self._by_step and self._scheduler is not None:
            self._scheduler.step()

    def after_epoch(self, values: Values) -> None:
        """Move at the end of an epoch."""
        if self._by_step or self._scheduler is None:
            return
        if isinstance(self._scheduler, ReduceLROnPlateau):
            self._scheduler.step(named(values, self._monitor))
        else:
            self._scheduler.step()


def refuse_val_values(names: Iterable[str]) -> None:
    """Refuse names of validation values, for a training without validation.

    Raises:
        ValueError: there are some; with each of them.
    """
    if wrong := [name for name in dict.fromkeys(names) if name.startswith("val_")]:
        raise ValueError(
            f"without validation data nothing is logged as {', '.join(wrong)}; monitor a training value, "
            "such as Monitor(metric='train_loss')"
        )
