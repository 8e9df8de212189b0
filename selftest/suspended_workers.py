"""Workers that are stopped (SIGSTOP) for longer than their lease holds, and then continue."""

import os
import random
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial

from lab.events import Outcome
from lab.hpo.trial_folder import TAKEN
from lab.hpo.worker_main import patience
from lab.report.trial_attributes import TrialAttributes
from lab.store.run_folder import read_summary
from selftest.audit import Audit, Found, recorded
from selftest.bench import Bench, Process, until
from selftest.sockets import family
from selftest.studies import small_study, trial_folder, work, write_file
from selftest.verdict import Tally, Verdict, judge_command

_LEASE = 2.0  # seconds
_LIMIT = 20.0  # seconds for a trial, and for a study, that take a few
_PATIENCE = 60.0  # seconds for what has to come
_TAKES_OVER = 20.0  # seconds for another worker to start, to see that a lease ran out and to claim the trial


@dataclass(frozen=True)
class _Kind:
    """One way to stop a worker.

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
    """Stop a worker with all its processes in a trial until another one has that, and let it continue.

    By turns the two have a folder each, or share one; the stopped one is the real command, or a warm worker.
    """
    tally = Tally(
        {
            "stopped": 0,
            "stopped by themselves": 0,
            "stopped within a claim": 0,
            "overwritten": 0,
            **Found().counted(),
            "seconds until it stopped at most": 0.0,
        }
    )
    for index in range(count):
        _Round(bench, _KINDS[index % len(_KINDS)], f"round {index}", random.Random(index), tally).play()
        bench.report(
            f"{index + 1} of {count} workers stopped and continued, {len(tally.broken)} not as promised"
        )
    tally.at_least(count, tally.figures["stopped"], "stopped workers")
    return tally.verdict()


def stopped_jobs(bench: Bench, count: int) -> Verdict:
    """Stop a command with all its processes for longer than its trials and its study may take."""
    tally = Tally({"stopped": 0, "timed out": 0, **Found().counted()})
    for index in range(count):
        folder = bench.folder("job")
        limits = {"trial_timeout": _LIMIT, "time_budget": _LIMIT, "lease_seconds": _LEASE}
        changes: dict[str, Any] = {"run__epochs": 6, "run__net__seconds": 0.08, "isolation": "process"}
        url = f"sqlite:///{folder / 'studies.db'}"
        audit = Audit(small_study(url, 2, workers=2, **limits, **changes), folder)
        command = bench.start(folder, "--optimize", str(write_file(folder, audit.config)))
        if until(partial(_trains, audit), _PATIENCE):
            stopped = family(command.pid)
            _send(stopped, signal.SIGSTOP)
            time.sleep(_LIMIT + 5.0)
            _send(stopped, signal.SIGCONT)
            tally.add("stopped")
        tally.take(f"round {index}", judge_command(command.done(_PATIENCE), (0,)))
        outcomes = [TrialAttributes.of(trial).outcome for trial in audit.trials()]
        tally.add("timed out", outcomes.count(Outcome.TIMED_OUT))
        tally.take(f"round {index}", audit.judge())
        audit.close()
    tally.at_least(count, tally.figures["stopped"], "stopped jobs")
    return tally.verdict()


def _trains(audit: Audit) -> bool:
    return any(trial.intermediate_values for trial in audit.trials())


def _send(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


class _Round:
    """One worker that is stopped, and one that takes over."""

    def __init__(self, bench: Bench, kind: _Kind, where: str, chance: random.Random, tally: Tally) -> None:
        self._bench, self._kind, self._where, self._chance = bench, kind, where, chance
        self._tally = tally
        folder = bench.folder("suspended")
        self._first = folder / "first"
        self._second = folder / "second" if kind.apart else self._first
        for home in (self._first, self._second):
            home.mkdir(exist_ok=True)
        url = f"sqlite:///{folder / 'studies.db'}"
        changes: dict[str, Any] = {"run__epochs": 4, "run__net__seconds": 0.08}
        self._audit = Audit(small_study(url, 3, lease_seconds=_LEASE, **changes), self._second)

    def play(self) -> None:
        """Stop it, have the trial taken over, continue it, and look at what is left."""
        first = self._start()
        number, owner = self._stop(first)
        second = self._bench.fork(self._second, work, self._audit.config, self._bench.run)
        # Wait for the takeover; then, by kind, for its end, for its patience, or only for a moment.
        if not until(lambda: self._audit.at_work().get(number) != owner, _TAKES_OVER):
            # It holds the lock, and the others wait.
            self._tally.add("stopped within a claim")
        elif self._kind.apart:
            until(lambda: self._trial(number).state.is_finished(), _PATIENCE)
        elif self._kind.long:
            time.sleep(patience(self._audit.config) + 5.0)
        else:
            time.sleep(self._chance.uniform(0.0, 1.0))
        # The state before SIGCONT: from here on the first worker must change nothing.
        taken, before = self._audit.at_work().get(number) != owner, self._trial(number)
        first.send(signal.SIGCONT, group=True)
        self._tally.add("stopped")
        self._wait_until_let_go(number, first, second)
        output = self._ends(first, "the stopped one") + self._ends(second, "the other one")
        if taken:
            noticed = f"rial {number}: {TAKEN}" in output
            self._tally.add("stopped by themselves", noticed)
            self._tally.expect(
                noticed, f"{self._where}: nobody has noticed that trial {number} was taken over"
            )
            if before.state.is_finished() and (line := difference(before, self._trial(number))):
                self._tally.add("overwritten")
                self._tally.take(self._where, [line])
        self._judge(number)

    def _start(self) -> Process:
        config = self._audit.config
        if self._kind.command:
            path = write_file(self._first, config.model_copy(update={"isolation": "process"}))
            return self._bench.start(self._first, "--optimize", str(path))
        return self._bench.fork(self._first, work, config, self._bench.run)

    def _stop(self, worker: Process) -> tuple[int, str]:
        """Stop it at a random instant of a trial; returns that trial's number, and the owner of its lease."""
        until(lambda: bool(self._audit.at_work()), _PATIENCE)
        while True:
            time.sleep(self._chance.uniform(0.0, 1.5))
            worker.send(signal.SIGSTOP, group=True)
            # Look while it is stopped: only then the answer still holds when it is used.
            if held := self._audit.at_work():
                return next(iter(held.items()))
            worker.send(signal.SIGCONT, group=True)  # it was between two trials

    def _wait_until_let_go(self, number: int, first: Process, second: Process) -> None:
        """Wait until the stopped one has left the trial; by the record of whom it belongs to, or its word."""
        since = time.monotonic()

        def let_go() -> bool:
            if self._kind.apart:
                return f"rial {number}: {TAKEN}" in first.output
            return (read_summary(trial_folder(self._first, number)) or {}).get("pid") == second.pid

        if until(let_go, _PATIENCE):
            self._tally.most("seconds until it stopped at most", time.monotonic() - since)

    def _ends(self, worker: Process, who: str) -> str:
        """Wait for its end, which has to be an orderly one; returns what it has printed."""
        done = worker.done(_PATIENCE)
        self._tally.expect(done.code == 0, f"{self._where}: {who} ended with {done.code}: {done.last}")
        return done.output

    def _judge(self, taken: int) -> None:
        def folder_of(number: int) -> Path:
            homes = (self._second,) if number == taken else (self._first, self._second)
            return max((trial_folder(home, number) for home in homes), key=lambda path: len(recorded(path)))

        found = self._audit.judge(folder_of)
        self._audit.close()
        self._bench.end_processes()
        self._tally.take(self._where, found)

    def _trial(self, number: int) -> FrozenTrial:
        return self._audit.trials()[number]


def difference(before: FrozenTrial, after: FrozenTrial) -> str:
    """Name what has changed in a finished trial; nothing may have."""
    for name in ("state", "values", "params", "intermediate_values", "user_attrs", "datetime_complete"):
        was, now = getattr(before, name), getattr(after, name)
        if was != now:
            return f"trial {before.number} was finished, and its {name} changed from {was} to {now}"
    return ""
