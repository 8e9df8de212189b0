"""A config file with the places of its values, and `--set` on top."""

import copy
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path as FilePath
from typing import Any, TypeVar

from lab.config.problems import ConfigError, Path, Problem, ProblemKind, did_you_mean, shown
from lab.config.yaml_reader import Reader
from lab.store.paths import absolute

MAX_BYTES = 1_000_000
D = TypeVar("D", bound="Document")
Place = Callable[[dict[str, Any], Path, Any, Mapping[str, Any]], Path]
_PART = r"(?:'[^']+'|[^.']+)"


@dataclass
class Document:
    """Plain data and where each part of it was written.

    `problems` are those that leave the rest readable; it is checked as well, to report all at once.
    """

    data: dict[str, Any]
    source: str
    origins: dict[Path, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    overrides: list[str] = field(default_factory=list)  # `--set` and all, in their order
    text: str = ""  # as its author wrote it

    def where(self, path: Path) -> str:
        """`file:line` of the path, or of its nearest written ancestor."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.origins:
                return self.origins[path[:end]]
        return self.source

    @contextmanager
    def locating(self) -> Iterator[None]:
        """Add the places to the problems of an error that is raised within the context."""
        try:
            yield
        except ConfigError as error:
            raise self.located(error) from error

    def located(self, error: ConfigError) -> ConfigError:
        """The same problems, each with the place it was written, in that order; `--set` comes last."""
        located = [replace(p, where=p.where or self.where(p.path)) for p in error.problems]
        return ConfigError(sorted(located, key=self._order), error.note)

    def _order(self, problem: Problem) -> tuple[int, int]:
        if problem.where in self.overrides:
            return 1, self.overrides.index(problem.where)
        line = problem.where.rpartition(":")[2]
        return 0, int(line) if line.isdecimal() else 0


def read(path: str | FilePath) -> Document:
    """Read a YAML file whose top level is a mapping.

    Raises:
        ConfigError: the file is missing, unreadable, too large, not UTF-8, or no YAML mapping.
    """
    try:
        with absolute(path).open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise _error(str(path), f"there is no such file{_near(FilePath(path))}") from None
    except OSError as error:
        raise _error(str(path), f"can't be read: {error.strerror}") from None
    except ValueError:
        raise _error(ascii(str(path)), "can't be read: no file has a zero byte in its name") from None
    if len(content) > MAX_BYTES:
        raise _error(str(path), f"is larger than {MAX_BYTES:,} bytes, the most that a config may have")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise _error(f"{path}:{line}", "is not UTF-8 text; save it as UTF-8") from None
    return parse(text, str(path))


def parse(text: str, source: str) -> Document:
    """Read YAML text; `source` is what errors call it."""
    reader = Reader(source)
    value = reader.read(text)
    if not isinstance(value, dict):
        found = "it is empty" if value is None else f"found {shown(value)}"
        raise _error(reader.origins[()], f"a config is a mapping of keys to values; {found}")
    return Document(value, source, reader.origins, reader.problems, text=text)


def override(
    document: D, assignments: Sequence[str], defaults: Mapping[str, object], place: Place | None = None
) -> D:
    """Lay `path=value` assignments over the document; values are read as YAML.

    An assignment that can't be understood is added to the document's problems.

    Args:
        defaults: what the top-level keys hold that the file doesn't mention.
        place: sets a value in place of `set_value`, where paths mean something else.
    """
    place = set_value if place is None else place
    result = copy.deepcopy(document)
    for assignment in assignments:
        where = f"--set {assignment}"
        result.overrides.append(where)
        name, equals, text = assignment.partition("=")
        path = split(name.strip())
        if not equals or not path:
            message = "expected path=value, such as optimizer.lr=1e-3"
            result.problems.append(Problem((), message, where))
            continue
        reader = Reader(where)
        try:
            value = reader.read(text)
            path = place(result.data, path, value, defaults)
        except ConfigError as error:
            result.problems += [replace(p, where=where) for p in error.problems]
            continue
        result.problems += [replace(p, path=path + p.path, where=where) for p in reader.problems]
        # What was written below the path is gone, and so are its places.
        result.origins = {k: v for k, v in result.origins.items() if k[: len(path)] != path}
        for end in range(1, len(path) + 1):
            result.origins.setdefault(path[:end], where)
    return result


@lru_cache(maxsize=10_000)
def split(name: str) -> Path:
    """`data.transforms.1.p` as a path; digits are list positions, and a key with a dot is quoted: `a.'b.c'`.

    Empty where the name is no path.
    """
    if not re.fullmatch(rf"{_PART}(\.{_PART})*", name):
        return ()
    parts = re.findall(_PART, name)
    return tuple(int(part) if re.fullmatch("[0-9]{1,9}", part) else part.strip("'") for part in parts)


def set_value(data: dict[str, Any], path: Path, value: Any, defaults: Mapping[str, Any]) -> Path:
    """Set one value in nested data, in place; a short form there grows into a mapping.

    Returns:
        The path with the keys that the data has.

    Raises:
        ConfigError: the path leads through a value that has no parts, or past the end of a list.
    """
    # A file that leaves the key out has its default, of which one part is replaced.
    if path[0] not in data and path[0] in defaults and len(path) > 1:
        default = defaults[str(path[0])]
        section = isinstance(default, dict) and "target" not in default
        data[str(path[0])] = {} if section else copy.deepcopy(default)  # a section's class knows its defaults
    here: Any = data
    real: list[str | int] = []
    for part in path:
        if real:
            here = _parts(here, real, part)
        if isinstance(here, list):
            if not isinstance(part, int) or part >= len(here):
                message = f"'{part}' is no position in it: found a list of {len(here)}, counted from 0"
                raise _no_such_part((*real, part), message)
        else:
            if not isinstance(part, str) or part not in here:
                part = next((key for key in here if str(key) == str(part)), str(part))
            here.setdefault(part, None)
        real.append(part)
    here[real[-1]] = value
    return tuple(real)


def _parts(parent: Any, real: list[str | int], part: str | int) -> Any:
    """Return what is at the end of the real path, as a mapping or list; a short form grows into one."""
    value = parent[real[-1]]
    if isinstance(value, (dict, list)):
        return value
    if value is None:
        parent[real[-1]] = {}
    elif isinstance(value, str) and "." in value:
        parent[real[-1]] = {"target": value}
    elif isinstance(value, str) and real == ["monitor"]:
        parent[real[-1]] = {"metric": value}
    elif isinstance(value, str) and real[0] == "trackers" and len(real) == 2:
        parent[real[-1]] = {"type": value}
    else:
        raise _no_such_part(real, f"has no part '{part}': found {shown(value)}")
    return parent[real[-1]]


def _no_such_part(path: Sequence[str | int], message: str) -> ConfigError:
    return ConfigError([Problem(tuple(path), message, kind=ProblemKind.NO_SUCH_PART)])


def _error(where: str, message: str) -> ConfigError:
    return ConfigError([Problem((), message, where)])


def _near(file: FilePath) -> str:
    names = sorted(p.name for p in file.parent.glob("*.y*ml")) if file.parent.is_dir() else []
    hint = did_you_mean(file.name, names[:20])
    place = "here" if file.parent == FilePath() else f"in {file.parent}"
    return f" {place}{hint}" if names else ""
