"""State of a checkpoint that belongs to another setting: left out, each part with a message."""

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from lab.checkpoint import StateDict, Stateful
from lab.config import ConfigError, Problem
from lab.events import Note
from lab.state.components import ComponentStates
from lab.state.own_state import OwnState
from lab.train.changed_settings import ConfigData, Resets

Parts: TypeAlias = Mapping[str, Stateful | None]
"""Everything with a state, by its name in a checkpoint."""


def drop_state(reset: Resets, content: dict[str, Any], parts: Parts, config: ConfigData) -> list[Note]:
    """Remove what is reset from a checkpoint's content.

    Raises:
        ConfigError: no epoch would be left that could be the best one, or the optimizer trains the loss.
    """
    # Refuse first: below, the content is changed.
    if reset.best and (done := content["course"]["epoch"]) >= config["epochs"]:
        message = f"{done} epochs are done, and {reset.best}: no epoch is left that it could apply to"
        raise ConfigError([Problem(("epochs",), f"{message}; set a larger number of epochs")])
    if reset.criterion and _trains(parts):
        message = "the optimizer trains parameters of the loss; start a new run for another loss"
        raise ConfigError([Problem(("criterion",), message)])
    if isinstance(components := parts.get("components"), ComponentStates):
        components.leave_out(reset.components)
    for name in ("criterion", "early_stopping", "scaler"):
        if getattr(reset, name):
            content.pop(name, None)
    if reset.best:
        content["course"] = {**content["course"], "best": {"epoch": 0, "values": {}}}
    return list(_drop_sums(reset, content))


def reset_notes(reset: Resets, parts: Parts) -> list[Note]:
    """Return messages on what was reset, and on components; a plateau scheduler is reset here."""
    notes = []
    if reset.best:
        notes.append(f"{reset.best}: the best epoch is reset; epochs before the checkpoint no longer count")
    if reset.early_stopping and parts.get("early_stopping") is not None:
        notes.append(f"early stopping is reset: {reset.early_stopping}")
    if reset.plateau and isinstance(scheduler := parts.get("scheduler"), ReduceLROnPlateau):
        scheduler._reset()
        notes.append(f"ReduceLROnPlateau is reset: {reset.plateau}")
    if reset.scaler:
        notes.append(f"the gradient scaler is reset: {reset.scaler}")
    if reset.criterion and parts.get("criterion") is not None:
        notes.append(f"the loss's own state is reset: {reset.criterion}")
    components = parts.get("components")
    own = components.notes if isinstance(components, ComponentStates) else []
    return [*(Note(text, "warning") for text in notes), *own]


def new_since(known: Parts, parts: Parts) -> list[Note]:
    """Warn of states that the checkpoint doesn't have, such as one of an earlier version."""
    notes = []
    if parts.get("criterion") is not None and "criterion" not in known:
        notes.append(Note("the checkpoint has no state of the criterion: it is reset", "warning"))
    if isinstance(components := parts.get("components"), ComponentStates) and "components" not in known:
        notes += components.new()
    return notes


def part_of_epoch(name: str) -> Note:
    """Warn that a training value of the epoch under way lacks the batches before the checkpoint."""
    return Note(f"train_{name} of this epoch covers only the batches after the checkpoint", "warning")


def _drop_sums(reset: Resets, content: StateDict) -> Iterator[Note]:
    """Remove the sums within an epoch that another loss or metric has gathered."""
    if not (midway := content.get("midway")):
        return
    left_out = [
        name for name in reset.metrics if (midway["tally"].get("metrics") or {}).pop(name, None) is not None
    ]
    if reset.criterion:
        midway["tally"] = None
        left_out = ["loss", *(midway.get("metrics") or ())]
    for name in left_out:
        yield part_of_epoch(name)


def _trains(parts: Parts) -> bool:
    """Return whether the optimizer has parameters of the loss."""
    criterion, optimizer = parts.get("criterion"), parts.get("optimizer")
    if not isinstance(criterion, OwnState) or not isinstance(optimizer, Optimizer):
        return False
    own = {id(parameter) for parameter in criterion.parameters()}
    return any(id(parameter) in own for group in optimizer.param_groups for parameter in group["params"])
