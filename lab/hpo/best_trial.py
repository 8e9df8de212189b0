"""`best/` of a study: its best trial as a run that can be repeated, with weights and pictures beside it."""

import math
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial

from lab.config.saved_config import written
from lab.console import shell_commands
from lab.hpo.study_callbacks import StudyCallback, TrialResult
from lab.hpo.trial import Trial
from lab.hpo.trial_folder import TRIAL, read_trial, write_trial
from lab.report.trial_attributes import TrialAttributes
from lab.store import file_io, run_folder

BEST = "best"
_COPIED = (run_folder.HISTORY, run_folder.PREDICTIONS, run_folder.METRICS)


class BestTrial(StudyCallback):
    """Keeps `best/` up to date.

    Args:
        folder: of the study.
        metrics: the objectives.
    """

    def __init__(self, folder: Path, metrics: Sequence[str]) -> None:
        self._folder, self._metrics = folder, metrics

    def on_trial_end(self, trial: Trial, result: TrialResult) -> None:
        """Copy the best trial, where it is another than before."""
        if result.best is not None:
            keep_best(self._folder, result.best, self._metrics)


def weights_of_value(checkpoints: Path, recipe: Mapping[str, Any] | None) -> Path:
    """The weights that reached a run's value: the last ones where that is its last value."""
    final = checkpoints / "final.pt"
    last = ((recipe or {}).get("monitor") or {}).get("returns") == "last"
    return final if last and final.exists() else checkpoints / "best.pt"


def keep_best(study_folder: Path, trial: FrozenTrial, metrics: Sequence[str]) -> Path | None:
    """Make `best/` the given trial, unless it is already; None where that trial left nothing to rerun.

    None as well where another process is at it, which makes it the same trial or the one before; the end of
    the study does it once more.
    """
    source, best = study_folder / f"trial_{trial.number:05d}", study_folder / BEST
    facts = read_trial(source)
    if not facts.get("recipe"):
        return None
    if read_trial(best).get("number") == trial.number and (best / run_folder.CONFIG).exists():
        return best
    best.mkdir(parents=True, exist_ok=True)
    try:
        with run_folder.lock(best):
            _fill(best, source, trial, facts, metrics)
    except file_io.RunInUse:
        return None
    return best


def _fill(
    best: Path, source: Path, trial: FrozenTrial, facts: dict[str, Any], metrics: Sequence[str]
) -> None:
    (best / TRIAL).unlink(missing_ok=True)  # it is written last: who finds it, finds all
    (best / "threshold.json").unlink(missing_ok=True)  # of the winner before
    shutil.rmtree(best / run_folder.EVALUATION, ignore_errors=True)
    run = _run_folder(source, trial, facts)
    for name in _COPIED:
        with suppress(OSError):
            (best / name).unlink(missing_ok=True)
        if (run / name).exists():
            shutil.copyfile(run / name, best / name)
    weights = weights_of_value(run / run_folder.CHECKPOINTS, facts["recipe"])
    (best / "best.pt").unlink(missing_ok=True)
    if weights.exists():
        file_io.link(weights, best / "best.pt")
    result = ", ".join(f"{name} {value!r}" for name, value in zip(metrics, trial.values, strict=True))
    rerun = shell_commands.main("--run", best / run_folder.CONFIG)
    head = (
        f"# Trial {trial.number} of the study {best.parent.name}: {result}.\n"
        f"# The same again: {shell_commands.anywhere(rerun)}\n"
    )
    file_io.atomic_write(best / run_folder.CONFIG, head + written(facts["recipe"]))
    write_trial(best, facts)


def _run_folder(folder: Path, trial: FrozenTrial, facts: dict[str, Any]) -> Path:
    """Return the folder of the trial's weights and plots: its own, or that of its best seed or fold."""
    repeats = TrialAttributes.of(trial).repeats or {}
    values = {name: value for name, value in repeats.items() if not math.isnan(value)}
    if not values:
        return folder
    pick = max if (facts["recipe"].get("monitor") or {}).get("mode") == "max" else min
    return folder / pick(values, key=lambda name: values[name])
