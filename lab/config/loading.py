"""YAML with line numbers, read as a person means it, and `--set` on top.

Plain scalars follow YAML 1.2's core schema, not PyYAML's 1.1: `1e-3` is a number and `yes` is text. Duplicate
keys are refused. Every value remembers where it came from, so that an error can name the file and the line.
Source: https://yaml.org/spec/1.2.2/#103-core-schema.
"""

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

import yaml

from lab.config.problems import ConfigError, Path, Problem, did_you_mean, shown

MAX_BYTES = 1_000_000
MAX_VALUES = 100_000  # an alias bomb unfolds to more
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_STANDARD = "tag:yaml.org,2002:"
_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL = {".inf": "inf", "+.inf": "inf", "-.inf": "-inf", ".nan": "nan"}


@dataclass
class Document:
    """Plain data and where each part of it was written."""

    data: dict[str, Any]
    source: str
    origins: dict[Path, str] = field(default_factory=dict)

    def where(self, path: Path) -> str:
        """`file:line` of the path, or of its nearest written ancestor."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.origins:
                return self.origins[path[:end]]
        return self.source

    def located(self, error: ConfigError) -> ConfigError:
        """The same problems, each with the place it was written."""
        located = [Problem(p.path, p.message, p.where or self.where(p.path)) for p in error.problems]
        return ConfigError(sorted(located, key=_by_line))


def _by_line(problem: Problem) -> tuple[str, int]:
    source, _, line = problem.where.rpartition(":")
    return (source, int(line)) if line.isdigit() else (problem.where, 0)


def read(path: str | FilePath) -> Document:
    """Read a YAML file whose top level is a mapping.

    Raises:
        ConfigError: the file is missing, unreadable, too large, not UTF-8, not YAML, or has duplicate keys.
    """
    file = FilePath(path)
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        raise _error(str(path), "there is no such file", file) from None
    except OSError as error:
        raise _error(str(path), f"can't be read: {error.strerror}", file) from None
    if len(content) > MAX_BYTES:
        raise _error(str(path), f"has {len(content):,} bytes; a config has at most {MAX_BYTES:,}", file)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise _error(f"{path}:{line}", "is not UTF-8 text; save it as UTF-8", file) from None
    return parse(text, str(path))


def parse(text: str, source: str) -> Document:
    """Read YAML text; `source` is what errors call it."""
    reader = _Reader(source)
    value = reader.document(text)
    if not isinstance(value, dict):
        found = "it is empty" if value is None else f"found {shown(value)}"
        raise ConfigError([Problem((), f"a config is a mapping of keys to values; {found}", source)])
    if reader.problems:
        raise ConfigError(reader.problems)
    return Document(value, source, reader.origins)


def override(document: Document, assignments: list[str], defaults: Mapping[str, Any]) -> Document:
    """Lay `path=value` assignments over the document; values are read as YAML.

    Args:
        defaults: what the top-level keys hold that the file doesn't mention.

    Raises:
        ConfigError: an assignment has no `=`, or its path leads through something that has no parts.
    """
    result = Document(copy.deepcopy(document.data), document.source, dict(document.origins))
    problems: list[Problem] = []
    for assignment in assignments:
        where = f"--set {assignment}"
        name, equals, text = assignment.partition("=")
        if not equals or not name.strip():
            problems.append(Problem((), "expected path=value, such as optimizer.lr=1e-3", where))
            continue
        path = split(name.strip())
        try:
            value = _Reader(where).document(text)
            set_value(result.data, path, value, defaults)
        except ConfigError as error:
            problems += [Problem(p.path, p.message, where) for p in error.problems]
            continue
        result.origins = {k: v for k, v in result.origins.items() if k[: len(path)] != path}
        result.origins[path] = where
    if problems:
        raise ConfigError(problems)
    return result


def split(name: str) -> Path:
    """`data.transforms.1.p` as a path; digits are list positions."""
    return tuple(int(part) if part.isdigit() else part for part in name.split("."))


def set_value(data: dict[str, Any], path: Path, value: Any, defaults: Mapping[str, Any]) -> None:
    """Set one value in nested data, in place; a component in its short form grows into a mapping.

    Raises:
        ConfigError: the path leads through a value that has no parts, or past the end of a list.
    """
    if path[0] not in data and path[0] in defaults and len(path) > 1:
        data[str(path[0])] = copy.deepcopy(defaults[str(path[0])])
    here: Any = data
    for depth, part in enumerate(path):
        last = depth == len(path) - 1
        if isinstance(here, list):
            if not isinstance(part, int) or part >= len(here):
                found = f"a list of {len(here)}, counted from 0"
                raise ConfigError(
                    [Problem(path[: depth + 1], f"'{part}' is no position in it: found {found}")]
                )
        elif isinstance(here, dict):
            part = next((key for key in here if str(key) == str(part)), str(part))
            here.setdefault(part, None if last else {})
        else:
            raise ConfigError([Problem(path[:depth], f"has no part '{part}': found {shown(here)}")])
        if last:
            here[part] = value
        elif isinstance(here[part], str):
            here[part] = {"target": here[part]}
        elif here[part] is None:
            here[part] = {}
        here = here[part]


class _Reader:
    """Turns PyYAML's nodes into plain data; collects line numbers and problems on the way."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.origins: dict[Path, str] = {}
        self.problems: list[Problem] = []
        self._count = 0
        self._open: set[int] = set()

    def document(self, text: str) -> Any:
        try:
            node = yaml.compose(text, Loader=_Loader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            what = " ".join(filter(None, [error.context, error.problem]))
            raise self._fail((), f"is not valid YAML: {what}", mark.line if mark else 0) from None
        except yaml.YAMLError as error:
            raise self._fail((), f"is not valid YAML: {' '.join(str(error).split())}", 0) from None
        except RecursionError:
            raise self._fail((), "is nested too deeply", 0) from None
        return None if node is None else self._value(node, ())

    def _fail(self, path: Path, message: str, line: int) -> ConfigError:
        return ConfigError([*self.problems, Problem(path, message, f"{self.source}:{line + 1}")])

    def _value(self, node: yaml.Node, path: Path) -> Any:
        self._count += 1
        line = node.start_mark.line
        if self._count > MAX_VALUES:
            raise self._fail((), f"unfolds to more than {MAX_VALUES:,} values (aliases?)", line)
        if len(path) > 50 or id(node) in self._open:
            raise self._fail(path[:3], "is nested too deeply, or contains itself", line)
        self.origins.setdefault(path, f"{self.source}:{line + 1}")
        if not node.tag.startswith(_STANDARD):
            raise self._fail(path, f"has the tag '{node.tag}'; a config has no tags", line)
        if isinstance(node, yaml.ScalarNode):
            return _scalar(node)
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.SequenceNode):
                return [self._value(item, (*path, index)) for index, item in enumerate(node.value)]
            assert isinstance(node, yaml.MappingNode)
            return self._mapping(node, path)
        finally:
            self._open.discard(id(node))

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[Any, Any]:
        merged: dict[Any, Any] = {}
        own: dict[Any, Any] = {}
        first: dict[Any, int] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line
            if key_node.tag == f"{_STANDARD}merge":
                merged.update(self._merge(value_node, path))
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                raise self._fail(path, "a key must be a single word or number", line)
            key = _scalar(key_node)
            if key in first:
                message = f"the key '{key}' stands here twice, first in line {first[key] + 1}; keep one"
                self.problems.append(Problem(path, message, f"{self.source}:{line + 1}"))
                continue
            first[key] = line
            self.origins[(*path, key)] = f"{self.source}:{line + 1}"
            own[key] = self._value(value_node, (*path, key))
        return {**merged, **own}

    def _merge(self, node: yaml.Node, path: Path) -> dict[Any, Any]:
        parts = node.value if isinstance(node, yaml.SequenceNode) else [node]
        values = [self._value(part, path) for part in parts]
        if not all(isinstance(value, dict) for value in values):
            raise self._fail(path, "'<<' merges mappings, and this is none", node.start_mark.line)
        return {key: value for part in reversed(values) for key, value in part.items()}


def _scalar(node: yaml.ScalarNode) -> Any:
    return node.value if node.style else plain_scalar(node.value)  # a style: quoted, or a block


def plain_scalar(text: str) -> Any:
    """What an unquoted scalar means."""
    if _NULL.fullmatch(text):
        return None
    if _BOOL.fullmatch(text):
        return text.lower() == "true"
    if _INT.fullmatch(text) and len(text) < 400:
        return int(text)
    if _BASED.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    special = _SPECIAL.get(text.lower())
    return text if special is None else float(special)


def _error(where: str, message: str, file: FilePath) -> ConfigError:
    near = sorted(p.name for p in file.parent.glob("*.yaml")) if file.parent.is_dir() else []
    hint = f"; in {file.parent} there are: {', '.join(near[:8])}" if near and not file.exists() else ""
    return ConfigError([Problem((), f"{message}{hint}", where)])
