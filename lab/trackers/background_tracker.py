"""Isolation of training from slow or failing trackers: one thread and one queue for each."""

import os
import time
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from threading import RLock, Thread

import numpy as np
from numpy.typing import NDArray

from lab.events import EpochEnd, Note, RunEnd, RunStart
from lab.store.error_text import text_of
from lab.trackers.base import Tracker

MOST_WAITING = 64  # pictures are dropped beyond this many waiting calls: they are what fills the memory

no_fork = RLock()
"""Within it, a fork by another thread waits: an import in the background can't hang a loader's worker.

A process that is forked while a thread imports a module inherits the module's lock and nobody who will
release it: should the child import the same module, as a worker that opens a picture does with Pillow's, it
hangs for ever.
"""
if hasattr(os, "register_at_fork"):  # Windows starts its workers afresh
    os.register_at_fork(
        before=no_fork.acquire, after_in_parent=no_fork.release, after_in_child=no_fork.release
    )


class Background(Tracker):
    """Calls a tracker from a daemon thread; its methods return at once, except `wait` and `finish`.

    Whatever the tracker raises switches it off for the rest of the run: one warning goes to `notify`
    (called from that thread), later calls do nothing. At the end it may take `timeout` seconds to catch up;
    then it is left behind, with a warning, and `on_abandon` cleans up what would hold up the end of the
    process.
    """

    def __init__(
        self,
        tracker: Tracker,
        name: str,
        notify: Callable[[Note], None],
        timeout: float = 5.0,
        on_abandon: Callable[[], None] = lambda: None,
    ) -> None:
        self._tracker = tracker
        self._name = name
        self._notify = notify
        self._timeout = timeout
        self._on_abandon = on_abandon
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = Thread(target=self._work, name=f"tracker-{name}", daemon=True)
        self._off = False
        self._closed = False
        self._dropped = False

    def start(self, event: RunStart) -> None:
        """Start the thread, and the tracker in it."""
        self._thread.start()
        self._put(partial(self._tracker.start, event))

    def epoch(self, event: EpochEnd) -> None:
        """Queue one epoch's numbers."""
        self._put(partial(self._tracker.epoch, event))

    def image(self, epoch: int, name: str, image: NDArray[np.uint8]) -> None:
        """Queue one picture, or drop it where the tracker lags far behind; the array must not change."""
        # Only images are dropped: numbers are small, and none of them may be lost.
        if self._calls.qsize() < MOST_WAITING:
            self._put(partial(self._tracker.image, epoch, name, image))
        elif not self._dropped:
            self._dropped = True
            self._warn(f"{self._name} lags behind: images are dropped until it has caught up")

    def note(self, event: Note) -> None:
        """Queue a note."""
        self._put(partial(self._tracker.note, event))

    def finish(self, event: RunEnd) -> None:
        """Queue the end and wait for it."""
        self.request_finish(event)
        self.wait(time.monotonic())

    def request_finish(self, event: RunEnd) -> None:
        """Queue the end without waiting, so that several trackers can come to it side by side."""
        self._put(partial(self._tracker.finish, event))
        self._closed = True
        self._calls.put(None)

    def wait(self, since: float) -> None:
        """Wait for the end, until `timeout` seconds after `since` (of the monotonic clock) at most."""
        self._thread.join(max(0.0, since + self._timeout - time.monotonic()))
        # A daemon thread may stay behind: it can't hold up the end of the process.
        if self._thread.is_alive():
            self._off = True
            self._warn(
                f"{self._name} did not finish within {self._timeout:g} s after the run and is abandoned"
            )
            self._guard(self._on_abandon)

    @property
    def done(self) -> bool:
        """Return whether its thread has ended, and nothing is left to wait for."""
        return not self._thread.is_alive()

    def _put(self, call: Callable[[], None]) -> None:
        if not self._off and not self._closed:
            self._calls.put(call)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            if not self._off and not self._guard(call):
                self._off = True
                self._guard(self._on_abandon)

    def _guard(self, call: Callable[[], None]) -> bool:
        """Make the call and return whether it succeeded; a tracker's error never fails the run."""
        try:
            call()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the one place that may catch everything
            # Errors of an abandoned tracker concern nobody.
            if not self._off:
                self._warn(f"{self._name} failed and is disabled for the rest of this run: {_brief(error)}")
            return False
        return True

    def _warn(self, message: str) -> None:
        self._notify(Note(f"{message}; the run's own files are complete", level="warning"))


def _brief(error: BaseException) -> str:
    """The kind of the error and the first line of its text."""
    lines = text_of(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
