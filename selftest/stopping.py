"""Ctrl-C, SIGTERM, a terminal that closes: all ends in order and can go on; a second time it ends at once."""

import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from selftest.base import Verdict, short_of
from selftest.bench import Bench
from selftest.stopped import KINDS, Tally
from selftest.stopped_runs import StoppedRuns
from selftest.stopped_studies import Stop, StoppedStudies

_SECOND = 4  # so many first signals to one second
_LANES = 2  # what is tried side by side


def signals(bench: Bench, count: int) -> Verdict:
    """`count` of each signal to runs, to studies, and to studies without processes for their trials."""
    seconds = max(1, count // _SECOND)
    runs, studies, within = Tally(), Tally(), Tally()
    stopped = StoppedRuns(bench, runs)
    tries: list[Callable[[], None]] = []
    for index in range(count):
        tries += [partial(stopped.stop_once, number, 3 * index + n) for n, number in enumerate(KINDS)]
    for index in range(seconds):
        first, second = random.Random(index).sample(KINDS, 2)
        tries += [partial(stopped.stop_twice, first, second, index)]
        tries += [partial(stopped.close_terminal, index)]
    _side_by_side(tries)
    bench.told(f"{runs.stops} runs stopped")
    chains = _chains(count, count // _SECOND)
    of_studies = StoppedStudies(bench, studies, n_trials=4 + 2 * max(map(len, chains)))
    _side_by_side([partial(of_studies.chain, chain, seed) for seed, chain in enumerate(chains)])
    bench.told(f"{studies.stops} studies stopped")
    in_process = StoppedStudies(bench, within, n_trials=4 + 3 * count)
    _side_by_side(
        [partial(in_process.chain_within, [Stop(kind)] * count, kind) for kind in KINDS]
        + [partial(in_process.close_terminal, seed) for seed in range(seconds)]
    )
    sent = len(KINDS) * count  # of each but the studies, `seconds` terminals are closed as well
    return verdict(runs, studies, within, (sent + seconds, sent, sent + seconds))


def verdict(runs: Tally, studies: Tally, within: Tally, wanted: tuple[int, int, int]) -> Verdict:
    """All in one; the longest times of any.

    Args:
        wanted: how often runs, studies, and studies without processes were to be stopped.
    """
    tallies = (runs, studies, within)
    figures: dict[str, int | float | str] = {
        "runs stopped": runs.stops,
        "studies stopped": studies.stops + within.stops,
        "resumed to the same result": sum(tally.resumed for tally in tallies),
        "RUNNING": sum(tally.running for tally in tallies),
        "s at most": max((s for tally in tallies for s in tally.seconds), default=0.0),
        "second signals": sum(len(tally.second) for tally in tallies),
        "s at most after a second": max((s for tally in tallies for s in tally.second), default=0.0),
    }
    broken = [line for tally in tallies for line in tally.broken]
    names = ("runs", "studies", "studies without processes")
    for name, tally, stops in zip(names, tallies, wanted, strict=True):
        broken += short_of(stops, tally.stops, f"{name} that were stopped")
    return Verdict(figures, broken)


def _chains(count: int, seconds: int) -> list[list[Stop]]:
    """The stops of all kinds, and those with a second signal, dealt out to studies that run side by side."""
    stops = [Stop(kind) for _ in range(count) for kind in KINDS]
    for index in range(seconds):
        first, second = random.Random(index).sample(KINDS, 2)
        stops.append(Stop(first, second))
    return [stops[lane::_LANES] for lane in range(_LANES)]


def _side_by_side(tries: Sequence[Callable[[], None]]) -> None:
    with ThreadPoolExecutor(_LANES) as pool:
        for future in [pool.submit(each) for each in tries]:
            future.result()
