"""The time that a study goes by."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Clock:
    """Functions of the time; a simulation replaces them.

    Args:
        now: gives seconds since 1970.
        monotonic: gives seconds that never go backwards.
        sleep: waits.
    """

    now: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


REAL = Clock()


class WorkingTime:
    """Seconds that a process has been at work: monotonic time without pauses, such as SIGSTOP.

    Args:
        longest: seconds between two calls of `beat` that count at most; what is beyond was a pause.
    """

    def __init__(self, longest: float, clock: Clock = REAL) -> None:
        self._longest, self._clock = longest, clock
        self._until_last_beat, self._last_beat = 0.0, clock.monotonic()
        self._lock = threading.Lock()  # one thread beats, another asks

    def beat(self) -> None:
        """Count the time since the last call."""
        with self._lock:
            self._until_last_beat, self._last_beat = self._total(), self._clock.monotonic()

    def seconds(self) -> float:
        """Return how long the process has been at work since this was created."""
        with self._lock:
            return self._total()

    def _total(self) -> float:
        return self._until_last_beat + min(self._clock.monotonic() - self._last_beat, self._longest)
