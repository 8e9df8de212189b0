"""Workers of a study that are killed at random instants: warm ones, and the real command."""

import json
import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from lab.store import run_folder
from selftest.audit import Audit, Found
from selftest.bench import Bench, Process, end_group, until
from selftest.postgres import HINT
from selftest.sockets import family
from selftest.studies import FILE, STUDIES, small_study, work, write_file
from selftest.verdict import Tally, Verdict

STORAGES = ("SQLite", "PostgreSQL")
FIGURES = {
    **Found().counted(),
    "kills": 0,
    "trials left behind by the dead": 0,
    "trials": 0,
    "seconds with a dead worker at most": 0.0,
}
PATIENCE = 180.0  # seconds for a study to come to its end once nobody kills any more
_ALL = 0.05  # how often all warm workers are killed at once, as when their machine goes
_WORKERS = 4
_A_ROUND = 25  # kills at most in one study
_PAUSE = 0.6  # seconds between two kills, at most
_PROMISED = 180.0  # seconds for the kills on one storage


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
        self.left: set[tuple[int, str]] = set()  # trials and their dead owners
        if lanes:
            config = audit.config.model_copy(update={"isolation": "process", "workers": lanes})
            write_file(audit.folder, config)
            self.restart()

    def restart(self) -> None:
        """Start the command, again if need be, and wait until one of its trials is at work."""
        self._command = self._bench.start(self._audit.folder, "--optimize", FILE)
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
        others = set() if alone else family(self._command.pid)
        self._kill_one(self._command.pid)
        for pid in others:
            end_group(pid)
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
        found, below = [], family(self._command.pid)
        for file in (self._audit.folder / STUDIES).glob(f"*/trial_*/{run_folder.SUMMARY}"):
            with suppress(OSError, ValueError):
                summary = json.loads(file.read_text())
                pid = int(summary["pid"])
                if summary["outcome"] == "running" and pid in below:
                    found.append(pid)
        return found

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
            self.left.add((number, owner))
            seconds = time.monotonic() - since
            line = f"trial {number} is still RUNNING for the dead {owner}"
            if seconds > self._audit.config.lease_seconds and line not in self.orphans:
                self.orphans.append(line)
            self.longest = max(self.longest, seconds)


def _process(owner: str) -> int:
    """The process number in the name of a lease's owner."""
    return int(owner.split(":")[-2])


def kill_workers(bench: Bench, count: int) -> Verdict:
    """Kill one of four workers again and again, at any point of its life; others take its place.

    On SQLite and on PostgreSQL, `count` kills on each. Where there are several rounds, the real command with
    a process for each trial works along in the first one.
    """
    tally = Tally(FIGURES)
    for storage in STORAGES:
        started, before, done = time.monotonic(), tally.figures["kills"], 0
        for seed, (folder, url) in enumerate(new_databases(bench, tally, "kills", storage)):
            lanes = 2 if seed == 0 and count > _A_ROUND else 0
            _kill_in_one_study(bench, folder, url, min(_A_ROUND, count - done), lanes, seed, tally)
            done = int(tally.figures["kills"] - before)
            bench.report(f"{storage}: {done} of {count} kills, {len(tally.broken)} not as promised")
            if done >= count:
                seconds = tally.figures[f"seconds on {storage}"] = time.monotonic() - started
                took = f"{count} kills took {seconds:.0f} s, {_PROMISED:.0f} promised"
                tally.expect(bench.in_time(seconds, _PROMISED), f"{storage}: {took}")
                break
    return tally.verdict()


def exactly_n_trials(bench: Bench, count: int) -> Verdict:
    """Kill trials of the real command, four at a time, and now and then the command; then count the trials.

    A command that is started again is to make as many trials as there lack.
    """
    n_trials, restarts = (50, 3) if count >= 20 else (16, 1)
    folder, chance = bench.folder("exactly"), random.Random(count)
    tally = Tally({"asked for": n_trials, "finished": 0, "restarts": 0, **FIGURES})
    audit = Audit(small_study(f"sqlite:///{folder / 'studies.db'}", n_trials), folder)
    crew = Crew(bench, audit, size=0, lanes=_WORKERS)
    for broken_off in range(restarts + 1):
        wanted = round((broken_off + 1) * count / (restarts + 1))
        while crew.trials_killed < wanted and not crew.ended():
            time.sleep(chance.uniform(0.0, _PAUSE))
            crew.kill_trial(chance)
        # By turns alone and with its trials: orphaned trials must end by themselves.
        if broken_off < restarts and not crew.ended():
            crew.kill_command(alone=broken_off % 2 == 0)
            crew.restart()
            tally.add("restarts")
    tally.add("finished", take_study(tally, crew, audit, f"seed {count}"))
    tally.at_least(count, crew.trials_killed, "killed trials")
    return tally.verdict()


def take_study(tally: Tally, crew: Crew, audit: Audit, where: str) -> int:
    """Wait for the end of a study, and take in what it came to; returns how many trials are finished."""
    crew.finish()
    found, trials = audit.judge(), audit.trials()
    audit.close()
    found.running += crew.orphans
    tally.take(where, crew.broken)
    tally.take(where, found)
    tally.add("kills", crew.kills)
    tally.add("trials left behind by the dead", len(crew.left))
    tally.add("trials", len(trials))
    tally.most("seconds with a dead worker at most", crew.longest)
    return sum(trial.state.is_finished() for trial in trials)


def new_databases(bench: Bench, tally: Tally, name: str, storage: str) -> Iterator[tuple[Path, str]]:
    """New folders, each with the URL of a database that isn't there yet; none without a server for it."""
    while True:
        folder = bench.folder(f"{name}-{storage}")
        if storage == "SQLite":
            yield folder, f"sqlite:///{folder / 'studies.db'}"
        elif (server := bench.postgres()) is not None:
            yield folder, server.new_database()
        else:
            tally.untried.append(HINT)
            return


def _kill_in_one_study(
    bench: Bench, folder: Path, url: str, kills: int, lanes: int, seed: int, tally: Tally
) -> None:
    """So many kills in a new study, or fewer where it comes to its end before."""
    chance = random.Random(seed)
    audit = Audit(small_study(url, 8 + kills, lease_seconds=20.0), folder)
    crew = Crew(bench, audit, _WORKERS - lanes, lanes)
    while crew.kills < kills and not audit.over():
        # Replace the dead while waiting, so that the next kill finds a full crew.
        due = time.monotonic() + chance.uniform(0.0, _PAUSE)
        while time.monotonic() < due:
            crew.tend()
            time.sleep(0.02)
        crew.kill(chance)
    take_study(tally, crew, audit, f"{folder.name}, seed {seed}")
