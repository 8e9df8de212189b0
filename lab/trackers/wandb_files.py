"""W&B's files of a run: in the run's own folder, or where WANDB_DIR was, in each part of the run."""

import json
import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from secrets import token_hex

from lab.config import wandb_environment as environment
from lab.console import shell_commands
from lab.store import file_io, run_folder

FOLDER, HIDDEN = "wandb", ".wandb"  # the second, where it is there already, is what W&B takes
ID = "run_id.txt"
_ELSEWHERE = "elsewhere.json"  # in the run's `wandb/`: the other folders that its parts were written to
_OFFLINE, _ONLINE = "offline-run-*", "run-2*"


@dataclass(frozen=True)
class Places:
    """The places of W&B's files of one run folder, and the id under which W&B knows it.

    Args:
        folder: of the run.
    """

    folder: Path

    @property
    def known(self) -> bool:
        """True where W&B has had a run of this folder."""
        return (self.folder / FOLDER / ID).exists()

    def id(self, run_id: str, study: str = "", wanted: str | None = None) -> str:
        """The id of this folder; made once and kept in it, so that a resumed run finds it.

        The folder's name alone won't do: the trials of two studies have the same names.

        Args:
            study: the token of its study, by which its files are found among others.
            wanted: the id to take, where there is none yet.
        """
        file = self.folder / FOLDER / ID
        if not file.exists():
            token = f"{study}-{token_hex(4)}" if study else token_hex(4)
            made = wanted or f"{run_folder.slug(run_id)[-50:].strip('.-')}-{token}"
            file_io.atomic_write(file, f"{made}\n")
        return file.read_text().strip()

    def choose(self) -> tuple[Path, str]:
        """The folder for W&B's files from now on, and what is wrong with WANDB_DIR, if anything is."""
        wanted = environment.directory()
        if wanted is None:
            return self.folder, ""
        try:
            wanted.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            return self.folder, f"{environment.DIR}: {wanted}: {error.strerror}"
        if not os.access(wanted, os.W_OK | os.X_OK):
            return self.folder, f"{environment.DIR}: {wanted}: can't be written"
        # Remember the folder, so that later parts and uploads find the files there.
        others = self._elsewhere()
        if wanted not in others:
            names = [str(path) for path in (*others, wanted)]
            file_io.atomic_write(self.folder / FOLDER / _ELSEWHERE, json.dumps(names))
        return wanted, ""

    def all(self) -> list[Path]:
        """The folders that hold a folder for each part of the run."""
        return [self.folder / FOLDER, *self.elsewhere()]

    def elsewhere(self) -> list[Path]:
        """Return the folders among them that other runs may use, too."""
        return [root / name for root in self._elsewhere() for name in (FOLDER, HIDDEN)]

    def _elsewhere(self) -> list[Path]:
        found: list[Path] = []
        with suppress(OSError, ValueError, TypeError):
            found = [Path(name) for name in json.loads((self.folder / FOLDER / _ELSEWHERE).read_bytes())]
        return found


def patterns(run: Path, several: bool, online: bool) -> Iterator[str]:
    """Words for a shell that name W&B's folders of all parts of a run; at least one of each is there.

    Args:
        run: the folder of the whole run.
        several: it has folders below, of a seed or a fold each.
        online: name those of parts that were online as well.
    """
    names = (_OFFLINE, _ONLINE) if online else (_OFFLINE,)
    parts = [Places(path) for path in (run_folder.repeats(run) if several else [run])]
    for name in names:
        if any(any((part.folder / FOLDER).glob(name)) for part in parts):
            within = f"*/{FOLDER}" if several else FOLDER
            yield f"{_typed(run)}/{within}/{name}"
    for part in filter(lambda part: part.known, parts):
        for place in part.elsewhere():
            yield from _of_id(place, names, part.id(run.name))


def find_commands(study: Path, token: str, sync: str, online: bool) -> Iterator[str]:
    """Commands that hand W&B's folders of a study's runs to `sync`: a line could not hold their names.

    Args:
        token: in the ids of the study's runs; empty: not known.
    """
    name = "*run-2*" if online else _OFFLINE
    yield f"find {_typed(study)} -name '{name}' -exec {sync} {{}} +"
    for place in Places(study).elsewhere():
        if place.is_dir():
            yield f"find {_typed(place)} -name '{name}-{token}*' -exec {sync} {{}} +"


def _of_id(place: Path, names: Sequence[str], own: str) -> Iterator[str]:
    for name in names:
        if any(place.glob(f"{name}-{escape(own)}")):
            yield f"{_typed(place)}/{name}-{shlex.quote(own)}"


def _typed(path: Path) -> str:
    return shlex.quote(shell_commands.typed(path))
