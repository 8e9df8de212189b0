"""Signatures of components; the keys of an unpacked TypedDict are named in them one by one."""

import inspect
import typing
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

import typing_extensions

Target: typing.TypeAlias = Callable[..., Any]
"""A class or function that a config names."""

_UNPACK = (typing.Unpack, typing_extensions.Unpack)  # two objects before Python 3.12


def signature_of(target: Target) -> inspect.Signature:
    """`inspect.signature`, with a keyword-only parameter for each key of `**arguments: Unpack[Arguments]`.

    A key that isn't required has `...` as its default, for nothing but the function knows what it is.

    Raises:
        ValueError, TypeError: as from `inspect.signature`; some C functions have no signature.
    """
    signature = inspect.signature(target)
    found = _unpacked(target, signature)
    if found is None:
        return signature
    named = [each for each in signature.parameters.values() if each.kind is not each.VAR_KEYWORD]
    return signature.replace(parameters=[*named, *keyword_parameters(
        (name, name in found.__required_keys__) for name in found.__annotations__
    )])  # fmt: skip


def keyword_parameters(keys: Iterable[tuple[str, bool]]) -> list[inspect.Parameter]:
    """The parameters that the keys of a TypedDict stand for: the name of each, and whether it is required."""
    kind, empty = inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.empty
    return [inspect.Parameter(name, kind, default=empty if required else ...) for name, required in keys]


def defaults_of(function: Callable[..., object]) -> dict[str, object]:
    """The values of the parameters that have a default."""
    parameters = inspect.signature(function).parameters.values()
    return {each.name: each.default for each in parameters if each.default is not each.empty}


def hints_of(target: Callable[..., object]) -> Mapping[str, object]:
    """The annotation of each parameter of `signature_of`; those that can't be evaluated are left out."""
    hints = _hints(target.__init__ if inspect.isclass(target) else target)
    found = _unpacked(target, inspect.signature(target))
    return hints if found is None else {**hints, **_hints(found)}


def _unpacked(target: Target, signature: inspect.Signature) -> Any:
    """The TypedDict that a function's keyword arguments are declared by; None without one."""
    name = next((n for n, each in signature.parameters.items() if each.kind is each.VAR_KEYWORD), None)
    if name is None:
        return None
    try:
        hint = _hints(target.__init__ if inspect.isclass(target) else target).get(name)
    except (TypeError, AttributeError):
        return None
    return typing.get_args(hint)[0] if typing.get_origin(hint) in _UNPACK else None


def _hints(function: Any) -> dict[str, Any]:
    """The types that annotations name; those of names that only type checkers import are left out."""
    try:
        return typing.get_type_hints(function)
    except NameError:
        pass
    hints: dict[str, Any] = {}
    known = getattr(inspect.unwrap(function), "__globals__", {})
    for name, hint in function.__annotations__.items():

        def alone() -> None:
            """Stands for the function with one annotation."""

        alone.__annotations__ = {name: hint}
        with suppress(NameError):
            hints |= typing.get_type_hints(alone, globalns=known)
    return hints
