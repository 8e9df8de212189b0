"""The code that a run uses: the modules that are no package's, the repositories they lie in, and their text.

Git keeps what is committed. Of everything else that was imported the text is kept, for the commit alone would
stand for another program than the one that ran.
"""

import hashlib
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lab.config.module_locations import PROJECT
from lab.console.formatting import format_list
from lab.events import Note
from lab.provenance import git
from lab.provenance.git import Gap, Repository
from lab.provenance.user_modules import Module, digest, imported, is_edited, named_places, source_of
from lab.store.redact import redact_source

MAX_TEXT = 200_000  # characters of one module
MAX_TEXTS = 2_000_000  # of all together
MAX_MODULES = 1_000
KEY = "sha256:"  # begins the key of a text
_NONE = Repository(PROJECT, gap=Gap.NO_REPOSITORY)


@dataclass(frozen=True)
class Kept:
    """A module of the user, and what is kept of it.

    Args:
        root: of its repository; None where it lies in none.
        committed: whether the repository's commit has it as it is; then its text is not kept.
        sha256: of the file whose text is kept.
        text: its key in `Code.texts`; None where it isn't kept.
        cut: whether some of the text is left out, because there was too much.
        edited: whether the file may have been edited since the import.
    """

    module: Module
    root: Path | None
    committed: bool
    sha256: str | None = None
    text: str | None = None
    cut: bool = False
    edited: bool = False


class Code:
    """The code of a process that trains: looked at once, and once more for what was imported since."""

    def __init__(self) -> None:
        self.looked = False
        self.texts: dict[str, str] = {}
        self._repositories: dict[Path, Repository] = {}
        self._kept: dict[Path, Kept] = {}
        self._seen: set[Path] = set()
        self._since = time.time()
        self._left_out, self._room = 0, MAX_TEXTS

    def look(self, paths: Collection[str]) -> bool:
        """Take in the modules that were imported since the last look; return whether there were any.

        Args:
            paths: the import paths in the config.
        """
        self.looked, self._tool = True, git.root_of(PROJECT)
        self._ask(self._tool)
        # Modules can be imported at any time; each is looked at once.
        new = [module for module in imported(paths) if module.file not in self._seen]
        self._seen.update(module.file for module in new)
        roots = {folder: git.root_of(folder) for folder in {module.file.parent for module in new}}
        by_root: dict[Path | None, list[Module]] = {}
        for module in new:
            by_root.setdefault(roots[module.file.parent], []).append(module)
        committed = {file for root, modules in by_root.items() for file in self._committed(root, modules)}
        for module in new:
            root, is_in_commit = roots[module.file.parent], module.file in committed
            if not module.of_the_tool or (not is_in_commit and self._ask(root).commit):
                edited = not module.of_the_tool and is_edited(module, self._since)
                self._add(Kept(module, root, is_in_commit, edited=edited))
        return bool(new)

    def keep(self, text: str) -> str:
        """Keep a text; return its key."""
        key = key_of(text)
        self.texts[key] = text
        return key

    def as_data(self) -> dict[str, object]:
        """Return what a record holds of the code, with keys of `texts` in place of texts."""
        tool = self._ask(self._tool)
        return {
            "tool": {
                "folder": str(PROJECT),
                "repository": None if tool.gap is Gap.NO_REPOSITORY else str(tool.folder),
                "commit": tool.commit,
                "digest": None if tool.commit else digest(),
            },
            "repositories": [self._repository(root) for root in self._repositories],
            "code": [self._module(kept) for kept in self._kept.values()],
            "code_left_out": self._left_out,
        }

    def notes(self) -> list[Note]:
        """Return a line for each thing that can't be recorded."""
        notes = []
        for root, repository in self._repositories.items():
            notes += _of_gap(repository, self._modules_in(root))
        if alone := self._modules_in(None):
            text = f"in no git repository: {_names(alone)}; the record has their text instead of a commit"
            notes.append(Note(text))
        if edited := [kept.module for kept in self._kept.values() if kept.edited]:
            text = f"edited since it was imported: {_names(edited)}; the record has what is in the file now"
            notes.append(Note(f"{text}, which may not be what is trained", "warning"))
        cut = [kept.module for kept in self._kept.values() if kept.cut]
        if cut or self._left_out:
            more = f", and {self._left_out} more modules" if self._left_out else ""
            text = f"too much code to record all of it: the record lacks some of {_names(cut)}{more}"
            notes.append(Note(f"{text}; commit it, and the commit stands for it", "warning"))
        return notes

    def _ask(self, root: Path | None) -> Repository:
        if root is None:
            return _NONE
        if root not in self._repositories:
            self._repositories[root] = git.inspect(root)
        return self._repositories[root]

    def _committed(self, root: Path | None, modules: Sequence[Module]) -> set[Path]:
        """Return the files that a commit stands for; of the tool's own, also with a difference beside it."""
        repository = self._ask(root)
        below = [module for module in modules if module.file.is_relative_to(repository.folder)]
        tracked = repository.tracked([module.file for module in below])
        return {
            module.file
            for module in below
            if module.file in tracked and (module.of_the_tool or repository.holds(module.file))
        }

    def _add(self, kept: Kept) -> None:
        if len(self._kept) >= MAX_MODULES:
            self._left_out += 1
            return
        if not kept.committed and (source := source_of(kept.module)) is not None:
            content, text = source[0], redact_source(source[1])
            # Each text and all of them together are bounded: a record must not grow with the code.
            shown = text[: min(MAX_TEXT, self._room)]
            self._room -= len(shown)
            kept = replace(
                kept,
                sha256=hashlib.sha256(content).hexdigest(),
                text=None if text and not shown else self.keep(shown),
                cut=len(shown) < len(text),
            )
        self._kept[kept.module.file] = kept

    def _modules_in(self, root: Path | None) -> list[Module]:
        return [
            kept.module for kept in self._kept.values() if kept.root == root and not kept.module.of_the_tool
        ]

    def _repository(self, root: Path) -> dict[str, object]:
        found = self._repositories[root]
        return {
            "folder": str(found.folder),
            **{name: getattr(found, name) for name in ("commit", "branch", "dirty")},
            "diff": self.keep(redact_source(found.diff)) if found.diff else found.diff,
            "diff_cut": found.diff_cut,
            "untracked": list(found.untracked),
            "untracked_count": found.untracked_count,
            "missing": found.gap,
            "why": found.detail,
            "modules": [module.name for module in self._modules_in(root)],
        }

    def _module(self, kept: Kept) -> dict[str, object]:
        return {
            "module": kept.module.name,
            "file": str(kept.module.file),
            "named": kept.module.named,
            "repository": None if kept.root is None else str(self._repositories[kept.root].folder),
            **{name: getattr(kept, name) for name in ("committed", "sha256", "text", "cut", "edited")},
        }


