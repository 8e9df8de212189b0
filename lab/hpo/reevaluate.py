"""Reevaluate the best trials on seeds that the search has never seen: was the winner lucky?"""

import math
import statistics
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from lab.config import RunConfig
from lab.config.group_split_rule import GroupRule, recorded
from lab.config.optimize_config import OptimizeConfig
from lab.config.validation import validate
from lab.console.formatting import format_duration, format_number
from lab.console.signals import Signals
from lab.events import Outcome, StopCause
from lab.hpo.console import StudyConsole
from lab.hpo.executor import Job, Slot, WorkerDied, free_slot
from lab.hpo.job_loop import ExecutorFactory, JobLoop
from lab.hpo.trial_errors import StorageFaults
from lab.hpo.trial_folder import read_trial
from lab.hpo.wandb_sync import without_wandb
from lab.hpo.worker_main import Answer, EpochReported, Message, TrialFinished, TrialJob, patience
from lab.report.trial_ranking import ranked
from lab.store import file_io, run_folder
from lab.store.redact import restored

CONFIRM = "confirm.json"
_FOLDER = "confirm"
_LEVEL = 0.95


@dataclass(frozen=True)
class _Rerun:
    number: int
    seed: int
    config: RunConfig
    folder: Path


def reevaluate(
    config: OptimizeConfig,
    study: optuna.Study,
    trials: Sequence[FrozenTrial],
    folder: Path,
    create_executor: ExecutorFactory,
    console: StudyConsole,
    signals: Signals,
) -> None:
    """Rerun the best trials on fresh seeds, and write `confirm.json`.

    What was done before is not done again. Where another process is at it already, nothing is done.

    Raises:
        Stopped: by a signal; the same command continues.
    """
    assert config.confirm is not None
    candidates = ranked(trials, study.directions)[: config.confirm.top]
    place = folder / _FOLDER
    place.mkdir(exist_ok=True)
    try:
        with run_folder.lock(place):
            first = max(config.base.seeds) + 1
            seeds = range(first, first + config.confirm.seeds)
            reruns = list(_reruns(config, candidates, seeds, folder))
            left = {rerun.number for rerun in reruns}
            candidates = [trial for trial in candidates if trial.number in left]
            if not candidates:
                console.note("none of the best trials has a folder here, so that none can be confirmed")
                return
            console.note(f"confirming the best {len(candidates)} trials on {len(seeds)} fresh seeds")
            for rerun in reruns:  # of a call that was killed at it
                _drop_weights(rerun)
            unfinished = [rerun for rerun in reruns if _value(rerun) is None]
            rule = recorded(study.user_attrs)
            _Reruns(config, unfinished, create_executor, console, signals, rule).run_jobs()
            report = _compared(reruns, candidates, config, seeds)
            file_io.atomic_write(folder / CONFIRM, file_io.to_json(report, indent=2) + "\n")
    except file_io.RunInUse:
        console.note("another process confirms the best trials")
        return
    for found in report["candidates"]:
        about = f"{format_number(found['low'])} to {format_number(found['high'])}"
        if found["diverged"]:
            about = f"diverged on {found['diverged']} of {len(seeds)} seeds"
        console.note(f"trial {found['trial']}: {report['metric']} {format_number(found['mean'])} ({about})")
    console.note(report["verdict"])


