"""State of a checkpoint that belongs to another setting: left out, each part with a message."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch.optim.lr_scheduler import ReduceLROnPlateau

from lab.config import ConfigError, Problem
from lab.events import Note
from lab.state.components import ComponentStates
from lab.state.own_state import OwnState
from lab.train.changed_settings import Resets

Parts = Mapping[str, Any]
"""Everything with a state, by its name in a checkpoint."""


def forget(reset: Resets, content: dict[str, Any], parts: Parts, config: Mapping[str, Any]) -> list[Note]:
    """Take out of a checkpoint's content what is reset.

    Raises:
        ConfigError: nothing would be left to judge the run by, or the optimizer trains parameters of the
            loss.
    """
    if reset.best and (done := content["course"]["epoch"]) >= config["epochs"]:
        message = f"{done} epochs are done, and {reset.best}: no epoch is left to be judged by it"
        raise ConfigError([Problem(("epochs",), f"{message}; set a larger number of epochs")])
    if reset.criterion and _trains(parts):
        message = (
            "the loss has parameters of its own, which the optimizer trains; start a new run for another"
        )
        raise ConfigError([Problem(("criterion",), message)])
    if isinstance(components := parts.get("components"), ComponentStates):
        components.leave_out(reset.components)
    if reset.criterion:
        content.pop("criterion", None)
    if reset.early_stopping:
        content.pop("early_stopping", None)
    if reset.scaler:
        content.pop("scaler", None)
    if reset.best:
        content["course"] = {**content["course"], "best": {"epoch": 0, "values": {}}}
    return list(_of_this_epoch(reset, content))


def reset_notes(reset: Resets, parts: Parts) -> list[Note]:
    """Messages on what was reset, and on components; what a plateau scheduler watched is forgotten here."""
    notes = []
    if reset.best:
        notes.append(f"{reset.best}: the best epoch is reset, and looked for among those from here on")
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
    """Warnings of states that the checkpoint doesn't have, such as one of an earlier version."""
    notes = []
    if parts.get("criterion") is not None and "criterion" not in known:
        notes.append(Note("the checkpoint has no state of the criterion: it is reset", "warning"))
    if isinstance(components := parts.get("components"), ComponentStates) and "components" not in known:
        notes += components.new()
    return notes


def _of_this_epoch(reset: Resets, content: Mapping[str, Any]) -> Iterator[Note]:
    """Sums within an epoch are of one loss and one metric; what another gathered is left out."""
    if not (midway := content.get("midway")):
        return
    left_out = [
        name for name in reset.metrics if (midway["tally"].get("metrics") or {}).pop(name, None) is not None
    ]
    if reset.sums:
        midway["tally"] = None
        left_out = ["loss", *(midway.get("metrics") or ())]
    for name in left_out:
        yield Note(f"train_{name} of this epoch is of the batches after the checkpoint only", "warning")


def _trains(parts: Parts) -> bool:
    """Return whether the optimizer has parameters of the loss."""
    criterion: Any = parts.get("criterion")
    optimizer: Any = parts.get("optimizer")
    if not isinstance(criterion, OwnState) or optimizer is None:
        return False
    own = {id(parameter) for parameter in criterion.parameters()}
    return any(id(parameter) in own for group in optimizer.param_groups for parameter in group["params"])
