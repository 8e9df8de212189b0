"""Workers of a study that are killed at random instants: warm ones, and the real command."""

import random
import time
from dataclasses import dataclass, field
from pathlib import Path

from selftest.audit import Audit, Found
from selftest.base import Verdict, short_of
from selftest.bench import Bench
from selftest.crew import Crew
from selftest.postgres import HINT
from selftest.studies import small_study

STORAGES = ("SQLite", "PostgreSQL")
_WORKERS = 4
_A_ROUND = 25  # kills at most in one study
_PAUSE = 0.6  # seconds between two kills, at most
_PROMISED = 180.0  # seconds for the kills on one storage


def kill_workers(bench: Bench, count: int) -> Verdict:
    """Kill one of four workers again and again, at any point of its life; others take its place.

    On SQLite and on PostgreSQL, `count` kills on each. Where there are several rounds, the real command with
    a process for each trial works along in the first one.
    """
    tally, untried = Tally(), []
    for storage in STORAGES:
        started, before, seed = time.monotonic(), tally.kills, 0
        while (done := tally.kills - before) < count:
            folder = bench.folder(f"kills-{storage}")
            if (url := new_url(bench, storage, folder)) is None:
                untried.append(HINT)
                break
            lanes = 2 if seed == 0 and count > _A_ROUND else 0
            _kill_in_one_study(bench, folder, url, min(_A_ROUND, count - done), lanes, seed, tally)
            seed += 1
            bench.told(
                f"{storage}: {tally.kills - before} of {count} kills, {len(tally.broken)} not as promised"
            )
        else:
            seconds = tally.seconds[f"seconds on {storage}"] = time.monotonic() - started
            if bench.judge_times and seconds > _PROMISED:
                tally.broken.append(
                    f"{storage}: {count} kills took {seconds:.0f} s, {_PROMISED:.0f} promised"
                )
    return tally.verdict(untried)


def exactly_n_trials(bench: Bench, count: int) -> Verdict:
    """Kill trials of the real command, four at a time, and now and then the command; then count the trials.

    A command that is started again is to make as many trials as there lack.
    """
    n_trials, restarts = (50, 3) if count >= 20 else (16, 1)
    folder, chance, tally = bench.folder("exactly"), random.Random(count), Tally()
    audit = Audit(small_study(f"sqlite:///{folder / 'studies.db'}", n_trials), folder)
    crew = Crew(bench, audit, size=0, lanes=_WORKERS)
    for broken_off in range(restarts + 1):
        wanted = round((broken_off + 1) * count / (restarts + 1))
        while crew.trials_killed < wanted and not crew.ended():
            time.sleep(chance.uniform(0.0, _PAUSE))
            crew.kill_trial(chance)
        if broken_off < restarts and not crew.ended():
            crew.kill_command(alone=broken_off % 2 == 0)
            crew.restart()
            tally.restarts += 1
    tally.take_in(crew, audit, f"seed {count}")
    figures = {"asked for": n_trials, "finished": tally.finished, "restarts": tally.restarts}
    broken = [*tally.broken, *short_of(count, crew.trials_killed, "killed trials")]
    return Verdict({**figures, **tally.verdict([]).figures}, broken)


@dataclass
class Tally:
    """What was done to studies, and what was found."""

    kills: int = 0
    left: int = 0
    trials: int = 0
    finished: int = 0
    restarts: int = 0
    longest: float = 0.0
    found: Found = field(default_factory=Found)
    broken: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def take_in(self, crew: Crew, audit: Audit, where: str) -> None:
        """Wait for the end of a study, and add what it came to."""
        crew.finish()
        found, trials = audit.judge(), audit.trials()
        audit.close()
        found.running += crew.orphans
        self.found.add(found)
        self.broken += [*(f"{where}: {line}" for line in crew.broken), *found.lines(where)]
        self.kills += crew.kills
        self.left += crew.left
        self.trials += len(trials)
        self.finished += sum(trial.state.is_finished() for trial in trials)
        self.longest = max(self.longest, crew.longest)

    def counted(self) -> dict[str, int]:
        """What is wrong, by kind."""
        return {**self.found.counted(), "broken": len(self.broken)}

    def verdict(self, untried: list[str]) -> Verdict:
        """All of it."""
        counts = {**self.found.counted(), "kills": self.kills}
        counts |= {"trials left behind by the dead": self.left, "trials": self.trials}
        times = {"seconds with a dead worker at most": self.longest, **self.seconds}
        return Verdict({**counts, **times}, self.broken, untried)


def new_url(bench: Bench, storage: str, folder: Path) -> str | None:
    """A database that isn't there yet, or None where there is no server for it."""
    if storage == "SQLite":
        return f"sqlite:///{folder / 'studies.db'}"
    server = bench.postgres()
    return None if server is None else server.new_database()


def _kill_in_one_study(
    bench: Bench, folder: Path, url: str, kills: int, lanes: int, seed: int, tally: Tally
) -> None:
    """So many kills in a new study, or fewer where it comes to its end before."""
    chance = random.Random(seed)
    audit = Audit(small_study(url, 8 + kills, lease_seconds=20.0), folder)
    crew = Crew(bench, audit, _WORKERS - lanes, lanes)
    while crew.kills < kills and not audit.over():
        due = time.monotonic() + chance.uniform(0.0, _PAUSE)
        while time.monotonic() < due:
            crew.tend()
            time.sleep(0.02)
        crew.kill(chance)
    tally.take_in(crew, audit, f"{folder.name}, seed {seed}")
