"""Trials whose folders are gone, while the database still has their values."""

from collections.abc import Sequence
from pathlib import Path

from optuna.trial import FrozenTrial, TrialState

from lab.hpo.study_id import numbers
from lab.report.trial_attributes import TrialAttributes

_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


def missing_folders_note(folder: Path, trials: Sequence[FrozenTrial], database: str) -> str:
    """A note on the trials that were trained and have no folder here; empty where all have theirs.

    That is no error: another machine that joins a study has the folders of its own trials alone.

    Args:
        database: as it is shown.
    """
    known = [(trial.number, TrialAttributes.of(trial)) for trial in trials if trial.state in _FINISHED]
    trained = [number for number, each in known if each.forked_from is None and each.epochs]
    gone = [number for number in trained if not (folder / f"trial_{number:05d}").is_dir()]
    if not gone:
        return ""
    several = len(gone) > 1
    which = f"none of the {len(gone)} trained trials" if len(gone) == len(trained) else f"no {numbers(gone)}"
    return (
        f"{folder} has {which} of {database}: the folders were removed, or are on another machine. The "
        f"search knows the value{'s' * several} of {'these trials' if several else 'this trial'}; weights, "
        "records and confirmation reruns can't be had here. Put the folders back, or take another study_name "
        "to start from scratch"
    )
