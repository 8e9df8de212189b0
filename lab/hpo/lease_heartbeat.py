"""The thread that leases are renewed by."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lab.hpo.storage import unless_unavailable


@contextmanager
def heartbeat(action: Callable[[], None], seconds: float) -> Iterator[None]:
    """Context in which a thread calls a function at regular intervals.

    Args:
        action: renews leases. A lease that is lost while the database is away is noticed at the next write.
        seconds: between two calls.
    """
    over = threading.Event()

    def beat() -> None:
        while not over.wait(seconds):
            unless_unavailable(action, None)

    thread = threading.Thread(target=beat, name="leases", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(timeout=5.0)
