"""Workers that are killed, and what is said of those that end otherwise."""

import random
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from selftest.bench import Bench, Done
from selftest.killed_workers import Crew
from selftest.studies import small_study


class Audited:
    """A study of which only this much is known."""

    def __init__(self, folder: Path, at_work: dict[int, str]) -> None:
        self.folder, self.config, self.works = folder, small_study("sqlite:///s.db", 3), at_work
        self.config = self.config.model_copy(update={"lease_seconds": 0.05})

    def at_work(self) -> dict[int, str]:
        return self.works

    def over(self) -> bool:
        return True


def crew(folder: Path, bench: Any, at_work: dict[int, str]) -> Crew:
    return Crew(bench, Audited(folder, at_work), 0)  # type: ignore[arg-type]


def test_a_trial_that_stays_with_a_dead_worker_for_longer_than_a_lease_is_told(tmp_path: Path) -> None:
    tried = crew(tmp_path, SimpleNamespace(), {0: "host/boot/pid:77:5", 1: "host/boot/pid:78:5"})
    tried._killed[77] = time.monotonic()
    tried.tend()
    assert tried.orphans == []
    time.sleep(0.1)
    tried.tend()
    tried.tend()
    assert tried.orphans == ["trial 0 is still RUNNING for the dead host/boot/pid:77:5"]
    assert tried.longest > 0.05 and len(tried.left) == 1


def test_a_worker_that_ends_without_being_killed_is_told(tmp_path: Path, bench: Bench) -> None:
    tried = crew(tmp_path, bench, {})
    said = "Traceback (most recent call last):\nValueError: planted\n\n"
    tried._warm = [SimpleNamespace(pid=1, alive=False, done=lambda: Done(1, said, ""))]  # type: ignore[list-item]
    tried.tend()
    assert tried.broken == ["a worker ended with 1: ValueError: planted"]
    tried._warm = [SimpleNamespace(pid=77, alive=False, done=lambda: Done(-9, "", ""))]  # type: ignore[list-item]
    tried._killed[77] = time.monotonic()
    tried.tend()
    assert len(tried.broken) == 1


def test_with_nobody_there_nobody_is_killed(tmp_path: Path) -> None:
    tried = crew(tmp_path, SimpleNamespace(), {})
    tried.kill(random.Random(0))
    tried.kill_trial(random.Random(0))
    assert (tried.kills, tried.trials_killed, tried.trials(), tried.ended()) == (0, 0, [], True)
