"""The parts of a training with a state; docs/record.md lists how a resume continues each of them."""

from collections.abc import Mapping, Sequence
from functools import partial
from types import FunctionType, MethodType
from typing import Any, Protocol

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel

from lab import checkpoint
from lab.checkpoint import StateDict, Stateful
from lab.config.held_modules import held
from lab.data import loader_state as data_state
from lab.data.loaders import Loader, Loaders
from lab.events import Callback, CallbackList, Note, Outcome, Phase
from lab.losses.terms import Criterion
from lab.metrics import Metric
from lab.rng.seeding import RngState
from lab.state.attributes import has_own_state
from lab.state.components import ADVICE, Attributes, ComponentStates, Named, Unkept
from lab.state.modes import Modes
from lab.state.own_state import OwnState
from lab.state.trained_parameters import TrainedParameters
from lab.tasks import Task
from lab.train.epoch_cursor import EpochCursor
from lab.train.first_batch_errors import FirstBatch
from lab.train.progress import TrainerState
from lab.train.runtime import Runtime


class Trained(Protocol):
    """The part of a Trainer that this package needs."""

    model: nn.Module
    optimizer: Optimizer
    scheduler: LRScheduler | None
    runtime: Runtime
    criterion: Criterion
    task: Task
    ema: AveragedModel | None
    course: TrainerState
    cursor: EpochCursor
    early_stopping: Any
    components: ComponentStates
    modes: Modes
    callbacks: CallbackList
    device: torch.device
    outcome: Outcome
    reason: str
    reach: TrainedParameters
    metrics: dict[Phase, dict[str, Metric]]
    first: dict[Phase, FirstBatch]

    @property
    def value(self) -> float: ...

    def train_epoch(self, dl_train: Loader) -> float: ...

    def val_epoch(self, dl_val: Loader) -> float: ...

    def state(self, position: StateDict | None = None) -> StateDict: ...


def parts_of(trainer: Trained) -> dict[str, Stateful | None]:
    """Return everything with a state, by the name it has in a checkpoint."""
    return {
        "modes": trainer.modes if trainer.modes.switched else None,  # first: the other states are in its mode
        "model": trainer.model,
        "optimizer": trainer.optimizer,
        "scheduler": trainer.scheduler,
        "scaler": trainer.runtime.scaler,
        "ema": trainer.ema,
        "course": trainer.course,
        "midway": trainer.cursor,
        "early_stopping": trainer.early_stopping,
        "criterion": OwnState.of(trainer.criterion),
        "components": trainer.components,
        "rng": RngState(),
    }


def state_of(trainer: Trained, position: StateDict | None = None) -> StateDict:
    """Return the state of everything, as a checkpoint keeps it.

    Args:
        position: within the epoch under way (`MidEpoch.position`); None between epochs.
    """
    parts: dict[str, Stateful | StateDict | None] = {**parts_of(trainer)}
    if position is not None:
        # Within an epoch the cursor is already empty, and components have more that counts.
        parts |= {"midway": position, "components": trainer.components.state_dict(within=True)}
    return checkpoint.collect(parts)


def components_of(
    model: nn.Module,
    criterion: Criterion | None,
    task: Task | None,
    metrics: Mapping[Phase, Mapping[str, Metric]],
    device: torch.device,
) -> ComponentStates:
    """Return the objects of a training whose attributes may change."""
    components = ComponentStates(device)
    components.add("network", Attributes("network", model, tensors=False))
    # A loss with a `state_dict` is a part of the checkpoint already.
    if not has_own_state(criterion):
        components.add(
            "criterion", Attributes("criterion", _holding(criterion), tensors=False, kind=criterion)
        )
    components.add("task", Attributes("task", task))
    for phase, named in metrics.items():
        for name, metric in named.items():
            part = Attributes(f"metric {name}", metric, reset=metric.reset, between=phase == "train")
            components.add(f"metrics.{phase}.{name}", part)
    return components


def include(
    trainer: Trained, data: Loaders, default: Sequence[Callback], custom: Sequence[Callback], resume: bool
) -> list[Callback]:
    """Add the objects around a training, its data and callbacks; return the callbacks in their order.

    Callbacks with a state receive an epoch before its checkpoint is written, right after the record.
    """
    trainer.cursor.data = data_state.include(trainer.components, data)
    for callback in (*default, *custom):
        kind = type(callback)
        if has_own_state(callback):
            trainer.components.add(f"callbacks.{kind.__qualname__}", Attributes("callback", callback))
        elif not kind.__module__.startswith("lab."):
            trainer.components.add(f"callbacks.{kind.__qualname__}", Named("callback", callback))
    record, *others = default
    every = [*others, *custom]
    ordered = sorted(every, key=has_own_state, reverse=True)  # stable: each kind in its own order
    last = [Unkept(trainer.components, trainer.callbacks.on_note)] if resume else []
    return [record, *ordered, *last]


def unkeepable(trainer: Trained) -> list[Note]:
    """Warn before the first epoch of states that no checkpoint can hold."""
    parts = parts_of(trainer)
    found = checkpoint.unkeepable({name: part for name, part in parts.items() if name != "components"})
    if isinstance(own := parts["criterion"], OwnState) and (wrong := own.unkeepable()):
        found["criterion"] = wrong
    notes = [
        Note(f"the {name} won't resume exactly: {'; '.join(wrong)} in its state_dict; {ADVICE}", "warning")
        for name, wrong in found.items()
    ]
    return [*notes, *trainer.components.unkeepable()]


def _holding(criterion: Criterion | None) -> object:
    """Return the object whose attributes count: of a function, what it is bound to."""
    if isinstance(criterion, MethodType):
        return {"self": criterion.__self__}
    return (held(criterion) or criterion) if isinstance(criterion, (FunctionType, partial)) else criterion
