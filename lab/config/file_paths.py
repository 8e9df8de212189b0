"""Paths among the arguments of components, by their form and names: `~` is expanded, variables are refused.

Nobody has to annotate anything for it: a component may be a library's, which takes any text.
"""

import os
import re
from collections.abc import Iterator, Mapping

from lab.config.config_diff import is_component, parts
from lab.config.problems import Path, Problem
from lab.store import paths

_HOME = re.compile(r"~[\w.-]*(?=/)")
_URL = re.compile(r"\w[\w+.-]*://")
_WORD = re.compile(r"[A-Za-z]+")
_NAMES = {
    "cache", "checkpoint", "dir", "directories", "directory", "dirs", "file", "filename", "files", "folder",
    "folders", "manifest", "path", "paths", "root", "roots",
}  # fmt: skip


def at_home(value: object, path: Path) -> object:
    """A component's argument, with the home folder in the place of `~` where it is a path.

    Raises:
        ValueError: the home folder isn't known.
    """
    if not isinstance(value, str) or value[:1] != "~":
        return value
    return str(paths.expanded(value)) if _HOME.match(value) or _is_named(path) else value


def problems(arguments: Mapping[str, object]) -> Iterator[Problem]:
    """Yield what is wrong with the paths among a component's arguments; those of nested ones are theirs."""
    roots = [str(value) for value in arguments.values() if isinstance(value, str) and "\0" not in value]
    for path, value in _texts(arguments, ()):
        meant = _HOME.match(value) or _is_named(path) or _has_variable(value)
        if meant and not _below(value, roots) and (message := paths.problem_of(value)):
            yield Problem(path, f"'{value}': {message}")


def _texts(value: object, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(value, str):
        yield path, value
    elif not path or not is_component(value):
        for key, item in parts(value):
            yield from _texts(item, (*path, key))


def _has_variable(text: str) -> bool:
    """Return whether a text is a path with a variable, by its form: `$DATA/images`; `$DATA` if it is set."""
    if _URL.match(text):
        return False
    folders = re.split(r"[/\\]", text)
    found = [name for part in folders if (name := paths.variable(part)) and not re.search(r"\s", part)]
    return bool(found) and (len(folders) > 1 or _is_set(found[0], text))


def _is_set(name: str, text: str) -> bool:
    return text == name and name.strip("${}%") in os.environ


def _is_named(path: Path) -> bool:
    """Return whether an argument is called a path, or is in a list that is."""
    name = next((part for part in reversed(path) if isinstance(part, str)), "")
    words = {word.lower() for word in _WORD.findall(name)}
    return bool(words & _NAMES)


def _below(text: str, roots: list[str]) -> bool:
    """Return whether a file of this name is there below another argument, as `images` is below `root`."""
    if paths.variable(text) is None or "\0" in text:
        return False
    return any(os.path.exists(os.path.join(os.path.expanduser(root), text)) for root in roots)  # noqa: PTH110, PTH111, PTH118
