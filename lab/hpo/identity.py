"""Which study a folder belongs to, so that a new one never takes the trials of another for its own.

A name says nothing: the database may be gone, or be another one. Each study has an identity of its own, in
the database and in its folder.
"""

import uuid
from pathlib import Path

import optuna

from lab import rundir
from lab.config.problems import ConfigError, Problem

IDENTITY = "identity"  # the study's user attribute
FILE = "study_id.txt"
_TRACES = ("trial_*", "confirm/trial_*", "best/trial.json")


def refuse_foreign(folder: Path, study: optuna.Study | None) -> None:
    """Call it under the study's lock, before anything is written.

    A study with trials but without an identity was made before there were any: a folder without one is its.

    Args:
        study: None where it is about to be made.

    Raises:
        ConfigError: the folder holds what trials of another study left.
    """
    own = None if study is None else study.user_attrs.get(IDENTITY)
    found = identity_of(folder)
    if found is not None and found == own:
        return
    if found is None and own is None and study is not None and study.get_trials(deepcopy=False):
        return
    if any(next(folder.glob(pattern), None) for pattern in _TRACES):
        message = (
            f"{folder} holds the trials of another study of this name (its database is gone, or is another "
            "one); move the folder away, or take another study_name"
        )
        raise ConfigError([Problem(("study_name",), message)])


def identify(folder: Path, study: optuna.Study) -> None:
    """Give the study an identity unless it has one, and the folder the study's. Call it under the lock."""
    identity = study.user_attrs.get(IDENTITY) or uuid.uuid4().hex
    if identity_of(folder) != identity:
        rundir.atomic_write(folder / FILE, f"{identity}\n")
    if study.user_attrs.get(IDENTITY) != identity:
        study.set_user_attr(IDENTITY, identity)


def identity_of(folder: Path) -> str | None:
    """The identity that a study's folder keeps; None where it has none."""
    try:
        return (folder / FILE).read_text().strip() or None
    except (OSError, ValueError):
        return None
