"""YAML text as plain data, read by YAML 1.2's core schema.

Plain scalars don't follow PyYAML's 1.1: `1e-3` is a number and `yes` is text. Duplicate keys and tags are
refused. Every value remembers its line, so that an error can name it.
Source: https://yaml.org/spec/1.2.2/#103-core-schema.
"""

import re
from typing import Any

import yaml

from lab.config.problems import ConfigError, Path, Problem

MAX_DEPTH = 50  # PyYAML's C parser overflows the stack somewhere above 10,000
MAX_VALUES = 100_000  # an alias bomb unfolds to more
_PLAIN, _QUOTED, _LIST, _MAPPING = "plain", "quoted", "list", "mapping"
_OPENING = (yaml.FlowSequenceStartToken, yaml.FlowMappingStartToken,
            yaml.BlockSequenceStartToken, yaml.BlockMappingStartToken)  # fmt: skip
_CLOSING = (yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken, yaml.BlockEndToken)
_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]{1,400}")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL = re.compile(r"([-+]?)\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_UNPRINTABLE = re.compile(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Leaves it to us what a scalar means; whatever has another tag got it from the text."""

    def resolve(self, kind: type[yaml.Node], value: str, implicit: Any) -> str:
        if kind is yaml.ScalarNode:
            return _PLAIN if implicit[0] else _QUOTED
        return _LIST if kind is yaml.SequenceNode else _MAPPING


class Reader:
    """Turns YAML text into plain data; collects where each value was written, and duplicate keys.

    Args:
        source: what errors call the text, such as the name of its file.
    """

    def __init__(self, source: str) -> None:
        self.origins: dict[Path, str] = {}
        self.problems: list[Problem] = []
        self._source = source
        self._count = 0
        self._open: set[int] = set()

    def read(self, text: str) -> Any:
        """The value of the text's one document; None where it is empty.

        Raises:
            ConfigError: the text is no YAML, or more than plain data of a sane size.
        """
        strange = _UNPRINTABLE.search(text)
        if strange:
            line = text.count("\n", 0, strange.start())
            raise self._fail((), f"has the character {strange.group()!a}, which no text has", line)
        try:
            # Before composing, where libyaml would overflow the stack.
            self._check_depth(text)
            node = yaml.compose(text, Loader=_Loader)
        except yaml.MarkedYAMLError as error:
            raise self._invalid(error) from None
        except yaml.YAMLError as error:
            raise self._fail((), f"is not valid YAML: {' '.join(str(error).split())}", 0) from None
        self.origins[()] = self._place(0 if node is None else node.start_mark.line)
        return None if node is None else self._value(node, ())

    def _invalid(self, error: yaml.MarkedYAMLError) -> ConfigError:
        began, mark = error.context_mark, error.problem_mark or error.context_mark
        what = error.context or ""
        if began and mark and began.line != mark.line:
            what += f" that begins in line {began.line + 1}"
        message = f"is not valid YAML: {' '.join(filter(None, [what, error.problem]))}"
        return self._fail((), message, mark.line if mark else 0)

    def _check_depth(self, text: str) -> None:
        depth = 0
        try:
            for event in yaml.parse(text, Loader=_Loader):
                depth += isinstance(event, yaml.CollectionStartEvent)
                depth -= isinstance(event, yaml.CollectionEndEvent)
                if depth > MAX_DEPTH:
                    raise self._too_deep(event.start_mark.line if event.start_mark else 0)
        except yaml.YAMLError:
            # Newer versions of the C library have a limit of their own and reach it while they look ahead.
            line = _deep_line(text)
            if line is not None:
                raise self._too_deep(line) from None
            raise

    def _too_deep(self, line: int, path: Path = ()) -> ConfigError:
        return self._fail(path, f"is nested more than {MAX_DEPTH} deep", line)

    def _place(self, line: int) -> str:
        return f"{self._source}:{line + 1}"

    def _fail(self, path: Path, message: str, line: int) -> ConfigError:
        return ConfigError([*self.problems, Problem(path, message, self._place(line))])

    def _value(self, node: yaml.Node, path: Path) -> Any:
        self._count += 1
        line = node.start_mark.line
        if self._count > MAX_VALUES:
            raise self._fail((), f"unfolds to more than {MAX_VALUES:,} values (aliases?)", line)
        if id(node) in self._open:
            raise self._fail(path[:3], "contains itself", line)
        if len(path) > MAX_DEPTH:
            raise self._too_deep(line, path[:3])
        if node.tag not in (_PLAIN, _QUOTED, _LIST, _MAPPING):
            raise self._fail(path, f"has the tag '{node.tag}'; a config has no tags", line)
        if isinstance(node, yaml.ScalarNode):
            return _scalar(node)
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path)
            assert isinstance(node, yaml.SequenceNode)
            return [self._item(item, (*path, index)) for index, item in enumerate(node.value)]
        finally:
            self._open.discard(id(node))

    def _item(self, node: yaml.Node, path: Path) -> object:
        self.origins[path] = self._place(node.start_mark.line)
        return self._value(node, path)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[object, object]:
        own: list[tuple[Any, int, yaml.Node]] = []
        first: dict[Any, int] = {}
        result: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line
            if not isinstance(key_node, yaml.ScalarNode):
                raise self._fail(path, "a key must be a single word or number", line)
            if key_node.tag not in (_PLAIN, _QUOTED):
                raise self._fail(path, f"has the tag '{key_node.tag}'; a config has no tags", line)
            key = _scalar(key_node)
            if key in first:
                message = f"the key '{key}' is given twice, first in line {first[key] + 1}; keep one"
                self.problems.append(Problem(path, message, self._place(line)))
                continue
            first[key] = line
            if key == "<<" and key_node.tag == _PLAIN:
                result = self._merged(value_node, path)
            else:
                own.append((key, line, value_node))
        for key, line, value_node in own:  # after the merged ones, whose place they take
            self.origins[(*path, key)] = self._place(line)
            result[key] = self._value(value_node, (*path, key))
        return result

    def _merged(self, node: yaml.Node, path: Path) -> dict[object, object]:
        """Merge what `<<` names: a mapping, or several of which the first takes precedence."""
        result: dict[object, object] = {}
        for part in reversed(node.value if isinstance(node, yaml.SequenceNode) else [node]):
            value = self._value(part, path)
            if not isinstance(value, dict):
                raise self._fail(path, "'<<' merges mappings, and this is none", part.start_mark.line)
            result |= value
        return result


def _deep_line(text: str) -> int | None:
    """The line, from 0, in which the brackets and indents of a text exceed `MAX_DEPTH`."""
    depth = 0
    try:
        for token in yaml.scan(text, Loader=yaml.SafeLoader):
            depth += isinstance(token, _OPENING)
            depth -= isinstance(token, _CLOSING)
            if depth > MAX_DEPTH:
                return int(token.start_mark.line)
    except yaml.YAMLError:
        pass
    return None


def _scalar(node: yaml.ScalarNode) -> object:
    return plain_scalar(node.value) if node.tag == _PLAIN else node.value


def plain_scalar(text: str) -> object:
    """Return the value of an unquoted scalar."""
    if _NULL.fullmatch(text):
        return None
    if _BOOL.fullmatch(text):
        return text.lower() == "true"
    if _INT.fullmatch(text):
        return int(text)
    if _BASED.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _SPECIAL.fullmatch(text):
        return float(text.lower().replace(".", ""))
    return text
