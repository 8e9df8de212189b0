"""Modules that an object is or holds: a loss, a task or a metric need not be a module itself."""

import functools
import inspect
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from types import FunctionType, MethodType, ModuleType
from typing import Any

from torch import nn

_DEEPEST = 4  # that are looked into, one within the other


def held(part: Any) -> dict[str, nn.Module]:
    """The outermost modules of an object by the path to them: `""` for itself, `teacher`, `losses.0`.

    Attributes, lists and mappings are looked into, and what partials, methods and inner functions are bound
    to. A module that a function finds in the variables of its file isn't seen.
    """
    found: dict[str, nn.Module] = {}
    for path, module in _within(part, "", 0, inside=False):
        if not any(module is other for other in found.values()):
            found[path] = module
    return found


def modules_in(*parts: Any) -> list[nn.Module]:
    """The same of several objects, each module once."""
    found = {id(module): module for part in parts for module in held(part).values()}
    return list(found.values())


def _within(value: Any, path: str, depth: int, inside: bool) -> Iterator[tuple[str, nn.Module]]:
    """Those in a value; of an object that is inside of another one, the attributes are left alone."""
    if isinstance(value, nn.Module):
        yield path, value
    elif depth < _DEEPEST:
        parts = _bound(value)
        if parts is None and not inside and not isinstance(value, (type, ModuleType)):
            parts, inside = getattr(value, "__dict__", {}).items(), True
        for name, each in parts or ():
            yield from _within(each, f"{path}.{name}" if path else str(name), depth + 1, inside)


def _bound(value: Any) -> Iterable[tuple[Any, Any]] | None:
    """What a container or function holds, by name; None for another object."""
    if isinstance(value, functools.partial):
        return [("func", value.func), *enumerate(value.args), *value.keywords.items()]
    if isinstance(value, MethodType):
        return [("self", value.__self__)]
    if isinstance(value, FunctionType):
        with suppress(ValueError):  # a variable that is not assigned yet
            return inspect.getclosurevars(value).nonlocals.items()
        return ()
    if isinstance(value, Mapping):
        return value.items()
    return enumerate(value) if isinstance(value, (list, tuple)) else None
