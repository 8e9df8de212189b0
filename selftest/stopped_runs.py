"""Runs that are stopped from outside at random instants, and gone on with."""

import json
import random
import time
from collections.abc import Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import yaml

from lab import checkpoint, rundir
from selftest.bench import CONSOLE, Bench
from selftest.stopped import (
    AT_ONCE,
    PROMISED,
    Tally,
    Terminal,
    as_main_in_terminal,
    left_alive,
    stop,
    timed,
    told,
)
from selftest.watched_training import digest

_FILE = "run.yaml"
_LONGEST = 60.0  # seconds for a run that takes one or two
_PARTS = ("model", "optimizer", "scheduler", "early_stopping")
_TIMES = ("seconds", "samples_per_second")  # of a row of metrics.csv: no two runs have the same


def run_file(folder: Path, variant: int) -> None:
    """Write the config of a run of a second or two: its data in memory, or read by a worker."""
    trackers = [{"target": "selftest.faulty_parts.Lingering", "seconds": 3.0}]  # the way to the end is long
    config = {
        "name": "stopped",
        "epochs": 3,
        "batch_size": 8,
        "device": "cpu",
        "threads": 1,
        "data": {"target": "selftest.faulty_parts.points", "in_memory": variant % 2 == 0},
        "net": {"target": "selftest.faulty_parts.Forgetful", "seconds": 0.01},
        "optimizer": {"target": "torch.optim.AdamW", "lr": 0.01},
        "scheduler": {"target": "torch.optim.lr_scheduler.CosineAnnealingLR", "T_max": "auto"},
        "criterion": "torch.nn.MSELoss",
        "loader": {"workers": variant % 2},
        "pictures": {"enabled": False},
        "checkpoint": {"every_seconds": 0.1},
        "trackers": trackers if variant >= 2 else [],
    }
    (folder / _FILE).write_text(yaml.safe_dump(config, sort_keys=False))


