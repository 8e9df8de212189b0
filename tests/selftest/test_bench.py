"""Processes of a bench: a fork and the real command are waited for, signalled and read in one way."""

import signal
import time

import pytest

from selftest.bench import Bench, Process, in_order, last_line, until


def speak(text: str, seconds: float = 0.0, code: int = 0) -> None:
    print(text, flush=True)
    time.sleep(seconds)
    raise SystemExit(code)


def test_a_fork_is_read_from_its_start_on(bench: Bench) -> None:
    folder = bench.folder("words")
    first = bench.fork(folder, speak, "one", 0.0, 3)
    assert (first.done().code, first.done().output, first.alive) == (3, "one\n", False)
    second = bench.fork(folder, speak, "two").done()
    assert (second.code, second.last, second.late) == (0, "two", False)


def test_the_real_command_is_read_too(bench: Bench) -> None:
    done = bench.start(bench.folder("command"), "--run", "nothing.yaml").done()
    assert done.code == 2 and "nothing.yaml" in done.last and done.out == ""


@pytest.mark.parametrize("late", [False, True])
def test_who_is_killed_is_told_from_who_takes_too_long(bench: Bench, late: bool) -> None:
    process = bench.fork(folder := bench.folder("slow"), speak, "here", 60.0)
    assert until(lambda: process.output == "here\n", 30.0), folder
    if not late:
        process.send(signal.SIGKILL)
    done = process.done(0.2 if late else 30.0)
    assert (done.code, done.late) == (-signal.SIGKILL, late)
    process.send(signal.SIGKILL)  # it is gone, and nothing happens


def test_only_so_many_run_side_by_side(bench: Bench) -> None:
    folder, begun = bench.folder("order"), list[Process]()

    def start() -> object:
        for number in range(4):
            assert sum(process.alive for process in begun) < 2
            begun.append(bench.fork(folder, speak, "", 0.1, number))
            yield number, begun[-1]

    ended = [(number, done.code) for number, done in in_order(start())]  # type: ignore[arg-type]
    assert ended == [(0, 0), (1, 1), (2, 2), (3, 3)]


def test_waiting_and_last_words() -> None:
    assert until(lambda: True, 0.0) and not until(lambda: False, 0.05, pause=0.01)
    assert (last_line("a\nb\n\n"), last_line("")) == ("b", "no output")
    assert last_line("Traceback (most recent call last):\n  x = 1\nKeyError: 3\nTrial 5\n") == "KeyError: 3"
