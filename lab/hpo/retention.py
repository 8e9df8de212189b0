"""Keeps a study from filling the disk: weights go, records stay, and the winner is never touched."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from lab.config.study_fields import RetentionConfig
from lab.events import Outcome, Stopped
from lab.hpo.best_trial import weights_of_value
from lab.hpo.study_callbacks import StudyCallback, TrialResult
from lab.hpo.trial import Trial
from lab.hpo.trial_folder import read_trial
from lab.report.trial_ranking import front, ranked
from lab.store import run_folder

_GB = 1e9


class Retention(StudyCallback):
    """Removes the weights that nobody is going to use.

    Of the best `keep_best` trials, and of all on a Pareto front, the weights stay; those of all other
    finished trials go as soon as that is known. Over `max_disk_gb` go, in this order and one by one: all of
    the kept trials' but those that reached their value, then these from the worst of them up to the second.
    """

    def __init__(self, folder: Path, config: RetentionConfig, directions: Sequence[StudyDirection]) -> None:
        self._folder, self._config, self._directions = folder, config, directions
        self._cleared: set[int] = set()

    def on_trial_end(self, trial: Trial, result: TrialResult) -> Stopped | None:
        """Remove what can go; stop the study where it is still larger than it may be."""
        problem = self.apply(result.trials)
        return Stopped(problem, Outcome.FAILED) if problem else None

    def apply(self, trials: Sequence[FrozenTrial]) -> str:
        """Remove what can go; returns what is wrong where the study is still larger than it may be."""
        best = ranked(trials, self._directions)
        kept = [trial.number for trial in best[: self._config.keep_best]]
        if len(self._directions) > 1:
            kept += [trial.number for trial in front(best, self._directions) if trial.number not in kept]
        for trial in trials:
            spared = trial.state.name == "PRUNED" and self._config.pruned
            if trial.state.is_finished() and trial.number not in kept and not spared:
                self._clear(trial.number)
        if self._config.max_disk_gb is None:
            return ""
        limit = self._config.max_disk_gb * _GB
        for file in self._expendable(kept):
            if used(self._folder) <= limit:
                return ""
            file.unlink(missing_ok=True)
        size = used(self._folder)
        if size <= limit:
            return ""
        return (
            f"the study takes {size / _GB:.2f} GB, retention.max_disk_gb is {self._config.max_disk_gb:g}, "
            "and nothing is left to remove but the winner and the records"
        )

    def _clear(self, number: int) -> None:
        if number not in self._cleared:
            for file in _weights(self._folder / f"trial_{number:05d}"):
                file.unlink(missing_ok=True)
            self._cleared.add(number)

    def _expendable(self, kept: Sequence[int]) -> Iterator[Path]:
        folders = [self._folder / f"trial_{number:05d}" for number in reversed(kept)]
        for folder in folders:
            recipe = read_trial(folder).get("recipe")
            yield from (file for file in _weights(folder) if file != weights_of_value(file.parent, recipe))
        for folder in folders[:-1]:
            yield from _weights(folder)


def used(folder: Path) -> int:
    """Bytes of a folder's files; one that has several names counts once."""
    sizes: dict[tuple[int, int], int] = {}
    for file in folder.rglob("*"):
        try:
            found = file.lstat()
        except OSError:  # a trial at work has just replaced it
            continue
        sizes[found.st_dev, found.st_ino] = found.st_size
    return sum(sizes.values())


def _weights(folder: Path) -> Iterable[Path]:
    return sorted(folder.rglob(f"{run_folder.CHECKPOINTS}/*.pt"))
