"""Git, asked about a folder in such a way that nothing of the folder's own is run.

A repository may come from a stranger, and its `.git/config` and `.gitattributes` can name programs: file
monitors, hooks, filters, external diffs, transports. All of them are switched off, whatever they are called.
Whose folder git trusts (`safe.directory`) stays the user's decision. Nothing is locked, written or fetched.
"""

import os
import re
import selectors
import shutil
import subprocess
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

MAX_DIFF = 1_000_000  # bytes
MAX_UNTRACKED = 500  # names
_MAX_ANSWER = 50_000_000  # bytes of any other answer, such as the names of changed files
_PATIENCE = 5.0  # seconds for one question, which a network folder can make slow
_AT_ONCE = 500  # files in one question
# What runs and studies leave behind, which is no code.
_OUTPUT = re.compile(r"(.*/)?(runs|studies|__pycache__)/|(.*/)?studies\.db(-\w+)?")
# Of the caller's GIT_…: where the user's own settings are, and what they trust. All else, such as GIT_DIR and
# GIT_EXTERNAL_DIFF, belongs to another repository or makes git start something.
_KEPT = re.compile(
    r"GIT_(CONFIG_(GLOBAL|SYSTEM|NOSYSTEM|COUNT|(KEY|VALUE)_\d+)"
    r"|CEILING_DIRECTORIES|DISCOVERY_ACROSS_FILESYSTEM|TEST_\w+)"
)
_SETTINGS = (
    "core.fsmonitor=",
    f"core.hooksPath={os.devnull}",
    "core.alternateRefsCommand=",
    "core.sshCommand=",
    "core.askPass=",
    "credential.helper=",
    "submodule.recurse=false",
    "safe.bareRepository=explicit",
    "diff.noprefix=false",
    "diff.mnemonicPrefix=false",
    "diff.relative=false",
    f"diff.orderFile={os.devnull}",
)
_STATUS = (
    "--porcelain=v2",
    "--branch",
    "--no-ahead-behind",
    "-z",
    "--untracked-files=normal",
    "--no-renames",
)
_DIFF = (
    *("--patch", "--no-color", "--no-ext-diff", "--no-textconv", "--no-renames"),
    *("--submodule=short", "--src-prefix=a/", "--dst-prefix=b/"),
)
_SUBMODULES = "--ignore-submodules=dirty"  # git would go into them, and ask by their own settings


class Gap(StrEnum):
    """The reason that something about a repository isn't known."""

    NO_GIT = "no_git"
    NO_REPOSITORY = "no_repository"
    REFUSED = "refused"
    NO_COMMIT = "no_commit"
    TIMEOUT = "timeout"


@dataclass(frozen=True)
class Repository:
    """A folder as git knows it.

    Args:
        folder: the top of the working tree; the folder asked about where there is none.
        dirty: whether something differs from the commit; None where that isn't known.
        changed: the tracked files that do, relative to the top.
        diff: the changes of tracked files against the commit; None where they aren't known.
        diff_cut: whether it was longer than `MAX_DIFF`.
        untracked: the first of the files and folders that git neither tracks nor ignores.
        gap: why something is missing; None where nothing is.
        detail: in git's own words.
    """

    folder: Path
    commit: str | None = None
    branch: str | None = None
    dirty: bool | None = None
    changed: frozenset[str] = frozenset()
    diff: str | None = None
    diff_cut: bool = False
    untracked: tuple[str, ...] = ()
    untracked_count: int = 0
    gap: Gap | None = None
    detail: str = ""

    def tracked(self, files: Collection[Path]) -> set[Path]:
        """Return which files git tracks; none where it isn't known, or where it is set not to look at them.

        Args:
            files: real paths, below the repository's folder.
        """
        if self.commit is None:
            return set()
        names = {self._name(file): file for file in files}
        return {names[name] for name in _tracked(self.folder, sorted(names))}

    def holds(self, file: Path) -> bool:
        """Return whether a tracked file lies there as in the commit."""
        return self.dirty is not None and self._name(file) not in self.changed

    def _name(self, file: Path) -> str:
        return str(file).removeprefix(str(self.folder)).lstrip(os.sep)


