"""The interface of a tracker, which records a run's numbers."""

import numpy as np
from numpy.typing import NDArray

from lab.events import EpochEnd, Note, RunEnd, RunStart


class Tracker:
    """A tracker that records nothing; subclass it and override what it has a place for.

    Called by the tracking callback in this order: start, then epoch / image / note, then finish.

    A tracker that is not the local record may raise whatever it likes: it is then switched off for the rest
    of the run with one warning, and training continues. After finish only the local record may get another
    note.
    """

    def start(self, event: RunStart) -> None:
        """The run begins, or continues at `event.first_epoch`."""

    def epoch(self, event: EpochEnd) -> None:
        """One epoch's numbers; the step is `event.epoch`."""

    def image(self, epoch: int, name: str, image: NDArray[np.uint8]) -> None:
        """One picture, shape (height, width, 3)."""

    def note(self, event: Note) -> None:
        """A line for the record."""

    def finish(self, event: RunEnd) -> None:
        """The run is over."""
