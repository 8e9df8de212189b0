"""Ctrl-C, SIGTERM, a closed terminal: an orderly end that can be continued; the second time, at once."""

import json
import random
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from optuna.trial import FrozenTrial, TrialState

from lab.hpo.study_id import STUDY
from lab.store import run_folder
from selftest import killed_runs
from selftest.bench import Bench, Done, side_by_side
from selftest.stopped_commands import LONGEST, Command, Stop, stop
from selftest.studies import FILE, STUDIES, run_text, small_study, trials_in, write_file
from selftest.verdict import Tally, Verdict

KINDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SECOND = 4  # so many first signals to one second
_LANES = 2  # studies side by side
_TRIES = 5  # a run may be over before it is stopped
_CLOSED = Stop(signal.SIGHUP, terminal=True)
_RUN = "run.yaml"


def signals(bench: Bench, count: int) -> Verdict:
    """`count` of each signal to runs, to studies, and to studies without processes for their trials."""
    tally = new_tally()
    seconds = max(1, count // _SECOND)
    wanted = undisturbed(bench)
    tries: list[Callable[[], object]] = []
    for seed, kind in enumerate(KINDS * count):
        tries.append(partial(_stop_run, StoppedRun(bench, wanted, seed % 2), Stop(kind), seed, tally))
    for seed, twice in enumerate(_twice(seconds)):
        lingering = StoppedRun(bench, wanted, seed % 2, lingers=True)
        tries.append(partial(_stop_run, lingering, twice, seed, tally))
        tries.append(partial(_stop_run, StoppedRun(bench, wanted, 0), _CLOSED, seed, tally))
    side_by_side(tries)
    bench.report(f"{tally.figures['runs']} runs stopped")
    # All kinds, and those with a second signal, are dealt out to studies that run side by side.
    stops = [*(Stop(kind) for kind in KINDS * count), *_twice(count // _SECOND)]
    chains = [stops[lane::_LANES] for lane in range(_LANES)]
    studies = StoppedStudy(bench, 4 + 2 * max(map(len, chains)), processes=True)
    side_by_side([partial(stop, studies, chain, seed, tally) for seed, chain in enumerate(chains)])
    bench.report(f"{tally.figures['studies']} studies stopped")
    within = StoppedStudy(bench, 4 + 3 * count, processes=False)
    side_by_side(
        [partial(stop, within, [Stop(kind)] * count, kind, tally) for kind in KINDS]
        + [partial(stop, within, [_CLOSED], seed, tally) for seed in range(seconds)]
    )
    # Of each but the studies, `seconds` terminals are closed as well.
    sent = len(KINDS) * count
    return verdict(tally, {"runs": sent + seconds, "studies": sent, within.title: sent + seconds})


def new_tally() -> Tally:
    """All figures, the stops by what was stopped."""
    stops = {"runs": 0, "studies": 0, "studies without processes": 0}
    return Tally(
        {
            **stops,
            "resumed to the same result": 0,
            "RUNNING": 0,
            "s at most": 0.0,
            "second signals": 0,
            "s at most after a second": 0.0,
        }
    )


def verdict(tally: Tally, wanted: dict[str, int]) -> Verdict:
    """All in one.

    Args:
        wanted: how often each kind of command was to be stopped.
    """
    for kind, stops in wanted.items():
        tally.at_least(stops, tally.figures[kind], f"{kind} that were stopped")
    runs, studies, within = (tally.figures.pop(kind) for kind in wanted)
    stopped = {"runs stopped": runs, "studies stopped": studies + within}
    return Verdict({**stopped, **tally.figures}, tally.broken)


def _stop_run(run: "StoppedRun", each: Stop, seed: int, tally: Tally) -> None:
    any(stop(run, [each], seed + 1000 * attempt, tally) for attempt in range(_TRIES))


def _twice(count: int) -> list[Stop]:
    """Two different signals each."""
    pairs = (random.Random(index).sample(KINDS, 2) for index in range(count))
    return [Stop(first, second) for first, second in pairs]


def undisturbed(bench: Bench) -> list[dict[str, str]]:
    """The results of runs that nobody stops: with the data in memory, and read by a worker."""
    found = []
    for workers in (0, 1):
        folder = bench.folder("stopped-run")
        _write(folder, workers)
        done = bench.warm(folder, "--run", _RUN, "--quiet").done(LONGEST)
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
        return ("--run", _RUN)

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
    (folder / _RUN).write_text(text)


class StoppedStudy(Command):
    """A study whose trials have a process each, or none.

    Args:
        n_trials: enough for something to be at work at every stop.
    """

    step = 0.02

    def __init__(self, bench: Bench, n_trials: int, processes: bool) -> None:
        super().__init__(bench)
        self._n_trials = n_trials
        self.title = "studies" if processes else "studies without processes"
        self.within = 0.5 if processes else 1.0
        # What it is compared with needs no processes: `real` is still False.
        folder = self.made()
        done = bench.warm(folder, *self.arguments(folder)).done(LONGEST)
        assert done.code == 0, done.output
        self._wanted = results(trials_in(folder))
        self.real = processes

    def made(self) -> Path:
        """A folder with its file."""
        folder = self.bench.folder("stopped-study")
        config = small_study(
            "sqlite:///studies.db", self._n_trials, isolation="process" if self.real else "none",
            workers=2 if self.real else 1, run__epochs=3, run__net__seconds=self.step,
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
            yield f"printed {(done.err or done.output)[-300:]}"
        yield from (f"trial {number} is RUNNING, expected WAITING" for number in self.running(folder))

    def running(self, folder: Path) -> list[int]:
        """Return the running trials in the database."""
        return [trial.number for trial in trials_in(folder) if trial.state == TrialState.RUNNING]

    def differences(self, folder: Path) -> Iterable[str]:
        """Trial by trial."""
        return killed_runs.differences(self._wanted, results(trials_in(folder)))


def results(trials: Sequence[FrozenTrial]) -> dict[str, str]:
    """All that has to be equal in two equal studies, by trial and name."""
    return {
        f"trial {trial.number}: {name}": str(value)
        for trial in trials
        for name, value in {
            "state": trial.state.name,
            "params": trial.params,
            "values": trial.values,
            "reports": trial.intermediate_values,
            "outcome": trial.user_attrs.get("outcome"),
            "cause": trial.user_attrs.get("cause"),
        }.items()
    }
