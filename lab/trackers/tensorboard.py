"""Mirrors a run into TensorBoard event files, in its own folder: `tensorboard --logdir runs`."""

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lab.config.tracker_config import TensorBoardConfig
from lab.events import EpochEnd, Note, RunEnd, RunStart
from lab.trackers.background_tracker import no_fork
from lab.trackers.base import Tracker

FOLDER = "tensorboard"


class TensorBoardTracker(Tracker):
    """One scalar a value with the epoch as its step, and the run's pictures.

    `train_<metric>` is filed as `<metric>/train` and `val_<metric>` as `<metric>/val`, so that TensorBoard
    shows both curves side by side in one section; every other value (`lr`) keeps its name. Notes are filed
    as text.
    """

    def __init__(self, config: TensorBoardConfig) -> None:
        self._config = config
        self._writer: Any = None

    def start(self, event: RunStart) -> None:
        """Open the files; what an earlier process wrote from `event.first_epoch` on is no longer shown."""
        with no_fork:  # 1 s, and only this tracker needs it
            import PIL.Image
            from torch.utils.tensorboard import SummaryWriter

            # Otherwise the first image imports its format's module.
            PIL.Image.preinit()

        _hush()
        folder = event.run_dir / FOLDER
        self._writer = SummaryWriter(folder, purge_step=event.first_epoch if folder.exists() else None)

    def epoch(self, event: EpochEnd) -> None:
        """Write the values and flush them: a curve can be watched while it grows."""
        for name, value in event.values.items():
            self._writer.add_scalar(tag(name), value, event.epoch)
        self._writer.flush()

    def image(self, epoch: int, name: str, image: NDArray[np.uint8]) -> None:
        """File a picture under its name."""
        if self._config.images:
            self._writer.add_image(name, image, epoch, dataformats="HWC")
            self._writer.flush()

    def note(self, event: Note) -> None:
        """File a note as text; one that belongs to no epoch stands at step 0."""
        self._writer.add_text("notes", event.message, event.epoch or 0)

    def finish(self, event: RunEnd) -> None:
        """Close the files."""
        self._writer.add_text("outcome", f"{event.outcome} {event.reason}".strip(), event.epochs)
        self._writer.close()


def _hush() -> None:
    """A fault of TensorBoard's own thread is raised in ours, too: no need to show its traceback first."""
    shown = threading.excepthook

    def hook(arguments: threading.ExceptHookArgs) -> None:
        if not type(arguments.thread).__module__.startswith("tensorboard."):
            shown(arguments)

    if getattr(shown, "__module__", "") != __name__:
        threading.excepthook = hook


def tag(name: str) -> str:
    """Return the tag under which TensorBoard shows a value: `val_dice` becomes `dice/val`."""
    phase, _, metric = name.partition("_")
    return f"{metric}/{phase}" if metric and phase in ("train", "val") else name
