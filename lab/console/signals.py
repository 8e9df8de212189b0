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
# Seconds in which more of the same are no second request: a closing terminal sends SIGHUP by kernel and by
# shell, and Slurm sends SIGTERM twice when it preempts a job.
_REPEATED = 2.0
_SENT_TWICE = (signal.SIGHUP, signal.SIGTERM)


class Interrupted(Stopped):
    """A signal to a run that is no trial: `--resume` continues it."""


class Signals:
    """Context that handles signals: the first is raised where the program is.

    Where nothing may interrupt, `deferred` leaves it to the caller to look at `received`. A second signal
    ends the process within the handler, unless it is the same SIGTERM or SIGHUP within two seconds. Signals
    that were ignored before stay so, as `nohup` wants it.

    Args:
        kind: what is raised.
    """

    def __init__(self, kind: type[Stopped] = Stopped) -> None:
        self._kind = kind
        self._before: dict[int, Any] = {}
        self._raising, self._raised, self._lost, self._received_at = True, False, False, 0.0
        self._hook: Callable[[sys.UnraisableHookArgs], Any] = sys.unraisablehook
        self.received: Stopped | None = None

    def __enter__(self) -> "Signals":
        _entered.append(self)
        # Python lets the main thread alone set handlers.
        if threading.current_thread() is threading.main_thread():
            handled = [number for number in _NAMES if signal.getsignal(number) != signal.SIG_IGN]
            self._before = {number: signal.signal(number, self._handle) for number in handled}
            self._hook, sys.unraisablehook = sys.unraisablehook, self._on_unraisable
        return self

    def __exit__(self, *exception: object) -> None:
        _entered.remove(self)
        if self._before:
            sys.unraisablehook = self._hook
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def deferred(self) -> AbstractContextManager[None]:
        """Let no signal interrupt the context; look at `received`."""
        return self._switched(False)

    @contextmanager
    def raised(self) -> Iterator[None]:
        """Within `deferred`: here a signal is raised, also one that has come before."""
        with self._switched(True):
            self.raise_received()
            yield

    @contextmanager
    def undisturbed(self) -> Iterator[Callable[[], AbstractContextManager[None]]]:
        """Let signals interrupt only within the context that this one gives; raise others when it is over.

        So what ends in here is recorded completely; a second signal ends it all the same.
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

    def _handle(self, number: int, frame: FrameType | None) -> None:
        # The timer sent it again, for Python has swallowed the exception where it was first raised.
        if self._lost:
            self._lost = self._raised = False
            if self._raising:
                self.raise_received()
            return
        now = time.monotonic()
        if self.received is not None:
            repeated = self.received.code == 128 + number and number in _SENT_TWICE
            if repeated and now - self._received_at < _REPEATED:
                return
            os._exit(128 + number)  # the kernel releases its locks, and what it was writing is whole or not
        self._received_at = now
        self.received = self._kind(_NAMES[signal.Signals(number)])
        self.received.code = 128 + number
        if self._raising:
            self.raise_received()

    def _on_unraisable(self, unraisable: "sys.UnraisableHookArgs") -> None:
        """Raise an exception again that Python could not propagate, such as out of a `__del__`."""
        if unraisable.exc_value is None or unraisable.exc_value is not self.received:
            self._hook(unraisable)
            return
        self._lost = True
        code, main = self.received.code, threading.main_thread().ident
        assert isinstance(code, int) and main is not None
        # A thread, since an exception raised here would be swallowed again.
        timer = threading.Timer(_AGAIN, signal.pthread_kill, [main, code - 128])
        timer.daemon = True
        timer.start()


_entered: list[Signals] = []  # a process has one table of handlers


def defer_signals() -> AbstractContextManager[Callable[[], AbstractContextManager[None]]]:
    """`Signals.undisturbed` of the signal handlers in force, if any are."""
    return (_entered[-1] if _entered else Signals()).undisturbed()


class SignalCallback(Callback):
    """Callback that ends a run whose signal was raised in code that catches every exception."""

    def __init__(self, signals: Signals) -> None:
        self._signals = signals

    def on_steps(self, event: StepsDone) -> None:
        """Raise it again; nothing is trained any more while a run is closed in order."""
        if self._signals.received is not None:
            raise self._signals.received
