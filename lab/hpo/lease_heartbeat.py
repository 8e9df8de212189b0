"""The thread that leases are renewed by."""

import threading
from collections.abc import Callable

from lab.hpo.storage import unless_unavailable


class Heartbeat:
    """Context in which a thread calls a function at regular intervals.

    Args:
        action: renews leases. A lease that is lost while the database is away is noticed at the next write.
        seconds: between two calls.
    """

    def __init__(self, action: Callable[[], None], seconds: float) -> None:
        self._action, self._seconds = action, seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="leases", daemon=True)

    def __enter__(self) -> "Heartbeat":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join(timeout=5.0)

    def _beat(self) -> None:
        while not self._over.wait(self._seconds):
            unless_unavailable(self._action, None)
