"""Pictures of what the network says: panels for the trackers, and two files at the end."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lab import rundir
from lab.config.sections import PicturesConfig
from lab.events import Callback, EpochEnd, Note, RunEnd
from lab.figures.curves import history
from lab.tasks import Samples, Task
from lab.trackers.csv_file import read_metrics


class Pictures(Callback):
    """Draws `history.png` and `predictions.png`, the latter from the best epoch's predictions.

    A picture is a by-product: whatever goes wrong in one is told and does not end the run.

    Args:
        predict: what the network says of some validation samples now, or None.
        image: takes a panel for the trackers: epoch, name, (height, width, 3).
    """

    def __init__(
        self,
        run_dir: Path,
        config: PicturesConfig,
        task: Task,
        predict: Callable[[], Samples | None],
        image: Callable[[int, str, NDArray[np.uint8]], None],
        notify: Callable[[Note], None],
    ) -> None:
        self._run_dir, self._config, self._task = run_dir, config, task
        self._predict, self._image, self._notify = predict, image, notify
        self._best: tuple[int, Samples] | None = None

    def on_epoch_end(self, event: EpochEnd) -> None:
        """Keep the best epoch's predictions; every now and then, a panel."""
        due = event.epoch % self._config.every_epochs == 0 or event.epoch == event.epochs
        if event.diverged or not self._config.enabled or not (due or event.improved):
            return
        self._guarded(lambda: self._look(event, due))

    def on_run_end(self, event: RunEnd) -> None:
        """Draw both files."""
        if not self._config.enabled:
            return
        self._guarded(lambda: self._draw_history(event.best_epoch))
        if self._best is not None:
            epoch, samples = self._best
            title = f"{self._run_dir.name}: best epoch {epoch}"
            path = self._run_dir / rundir.PREDICTIONS
            self._guarded(lambda: self._task.draw(samples, path, title))

    def _look(self, event: EpochEnd, due: bool) -> None:
        samples = self._predict()
        if samples is None:
            return
        if event.improved:
            self._best = (event.epoch, samples)
        panel = self._task.panel(samples) if due else None
        if panel is not None:
            self._image(event.epoch, "predictions", panel)

    def _draw_history(self, best_epoch: int) -> None:
        path = self._run_dir / rundir.HISTORY
        history(read_metrics(self._run_dir), path, title=self._run_dir.name, best_epoch=best_epoch or None)

    def _guarded(self, draw: Callable[[], object]) -> None:
        try:
            draw()
        except Exception as error:  # noqa: BLE001 - a by-product must not end the run
            self._notify(Note(f"a picture could not be drawn: {type(error).__name__}: {error}", "warning"))
