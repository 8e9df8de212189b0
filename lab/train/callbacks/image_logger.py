"""Plots of predictions and curves: panels for the trackers, and two files at the end."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lab.config.sections import PicturesConfig
from lab.events import Callback, EpochEnd, Note, RunEnd
from lab.figures.curves import history
from lab.store import run_folder
from lab.store.error_text import kind_and_text
from lab.tasks import Samples, Task
from lab.trackers.csv_file import read_metrics


class Pictures(Callback):
    """Draw `history.png` and `predictions.png`, the latter from the best epoch's predictions.

    Plots are a by-product: an error in one is reported and does not end the run.

    Args:
        predict: returns predictions for some validation samples with the present weights, or None.
        predict_best: returns the same with the best epoch's weights.
        image: receives a panel for the trackers: epoch, name, (height, width, 3).
    """

    def __init__(
        self,
        run_dir: Path,
        config: PicturesConfig,
        task: Task,
        predict: Callable[[], Samples | None],
        predict_best: Callable[[], Samples | None],
        image: Callable[[int, str, NDArray[np.uint8]], None],
        notify: Callable[[Note], None],
    ) -> None:
        self._run_dir, self._config, self._task = run_dir, config, task
        self._predict, self._predict_best = predict, predict_best
        self._image, self._notify = image, notify

    def on_epoch_end(self, event: EpochEnd) -> None:
        """Send a panel to the trackers, every `pictures.every_epochs` epochs."""
        due = event.epoch % self._config.every_epochs == 0 or event.epoch == event.epochs
        if due and self._config.enabled and not event.diverged:
            with self._guarded():
                samples = self._predict()
                panel = self._task.panel(samples) if samples is not None else None
                if panel is not None:
                    self._image(event.epoch, "predictions", panel)

    def on_run_end(self, event: RunEnd) -> None:
        """Draw both files."""
        if not self._config.enabled:
            return
        folder, best = self._run_dir, event.best_epoch
        with self._guarded():
            path = folder / run_folder.HISTORY
            history(read_metrics(folder), path, title=folder.name, best_epoch=best or None)
        with self._guarded():
            if best and (samples := self._predict_best()) is not None:
                self._task.draw(samples, folder / run_folder.PREDICTIONS, f"{folder.name}: best epoch {best}")

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001 - a by-product must not end the run
            self._notify(Note(f"a plot could not be drawn: {kind_and_text(error)}", "warning"))