class _Reruns(JobLoop):
    """Reruns in the study's slots."""

    jobs_are = "reruns"

    def __init__(
        self,
        config: OptimizeConfig,
        reruns: Sequence[_Rerun],
        create_executor: ExecutorFactory,
        console: StudyConsole,
        signals: Signals,
        rule: GroupRule,
    ) -> None:
        super().__init__(create_executor, signals, console.note)
        self._left = list(reruns)
        self._console, self._patience, self._group_rule = console, patience(config), rule
        self._storage_faults = StorageFaults(self._patience)

    def _fill_slots(self) -> bool:
        while self._left and not self._stopping() and (slot := free_slot(self._executor)) is not None:
            self._start(self._left.pop(0), slot)
        return bool(self._executor.jobs)

    def _start(self, rerun: _Rerun, slot: Slot, delay: float = 0.0) -> None:
        config = rerun.config if slot.device is None else rerun.config.with_values({"device": slot.device})
        resume = (rerun.folder / run_folder.CONFIG).exists()
        order = TrialJob(
            config.as_data(),
            rerun.folder,
            resume=resume,
            patience=self._patience,
            group_rule=self._group_rule,
            delay=delay,
        )
        self._executor.start(slot, order, rerun)

    def _handle(self, job: Job, message: Message | WorkerDied) -> Answer:
        if isinstance(message, TrialFinished) and message.cause is StopCause.STORAGE_FAULT:
            self._interrupted(job, message.reason)
        elif isinstance(message, (TrialFinished, WorkerDied)):
            rerun: _Rerun = job.subject
            outcome = message.outcome if isinstance(message, TrialFinished) else Outcome.FAILED
            value = format_number(message.value) if isinstance(message, TrialFinished) else message.reason
            _drop_weights(rerun)
            self._console.status(f"confirming: trial {rerun.number}, seed {rerun.seed}: {outcome} {value}")
        return self._stop_request(job) if isinstance(message, EpochReported) else None

    def _interrupted(self, job: Job, reason: str) -> None:
        """Try a rerun again that the system kept from its files; the next call does what is given up."""
        rerun: _Rerun = job.subject
        delay = None if self._stopping() else self._storage_faults.delay((rerun.number, rerun.seed), 0)
        ends = "left to the next call" if delay is None else f"it is tried again in {format_duration(delay)}"
        self._console.note(f"confirming: trial {rerun.number}, seed {rerun.seed}: {reason}; {ends}")
        if delay is not None:
            self._start(rerun, job.slot, delay)


def _drop_weights(rerun: _Rerun) -> None:
    """Of a rerun that ended well nothing but the value was asked for; diverged ones have one, too."""
    outcome = Outcome.read((run_folder.read_summary(rerun.folder) or {}).get("outcome"))
    if outcome not in (None, Outcome.INTERRUPTED, Outcome.FAILED):
        for weights in rerun.folder.rglob(f"{run_folder.CHECKPOINTS}/*.pt"):
            with suppress(OSError):
                weights.unlink()


def _reruns(
    config: OptimizeConfig, trials: Sequence[FrozenTrial], seeds: Sequence[int], folder: Path
) -> Iterator[_Rerun]:
    for trial in trials:
        recipe = read_trial(folder / f"trial_{trial.number:05d}").get("recipe")
        if not recipe:
            continue  # of another study, or its folder is gone: there is nothing to rerun
        own = config.base.with_values(config.space.from_params(trial.params)).as_data()
        for seed in seeds:
            place = folder / _FOLDER / f"trial_{trial.number:05d}" / f"seed_{seed}"
            data = {**restored(without_wandb(recipe), own), "seeds": [seed]}
            yield _Rerun(trial.number, seed, validate(RunConfig, data), place)


def _value(rerun: _Rerun, mode: str = "min") -> float | None:
    """The value of a rerun: infinitely bad where it diverged or ran out of memory, as for a trial.

    NaN where it failed, which is no evidence about the trial; None where it has not ended yet.
    """
    summary = run_folder.read_summary(rerun.folder) or {}
    outcome = Outcome.read(summary.get("outcome"))
    if outcome is None or not outcome.is_final:
        return None
    if outcome.is_infinitely_bad:
        return math.inf if mode == "min" else -math.inf
    value = summary.get("value")
    return float(value) if value is not None else math.nan


def _compared(
    reruns: Sequence[_Rerun], trials: Sequence[FrozenTrial], config: OptimizeConfig, seeds: Sequence[int]
) -> dict[str, Any]:
    monitor = config.base.monitor
    values = {
        trial.number: [_value(r, monitor.mode) for r in reruns if r.number == trial.number]
        for trial in trials
    }
    candidates = []
    for number, found in values.items():
        mean, low, high = interval(_known(found))
        about = {"trial": number, "values": found, "mean": mean, "low": low, "high": high}
        candidates.append({**about, "diverged": sum(map(math.isinf, _known(found)))})
    verdict = _verdict(values, monitor.mode)
    return {
        "seeds": list(seeds), "metric": monitor.metric, "mode": monitor.mode, "level": _LEVEL,
        "candidates": candidates, "verdict": verdict,
    }  # fmt: skip


