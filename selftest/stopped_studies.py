"""Studies that are stopped from outside again and again, and continued to the same result."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from optuna.trial import FrozenTrial, TrialState

from lab.hpo.study_id import STUDY
from lab.store import run_folder
from selftest.bench import Bench, Done
from selftest.stopped_commands import LONGEST, Command, Stop
from selftest.studies import FILE, STUDIES, small_study, trials_in, write_file


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
