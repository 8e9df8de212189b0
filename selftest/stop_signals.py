"""Ctrl-C, SIGTERM, a closed terminal: an orderly end that can be continued; the second time, at once."""

import random
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from selftest.bench import Bench
from selftest.stopped_commands import Stop, stop
from selftest.stopped_work import StoppedRun, StoppedStudy, undisturbed
from selftest.verdict import Tally, Verdict

KINDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SECOND = 4  # so many first signals to one second
_LANES = 2  # what is tried side by side
_TRIES = 5  # a run may be over before it is stopped
_CLOSED = Stop(signal.SIGHUP, terminal=True)


def signals(bench: Bench, count: int) -> Verdict:
    """`count` of each signal to runs, to studies, and to studies without processes for their trials."""
    tally = new_tally()
    seconds = max(1, count // _SECOND)
    wanted = undisturbed(bench)
    tries: list[Callable[[], object]] = []
    for seed, kind in enumerate(KINDS * count):
        tries.append(partial(_stop_run, StoppedRun(bench, wanted, seed % 2), Stop(kind), seed, tally))
    for seed, twice in enumerate(_twice(seconds)):
        lingering = StoppedRun(bench, wanted, seed % 2, lingers=True)
        tries.append(partial(_stop_run, lingering, twice, seed, tally))
        tries.append(partial(_stop_run, StoppedRun(bench, wanted, 0), _CLOSED, seed, tally))
    _side_by_side(tries)
    bench.report(f"{tally.figures['runs']} runs stopped")
    chains = _chains(count, count // _SECOND)
    studies = StoppedStudy(bench, 4 + 2 * max(map(len, chains)), processes=True)
    _side_by_side([partial(stop, studies, chain, seed, tally) for seed, chain in enumerate(chains)])
    bench.report(f"{tally.figures['studies']} studies stopped")
    within = StoppedStudy(bench, 4 + 3 * count, processes=False)
    _side_by_side(
        [partial(stop, within, [Stop(kind)] * count, kind, tally) for kind in KINDS]
        + [partial(stop, within, [_CLOSED], seed, tally) for seed in range(seconds)]
    )
    # Of each but the studies, `seconds` terminals are closed as well.
    sent = len(KINDS) * count
    return verdict(tally, {"runs": sent + seconds, "studies": sent, within.title: sent + seconds})


def new_tally() -> Tally:
    """All figures, the stops by what was stopped."""
    stops = {"runs": 0, "studies": 0, "studies without processes": 0}
    return Tally(
        {
            **stops,
            "resumed to the same result": 0,
            "RUNNING": 0,
            "s at most": 0.0,
            "second signals": 0,
            "s at most after a second": 0.0,
        }
    )


def verdict(tally: Tally, wanted: dict[str, int]) -> Verdict:
    """All in one.

    Args:
        wanted: how often each kind of command was to be stopped.
    """
    for kind, stops in wanted.items():
        tally.at_least(stops, tally.figures[kind], f"{kind} that were stopped")
    runs, studies, within = (tally.figures.pop(kind) for kind in wanted)
    stopped = {"runs stopped": runs, "studies stopped": studies + within}
    return Verdict({**stopped, **tally.figures}, tally.broken)


def _stop_run(run: StoppedRun, each: Stop, seed: int, tally: Tally) -> None:
    any(stop(run, [each], seed + 1000 * attempt, tally) for attempt in range(_TRIES))


def _twice(count: int) -> list[Stop]:
    """Two different signals each."""
    pairs = (random.Random(index).sample(KINDS, 2) for index in range(count))
    return [Stop(first, second) for first, second in pairs]


def _chains(count: int, seconds: int) -> list[list[Stop]]:
    """The stops of all kinds, and those with a second signal, dealt out to studies that run side by side."""
    stops = [*(Stop(kind) for _ in range(count) for kind in KINDS), *_twice(seconds)]
    return [stops[lane::_LANES] for lane in range(_LANES)]


def _side_by_side(tries: Sequence[Callable[[], object]]) -> None:
    with ThreadPoolExecutor(_LANES) as pool:
        for future in [pool.submit(each) for each in tries]:
            future.result()
