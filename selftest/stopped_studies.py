"""Studies that are stopped from outside again and again, and gone on with to the same result."""

import random
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from lab import rundir
from lab.hpo.identity import STUDY
from selftest.bench import CONSOLE, Bench, Done
from selftest.stopped import (
    AT_ONCE,
    PROMISED,
    Tally,
    Terminal,
    as_main_in_terminal,
    left_alive,
    stop,
    timed,
)
from selftest.studies import STUDIES, small_study, write_file

_LONGEST = 120.0  # seconds for a command
_STEP = 0.02  # seconds


@dataclass(frozen=True)
class Stop:
    """What is done to a study once: a signal, and with `second` another while it ends."""

    first: signal.Signals
    second: signal.Signals | None = None

    @property
    def title(self) -> str:
        """Its name."""
        second = "" if self.second is None else f", then {self.second.name}"
        return self.first.name + second


class StoppedStudies:
    """Stops studies and goes on with them.

    Args:
        tally: takes in what came of it.
        n_trials: of each study; enough for something to be at work at every stop.
    """

    def __init__(self, bench: Bench, tally: Tally, n_trials: int) -> None:
        self._bench, self._tally, self._n_trials = bench, tally, n_trials
        folder, path = self._made("none")
        process = bench.warm(folder, "--optimize", str(path))
        process.join(_LONGEST)
        assert process.exitcode == 0, (folder / CONSOLE).read_text()
        self._wanted = results(_trials(folder))

    def chain(self, stops: Sequence[Stop], seed: int) -> None:
        """The real command, stopped so often and started again each time; in the end all must be as usual."""
        chance = random.Random(seed)
        folder, path = self._made("process")
        for index, each in enumerate(stops):
            process = self._bench.start(folder, "--optimize", str(path))
            if not _gets_on(folder, process):
                done = self._bench.finish(process)
                self._tally.broken.append(f"study, seed {seed}.{index}: ended by itself: {done.err[-300:]}")
                return
            time.sleep(chance.uniform(0.0, 0.5))
            group = chance.random() < 0.5
            stop(process.pid, each.first, group)
            if each.second is not None:
                time.sleep(0.05)
                stop(process.pid, each.second, group=False)
            done, seconds = _finished(self._bench, process)
            where = f"study, seed {seed}.{index}: {each.title}{' to the group' if group else ''}"
            self._judge(folder, where, each, done, seconds)
            if alive := left_alive(process.pid):
                self._tally.broken.append(f"{where}: {len(alive)} processes are left behind")
        done = self._bench.command(folder, "--optimize", str(path), timeout=_LONGEST)
        self._compare(folder, f"study, seed {seed}", done.code, done.err or done.out, len(stops))

    def chain_within(self, stops: Sequence[Stop], seed: int) -> None:
        """The same without a process for each trial, at any instant: signals break into the training."""
        chance = random.Random(seed)
        folder, path = self._made("none")
        count = 0
        for index, each in enumerate(stops):
            before = _begun(folder)
            process = self._bench.warm(folder, "--optimize", str(path))
            assert process.pid is not None
            _until_begun(folder, before)
            time.sleep(chance.uniform(0.0, 1.0))
            stop(process.pid, each.first, group=chance.random() < 0.5)
            code, seconds = timed(lambda process=process: _exit_code(process))  # type: ignore[misc]
            if code == 0 or (code == -each.first and _over(folder)):  # too late
                break
            where = f"study without processes, seed {seed}.{index}: {each.title}"
            said = (folder / CONSOLE).read_text()
            self._judge(folder, where, each, Done(code or 0, "", _traceback(said)), seconds)
            count += 1
        process = self._bench.warm(folder, "--optimize", str(path))
        code = _exit_code(process)
        where = f"study without processes, seed {seed}"
        self._compare(folder, where, code, (folder / CONSOLE).read_text()[-300:], count)

    def close_terminal(self, seed: int) -> None:
        """The terminal that a study runs in is closed."""
        chance = random.Random(seed)
        folder, path = self._made("none")
        with Terminal() as terminal:
            main, arguments = self._bench.main, ("--optimize", str(path))
            process = self._bench.fork(folder, as_main_in_terminal, main, arguments, terminal.name)
            _until_begun(folder, 0)
            time.sleep(chance.uniform(0.0, 0.5))
            terminal.close()
            code, seconds = timed(lambda: _exit_code(process))
        where = f"study, seed {seed}: terminal closed"
        self._judge(folder, where, Stop(signal.SIGHUP), Done(code or 0, "", ""), seconds)
        process = self._bench.warm(folder, "--optimize", str(path))
        self._compare(folder, where, _exit_code(process), (folder / CONSOLE).read_text()[-300:], 1)

    def _made(self, isolation: str) -> tuple[Path, Path]:
        folder = self._bench.folder("stopped-study")
        workers = 2 if isolation == "process" else 1
        config = small_study(
            "sqlite:///studies.db", self._n_trials, isolation=isolation, workers=workers,
            run__epochs=3, run__net__seconds=_STEP,
        )  # fmt: skip
        return folder, write_file(folder, config)

    def _judge(self, folder: Path, where: str, each: Stop, done: Done, seconds: float) -> None:
        tally, times = self._tally, self._bench.judge_times
        if each.second is not None:
            tally.second.append(seconds)
            tally.judge_end(where, done.code, 128 + each.second)
            if times and seconds > AT_ONCE:
                tally.broken.append(f"{where}: took {seconds:.1f} s")
            return
        tally.add(stops=1)
        tally.seconds.append(seconds)
        tally.judge_end(where, done.code, 128 + each.first)
        if times and seconds > PROMISED + _STEP:
            tally.broken.append(f"{where}: took {seconds:.1f} s")
        if done.err:
            tally.broken.append(f"{where}: said {done.err[-300:]}")
        found = running(_trials(folder))
        tally.add(running=len(found))
        tally.broken += [f"{where}: trial {number} is RUNNING, expected WAITING" for number in found]

    def _compare(self, folder: Path, where: str, code: int | None, said: str, stops: int) -> None:
        if code != 0:
            self._tally.broken.append(f"{where}: going on ended with {code}: {said[-300:]}")
            return
        if different := differences(results(_trials(folder)), self._wanted):
            self._tally.broken += [f"{where}: {line}" for line in different]
        else:
            self._tally.add(resumed=stops)