def _known(values: Sequence[float | None]) -> list[float]:
    """The values there are, infinite ones included."""
    return [value for value in values if value is not None and not math.isnan(value)]


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """The mean and its 95 % confidence interval by Student's t; NaN where there is none.

    A single infinite value makes the mean infinite, and leaves it without an interval.
    """
    if not values:
        return math.nan, math.nan, math.nan
    mean = statistics.fmean(values)
    if len(values) < 2 or not math.isfinite(mean):
        return mean, math.nan, math.nan
    from scipy import stats  # half a second, and few studies need it

    error = statistics.stdev(values) / math.sqrt(len(values))
    half = float(stats.t.ppf(0.5 + _LEVEL / 2, len(values) - 1)) * error
    return mean, mean - half, mean + half


def _verdict(values: dict[int, list[float | None]], mode: str) -> str:
    """Compare the first with the second: it wins if the interval of their paired differences is above zero.

    Where a rerun diverged there is no mean difference, and a signed-rank test decides.
    """
    if len(values) < 2:
        return "there is no second trial to compare the first with"
    (first, mine), (second, other) = list(values.items())[:2]
    pairs = [
        (a, b)
        for a, b in zip(mine, other, strict=True)
        if a is not None and b is not None and not (math.isnan(a) or math.isnan(b))
    ]
    if len(pairs) < 2:
        return f"trials {first} and {second} can't be compared: too few of their reruns have a value"
    if any(math.isinf(value) for pair in pairs for value in pair):
        return _verdict_by_ranks(first, second, pairs, mode)
    mean, low, high = interval([(b - a) if mode == "min" else (a - b) for a, b in pairs])
    word, near, far = ("worse", -high, -low) if mean < 0 else ("better", low, high)
    span = (
        f"{format_number(abs(mean))} {word} on average, 95 % interval {format_number(near)} to "
        f"{format_number(far)}, {len(pairs)} seeds"
    )
    if low > 0:
        return f"trial {first} beats trial {second}: {span}"
    if high < 0:
        return f"trial {second} beats trial {first}, which won the search: trial {first} is {span}"
    return f"trials {first} and {second} can't be distinguished: trial {first} is {span}"


def _verdict_by_ranks(first: int, second: int, pairs: Sequence[tuple[float, float]], mode: str) -> str:
    """The verdict where some reruns diverged: Wilcoxon's signed-rank test, with those as the worst."""
    sign = 1.0 if mode == "min" else -1.0
    gains = [0.0 if a == b else sign * (b - a) for a, b in pairs]
    most = 2 * max([abs(gain) for gain in gains if math.isfinite(gain)], default=0.0) + 1.0
    gains = [gain if math.isfinite(gain) else math.copysign(most, gain) for gain in gains]
    p, ahead = 1.0, 0.0
    if any(gains):
        from scipy import stats

        p = float(stats.wilcoxon(gains).pvalue)
        ranks = stats.rankdata([abs(gain) for gain in gains])
        ahead = math.fsum(math.copysign(rank, gain) for rank, gain in zip(ranks, gains, strict=True) if gain)
    count, seeds = [sum(map(math.isinf, column)) for column in zip(*pairs, strict=True)], len(pairs)
    diverged = f"trial {first} diverged on {count[0]} of {seeds} seeds and trial {second} on {count[1]}"
    details = f"{diverged}; signed-rank test with those as the worst: p = {p:.2g}"
    if p >= 1 - _LEVEL:
        return f"trials {first} and {second} can't be distinguished: {details}"
    if ahead > 0:
        return f"trial {first} beats trial {second}: {details}"
    return f"trial {second} beats trial {first}, which won the search: {details}"
