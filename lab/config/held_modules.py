"""Modules and parameters that an object is or holds: a loss, a task or a metric need not be a module."""

import functools
import inspect
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from types import FunctionType, MethodType, ModuleType

from torch import nn

from lab.config.signatures import defaults_of

_DEEPEST = 4  # that are looked into, one within the other


def held(part: object) -> dict[str, nn.Module]:
    """The outermost modules of an object by the path to them: `""` for itself, `teacher`, `losses.0`.

    Attributes, lists and mappings are looked into, and what partials, methods and functions are bound to, as
    by defaults. A module that a function finds in the variables of its file is not among them: see `beyond`.
    """
    found: dict[int, tuple[str, nn.Module]] = {}
    for path, value in _within(part, "", 0, inside=False):
        if isinstance(value, nn.Module):
            found.setdefault(id(value), (path, value))
    return dict(found.values())


def modules_in(*parts: object) -> list[nn.Module]:
    """The same of several objects, each module once."""
    found = {id(module): module for part in parts for module in held(part).values()}
    return list(found.values())


def parameters_in(part: object) -> dict[str, nn.Parameter]:
    """The parameters of an object by name: those of the modules in it, and those that it holds itself."""
    found: dict[int, tuple[str, nn.Parameter]] = {}
    for path, value in _within(part, "", 0, inside=False):
        own = value.named_parameters(prefix=path) if isinstance(value, nn.Module) else [(path, value)]
        for name, parameter in own:
            found.setdefault(id(parameter), (name, parameter))
    return dict(found.values())


def trained_in(known: Iterable[nn.Parameter], **parts: object) -> dict[str, nn.Parameter]:
    """The parameters with `requires_grad` of several objects, but for the known ones: `criterion.margin`."""
    # A loss may hold the network, whose parameters are in the optimizer already.
    seen = {id(parameter) for parameter in known}
    found: dict[str, nn.Parameter] = {}
    for title, part in parts.items():
        for name, parameter in parameters_in(part).items():
            if parameter.requires_grad and id(parameter) not in seen:
                seen.add(id(parameter))
                found[f"{title}.{name}"] = parameter
    return found


def beyond(part: object) -> dict[str, nn.Module]:
    """The modules in the variables of a file that a function names: they are no part of it."""
    function = part.func if isinstance(part, functools.partial) else part
    if not isinstance(function, FunctionType):
        return {}
    return {name: value for name, value in _variables(function)[1] if isinstance(value, nn.Module)}


def _within(
    value: object, path: str, depth: int, inside: bool
) -> Iterator[tuple[str, nn.Module | nn.Parameter]]:
    """Those in a value; of an object that is inside of another one, the attributes are left alone."""
    if isinstance(value, (nn.Module, nn.Parameter)):
        yield path, value
    elif depth < _DEEPEST:
        parts = _bound(value)
        # Attributes of the outermost object alone: further in, they may lead to the whole program.
        if parts is None and not inside and not isinstance(value, (type, ModuleType)):
            parts, inside = getattr(value, "__dict__", {}).items(), True
        for name, each in parts or ():
            yield from _within(each, f"{path}.{name}" if path else str(name), depth + 1, inside)


def _bound(value: object) -> Iterable[tuple[object, object]] | None:
    """Return what a container or function holds, by name; None for another object."""
    if isinstance(value, functools.partial):
        return [("func", value.func), *enumerate(value.args), *value.keywords.items()]
    if isinstance(value, MethodType):
        return [("self", value.__self__)]
    if isinstance(value, FunctionType):
        return [*_variables(value)[0], *defaults_of(value).items()]
    if isinstance(value, Mapping):
        return value.items()
    return enumerate(value) if isinstance(value, (list, tuple)) else None


def _variables(function: FunctionType) -> tuple[Iterable[tuple[str, object]], Iterable[tuple[str, object]]]:
    """Those of the function around a function, and those of its file, as far as it names them."""
    with suppress(ValueError):  # one of them is not assigned yet
        found = inspect.getclosurevars(function)
        return found.nonlocals.items(), found.globals.items()
    return (), ()