@dataclass(frozen=True)
class _Answer:
    """The answer to one question."""

    text: str
    code: int | None  # None where git was ended
    fault: str = ""  # git's own words
    cut: bool = False

    @property
    def ok(self) -> bool:
        return self.code == 0 or self.cut

    @property
    def gap(self) -> Gap:
        return Gap.REFUSED if self.code is not None else Gap.TIMEOUT


def root_of(folder: Path) -> Path | None:
    """Return the nearest folder, from this one upwards, that has `.git`; the environment may name a ceiling.

    Args:
        folder: a real path.
    """
    ceilings = set(os.environ.get("GIT_CEILING_DIRECTORIES", "").split(os.pathsep))
    for place in (folder, *folder.parents):
        if place != folder and str(place) in ceilings:
            return None
        if os.path.lexists(place / ".git"):
            return place
    return None


def locate(folder: Path) -> Repository:
    """Ask git for the repository that a folder lies in, and its commit.

    Args:
        folder: a real path.
    """
    nothing = Repository(folder)
    if root_of(folder) is None:
        return replace(nothing, gap=Gap.NO_REPOSITORY)
    if program() is None:
        return replace(nothing, gap=Gap.NO_GIT)
    place = _ask(folder, "rev-parse", "--show-toplevel", "--quiet", "--verify", "HEAD")
    top, _, commit = place.text[:-1].rpartition("\n") if place.ok else (place.text[:-1], "", "")
    if not top or place.code is None:
        return replace(nothing, gap=place.gap, detail=place.fault)
    if not folder.is_relative_to(top):
        return replace(nothing, gap=Gap.REFUSED, detail=f"its core.worktree is another folder, {top}")
    if not commit:
        return Repository(Path(top), dirty=True, gap=Gap.NO_COMMIT)
    return Repository(Path(top), commit)


def inspect(folder: Path) -> Repository:
    """Ask git for a repository, its commit, and what is not committed."""
    repository = locate(folder)
    return repository if repository.commit is None else _with_changes(repository)


def program() -> str | None:
    """Return the path of git; one that merely lies in the current folder is not taken."""
    try:
        here = os.path.realpath(".")
    except OSError:
        here = ""
    # A `git` in the current folder, maybe a stranger's, must not run even where PATH names that folder.
    places = [place for place in os.get_exec_path() if Path(place).is_absolute()]
    return shutil.which("git", path=os.pathsep.join(p for p in places if os.path.realpath(p) != here))


def _with_changes(repository: Repository) -> Repository:
    """Add branch, changed and untracked files, and the difference."""
    top = repository.folder
    # Filters have names of the repository's choice, so they must be listed to be switched off.
    drivers = _filters(top)
    if isinstance(drivers, _Answer):
        return replace(repository, gap=drivers.gap, detail=drivers.fault)
    status = _ask(top, "status", *_STATUS, _SUBMODULES, filters=drivers)
    if not status.ok:
        return replace(repository, gap=status.gap, detail=status.fault)
    # Porcelain v2 with NUL: names may hold any other character.
    lines = status.text.split("\0")
    changed = frozenset(_changed(lines))
    untracked = [line[2:] for line in lines if line.startswith("? ") and not _OUTPUT.fullmatch(line[2:])]
    known = replace(
        repository,
        branch=next((line[14:] for line in lines if line.startswith("# branch.head ")), None),
        dirty=bool(changed or untracked),
        changed=changed,
        diff="",
        untracked=tuple(untracked[:MAX_UNTRACKED]),
        untracked_count=len(untracked),
    )
    if not changed:
        return known
    asked = ("diff", *_DIFF, _SUBMODULES, str(repository.commit), "--")
    diff = _ask(top, *asked, filters=drivers, most=MAX_DIFF)
    if not diff.ok:
        return replace(known, diff=None, gap=diff.gap, detail=diff.fault)
    text = diff.text[: diff.text.rfind("\n") + 1] if diff.cut else diff.text
    return replace(known, diff=text, diff_cut=diff.cut)


