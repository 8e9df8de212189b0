"""Paths as people write them: `~` is the home folder, and a variable such as `$HOME` is none of ours to read.

A config is kept as it was written, for the home folder is another one on another machine; `~` is replaced
where a path is used. A relative path counts from the folder in which the command was started, also after a
component has called `os.chdir`.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_HOME = re.compile(r"~[^/]*")
# `$HOME`, `${HOME}`, `%HOME%`; a price, a formula or the end of a pattern is no variable.
_VARIABLE = re.compile(r"\$(?:[A-Za-z_]\w*(?![\w$])|\{[^{}\s]+\})|%[A-Za-z_]\w{2,}%")
_FILE_URL = re.compile(r"(?P<scheme>sqlite(?:\+\w+)?:///)(?P<path>[^?]*)(?P<rest>.*)", re.DOTALL)
_URL_VARIABLE = re.compile(r"(?<=[:/@])\$(?:[A-Za-z_]\w*|\{[^{}\s]+\})(?=[:/@?]|$)")
_start: Path | None = None  # the folder that relative paths count from, within `anchored`


@contextmanager
def anchored() -> Iterator[None]:
    """Let relative paths count from the folder that is current now, and return to it at the end."""
    global _start
    try:
        here: Path | None = Path.cwd()
    except FileNotFoundError:  # it has been removed
        here = None
    before, _start = _start, _start or here
    try:
        yield
    finally:
        _start = before
        if here is not None:
            with suppress(OSError):
                os.chdir(here)


def start() -> Path:
    """The folder that relative paths count from."""
    return _start or Path.cwd()


def absolute(path: Path | str) -> Path:
    """The whole path, with `~` as in `expanded`."""
    path = expanded(path)
    return path if path.is_absolute() else start() / path


def shown(path: Path) -> str:
    """A path as one would type it: relative below the folder of the start, else as it is."""
    try:
        here = start()
    except FileNotFoundError:
        return str(path)
    # Links and `..` stay as they were given.
    below = ".." not in path.parts and (here / path).is_relative_to(here)
    return str((here / path).relative_to(here)) if below else str(path)


def with_relative_paths(text: str) -> str:
    """The text of a message with the paths below the folder of the start as `shown` gives them."""
    try:
        return text.replace(f"{start()}{os.sep}", "")
    except FileNotFoundError:
        return text


def expanded(path: Path | str) -> Path:
    """The path with the home folder in the place of `~`, and that of another user for `~NAME`.

    A file whose name begins with `~` and which is there keeps its name; `./~name` always means it.

    Raises:
        ValueError: there is no such user, or the home folder isn't known.
    """
    text = os.fspath(path)
    found = _HOME.match(text)
    if found is None or (found[0] != "~" and os.path.exists(text)):  # noqa: PTH110 - any text may be asked
        return Path(path)
    if (home := _home(found[0])) is None:
        raise ValueError(f"{text}: {_unknown(found[0])}")
    return Path(home + text[found.end() :])


def problem_of(text: str) -> str:
    """The reason why a path can't be used as it is written; empty where it can."""
    if "\0" in text:
        return ""  # whoever opens it reports that
    found = _HOME.match(text)
    if found is not None and _home(found[0]) is None and not os.path.exists(text):  # noqa: PTH110
        return _unknown(found[0])
    name = variable(text)
    if name is None or os.path.exists(expanded(text)):  # noqa: PTH110
        return ""
    return f"variables are not expanded in a path, and {name} is one; write the path itself"


def url_problem(url: str) -> str:
    """The same for a database's URL; of a server's, a part is a variable only if it is one as a whole."""
    if found := _FILE_URL.match(url):
        if found["path"].startswith("/~"):
            return f"that is '/~', no home folder; did you mean '{found['scheme']}{found['path'][1:]}'?"
        return problem_of(found["path"])
    part = _URL_VARIABLE.search(url)
    if part is None:
        return ""
    return f"variables are not expanded in a URL, and {part[0]} is one; write its value, or %24 for a mere $"


def url_expanded(url: str) -> str:
    """A database's URL, with the home folder in the place of `~` where it names a file.

    Raises:
        ValueError: as `expanded`.
    """
    found = _FILE_URL.match(url)
    if found is None or found["path"][:1] != "~":
        return url
    return f"{found['scheme']}{expanded(found['path'])}{found['rest']}"


def variable(text: str) -> str | None:
    """The first variable in a text as shells write them; None where there is none."""
    found = _VARIABLE.search(text)
    return found[0] if found else None


def _home(tilde: str) -> str | None:
    """The home folder that `~` or `~NAME` names; None where it isn't known."""
    if tilde == "~" and os.environ.get("HOME") == "":  # Python would take the root folder
        return None
    home = os.path.expanduser(tilde)  # noqa: PTH111 - pathlib's raises
    return None if home == tilde else home.rstrip("/")


def _unknown(tilde: str) -> str:
    if tilde == "~":
        return "the home folder isn't known: HOME is not set; set it, or write the path itself"
    return f"there is no user '{tilde[1:]}'; a file of this name is ./{tilde}"
