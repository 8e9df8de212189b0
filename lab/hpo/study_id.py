"""Identity of a study's folder, so that a new study never takes the trials of another for its own.

A name says nothing: the database may be gone, or be another one. Each study has an identity of its own, in
the database and in its folder.
"""

import uuid
from collections.abc import Collection, Sequence
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import ArgumentError

from lab.config import config_file
from lab.config.problems import ConfigError, Problem
from lab.hpo.storage import database_file, shown_url
from lab.report.trial_attributes import TrialAttributes
from lab.store import file_io
from lab.store.paths import shown

IDENTITY = "identity"  # the study's user attribute
FILE = "study_id.txt"
STUDY = "study.yaml"
_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
_TRACES = ("trial_*", "confirm/trial_*", "best/trial.json")
_ELSE = "or move the folder away, or take another study_name"


def refuse_lost(folder: Path, url: str) -> None:
    """Call it before the database is opened, which would make it.

    Raises:
        ConfigError: the folder holds trials, and their database is gone.
    """
    file = database_file(url)
    if file is None or not _has_trials(folder):
        return
    written = (file, file.with_name(f"{file.name}-wal"))  # SQLite's log has what is not in the file yet
    if file.exists() and any(path.exists() and path.stat().st_size > 0 for path in written):
        return
    state = "empty" if file.exists() else "not there"
    gone = f"trials, and their database {shown(file)} is {state}; put it back"
    _refuse(f"{shown(folder)} holds {_moved(folder, url) or gone}, {_ELSE}")


def refuse_foreign(folder: Path, study: optuna.Study | None, url: str) -> None:
    """Call it under the study's lock, before anything is written.

    A study with trials but without an identity was made before there were any: a folder without one is its.

    Args:
        study: None where it is about to be made.
        url: of its database.

    Raises:
        ConfigError: the folder holds what trials of another study left, or newer trials of this one.
    """
    if study is not None and _is_own(folder, study):
        _refuse_newer(folder, study, url)
    elif _has_trials(folder):
        other = f"the trials of another study of this name, which {shown_url(url)} doesn't have"
        _refuse(
            f"{shown(folder)} holds {_moved(folder, url) or other + '; put their database back'}, {_ELSE}"
        )


def is_foreign(folder: Path, study: optuna.Study) -> bool:
    """Return whether a folder is another study's, of the same name."""
    own, found = study.user_attrs.get(IDENTITY), identity_of(folder)
    return own is not None and found is not None and own != found


def identify(folder: Path, study: optuna.Study) -> None:
    """Give the study an identity unless it has one, and the folder the study's. Call it under the lock."""
    identity = study.user_attrs.get(IDENTITY) or uuid.uuid4().hex
    if identity_of(folder) != identity:
        file_io.atomic_write(folder / FILE, f"{identity}\n")
    if study.user_attrs.get(IDENTITY) != identity:
        study.set_user_attr(IDENTITY, identity)


def numbers(found: Collection[int]) -> str:
    """`trial 3`, `trials 3 and 5`, `trials 3, 5, 6 and 4 more`."""
    several = [str(number) for number in sorted(found)]
    if len(several) > 5:
        several = [*several[:4], f"{len(several) - 4} more"]
    last = f" and {several[-1]}" if len(several) > 1 else ""
    return f"trial{'s' if len(found) > 1 else ''} {', '.join(several[:-1]) if last else several[0]}{last}"


def _is_own(folder: Path, study: optuna.Study) -> bool:
    own, found = study.user_attrs.get(IDENTITY), identity_of(folder)
    if own is None and found is None:
        return bool(study.get_trials(deepcopy=False))
    return own == found


def _refuse_newer(folder: Path, study: optuna.Study, url: str) -> None:
    """A trial is in the database before it has a folder: where it isn't, the database is a copy of before.

    New trials would get the numbers of those that it doesn't know, and take the place of their folders.
    """
    left = {int(path.name[6:]) for path in folder.glob("trial_*") if path.name[6:].isdecimal()}
    left -= {trial.number for trial in study.get_trials(deepcopy=False)}
    if left:
        _refuse(
            f"{shown(folder)} has {numbers(left)}, and {shown_url(url)} doesn't: it is older than the "
            "folder, and new trials would replace them; put the newer database back, or move them out of "
            "the folder"
        )


def _has_trials(folder: Path) -> bool:
    return any(next(folder.glob(pattern), None) for pattern in _TRACES)


def _moved(folder: Path, url: str) -> str:
    """Name the database that the folder's trials were searched with; empty where it was this one."""
    try:
        before = shown_url(str(config_file.read(folder / STUDY).data.get("storage", url)))
    except (ConfigError, ArgumentError):
        return ""
    if before == shown_url(url):
        return ""
    return f"the trials of a study with storage: {before}, and this one's is {shown_url(url)}; set that one"


def _refuse(message: str) -> None:
    raise ConfigError([Problem(("study_name",), message)])


def identity_of(folder: Path) -> str | None:
    """The identity that a study's folder keeps; None where it has none."""
    try:
        return (folder / FILE).read_text(encoding="utf-8").strip() or None
    except (OSError, ValueError):
        return None


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
        f"{shown(folder)} has {which} of {database}: the folders were removed, or are on another machine. "
        f"The search knows the value{'s' * several} of {'these trials' if several else 'this trial'}; "
        "weights, records and confirmation reruns can't be had here. Put the folders back, or take another "
        "study_name to start from scratch"
    )
