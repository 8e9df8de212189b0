"""Ctrl-C, SIGTERM and SIGHUP: the first ends the program in order, the second at once."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import FrameType
from typing import Any

from lab.events import Callback, StepsDone, Stopped

_NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM", signal.SIGHUP: "SIGHUP"}
_AGAIN = 0.02  # seconds until a signal is raised once more that was lost
_HANGUP = 1.0  # seconds in which a terminal that closes says so more than once: the kernel, and the shell


class Interrupted(Stopped):
    """A signal to a run of its own, which `--resume` goes on with."""


class Signals:
    """A context that hears signals and tells of them: the first is raised where the program is.

    Where nothing may break in, `deferred` leaves it to who looks at `received`. A second signal ends the
    process within the handler. Signals that were ignored before stay so, as `nohup` wants it.

    Args:
        kind: what is raised.
    """

    def __init__(self, kind: type[Stopped] = Stopped) -> None:
        self._kind = kind
        self._before: dict[int, Any] = {}
        self._raising, self._raised, self._lost, self._heard_at = True, False, False, 0.0
        self._hook: Callable[[sys.UnraisableHookArgs], Any] = sys.unraisablehook
        self.received: Stopped | None = None

    def __enter__(self) -> "Signals":
        _entered.append(self)
        if threading.current_thread() is threading.main_thread():
            heard = [number for number in _NAMES if signal.getsignal(number) != signal.SIG_IGN]
            self._before = {number: signal.signal(number, self._heard) for number in heard}
            self._hook, sys.unraisablehook = sys.unraisablehook, self._ignored
        return self

    def __exit__(self, *exception: object) -> None:
        _entered.remove(self)
        if self._before:
            sys.unraisablehook = self._hook
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """No signal breaks in here; look at `received`."""
        with self._switched(False):
            yield

    @contextmanager
    def raised(self) -> Iterator[None]:
        """Within `deferred`: here a signal is raised, also one that has come before."""
        with self._switched(True):
            self.raise_received()
            yield

    @contextmanager
    def undisturbed(self) -> Iterator[Callable[[], AbstractContextManager[None]]]:
        """Signals break in only within the context that this one gives; others are raised when it is over.

        What ends in here is so written down whole; a second signal ends it all the same.
        """
        before = self._raising
        with self.deferred():
            yield self.raised if before else nullcontext
        if before:
            self.raise_received()

    def raise_received(self) -> None:
        """Raise what has come and was not raised yet."""
        if self.received is not None and not self._raised:
            self._raised = True
            raise self.received

    @contextmanager
    def _switched(self, raising: bool) -> Iterator[None]:
        before, self._raising = self._raising, raising
        try:
            yield
        finally:
            self._raising = before

    def _heard(self, number: int, frame: FrameType | None) -> None:
        if self._lost:
            self._lost = self._raised = False
            if self._raising:
                self.raise_received()
            return
        now = time.monotonic()
        if self.received is not None:
            hangup = self.received.code == 128 + number == 128 + signal.SIGHUP
            if hangup and now - self._heard_at < _HANGUP:
                return
            os._exit(128 + number)  # the kernel lets go of its locks, and what it was writing is whole or not
        self._heard_at = now
        self.received = self._kind(_NAMES[signal.Signals(number)])
        self.received.code = 128 + number
        if self._raising:
            self.raise_received()

    def _ignored(self, unraisable: "sys.UnraisableHookArgs") -> None:
        """What Python lets through nowhere, such as out of a `__del__`, comes here: raise it a bit later."""
        if unraisable.exc_value is None or unraisable.exc_value is not self.received:
            self._hook(unraisable)
            return
        self._lost = True
        code, main = self.received.code, threading.main_thread().ident
        assert isinstance(code, int) and main is not None
        timer = threading.Timer(_AGAIN, signal.pthread_kill, [main, code - 128])
        timer.daemon = True
        timer.start()


_entered: list[Signals] = []  # a process has one table of handlers


def defer_signals() -> AbstractContextManager[Callable[[], AbstractContextManager[None]]]:
    """`Signals.undisturbed` of those who are heard here, if any are."""
    return (_entered[-1] if _entered else Signals()).undisturbed()


class SignalCallback(Callback):
    """Ends a run whose signal was raised where somebody else's code takes every exception for its own."""

    def __init__(self, signals: Signals) -> None:
        self._signals = signals

    def on_steps(self, event: StepsDone) -> None:
        """Raise it again; nothing is trained any more while a run is closed in order."""
        if self._signals.received is not None:
            raise self._signals.received
