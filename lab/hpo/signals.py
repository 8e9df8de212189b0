"""What comes from outside the supervisor's loop: signals, and the clock that leases are renewed by."""

import os
import signal
import threading
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import SQLAlchemyError

from lab.events import Stopped
from lab.hpo.leases import Lease, Leases

_NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM", signal.SIGHUP: "SIGHUP"}


class Signals:
    """A context in which Ctrl-C, SIGTERM and SIGHUP ask for an orderly end, and a second one doesn't.

    What is to be done is left to who looks at `received`: a handler that prints could raise, or hang. Signals
    that were ignored before stay so, as `nohup` wants it.

    Args:
        at_once: the first one is raised, too, as nobody would ask before a whole run is over.
    """

    def __init__(self, at_once: bool = False) -> None:
        self._at_once = at_once
        self._before: dict[int, Any] = {}
        self.received: Stopped | None = None

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():
            heard = [number for number in _NAMES if signal.getsignal(number) != signal.SIG_IGN]
            self._before = {number: signal.signal(number, self._heard) for number in heard}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _heard(self, number: int, frame: FrameType | None) -> None:
        if (
            self.received is not None
        ):  # at once: the trials end with this process, and leases tell whose they were
            os._exit(128 + number)
        self.received = Stopped(_NAMES[signal.Signals(number)])
        self.received.code = 128 + number
        if self._at_once:
            raise self.received


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
