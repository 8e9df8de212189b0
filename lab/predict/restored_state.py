"""Restoring of the state of network, task and loss that a checkpoint holds beside the weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lab.checkpoint import CheckpointError
from lab.state.components import ComponentStates
from lab.state.own_state import OwnState
from lab.train.state_inventory import components_of


def restore_attributes(
    content: Mapping[str, Any], model: nn.Module, task: Any, device: torch.device
) -> list[str]:
    """Restore the state of network and task besides weights, such as parameters of a task; returns notes.

    Raises:
        ConfigError: a state doesn't fit.
    """
    return _restored(content, components_of(model, None, task, {}, device), ("network", "task"))


def restore_loss(content: Mapping[str, Any], path: Path, criterion: Any, device: torch.device) -> list[str]:
    """Restore a loss of the same class as that of the training; returns notes.

    Args:
        path: of the checkpoint.

    Raises:
        CheckpointError: its state doesn't fit.
        ConfigError: an attribute's doesn't.
    """
    notes = _restored(content, components_of(nn.Module(), criterion, None, {}, device), ("criterion",))
    own = OwnState.of(criterion)
    if own is None:
        return notes
    if not (state := content.get("criterion")):
        # The state of built-in losses follows from the config.
        if type(criterion).__module__.partition(".")[0] in ("torch", "lab"):
            return notes
        return [*notes, f"{path} holds no state of the loss: the evaluation uses an untrained one"]
    try:
        own.load_state_dict(state)
    except (RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{path}: doesn't fit the loss {type(criterion).__name__}: {error}") from error
    return notes


def _restored(content: Mapping[str, Any], components: ComponentStates, names: tuple[str, ...]) -> list[str]:
    # Optimizer, metrics and the rest of the training have no part in inference.
    kept = content.get("components") or {}
    components.load_state_dict(
        {key: {name: value for name, value in each.items() if name in names} for key, each in kept.items()}
    )
    return [note.message for note in components.notes]
