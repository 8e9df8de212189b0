"""Estimate of a study's time, memory and disk space from the costs of single trials."""

import heapq
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lab.config import ConfigError
from lab.config.optimize_config import OptimizeConfig
from lab.console.formatting import format_duration
from lab.train.preflight_report import Costs

_RECORDS = 150_000  # bytes of a seed's config, provenance, events and event file
_RECORDS_AN_EPOCH = 500
_PICTURES = 300_000  # bytes of a seed's two pictures, and of the same in an event file
_SHARE = 0.9  # of a memory that can be used; the system and CUDA want some, too


@dataclass(frozen=True)
class Room:
    """Resources of the machine, in bytes; None where they are unknown."""

    memory: int | None = None
    device: str = "cpu"
    disk: int | None = None

    @property
    def name(self) -> str:
        """Of the device, as one says it."""
        return self.device if self.device not in ("", "cpu") else "this machine"


@dataclass(frozen=True)
class Estimate:
    """Figures of a whole study, in seconds and bytes.

    Args:
        least, most: seconds if all trials were as short as the shortest corner, or as long as the longest.
        confirming: seconds of the reruns at the end.
        memory: of the largest trial, times as many as share a device.
        sharing: how many those are.
        weights: of the checkpoints at the end: the kept trials', the running ones' and those of the reruns.
        records: of all that stays of every trial.
        needed: of disk when retention has removed all that it may.
    """

    trials: int
    workers: int
    seconds: float
    least: float
    most: float
    confirming: float
    memory: int
    sharing: int
    weights: int
    records: int
    needed: int

    @property
    def disk(self) -> int:
        """Bytes in all."""
        return self.weights + self.records


def estimate(config: OptimizeConfig, costs: Mapping[str, Costs]) -> Estimate:
    """The study's figures by those of its corners, at least one; a mean trial is the mean of them."""
    total, base = trials_left(config), config.base
    workers = min(config.n_workers, total)
    rounds = math.ceil(total / workers)  # the last one may have few trials, and takes as long as the others
    seconds = [cost.seconds for cost in costs.values()]
    mean, repeats = statistics.fmean(seconds), len(base.repeats)
    reruns = 0 if config.confirm is None else min(config.confirm.top, total) * config.confirm.seeds
    everything = config.retention.pruned and config.pruner is not None
    kept = total if everything else min(config.retention.keep_best, total)
    trial = max(cost.checkpoint_bytes * cost.checkpoints for cost in costs.values())
    file = max(cost.checkpoint_bytes for cost in costs.values())
    record = _RECORDS + base.epochs * _RECORDS_AN_EPOCH + _PICTURES * base.pictures.enabled
    records = record * (total * repeats + reruns)
    sharing = math.ceil(workers / max(1, len(config.devices)))
    running = trial * workers
    rerun = trial // repeats * reruns
    return Estimate(
        trials=total,
        workers=workers,
        seconds=rounds * mean,
        least=rounds * min(seconds),
        most=rounds * max(seconds),
        confirming=math.ceil(reruns / config.n_workers) * mean / repeats,
        memory=max(cost.peak_bytes for cost in costs.values()) * sharing,
        sharing=sharing,
        weights=trial * kept + max(running, rerun),
        records=records,
        needed=file + max(running, rerun) + records,
    )


def warnings(config: OptimizeConfig, costs: Mapping[str, Costs], found: Estimate, room: Room) -> list[str]:
    """List the costs that exceed the machine or the budget."""
    result = []
    budget, timeout = config.time_budget, config.trial_timeout
    if budget is not None and found.seconds > budget:
        a_round = found.seconds / math.ceil(found.trials / found.workers)
        enough = max(1, math.floor(budget / a_round)) * found.workers
        result.append(
            f"the time_budget of {format_duration(budget)} is enough for about {enough} of {found.trials} "
            "trials, without pruning"
        )
    slowest = max(costs, key=lambda label: costs[label].seconds)
    if timeout is not None and costs[slowest].seconds > timeout:
        result.append(
            f"the trial_timeout of {format_duration(timeout)} ends trials such as '{slowest}', which takes "
            f"{format_duration(costs[slowest].seconds)}"
        )
    if room.memory is not None and found.memory > _SHARE * room.memory:
        trials = f"{found.sharing} of the largest trials at a time want" if found.sharing > 1 else "it wants"
        result.append(
            f"{trials} {size(found.memory)} of memory, and {room.name} has {size(room.memory)}; "
            + ("take fewer workers" if found.sharing > 1 else "take a smaller batch or network")
        )
    limit = None if config.retention.max_disk_gb is None else config.retention.max_disk_gb * 1e9
    if limit is not None and found.needed > limit:
        result.append(
            f"retention.max_disk_gb is {config.retention.max_disk_gb:g}, and the winner, the trials at work "
            f"and the records take {size(found.needed)}: the study would stop"
        )
    elif limit is not None and found.disk > limit:
        result.append(
            f"retention.max_disk_gb is {config.retention.max_disk_gb:g}, and the study takes up to "
            f"{size(found.disk)}: fewer weights than those of the best {config.retention.keep_best} stay"
        )
    if room.disk is not None and min(found.disk, limit or math.inf) > room.disk:
        result.append(
            f"the study takes up to {size(found.disk)} of disk, and {size(room.disk)} are free; "
            "retention.max_disk_gb sets a limit"
        )
    return result


def trials_left(config: OptimizeConfig, begun: int = 0, tried: int = 0) -> int:
    """The number of trials that have yet to begin: no more than a finite space has points left.

    Args:
        begun: of the study's own.
        tried: points, those that a fork brought along included.
    """
    left = config.total - begun
    try:
        points = config.points
    except ConfigError:  # the study reports it where it gets to that point
        points = None
    return max(0, left if points is None else min(left, points - tried))


def time_left(mean: float, elapsed: Sequence[float], waiting: int, workers: int) -> float:
    """Seconds until all trials are over, where each takes the mean time and a free worker takes the next.

    Args:
        elapsed: seconds that each of the running trials has had.
        waiting: how many trials have yet to begin.
    """
    free = sorted(max(0.0, mean - seconds) for seconds in elapsed)
    free = [0.0] * max(0, workers - len(free)) + free
    for _ in range(waiting):
        heapq.heapreplace(free, free[0] + mean)
    return max(free, default=0.0)


def size(count: float) -> str:
    """`812 kB`, `45.2 MB`, `1.24 GB`: powers of 1000, as `max_disk_gb` has them."""
    unit = "kB" if count < 999_500 else "MB" if count < 999_500_000 else "GB"
    number = count / {"kB": 1e3, "MB": 1e6, "GB": 1e9}[unit]
    digits = 0 if unit == "kB" or number >= 99.95 else 2 if unit == "GB" else 1
    return f"{number:,.{digits}f} {unit}"
