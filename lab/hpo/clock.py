"""The time that a study goes by."""

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