class StoppedRuns:
    """Stops runs and goes on with them.

    Args:
        tally: takes in what came of it.
    """

    def __init__(self, bench: Bench, tally: Tally) -> None:
        self._bench, self._tally = bench, tally
        self._wanted = [self._undisturbed(variant) for variant in (0, 1)]

    def stop_once(self, number: int, seed: int) -> None:
        """One signal at a random instant, to the process or to its whole group."""
        for attempt in range(5):  # a run may be over before
            chance = random.Random(1000 * seed + attempt)
            folder = self._folder(variant := seed % 2)
            process = self._bench.warm(folder, "--run", _FILE)
            name = self._started(folder, process)
            time.sleep(chance.uniform(0.0, 0.8))
            stop(_pid(process), number, group=chance.random() < 0.5)
            code, seconds = timed(lambda process=process: _ended(process))  # type: ignore[misc]
            if code != 0:
                where = told(f"run {name}, seed {seed}.{attempt}", number)
                self._judge(folder, name, where, code, 128 + number, seconds)
                nobody_left(process, where, self._tally)
                self._go_on(folder, name, where, variant)
                return

    def stop_twice(self, first: int, second: int, seed: int) -> None:
        """A second signal on the way to the end."""
        chance = random.Random(seed)
        folder = self._folder(2 + seed % 2)
        process = self._bench.warm(folder, "--run", _FILE)
        name = self._started(folder, process, rundir.METRICS)
        time.sleep(chance.uniform(0.0, 0.3))
        stop(_pid(process), first, group=False)
        time.sleep(0.5)
        where = told(told(f"run {name}, seed {seed}", first) + ", then", second)
        if not process.is_alive():
            self._tally.broken.append(f"{where}: ended with {process.exitcode} before the second")
            return
        stop(_pid(process), second, group=False)
        code, seconds = timed(lambda: _ended(process))
        self._tally.second.append(seconds)
        self._tally.judge_end(where, code, 128 + second)
        if self._bench.judge_times and seconds > AT_ONCE:
            self._tally.broken.append(f"{where}: took {seconds:.1f} s")
        nobody_left(process, where, self._tally)
        self._go_on(folder, name, where, seed % 2)

    def close_terminal(self, seed: int) -> None:
        """The terminal that it runs in is closed."""
        chance = random.Random(seed)
        folder = self._folder(0)
        with Terminal() as terminal:
            main, arguments = self._bench.main, ("--run", _FILE)
            process = self._bench.fork(folder, as_main_in_terminal, main, arguments, terminal.name)
            name = self._started(folder, process, rundir.METRICS)
            time.sleep(chance.uniform(0.0, 0.4))
            terminal.close()
            code, seconds = timed(lambda: _ended(process))
        where = f"run {name}, seed {seed}: terminal closed"
        self._judge(folder, name, where, code, 129, seconds)
        self._go_on(folder, name, where, 0)

    def _folder(self, variant: int) -> Path:
        folder = self._bench.folder("stopped-run")
        run_file(folder, variant)
        return folder

    def _undisturbed(self, variant: int) -> dict[str, Any]:
        folder = self._folder(variant)
        process = self._bench.warm(folder, "--run", _FILE, "--quiet")
        code = _ended(process)
        (run,) = (folder / "runs").iterdir()
        assert code == 0, (folder / CONSOLE).read_text()
        return remains(run)

    def _started(self, folder: Path, process: ForkServerProcess, file: str = rundir.CONFIG) -> str:
        """The name of the run once this file of it is there."""
        deadline = time.monotonic() + _LONGEST
        while not (found := list((folder / "runs").glob(f"*/{file}"))):
            assert process.is_alive() and time.monotonic() < deadline, (folder / CONSOLE).read_text()
            time.sleep(0.005)
        return found[0].parent.name

    def _judge(
        self, folder: Path, name: str, where: str, code: int | None, wanted: int, seconds: float
    ) -> None:
        self._tally.add(stops=1)
        self._tally.seconds.append(seconds)
        self._tally.judge_end(where, code, wanted)
        if self._bench.judge_times and seconds > PROMISED:
            self._tally.broken.append(f"{where}: took {seconds:.1f} s")
        summary = rundir.read_summary(folder / "runs" / name) or {}
        text = (folder / CONSOLE).read_text()
        self._tally.broken += judge_stopped(where, summary, text)

    def _go_on(self, folder: Path, name: str, where: str, variant: int) -> None:
        process = self._bench.warm(folder, "--resume", name, "--quiet", "--set", "trackers=[]")
        code = _ended(process)
        if code != 0:
            said = (folder / CONSOLE).read_text()[-300:]
            self._tally.broken.append(f"{where}: --resume ended with {code}: {said}")
            return
        found = remains(folder / "runs" / name)
        if different := [part for part, value in self._wanted[variant].items() if found[part] != value]:
            self._tally.broken.append(f"{where}: resumed to other {', '.join(different)}")
        else:
            self._tally.add(resumed=1)


def judge_stopped(where: str, summary: dict[str, Any], text: str) -> list[str]:
    """What is wrong with a run's record after an orderly end; `text`: what it has printed."""
    found = []
    outcome = summary.get("outcome")
    if summary and outcome not in ("interrupted", "completed"):  # without one it had not begun to train
        found.append(f"{where}: filed as {outcome}, expected interrupted: {json.dumps(summary)[:200]}")
    if "Traceback" in text:
        found.append(f"{where}: a traceback: {text[-300:]}")
    return found


def remains(run: Path) -> dict[str, Any]:
    """What two equal runs have in common: their states to the bit, and their figures."""
    content = checkpoint.load(run / rundir.CHECKPOINTS / "final.pt")
    states = {part: digest(content[part]) for part in _PARTS if part in content}
    lines = (run / rundir.METRICS).read_text().splitlines()
    head = lines[0].split(",")
    keep = [index for index, name in enumerate(head) if name not in _TIMES]
    rows: Sequence[list[str]] = [[line.split(",")[index] for index in keep] for line in lines]
    summary = rundir.read_summary(run) or {}
    return {**states, "rows": rows, "outcome": summary.get("outcome"), "value": summary.get("value")}


def _pid(process: ForkServerProcess) -> int:
    assert process.pid is not None
    return process.pid


def _ended(process: ForkServerProcess) -> int | None:
    """Its exit code; None where it does not end."""
    process.join(_LONGEST)
    return process.exitcode


def nobody_left(process: ForkServerProcess, where: str, tally: Tally) -> None:
    """Its workers are gone too."""
    if alive := left_alive(_pid(process)):
        tally.broken.append(f"{where}: {len(alive)} processes are left behind")
