"""Runs that are killed (-9) at random, between epochs and within them, and go on, to the bit."""

import itertools
import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from lab import checkpoint, rundir
from lab.trackers.csv_file import read_metrics
from selftest.base import Verdict, short_of
from selftest.bench import CONSOLE, Bench, end_group
from selftest.faulty_parts import SAMPLES
from selftest.watched_training import digest, footprints, stateful, train

RUN = "run"
_KILLS = 5  # of each run, at most
_LEAST = 3.6  # of each run, on average
_EPOCHS = 8
_EVERY = 7  # batches between two checkpoints within an epoch
_VARIANTS = 10
_PARTS = ("model", "optimizer", "scheduler", "ema", "early_stopping", "rng", "criterion", "components")
_PATIENCE = 120.0  # seconds for a run of one
_LINGER = 30.0  # seconds after which a loader's worker must have seen that its training is gone


def kill_runs(bench: Bench, count: int) -> Verdict:
    """Kill runs five times at random instants, the start included, and compare them with runs that weren't.

    Every second one has two loader workers; by turns these are killed with it, or have to notice. Of many
    runs one is the real command.
    """
    tally, going_on = _Tally(), 0
    bench.fork(bench.folder("warm"), time.sleep, 0).join()  # or the first run would be timed with it
    for number in range(count):
        chance = random.Random(number)
        config = stateful(number, epochs=_EPOCHS)
        real = number == 0 and count >= 10
        whole, cut = bench.folder(f"whole-{number}"), bench.folder(f"cut-{number}")
        began = time.monotonic()
        tally.expect_end(_Try(bench, whole, config, real), f"run {number}, not killed")
        lasts = time.monotonic() - began
        kills = 0
        while kills < _KILLS:
            going_on += has_checkpoint(cut)
            attempt = _Try(bench, cut, config, real)
            if not attempt.killed_after(
                chance.uniform(0.0, lasts * (0.9 if real else 0.4)), alone=chance.random() < 0.5
            ):
                break
            tally.groups.append(attempt.pid)
            kills += 1
        tally.kills += kills
        going_on += has_checkpoint(cut)
        tally.expect_end(_Try(bench, cut, config, real), f"run {number}, after {kills} kills")
        tally.compare(f"run {number} ({kills} kills)", outcome(run_of(whole)), outcome(run_of(cut)))
        bench.told(f"{number + 1} of {count} runs, {tally.kills} kills, {tally.identical} identical")
    tally.expect_nobody()
    figures = {
        "runs": count,
        "kills": tally.kills,
        "starts from a checkpoint": going_on,
        "identical": tally.identical,
    }
    return Verdict(figures, [*tally.broken, *short_of(int(_LEAST * count), tally.kills, "kills")])


