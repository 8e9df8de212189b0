"""Workers of a study that are killed at random instants: warm ones, and the real command."""

import random
import time
from collections.abc import Iterator
from pathlib import Path

from selftest.audit import Audit, Found
from selftest.bench import Bench
from selftest.crew import Crew
from selftest.postgres import HINT
from selftest.studies import small_study
from selftest.verdict import Tally, Verdict

STORAGES = ("SQLite", "PostgreSQL")
FIGURES = {
    **Found().counted(),
    "kills": 0,
    "trials left behind by the dead": 0,
    "trials": 0,
    "seconds with a dead worker at most": 0.0,
}
_WORKERS = 4
_A_ROUND = 25  # kills at most in one study
_PAUSE = 0.6  # seconds between two kills, at most
_PROMISED = 180.0  # seconds for the kills on one storage


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
    tally.add("trials left behind by the dead", crew.left)
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
