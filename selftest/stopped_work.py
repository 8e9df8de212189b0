"""Runs and studies that are stopped from outside at random instants, and continued to the same result."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from optuna.trial import FrozenTrial, TrialState

from lab.hpo.study_id import STUDY
from lab.store import run_folder
from selftest import killed_runs
from selftest.bench import Bench, Done
from selftest.stopped_commands import LONGEST, Command, Stop
from selftest.studies import FILE, STUDIES, run_text, small_study, trials_in, write_file

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
        return killed_runs.differences(self._wanted, _remains(folder))


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
    return {
        **killed_runs.outcome(_run(folder)),
        **{name: str(summary.get(name)) for name in ("outcome", "value")},
    }


def _run(folder: Path) -> Path:
    (run,) = (folder / "runs").glob(f"*/{run_folder.CONFIG}")
    return run.parent


def _write(folder: Path, workers: int, lingers: bool = False) -> None:
    text = run_text(
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
    (folder / _FILE).write_text(text)


class StoppedStudy(Command):
    """A study whose trials have a process each, or none.

    Args:
        n_trials: enough for something to be at work at every stop.
    """

    step = 0.02

    def __init__(self, bench: Bench, n_trials: int, processes: bool) -> None:
        super().__init__(bench)
        self._n_trials, self.real = n_trials, processes
        self.title = "studies" if processes else "studies without processes"
        self.within = 0.5 if processes else 1.0
        folder = self._folder(processes=False)
        done = bench.warm(folder, *self.arguments(folder)).done(LONGEST)
        assert done.code == 0, done.output
        self._wanted = results(trials_in(folder))

    def made(self) -> Path:
        """A folder with its file."""
        return self._folder(self.real)

    def _folder(self, processes: bool) -> Path:
        folder = self.bench.folder("stopped-study")
        config = small_study(
            "sqlite:///studies.db", self._n_trials, isolation="process" if processes else "none",
            workers=2 if processes else 1, run__epochs=3, run__net__seconds=self.step,
        )  # fmt: skip
        write_file(folder, config)
        return folder

    def arguments(self, folder: Path) -> tuple[str, ...]:
        """Return the arguments, which are the same each time."""
        return ("--optimize", FILE)

    def progress(self, folder: Path) -> int:
        """The epochs of all trials; without processes the time at which its file was rewritten."""
        # Signals are to break into the start, too.
        if not self.real:
            path = folder / STUDIES / "small" / STUDY
            return path.stat().st_mtime_ns if path.exists() else 0
        files = (folder / STUDIES).glob(f"*/trial_*/{run_folder.METRICS}")
        return sum(len(file.read_text().splitlines()) - 1 for file in files)

    def over(self, folder: Path, each: Stop, done: Done) -> bool:
        """Return whether it had ended before, or was just ending."""
        ended = done.code == -each.first and not self.real
        return super().over(folder, each, done) or (
            ended and all(trial.state.is_finished() for trial in trials_in(folder))
        )

    def judge(self, folder: Path, done: Done) -> Iterable[str]:
        """Judge that it is silent, and leaves no trial running."""
        if done.err if self.real else "Traceback" in done.output:
            yield f"said {(done.err or done.output)[-300:]}"
        yield from (f"trial {number} is RUNNING, expected WAITING" for number in self.running(folder))

    def running(self, folder: Path) -> list[int]:
        """Return the running trials in the database."""
        return running(trials_in(folder))

    def differences(self, folder: Path) -> Iterable[str]:
        """Trial by trial."""
        return differences(results(trials_in(folder)), self._wanted)


def results(trials: Sequence[FrozenTrial]) -> list[dict[str, object]]:
    """All that has to be equal in two equal studies."""
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


def differences(found: Sequence[dict[str, object]], wanted: Sequence[dict[str, object]]) -> list[str]:
    """A line for each trial in which two studies differ."""
    lines = [f"{len(found)} trials, expected {len(wanted)}"] * (len(found) != len(wanted))
    for number, (mine, other) in enumerate(zip(found, wanted, strict=False)):
        for name, value in other.items():
            if mine[name] != value:
                lines.append(f"trial {number}: {name} {mine[name]}, expected {value}")
    return lines


def running(trials: Sequence[FrozenTrial]) -> list[int]:
    """The numbers of those that are recorded as running."""
    return [trial.number for trial in trials if trial.state == TrialState.RUNNING]
