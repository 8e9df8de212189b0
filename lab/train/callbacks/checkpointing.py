"""The checkpoints of a run: `last`, `prev`, `best`, `final` and the periodic ones."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from lab import checkpoint
from lab.checkpoint import StateDict
from lab.config.sections import CheckpointConfig
from lab.events import Callback, EpochEnd, MidEpoch, RunEnd
from lab.store import file_io

Content: TypeAlias = Callable[[StateDict | None], StateDict]


class Checkpointing(Callback):
    """Write one file per epoch, and more within it if configured; the other names are links to it.

    A diverged epoch is not written, so that `last` and `best` stay the last good ones.

    Args:
        content: returns the state to write, at a position within an epoch, or at None between epochs.
    """

    def __init__(self, folder: Path, config: CheckpointConfig, content: Content) -> None:
        self._folder, self._config, self._content = folder, config, content
        self._epoch = self._written_epoch = 0
        self._written_at = time.monotonic()
        folder.mkdir(parents=True, exist_ok=True)
        checkpoint.sweep(folder)

    def on_mid_epoch(self, event: MidEpoch) -> None:
        """Write a state from which a run can resume within this epoch."""
        if self._due:
            self._write(event.position)

    def on_epoch_end(self, event: EpochEnd) -> None:
        """Write the checkpoints that are due after this epoch."""
        if event.diverged:
            return
        self._epoch = event.epoch
        every = self._config.every_epochs
        periodic = every is not None and event.epoch % every == 0
        ends = event.stop is not None or event.epoch == event.epochs
        if not (self._due or periodic or event.improved or ends):
            return
        last = self._write()
        if event.improved:
            file_io.link(last, self._folder / "best.pt")
        if periodic:
            file_io.link(last, self._folder / f"epoch_{event.epoch:04d}.pt")

    def on_run_end(self, event: RunEnd) -> None:
        """Link the finished training's last checkpoint as `final`."""
        if not event.outcome.is_success:
            return
        if self._written_epoch < self._epoch:  # a callback ended the run after an epoch without a checkpoint
            self._write()
        last = self._folder / "last.pt"
        if last.exists():
            file_io.link(last, self._folder / "final.pt")

    @property
    def _due(self) -> bool:
        return time.monotonic() - self._written_at >= self._config.every_seconds

    def _write(self, position: StateDict | None = None) -> Path:
        last = self._folder / "last.pt"
        # `prev` is linked first: a crash in the middle of `save` leaves two good names of the old file.
        if last.exists():
            file_io.link(last, self._folder / "prev.pt")
        checkpoint.save(last, self._content(position))
        self._written_epoch, self._written_at = self._epoch, time.monotonic()
        return last