def results(trials: Sequence[FrozenTrial]) -> list[dict[str, Any]]:
    """What has to be equal in two equal studies."""
    return [
        {
            "state": trial.state.name,
            "params": trial.params,
            "values": trial.values,
            "reports": trial.intermediate_values,
            "outcome": trial.user_attrs.get("outcome"),
            "cause": trial.user_attrs.get("cause"),
        }
        for trial in trials
    ]


def differences(found: Sequence[dict[str, Any]], wanted: Sequence[dict[str, Any]]) -> list[str]:
    """A line for each trial in which two studies differ."""
    lines = [f"{len(found)} trials, expected {len(wanted)}"] * (len(found) != len(wanted))
    for number, (mine, other) in enumerate(zip(found, wanted, strict=False)):
        for name, value in other.items():
            if mine[name] != value:
                lines.append(f"trial {number}: {name} {mine[name]}, expected {value}")
    return lines


def running(trials: Sequence[FrozenTrial]) -> list[int]:
    """The numbers of those that are said to be at work."""
    return [trial.number for trial in trials if trial.state == TrialState.RUNNING]


def _trials(folder: Path) -> list[FrozenTrial]:
    url = f"sqlite:///{folder / 'studies.db'}"
    return optuna.load_study(study_name="small", storage=url).get_trials(deepcopy=False)


def _rows(folder: Path) -> int:
    """How many epochs all trials have recorded."""
    files = (folder / STUDIES).glob(f"*/trial_*/{rundir.METRICS}")
    return sum(len(file.read_text().splitlines()) - 1 for file in files)


def _gets_on(folder: Path, process: "subprocess.Popen[str]") -> bool:
    """Wait until an epoch more is recorded; whether that has come."""
    before, deadline = _rows(folder), time.monotonic() + _LONGEST
    while _rows(folder) <= before and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    return process.poll() is None


def _begun(folder: Path) -> int:
    """When a command last began with the study: its file is written anew then. 0: never."""
    path = folder / STUDIES / "small" / STUDY
    return path.stat().st_mtime_ns if path.exists() else 0


def _until_begun(folder: Path, before: int) -> None:
    deadline = time.monotonic() + _LONGEST
    while _begun(folder) == before and time.monotonic() < deadline:
        time.sleep(0.01)


def _over(folder: Path) -> bool:
    return all(trial.state.is_finished() for trial in _trials(folder))


def _finished(bench: Bench, process: "subprocess.Popen[str]") -> tuple[Done, float]:
    started = time.monotonic()
    done = bench.finish(process, _LONGEST)
    return done, time.monotonic() - started


def _exit_code(process: Any) -> int | None:
    process.join(_LONGEST)
    code: int | None = process.exitcode
    return code


def _traceback(said: str) -> str:
    _, found, rest = said.partition("Traceback")
    return found + rest
