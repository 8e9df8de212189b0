"""The listeners that every run has, in the order in which they are called."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from lab.config import RunConfig
from lab.events import Callback, CallbackList
from lab.store import run_folder
from lab.tasks import Samples, Task
from lab.train.callbacks.checkpointing import Checkpointing
from lab.train.callbacks.diagnostics import Diagnostics
from lab.train.callbacks.image_logger import Pictures
from lab.train.callbacks.progress_bar import Progress, Style
from lab.train.callbacks.run_summary import Summary
from lab.train.callbacks.tracking import create_tracking


class Trained(Protocol):
    """The part of a Trainer that its listeners need."""

    task: Task
    listeners: CallbackList

    def state(self, position: Mapping[str, Any] | None = None) -> dict[str, Any]: ...


class Look(Protocol):
    """A few samples with the network's predictions."""

    def __call__(self) -> Samples | None: ...

    def best(self) -> Samples | None:
        """The same with the weights of the best epoch."""


def shipped(
    folder: Path, config: RunConfig, trainer: Trained, look: Look, about: Mapping[str, Any], console: Style
) -> list[Callback]:
    """Create the listeners of a run.

    Args:
        about: what a checkpoint keeps beside the trainer's parts.
    """
    notify = trainer.listeners.on_note
    tracking = create_tracking(config.shipped_trackers, notify, config.create_trackers())
    return [
        tracking,
        Checkpointing(
            folder / run_folder.CHECKPOINTS,
            config.checkpoint,
            lambda position: {**about, **trainer.state(position)},
        ),
        Pictures(folder, config.pictures, trainer.task, look, look.best, tracking.image, notify),
        Diagnostics(config.diagnostics, notify),
        Summary(),
        Progress(console, mark="saved best"),
    ]