def key_of(text: str) -> str:
    """Return the key under which a record keeps a text."""
    return f"{KEY}{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()}"


def notes_on(paths: Collection[str]) -> list[Note]:
    """Return a line for each repository that can't be recorded, of modules that are not imported yet."""
    by_root: dict[Path | None, list[Module]] = {git.root_of(PROJECT): []}
    for module in named_places(paths):
        by_root.setdefault(git.root_of(module.file), []).append(module)
    return [
        note
        for root, modules in by_root.items()
        if root is not None
        for note in _of_gap(git.locate(root), modules)
    ]


def _of_gap(repository: Repository, modules: Sequence[Module]) -> list[Note]:
    match repository.gap:
        case None:
            cut = f"{repository.folder}: only the first MB of its uncommitted changes is recorded"
            return [Note(cut, "warning")] if repository.diff_cut else []
        case Gap.NO_REPOSITORY:
            return []
        case Gap.NO_GIT:
            why = "git is not installed or not on PATH"
        case Gap.NO_COMMIT:
            why = "the repository has none yet"
        case Gap.TIMEOUT:
            why = "git does not respond"
        case Gap.REFUSED:
            why = f"git refuses: {repository.detail}"
    instead = [f"the text of {_names(modules)}"] if modules else []
    what = "what is not committed"
    if repository.commit is None:
        what = "the commit"
        instead += ["a digest of this program's files"] if PROJECT.is_relative_to(repository.folder) else []
    has = f"the record has {' and '.join(instead)}; " if instead else ""
    return [Note(f"{repository.folder}: {what} can't be recorded; {has}{why}", "warning")]


def _names(modules: Sequence[Module]) -> str:
    return format_list([module.name for module in modules], most=3)
