"""Runs that are stopped from outside at random instants, and resumed."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml

from lab.store import run_folder
from selftest.bench import Bench, Done
from selftest.killed_runs import differences, outcome
from selftest.stopped_commands import LONGEST, Command
from selftest.studies import small_run

_FILE = "run.yaml"


def undisturbed(bench: Bench) -> list[dict[str, str]]:
    """The results of runs that nobody stops: with the data in memory, and read by a worker."""
    found = []
    for workers in (0, 1):
        folder = bench.folder("stopped-run")
        _write(folder, workers)
        done = bench.warm(folder, "--run", _FILE, "--quiet").done(LONGEST)
        assert done.code == 0, done.output
        found.append(_remains(folder))
    return found


class StoppedRun(Command):
    """A run of a second or two.

    Args:
        wanted: what each kind of run comes to; see `undisturbed`.
        workers: of its loader, 0 or 1.
        lingers: the way to its end is long, so that a second signal meets it there.
    """

    title = "runs"

    def __init__(
        self, bench: Bench, wanted: list[dict[str, str]], workers: int, lingers: bool = False
    ) -> None:
        super().__init__(bench)
        self._wanted, self._workers, self._lingers = wanted[workers], workers, lingers
        self.within, self.pause = (0.3, 0.5) if lingers else (0.8, 0.0)

    def made(self) -> Path:
        """A folder with its config."""
        folder = self.bench.folder("stopped-run")
        _write(folder, self._workers, self._lingers)
        return folder

    def arguments(self, folder: Path) -> tuple[str, ...]:
        """Return the arguments that start it; it is started once."""
        return ("--run", _FILE)

    def last_arguments(self, folder: Path) -> tuple[str, ...]:
        """Return the arguments that resume it by its name."""
        return ("--resume", _run(folder).name, "--quiet", "--set", "trackers=[]")

    def progress(self, folder: Path) -> int:
        """The record of an epoch where its end is to be met, else the config."""
        file = run_folder.METRICS if self._lingers else run_folder.CONFIG
        return len(list((folder / "runs").glob(f"*/{file}")))

    def judge(self, folder: Path, done: Done) -> Iterable[str]:
        """Its summary, and what it has printed."""
        return judge_stopped(run_folder.read_summary(_run(folder)) or {}, done.output)

    def differences(self, folder: Path) -> Iterable[str]:
        """Compare the sha256 of each part."""
        return differences(self._wanted, _remains(folder))


def judge_stopped(summary: dict[str, object], text: str) -> Iterator[str]:
    """Judge a run's record after an orderly end; `text`: what it has printed."""
    ended = summary.get("outcome")
    if summary and ended not in ("interrupted", "completed"):  # without one it had not begun to train
        yield f"filed as {ended}, expected interrupted: {json.dumps(summary)[:200]}"
    if "Traceback" in text:
        yield f"a traceback: {text[-300:]}"


def _remains(folder: Path) -> dict[str, str]:
    """All that two equal runs have in common: their states to the bit, their record, their value."""
    summary = run_folder.read_summary(_run(folder)) or {}
    return {**outcome(_run(folder)), **{name: str(summary.get(name)) for name in ("outcome", "value")}}


def _run(folder: Path) -> Path:
    (run,) = (folder / "runs").glob(f"*/{run_folder.CONFIG}")
    return run.parent


def _write(folder: Path, workers: int, lingers: bool = False) -> None:
    config = small_run(
        name="stopped",
        epochs=3,
        batch_size=8,
        data={"target": "selftest.faulty_parts.points", "in_memory": workers == 0},
        net={"target": "selftest.faulty_parts.Forgetful", "seconds": 0.01},
        optimizer={"target": "torch.optim.AdamW", "lr": 0.01},
        scheduler={"target": "torch.optim.lr_scheduler.CosineAnnealingLR", "T_max": "auto"},
        criterion="torch.nn.MSELoss",
        loader={"workers": workers},
        checkpoint={"every_seconds": 0.1},
        trackers=[{"target": "selftest.faulty_parts.Lingering", "seconds": 3.0}] if lingers else [],
    )
    (folder / _FILE).write_text(yaml.safe_dump(config, sort_keys=False))
