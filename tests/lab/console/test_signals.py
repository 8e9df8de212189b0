"""Signals reach a real process: the first ends it in order, the second at once."""

import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest

from lab.console.signals import Interrupted, SignalCallback, Signals, defer_signals
from lab.events import StepsDone, Stopped
from tests import study_tools as tools

WAITS = """
import sys, time
from lab.console.signals import Signals

with Signals() as signals, {context}:
    print("ready", flush=True)
    while signals.received is None:
        time.sleep(0.01)
    print(signals.received.reason, signals.received.code, flush=True)
    while "stay" in sys.argv:
        time.sleep(0.01)
"""


def waiting(
    *wrapper: str, context: str = "signals.deferred()", stay: bool = False
) -> "subprocess.Popen[str]":
    """A process that waits for a signal and tells of it."""
    process = subprocess.Popen(
        [*wrapper, sys.executable, "-c", WAITS.format(context=context), *(["stay"] if stay else [])],
        cwd=tools.ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (signal.SIGINT, "Ctrl-C 130\n"),
        (signal.SIGTERM, "SIGTERM 143\n"),
        (signal.SIGHUP, "SIGHUP 129\n"),
    ],
)
def test_the_first_signal_is_told_and_the_second_ends_at_once(number: signal.Signals, told: str) -> None:
    process = waiting(stay=True)
    process.send_signal(number)
    assert process.stdout is not None and process.stdout.readline() == told
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert tools.finish(process, 10) == (130, "", "")


@pytest.mark.parametrize("context", ["open('/dev/null')", "signals.deferred(), signals.raised()"])
def test_it_is_raised_where_nothing_is_deferred(context: str) -> None:
    process = waiting(context=context)
    process.send_signal(signal.SIGTERM)
    assert tools.finish(process, 10) == (143, "", "")


def test_nohup_is_respected() -> None:
    process = waiting("nohup")
    process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    code, out, _ = tools.finish(process, 10)
    assert (code, out) == (0, "SIGTERM 143\n"), "the other signals are heard all the same"


@pytest.mark.parametrize(
    ("number", "shown"), [(signal.SIGHUP, "SIGHUP 129\n"), (signal.SIGTERM, "SIGTERM 143\n")]
)
def test_what_terminals_and_slurm_send_twice_is_no_second_request(number: signal.Signals, shown: str) -> None:
    process = waiting(stay=True)
    for _ in range(3):
        process.send_signal(number)
        time.sleep(0.02)
    assert process.stdout is not None and process.stdout.readline() == shown
    time.sleep(1.0)
    process.send_signal(number)
    time.sleep(0.1)
    assert process.poll() is None
    time.sleep(1.0)
    process.send_signal(number)
    assert tools.finish(process, 10) == (128 + number, "", "")


def test_the_handlers_from_before_come_back() -> None:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    with pytest.raises(Stopped) as stopped, Signals() as signals:
        assert signals.received is None
        assert not set(before) & {signal.getsignal(number) for number in numbers}
        signal.raise_signal(signal.SIGTERM)
    assert signals.received is stopped.value
    assert (stopped.value.reason, stopped.value.code) == ("SIGTERM", 143)
    assert [signal.getsignal(number) for number in numbers] == before


def test_what_was_deferred_is_raised_once() -> None:
    with Signals(Interrupted) as signals, signals.deferred():
        signal.raise_signal(signal.SIGHUP)
        with pytest.raises(Interrupted), signals.raised():
            raise AssertionError("it has come before")
        with signals.raised():
            signals.raise_received()


def test_a_signal_that_python_swallows_is_raised_again() -> None:
    class Dying:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGHUP)

    with Signals(Interrupted) as signals:
        dying = Dying()
        del dying
        assert signals.received is not None
        with pytest.raises(Interrupted):
            time.sleep(5.0)


def test_a_run_heeds_a_signal_that_was_swallowed() -> None:
    step = StepsDone("train", 1, None)
    with Signals(Interrupted) as signals:
        heeding = SignalCallback(signals)
        heeding.on_steps(step)
        with suppress(Interrupted):  # as Python does with what a `__del__` raises
            signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Interrupted):
            heeding.on_steps(step)


def test_an_end_is_made_undisturbed_and_the_signal_raised_after_it() -> None:
    done = []
    with pytest.raises(Interrupted), Signals(Interrupted), defer_signals() as disturbed:
        with disturbed():
            done.append("trained")
        signal.raise_signal(signal.SIGINT)
        done.append("written")
    assert done == ["trained", "written"]
    with pytest.raises(Interrupted), Signals(Interrupted), defer_signals() as disturbed, disturbed():
        signal.raise_signal(signal.SIGINT)
        done.append("trained on")
    assert done == ["trained", "written"]


def test_what_is_deferred_around_it_stays_so() -> None:
    with Signals(Interrupted) as signals, signals.deferred():
        with defer_signals() as disturbed, disturbed():
            signal.raise_signal(signal.SIGINT)
        assert signals.received is not None
    with defer_signals() as disturbed, disturbed():
        pass  # where nobody listens nothing is the matter
