"""Differences of two configs by dotted path, in pure Python, for any nested plain data."""

from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

from lab.import_aliases import current


class Missing:
    """A mark that one config has no such path, as None is a value."""

    def __repr__(self) -> str:
        return "–"


MISSING = Missing()


def parts(value: object) -> Iterator[tuple[Any, Any]]:
    """The keys of a mapping, or the positions in a list, each with what is there; none of another value."""
    if isinstance(value, Mapping):
        yield from value.items()
    elif isinstance(value, (list, tuple)):
        yield from enumerate(value)


def is_component(value: object) -> TypeGuard[Mapping[str, Any]]:
    """Return whether a value is a component with its arguments: a mapping with a `target`."""
    return isinstance(value, Mapping) and isinstance(value.get("target"), str)


def flatten(data: Mapping[Any, Any]) -> dict[str, Any]:
    """Nested mappings and lists as one mapping from dotted path to value; list items by index.

    An empty mapping or list is a value of its own, so that nothing is lost. A key that holds a dot is quoted,
    as in `data.'b.c'`.
    """
    return dict(_leaves(data, ""))


def differences(a: Mapping[Any, Any], b: Mapping[Any, Any]) -> list[tuple[str, Any, Any]]:
    """(path, value in a, value in b) wherever they differ; `MISSING` where one has no such path.

    Paths come in a's order, then those that only b has.
    """
    left, right = flatten(a), flatten(b)
    pairs = ((path, left.get(path, MISSING), right.get(path, MISSING)) for path in {**left, **right})
    return [(path, mine, other) for path, mine, other in pairs if not same(mine, other)]


def same(a: Any, b: Any) -> bool:
    """Equal as config values are: 1 is 1.0 but not true, NaN is NaN, a tuple is a list.

    An import path of an earlier version is the present one.
    """
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(same(value, b[key]) for key, value in a.items())
    if isinstance(a, str) and isinstance(b, str):
        return a == b or current(a) == current(b)
    return bool(a == b or (a != a and b != b))


def _leaves(value: object, path: str) -> Iterator[tuple[str, object]]:
    items = list(parts(value))
    if path and not items:
        yield path, value
    for key, item in items:
        name = f"'{key}'" if "." in str(key) else str(key)
        yield from _leaves(item, f"{path}.{name}" if path else name)
