"""Workers that are stopped (SIGSTOP) for longer than their lease holds, and then go on."""

import os
import random
import signal
import subprocess
import time
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial

from lab.hpo.trial_folder import TAKEN
from lab.hpo.trial_process import patience
from lab.rundir import read_summary
from selftest.audit import Audit, Found, judge, judge_record, recorded
from selftest.base import Verdict, short_of
from selftest.bench import CONSOLE, Bench
from selftest.crew import last_line, until
from selftest.studies import small_study, trial_folder, work, write_file

_LEASE = 2.0  # seconds
_PATIENCE = 60.0  # seconds for what has to come
_TAKES_OVER = 20.0  # seconds for another worker to start, to see that a lease ran out and to claim the trial


@dataclass(frozen=True)
class _Kind:
    """How a worker is stopped.

    Args:
        apart: the two have a folder each, as on two machines; else they share one.
        command: it is the real command, with a process for each trial.
        long: it is stopped for longer than the other one waits for the folder.
    """

    apart: bool = False
    command: bool = False
    long: bool = False


_KINDS = (_Kind(apart=True), _Kind(command=True), _Kind(), _Kind(apart=True), _Kind(long=True))


def stopped_workers(bench: Bench, count: int) -> Verdict:
    """Stop a worker with all its processes in a trial until another one has that, and let it go on.

    By turns the two have a folder each, or share one; the stopped one is the real command, or a warm worker.
    """
    tally = _Tally()
    for index in range(count):
        _Round(bench, _KINDS[index % len(_KINDS)], f"round {index}", random.Random(index), tally).play()
        bench.told(
            f"{index + 1} of {count} workers stopped and continued, {len(tally.broken)} not as promised"
        )
    return Verdict(tally.figures(), [*tally.broken, *short_of(count, tally.stopped, "stopped workers")])


@dataclass
class _Tally:
    """What all rounds came to."""

    stopped: int = 0
    gave_up: int = 0
    within_a_claim: int = 0
    overwritten: int = 0
    longest: float = 0.0
    found: Found = field(default_factory=Found)
    broken: list[str] = field(default_factory=list)

    def figures(self) -> dict[str, int | float | str]:
        """As they are told."""
        return {
            "stopped": self.stopped,
            "stopped by themselves": self.gave_up,
            "stopped within a claim": self.within_a_claim,
            "overwritten": self.overwritten,
            **self.found.counted(),
            "seconds until it let go at most": self.longest,
        }


