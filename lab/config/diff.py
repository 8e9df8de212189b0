"""What differs between two configs, path by path."""

from collections.abc import Mapping
from typing import Any


class _Missing:
    """The other config has no such path."""

    def __repr__(self) -> str:
        return "–"


MISSING = _Missing()


def flatten(data: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings and lists as dotted paths to their leaves; an empty one is a leaf."""
    if isinstance(data, Mapping) and data:
        parts = [(str(key), value) for key, value in data.items()]
    elif isinstance(data, (list, tuple)) and data:
        parts = [(str(index), value) for index, value in enumerate(data)]
    else:
        return {prefix: data}
    result: dict[str, Any] = {}
    for key, value in parts:
        result |= flatten(value, f"{prefix}.{key}" if prefix else key)
    return result


def differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """(path, value in a, value in b) wherever they differ, in a's order, then b's; MISSING where there is none."""
    first, second = flatten(a), flatten(b)
    return [
        (path, first.get(path, MISSING), second.get(path, MISSING))
        for path in dict.fromkeys([*first, *second])
        if path not in first or path not in second or first[path] != second[path]
    ]
