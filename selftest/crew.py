"""Workers of one study that are killed again and again, and others that take their place."""

import json
import os
import random
import signal
import time
from contextlib import suppress

from lab.store import run_folder
from selftest.audit import Audit
from selftest.bench import Bench, Process, end_group, until
from selftest.studies import STUDIES, work, write_file

PATIENCE = 180.0  # seconds for a study to come to its end once nobody kills any more
_ALL = 0.05  # how often all warm workers are killed at once, as when their machine goes


class Crew:
    """Warm workers that train in their own process, and the real command with a process for each trial.

    Args:
        audit: of the study.
        size: how many warm workers there are at any time.
        lanes: how many trials the command runs at a time; 0: there is no command.
    """

    def __init__(self, bench: Bench, audit: Audit, size: int, lanes: int = 0) -> None:
        self.kills = self.trials_killed = 0
        self.broken: list[str] = []
        self.orphans: list[str] = []  # trials that stayed with a dead worker for longer than a lease
        self.longest = 0.0  # seconds that any did
        self._bench, self._audit, self._size, self._lanes = bench, audit, size, lanes
        self._warm: list[Process] = []
        self._command: Process | None = None
        self._killed: dict[int, float] = {}  # pid -> when
        self._left: set[tuple[int, str]] = set()  # trials and their dead owners
        self._file = audit.folder
        if lanes:
            config = audit.config.model_copy(update={"isolation": "process", "workers": lanes})
            self._file = write_file(audit.folder, config)
            self.restart()

    def restart(self) -> None:
        """Start the command, again if need be, and wait until one of its trials is at work."""
        self._command = self._bench.start(self._audit.folder, "--optimize", str(self._file))
        until(lambda: bool(self.trials()) or not self._commands(), PATIENCE)

    def tend(self) -> None:
        """Put others in the place of those that are gone, and see how long dead ones keep their trials."""
        for worker in [worker for worker in self._warm if not worker.alive]:
            self._warm.remove(worker)
            done = worker.done()
            if worker.pid not in self._killed and done.code != 0:
                self.broken.append(f"a worker ended with {done.code}: {done.last}")
        if len(self._warm) < self._size and not self._audit.over():
            config, run = self._audit.config, self._bench.run
            self._warm.append(self._bench.fork(self._audit.folder, work, config, run))
        self._look_for_orphans()

    def kill(self, chance: random.Random) -> None:
        """Kill (-9) one of all the processes there are, or now and then all warm workers at once."""
        warm = [worker.pid for worker in self._warm]
        trials, commands = self.trials(), self._commands()
        if not (victims := [*warm, *trials, *commands]):
            return
        busy = [pid for owner in self._audit.at_work().values() if (pid := _process(owner)) in warm]
        # Every second one is at work on a trial; with the others it may be at its start or its end.
        victim = chance.choice(busy if busy and chance.random() < 0.5 else victims)
        if victim in commands:
            self.kill_command(alone=chance.random() < 0.5)
            self._size += self._lanes  # others do its work
        elif victim in warm and chance.random() < _ALL:
            for pid in warm:
                self._kill_one(pid)
        else:
            self._kill_one(victim)

    def kill_trial(self, chance: random.Random) -> None:
        """Kill the process of one of the command's trials."""
        if pids := self.trials():
            self._kill_one(chance.choice(pids))
            self.trials_killed += 1

    def kill_command(self, alone: bool) -> None:
        """Kill the command with all its processes, or alone: then these have to end by themselves."""
        assert self._command is not None
        self._kill_one(self._command.pid)
        if not alone:
            end_group(self._command.pid)
        self._command.done()
        self._command = None

    def finish(self) -> None:
        """Wait for the study's end; whoever does not come to it is ended."""
        if not until(self._is_over, PATIENCE):
            self.broken.append(f"the study has not ended {PATIENCE:.0f} s after the last kill")
        if self._command is not None:
            done = self._command.done(1.0)
            if done.code != 0:
                self.broken.append(f"the command ended with {done.code}: {done.last}")
        self._bench.end_processes()

    def trials(self) -> list[int]:
        """The processes of the command's trials that are at work."""
        if self._command is None:
            return []
        found = []
        for file in (self._audit.folder / STUDIES).glob(f"*/trial_*/{run_folder.SUMMARY}"):
            with suppress(OSError, ValueError):
                summary = json.loads(file.read_text())
                pid = int(summary["pid"])
                if summary["outcome"] == "running" and os.getpgid(pid) == self._command.pid:
                    found.append(pid)
        return found

    @property
    def left(self) -> int:
        """The number of trials that dead workers left behind."""
        return len(self._left)

    def ended(self) -> bool:
        """Return whether the command has come to its end."""
        return not self._commands()

    def _commands(self) -> list[int]:
        return [self._command.pid] if self._command is not None and self._command.alive else []

    def _is_over(self) -> bool:
        self.tend()
        return not self._commands() and not any(worker.alive for worker in self._warm)

    def _kill_one(self, pid: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            self._killed[pid] = time.monotonic()
            self.kills += 1

    def _look_for_orphans(self) -> None:
        # A trial counts as left behind from the kill of its owner until another worker holds its lease.
        for number, owner in self._audit.at_work().items():
            since = self._killed.get(_process(owner))
            if since is None:
                continue
            self._left.add((number, owner))
            seconds = time.monotonic() - since
            line = f"trial {number} is still RUNNING for the dead {owner}"
            if seconds > self._audit.config.lease_seconds and line not in self.orphans:
                self.orphans.append(line)
            self.longest = max(self.longest, seconds)


def _process(owner: str) -> int:
    """The process number in the name of a lease's owner."""
    return int(owner.split(":")[-2])