class _Round:
    """One worker that is stopped, and one that takes over."""

    def __init__(self, bench: Bench, kind: _Kind, where: str, chance: random.Random, tally: _Tally) -> None:
        self._bench, self._kind, self._where, self._chance = bench, kind, where, chance
        self._tally = tally
        self._folder = bench.folder("stalled")
        self._first = self._folder / "first"
        self._second = self._folder / "second" if kind.apart else self._first
        for home in (self._first, self._second):
            home.mkdir(exist_ok=True)
        url = f"sqlite:///{self._folder / 'studies.db'}"
        changes: dict[str, Any] = {"run__epochs": 4, "run__net__seconds": 0.08}
        self._audit = Audit(small_study(url, 3, lease_seconds=_LEASE, **changes), self._second)

    def play(self) -> None:
        """Stop it, have the trial taken over, continue it, and look at what is left."""
        first = self._start()
        number, owner = self._stop(first)
        second = self._bench.fork(self._second, work, self._audit.config, self._bench.run)
        if not until(lambda: self._audit.at_work().get(number) != owner, _TAKES_OVER):
            self._tally.within_a_claim += 1  # it holds the lock, and the others wait
        elif self._kind.apart:
            until(lambda: self._trial(number).state.is_finished(), _PATIENCE)
        elif self._kind.long:
            time.sleep(patience(self._audit.config) + 5.0)
        else:
            time.sleep(self._chance.uniform(0.0, 1.0))
        taken, before = self._audit.at_work().get(number) != owner, self._trial(number)
        os.killpg(_pid(first), signal.SIGCONT)
        self._tally.stopped += 1
        self._wait_until_let_go(number, _pid(second))
        said = self._ends(first, "the stopped one", number) + self._ends(second, "the other one", number)
        self._tally.gave_up += taken and f"rial {number}: {TAKEN}" in said
        if taken and before.state.is_finished() and (line := difference(before, self._trial(number))):
            self._tally.overwritten += 1
            self._tally.broken.append(f"{self._where}: {line}")
        if taken and f"rial {number}: {TAKEN}" not in said:
            self._tally.broken.append(f"{self._where}: nobody has noticed that trial {number} was taken over")
        self._judge(number)

    def _start(self) -> "subprocess.Popen[str] | ForkServerProcess":
        config = self._audit.config
        if self._kind.command:
            path = write_file(self._first, config.model_copy(update={"isolation": "process"}))
            return self._bench.start(self._first, "--optimize", str(path))
        return self._bench.fork(self._first, work, config, self._bench.run)

    def _stop(self, worker: "subprocess.Popen[str] | ForkServerProcess") -> tuple[int, str]:
        """Stop it at a random instant of a trial; returns that trial's number, and the owner of its lease."""
        until(lambda: bool(self._audit.at_work()), _PATIENCE)
        while True:
            time.sleep(self._chance.uniform(0.0, 1.5))
            os.killpg(_pid(worker), signal.SIGSTOP)
            if held := self._audit.at_work():
                return next(iter(held.items()))
            os.killpg(_pid(worker), signal.SIGCONT)  # it was between two trials

    def _wait_until_let_go(self, number: int, second: int) -> None:
        """Wait until the stopped one has left the trial; by the record of whom it belongs to, or its word."""
        since = time.monotonic()
        line = f"rial {number}: {TAKEN}"

        def let_go() -> bool:
            if not self._kind.apart:
                summary = read_summary(trial_folder(self._first, number)) or {}
                return summary.get("pid") == second
            return line in self._console(self._first)

        if until(let_go, _PATIENCE):
            self._tally.longest = max(self._tally.longest, time.monotonic() - since)

    def _ends(self, worker: "subprocess.Popen[str] | ForkServerProcess", who: str, number: int) -> str:
        """Wait for its end, which has to be an orderly one; returns what it has said."""
        if isinstance(worker, ForkServerProcess):
            worker.join(_PATIENCE)
            code, said = worker.exitcode, self._console(self._first) + self._console(self._second)
        else:
            done = self._bench.finish(worker, _PATIENCE)
            code, said = done.code, done.out + done.err
        if code != 0:
            self._tally.broken.append(f"{self._where}: {who} ended with {code}: {last_line(said)}")
        return said

    def _judge(self, number: int) -> None:
        trials = self._audit.trials()
        found = judge(trials, self._audit.log(), self._audit.config.total)
        for trial in trials:
            homes = (self._second,) if trial.number == number else (self._first, self._second)
            folders = [trial_folder(home, trial.number) for home in homes]
            folder = max(folders, key=lambda path: len(recorded(path)))
            judge_record(trial, folder, self._audit.config.base.epochs, found)
        self._audit.close()
        self._bench.end_processes()
        self._tally.found.add(found)
        self._tally.broken += found.lines(self._where)

    def _trial(self, number: int) -> FrozenTrial:
        return self._audit.trials()[number]

    def _console(self, home: Path) -> str:
        path = home / CONSOLE
        return path.read_text(errors="replace") if path.exists() else ""


def difference(before: FrozenTrial, after: FrozenTrial) -> str:
    """What has changed in a finished trial; nothing may have."""
    for name in ("state", "values", "params", "intermediate_values", "user_attrs", "datetime_complete"):
        was, now = getattr(before, name), getattr(after, name)
        if was != now:
            return f"trial {before.number} was finished, and its {name} changed from {was} to {now}"
    return ""


def _pid(worker: "subprocess.Popen[str] | ForkServerProcess") -> int:
    assert worker.pid is not None
    return worker.pid
