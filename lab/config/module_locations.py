"""The folders of a user's own modules: the project's, the current one, and that of the YAML below it.

`python /elsewhere/main.py` puts the folder of `main.py` on Python's path, and no other. The other two are
added at the end of it, so that nothing in them takes the place of Python's or a package's modules.
"""

import json
import os
import sys
from pathlib import Path

from lab.store.paths import start

VARIABLE = "LAB_MODULES"  # folders below the current one, for all processes of the command
PROJECT = Path(__file__).resolve().parents[2]
PROVENANCE, KEY = "provenance.json", "modules"  # where a run keeps those folders
# Files of a run's or study's folder, which is a record and no place for a user's modules.
STUDY = "study.yaml"
OF_A_RECORD = ("summary.json", STUDY, "best.pt", "checkpoints/best.pt", "checkpoints/last.pt")
_RECORDS = ("runs", "studies")  # the folders of records
_appended: list[str] = []  # to Python's path


def open_homes(yaml: str | os.PathLike[str] | None = None) -> None:
    """Let modules of the current folder be found, and those beside a YAML in or below it.

    Args:
        yaml: the file that the command line names; None where it names a run, or nothing.
    """
    os.environ.pop(VARIABLE, None)
    sys.path[:] = [place for place in sys.path if place not in _appended]  # by an earlier command
    _appended.clear()
    _append(start().resolve())
    if yaml is not None:
        open_below(Path(yaml).parent)


def open_below(folder: Path) -> None:
    """Let modules of a folder be found that lies below the current one; any other stays closed."""
    folder = folder.resolve()
    if _is_below(folder) and folder.is_dir():
        os.environ[VARIABLE] = os.pathsep.join(dict.fromkeys([*map(str, _opened()), str(folder)]))
        _append(folder)


def open_as_recorded(run: Path) -> Path:
    """The same for the folders that a run keeps, if it was made here; one from elsewhere may name none.

    Returns:
        The run's folder, as it was given.
    """
    here, made = start().resolve(), run.resolve()
    # A record from elsewhere could name any folder.
    ours = any(made.is_relative_to(here / records) for records in _RECORDS)
    for folder in (made, *made.glob("seed_*"), *made.glob("fold_*")) if ours else ():
        try:
            recorded = json.loads((folder / PROVENANCE).read_text(encoding="utf-8")).get(KEY)
        except (OSError, ValueError, AttributeError):
            continue
        for name in recorded if isinstance(recorded, list) else ():
            open_below(here / str(name))
    return run


def below() -> list[str]:
    """The folders below the current one whose modules can be found, relative to it."""
    return [os.path.relpath(folder, start().resolve()) for folder in _opened()]


def homes() -> list[Path]:
    """The folders whose modules a config may name, none of them twice."""
    return list(dict.fromkeys([PROJECT, start().resolve(), *_opened()]))


def files_of(package: str) -> list[Path]:
    """The files in the homes that a top module could be; equal copies count once."""
    found: dict[bytes, Path] = {}
    for folder in homes():
        for file in (folder / package / "__init__.py", folder / f"{package}.py"):
            if file.is_file():
                found.setdefault(file.read_bytes(), file.resolve())
                break
    return list(found.values())


def _opened() -> list[Path]:
    """The folders that this command, or the one that started this process, has opened."""
    named = filter(None, os.environ.get(VARIABLE, "").split(os.pathsep))
    return [folder for name in named if _is_below(folder := Path(name))]


def _is_below(folder: Path) -> bool:
    """Return whether a folder lies below the current one, and neither is nor lies in a record."""
    here = start().resolve()
    if folder == here or not folder.is_relative_to(here):
        return False
    parts = folder.relative_to(here).parts
    within = [here.joinpath(*parts[: count + 1]) for count in range(len(parts))]
    names = [name for name in OF_A_RECORD if name != STUDY]  # a name that a user's study may have, too
    a_record = any((place / name).exists() for place in within for name in names)
    return parts[0] not in _RECORDS and not a_record


def _append(folder: Path) -> None:
    if folder not in [Path(place or ".").resolve() for place in sys.path]:
        sys.path.append(str(folder))
        _appended.append(str(folder))