def kill_within_epochs(bench: Bench, count: int) -> Verdict:
    """Kill runs at random steps, or milliseconds after, and compare each epoch's end with one not killed."""
    tally, most, trained_twice = _Tally(), 0, 0
    wholes: dict[int, Path] = {}
    for index in range(count):
        chance, number = random.Random(index), index % _VARIANTS
        config = stateful(number, checkpoint={"every_n_steps": _EVERY, "every_epochs": 1})
        if number not in wholes:
            wholes[number] = bench.folder(f"whole-{number}")
            tally.expect_end(_Try(bench, wholes[number], config), f"variant {number}, not killed")
        cut = bench.folder(f"cut-{index}")
        batches = SAMPLES // config["batch_size"]
        fatal = (
            chance.randint(1, 2),
            chance.randint(1, batches),
            chance.choice([0.0, chance.uniform(0, 0.02)]),
        )
        where = f"kill {index} (variant {number}, epoch {fatal[0]}, step {fatal[1]} + {fatal[2]:.4f} s)"
        first = _Try(bench, cut, config, fatal=fatal)
        if first.ended() != -signal.SIGKILL:
            tally.broken.append(f"{where}: expected it to be killed, found exit code {first.ended()}")
            continue
        tally.kills += 1
        tally.expect_end(_Try(bench, cut, config), f"{where}, resumed")
        tally.compare(where, epochs(wholes[number] / RUN), epochs(cut / RUN))
        steps = footprints(cut)
        tally.broken += [f"{where}: {fault}" for fault in judge_steps(steps, config["epochs"], batches)]
        lost = len(steps) - len(set(steps))
        group = config["accumulate_grad_batches"]
        if lost > (interval := -(-_EVERY // group) * group):
            tally.broken.append(f"{where}: expected at most {interval} batches trained twice, found {lost}")
        most, trained_twice = max(most, lost), trained_twice + lost
        bench.told(f"{index + 1} of {count} kills, {tally.identical} identical, {most} batches lost at most")
    tally.expect_nobody()
    figures: dict[str, int | float | str] = {
        "kills": tally.kills,
        "identical": tally.identical,
        "batches between checkpoints": _EVERY,
        "batches trained twice at most": most,
        "in all": trained_twice,
    }
    return Verdict(figures, [*tally.broken, *short_of(count, tally.kills, "kills")])


def run_of(folder: Path) -> Path:
    """The folder of the run within a working folder; the command names it itself."""
    return next((path.parent for path in folder.glob(f"runs/*/{rundir.CONFIG}")), folder / RUN)


def has_checkpoint(folder: Path) -> bool:
    """Whether the next start in a working folder goes on from somewhere."""
    return (run_of(folder) / rundir.CHECKPOINTS / "last.pt").exists()


def outcome(run: Path) -> dict[str, str]:
    """What a run has come to, each part by its sha256: its states, its history, its record."""
    try:
        content = checkpoint.load(run / rundir.CHECKPOINTS / "final.pt")
    except checkpoint.CheckpointError as error:
        return {"the end": str(error)}
    rows = [{name: value for name, value in row.items() if name != "seconds"} for row in read_metrics(run)]
    course = content["course"]
    states = {part: content.get(part) for part in _PARTS}
    states |= {"history": course["history"], "best": course["best"], "record": rows}
    return {name: digest(state) for name, state in states.items()}


def epochs(run: Path) -> dict[str, str]:
    """The same of all epochs, whose ends were kept, and of the whole."""
    found = {f"{name} at the end": value for name, value in outcome(run).items()}
    for path in sorted((run / rundir.CHECKPOINTS).glob("epoch_*.pt")):
        content = checkpoint.load(path)
        found |= {f"{part} of {path.stem}": digest(content.get(part)) for part in _PARTS}
        found[f"history of {path.stem}"] = digest(content["course"]["history"])
    return found


def judge_steps(steps: Sequence[tuple[int, int]], epochs: int, batches: int) -> Iterable[str]:
    """What is wrong with the batches that were trained: one that never was, or not in its order."""
    expected = {(epoch, step) for epoch in range(1, epochs + 1) for step in range(1, batches + 1)}
    if missing := sorted(expected - set(steps)):
        yield f"expected every batch to be trained, found none at (epoch, step) {missing[0]}"
    back = [late for early, late in itertools.pairwise(steps) if late <= early]
    if len(back) > 1:
        yield f"expected to go back once, found it at {back}"


@dataclass
class _Tally:
    """What all runs came to."""

    kills: int = 0
    identical: int = 0
    broken: list[str] = field(default_factory=list)
    groups: list[int] = field(default_factory=list)

    def expect_end(self, attempt: "_Try", where: str) -> None:
        """Wait for the end of a run that nobody kills."""
        self.groups.append(attempt.pid)
        if (code := attempt.ended()) != 0:
            said = attempt.said()
            self.broken.append(f"{where}: expected exit code 0, found {code}: {said}")

    def compare(self, where: str, whole: Mapping[str, str], cut: Mapping[str, str]) -> None:
        """Two runs that should be one."""
        faults = list(differences(where, whole, cut))
        self.identical += not faults
        self.broken += faults

    def expect_nobody(self) -> None:
        """No loader's worker may outlive its training for long."""
        deadline = time.monotonic() + _LINGER
        while self.groups and time.monotonic() < deadline:
            self.groups = [group for group in self.groups if _is_there(group)]
            time.sleep(0.05)
        for group in self.groups:
            self.broken.append(f"expected no process to be left {_LINGER:.0f} s later, found group {group}")
            end_group(group)


def differences(where: str, whole: Mapping[str, str], cut: Mapping[str, str]) -> Iterable[str]:
    """A line for each part whose sha256 differs, or that only one of the two has."""
    for name in sorted({*whole, *cut}):
        one, other = whole.get(name, "nothing"), cut.get(name, "nothing")
        if one != other:
            yield f"{where}: {name}: expected sha256 {one[:16]}, found {other[:16]}"


class _Try:
    """One process that goes on with the run in a folder: a warm one, or the real command."""

    def __init__(
        self,
        bench: Bench,
        folder: Path,
        config: Mapping[str, Any],
        real: bool = False,
        fatal: tuple[int, int, float] | None = None,
    ) -> None:
        self._bench, self._folder = bench, folder
        self._process: ForkServerProcess | subprocess.Popen[str]
        if real:
            (folder / "config.yaml").write_text(json.dumps(config))
            begun = run_of(folder)
            what = ("--resume", str(begun)) if begun.exists() else ("--run", "config.yaml")
            self._process = bench.start(folder, *what, environment={"WANDB_MODE": "disabled"})
        else:
            self._process = bench.fork(folder, train, bench.run, config, fatal)
        assert self._process.pid is not None
        self.pid = self._process.pid

    def ended(self) -> int | None:
        """Its exit code; None where it takes too long, and is killed."""
        if isinstance(self._process, subprocess.Popen):
            return self._bench.finish(self._process, _PATIENCE).code
        self._process.join(_PATIENCE)
        if self._process.is_alive():
            end_group(self.pid)
            return None
        return self._process.exitcode

    def killed_after(self, seconds: float, alone: bool) -> bool:
        """Kill it, alone or with its loader's workers; whether it was still there."""
        time.sleep(seconds)
        if isinstance(self._process, subprocess.Popen):
            there = self._process.poll() is None
        else:
            there = self._process.is_alive()
        if there:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL) if alone else end_group(self.pid)
        return self.ended() == -signal.SIGKILL

    def said(self) -> str:
        """The last line of its console."""
        path = self._folder / CONSOLE
        lines = path.read_text(errors="replace").split("\n") if path.exists() else []
        return next((line for line in reversed(lines) if line.strip()), "nothing was said")


def _is_there(group: int) -> bool:
    with suppress(ProcessLookupError):
        os.killpg(group, 0)
        return True
    return False
