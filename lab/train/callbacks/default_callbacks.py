"""The callbacks that every run has, in the order in which they are called."""

from pathlib import Path

from lab.checkpoint import StateDict
from lab.config import RunConfig
from lab.events import Callback
from lab.store import run_folder
from lab.train.callbacks.checkpointing import Checkpointing
from lab.train.callbacks.diagnostics import Diagnostics
from lab.train.callbacks.image_logger import Pictures
from lab.train.callbacks.progress_bar import Progress, Style
from lab.train.callbacks.run_summary import Summary
from lab.train.callbacks.tracking import create_tracking
from lab.train.evaluation import SamplePredictions
from lab.train.state_inventory import Trained


def default_callbacks(
    folder: Path,
    config: RunConfig,
    trainer: Trained,
    predictions: SamplePredictions,
    about: StateDict,
    console: Style,
) -> list[Callback]:
    """Create the callbacks of a run.

    Args:
        about: the entries of a checkpoint beside the trainer's parts.
    """
    notify = trainer.callbacks.on_note
    # The record comes first: no other callback may lose an epoch that was shown or kept.
    tracking = create_tracking(config.shipped_trackers, notify, config.create_trackers())
    return [
        tracking,
        Checkpointing(
            folder / run_folder.CHECKPOINTS,
            config.checkpoint,
            lambda position: {**about, **trainer.state(position)},
        ),
        Pictures(
            folder, config.pictures, trainer.task, predictions, predictions.best, tracking.image, notify
        ),
        Diagnostics(config.diagnostics, notify),
        Summary(),
        Progress(console, mark="saved best"),
    ]
