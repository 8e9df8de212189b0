"""Arguments against the annotations of what they are passed to."""

import functools
import inspect
import json
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUndefinedAnnotation

from lab.config.conversions import MEANT, with_meaning
from lab.config.problems import Problem, ProblemKind, did_you_mean, shown
from lab.config.signatures import Target, hints_of, signature_of
from lab.config.validation import expectation, value_at, written_path

_PLAIN = (bool, int, float, str, dict, type(None))  # as YAML has them; anything else is what they stand for


@dataclass(frozen=True)
class Checker:
    """Checks values against one annotation.

    Values are read as JSON is, strictly: a list may stand for a tuple and a text for a path, but neither a
    text nor a boolean for a number, nor 2.0 for a whole one.

    Args:
        meaning: the adapter that makes what YAML cannot write; None where the annotation names nothing of it.
    """

    hint: Any
    adapter: TypeAdapter[Any]
    meaning: TypeAdapter[Any] | None = None
    optional: bool = False  # None is its default, whatever the annotation is

    def check(self, name: str, value: object) -> Iterator[Problem]:
        """Yield what is wrong with the value."""
        if value is None and self.optional:
            return
        try:
            self.read(value)
        except ValidationError as error:
            yield self._problem(name, value, [dict(item) for item in error.errors()])

    def _problem(self, name: str, value: object, items: list[dict[str, Any]]) -> Problem:
        # without "cannot check isinstance"
        messages = [item for item in items if item["type"] != "needs_python_object"]
        others = {written_path(value, item["loc"]) for item in items if item["type"] != MEANT}
        messages = [  # of `number | Tensor`: a number is enough
            item
            for item in messages
            if item["type"] != MEANT
            or isinstance(item["input"], list)
            or written_path(value, item["loc"]) not in others
        ][:8]
        # These are about the value that was meant, whatever other members of a union expected.
        for item in messages:
            path = (name, *written_path(value, item["loc"]))
            if item["type"] == "unexpected_keyword_argument":
                hint = did_you_mean(str(path[-1]), self._fields())
                return Problem(path, f"unknown key '{path[-1]}'{hint}", kind=ProblemKind.UNKNOWN_KEY)
            if item["type"] == "value_error":  # by the class itself
                return Problem(path, str(item["ctx"]["error"]))
        places = {
            written_path(value, item["loc"][: -1 if item["type"] == "missing" else None]) for item in messages
        }
        path = places.pop() if len(places) == 1 else ()
        options = [expectation(item) for item in messages] or [getattr(self.hint, "__name__", str(self.hint))]
        expected = " or ".join(dict.fromkeys(options))
        return Problem((name, *path), f"found {shown(value_at(value, path))}, expected {expected}")

    def _fields(self) -> set[str]:
        """Keys that a mapping may have where the annotation names a dataclass."""
        kinds = (self.hint, *typing.get_args(self.hint))
        return {field.name for kind in kinds if is_dataclass(kind) for field in fields(kind)}

    def read(self, value: Any) -> Any:
        """The value as its annotation means it.

        Raises:
            ValidationError: it is of another type.
        """
        if self.meaning is not None:
            try:
                return _read(self.adapter, value)
            except ValidationError:
                return _read(self.meaning, value)
        return _read(self.adapter, value)


def _read(adapter: TypeAdapter[object], value: object) -> object:
    # As JSON, for only there pydantic's strict mode takes a list for a tuple and a text for a path.
    try:
        text = json.dumps(value)
    except TypeError:  # it holds objects, for nested components are built already
        return adapter.validate_python(value)
    return adapter.validate_json(text, strict=True)


@functools.cache
def annotations(target: Callable[..., object]) -> Mapping[str, Checker]:
    """A checker for each annotated argument; what pydantic can't check stays unchecked."""
    try:
        hints, parameters = hints_of(target), signature_of(target).parameters
    except (TypeError, AttributeError, ValueError):
        return {}
    checkers: dict[str, Checker] = {}
    for name, hint in hints.items():
        if name not in parameters or parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
            continue
        try:
            adapter = _adapter(hint)
            meant = with_meaning(hint)
            meaning = None if meant is hint else _adapter(meant)
        except (PydanticSchemaGenerationError, PydanticUndefinedAnnotation, PydanticUserError, TypeError):
            continue
        checkers[name] = Checker(hint, adapter, meaning, parameters[name].default is None)
    return checkers


def _adapter(hint: Any) -> TypeAdapter[Any]:
    try:
        return TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))
    except PydanticUserError:  # a class that has a config of its own
        return TypeAdapter(hint)


def coerced(target: Target, arguments: Mapping[str, object]) -> dict[str, Any]:
    """The arguments, as what the signature's annotations make of them; plain values stay as they are."""
    checkers = annotations(target)
    result = dict(arguments)
    for name, value in arguments.items():
        if isinstance(value, (bool, int, float, str, list, dict)) and name in checkers:
            try:
                read = checkers[name].read(value)
            except ValidationError:
                continue
            # A plain value is passed as it was written: 1 stays an int where a float is annotated.
            if type(read) not in _PLAIN or (type(read) is dict and checkers[name].meaning is not None):
                result[name] = read
    return result