def _changed(lines: Iterable[str]) -> Iterator[str]:
    """The paths in `git status` of tracked files that differ from the commit."""
    for line in lines:
        if line.startswith("1 "):
            yield line.split(" ", 8)[8]
        elif line.startswith("u "):
            yield line.split(" ", 10)[10]


def _filters(top: Path) -> Sequence[str] | _Answer:
    """The names of programs that would stand between a file and its content, or why they aren't known."""
    asked = _ask(top, "config", "--null", "--name-only", "--get-regexp", r"^filter\.")
    if asked.code not in (0, 1):  # 1: there are none
        return asked
    names = sorted({name[7:].rpartition(".")[0] for name in asked.text.split("\0") if name.count(".") > 1})
    if odd := next((name for name in names if "=" in name), None):  # can't be switched off
        return _Answer("", 1, f"its settings have a filter of an odd name, {odd}")
    return names


def _tracked(top: Path, names: Sequence[str]) -> Iterator[str]:
    """Yield the files that git tracks, and looks at: it may be set to take one as unchanged."""
    for start in range(0, len(names), _AT_ONCE):
        some = names[start : start + _AT_ONCE]
        found = _ask(top, "--literal-pathspecs", "ls-files", "-z", "-v", "--full-name", "--", *some)
        yield from (line[2:] for line in found.text.split("\0") if found.ok and line.startswith("H "))


def _ask(folder: Path, *question: str, filters: Iterable[str] = (), most: int = _MAX_ANSWER) -> _Answer:
    """Ask one question; git gets no terminal, no network, and none of the repository's programs."""
    off = (f"filter.{name}.{what}" for name in filters for what in ("clean=", "process=", "required=false"))
    settings = [part for each in (*_SETTINGS, *off) for part in ("-c", each)]
    command = [program() or "git", "--no-pager", "--no-optional-locks", *settings, *question]
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("GIT_") or _KEPT.fullmatch(k)}
    ours = {"GIT_TERMINAL_PROMPT": "0", "GIT_ALLOW_PROTOCOL": "", "GIT_NO_LAZY_FETCH": "1", "LC_ALL": "C"}
    try:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=inherited | ours,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    except OSError as error:
        return _Answer("", 1, error.strerror or str(error))
    try:
        return _read(process, most)
    finally:
        _end(process)


def _read(process: subprocess.Popen[bytes], most: int) -> _Answer:
    """Read what git prints, up to so many bytes and within the time it may take."""
    assert process.stdout is not None and process.stderr is not None
    deadline = time.monotonic() + _PATIENCE
    got: dict[Any, bytearray] = {process.stdout: bytearray(), process.stderr: bytearray()}
    cut = late = False
    # Read both pipes as they fill: communicate() has no limit of size.
    with selectors.DefaultSelector() as waiting:
        for stream in got:
            waiting.register(stream, selectors.EVENT_READ)
        while waiting.get_map() and not (cut or late):
            for key, _ in waiting.select(max(deadline - time.monotonic(), 0)):
                if chunk := os.read(key.fd, 65536):
                    got[key.fileobj] += chunk
                else:
                    waiting.unregister(key.fileobj)
            cut = len(got[process.stdout]) > most
            late = time.monotonic() > deadline
    code: int | None = None
    if not (cut or late):
        with suppress(subprocess.TimeoutExpired):
            code = process.wait(max(deadline - time.monotonic(), 0.1))
    words = bytes(got[process.stderr][:4000]).decode(errors="replace").split()
    fault = "".join(sign if sign.isprintable() else "?" for sign in " ".join(words))
    return _Answer(os.fsdecode(bytes(got[process.stdout][:most])), code, fault, cut)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End it; one that hangs in a folder that is away can't be waited for."""
    process.kill()
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()
    with suppress(subprocess.TimeoutExpired):
        process.wait(0.5)
