"""The clock that leases are renewed by."""

import threading
from collections.abc import Callable, Sequence

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import SQLAlchemyError

from lab.hpo.leases import Lease, Leases


class Heartbeat:
    """A context in which the leases that are held are renewed by a thread, whatever else goes on.

    Args:
        held: gives the leases.
        lost: hears of those that are another's by now.
    """

    def __init__(
        self, leases: Leases, held: Callable[[], Sequence[Lease]], lost: Callable[[Sequence[Lease]], None]
    ) -> None:
        self._leases, self._held, self._lost = leases, held, lost
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="leases", daemon=True)

    def __enter__(self) -> "Heartbeat":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join(timeout=5.0)

    def _beat(self) -> None:
        while not self._over.wait(self._leases.seconds / 4):
            try:
                if lost := self._leases.renew(self._held()):
                    self._lost(lost)
            except (SQLAlchemyError, StorageInternalError, OSError):
                continue  # the database is away: a lease that is lost meanwhile is noticed at the next write
