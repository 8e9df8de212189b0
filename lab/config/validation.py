"""From pydantic's errors to problems a person can mend."""

import typing
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from lab.config.problems import ConfigError, Path, Problem, did_you_mean, shown

M = TypeVar("M", bound=BaseModel)
_EXPECTED = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping or an import path",
    "finite_number": "a finite number",
}


def validate(model: type[M], data: Mapping[str, Any]) -> M:
    """Validate plain data.

    Raises:
        ConfigError: with every problem at once; unknown keys name the nearest valid one.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        problems = [_problem(model, data, dict(item)) for item in error.errors(include_url=False)]
        raise ConfigError(list(dict.fromkeys(problems))) from None


def _problem(model: type[BaseModel], data: Any, item: dict[str, Any]) -> Problem:
    path = _written_path(data, item["loc"])
    kind, found = item["type"], item.get("input")
    if kind == "extra_forbidden":
        return Problem(
            path, f"unknown key '{path[-1]}'{did_you_mean(str(path[-1]), _keys(model, item['loc'][:-1]))}"
        )
    if kind == "missing":
        return Problem(path, "is required, and not given")
    if kind == "value_error":
        return Problem(path, str(item["ctx"]["error"]))
    if kind == "literal_error":
        expected = item["ctx"]["expected"]
        hint = did_you_mean(
            str(found), [option.strip(" '") for option in expected.replace(" or ", ",").split(",")]
        )
        return Problem(
            path, f"found {shown(found)}, expected {expected}{hint if hint.startswith('; did') else ''}"
        )
    if kind == "string_pattern_mismatch" and path[-1:] == ("device",):
        return Problem(path, f"found {shown(found)}, expected auto, cpu, cuda, cuda:1 or mps")
    expected = _EXPECTED.get(kind) or item["msg"].removeprefix("Input should be ")
    return Problem(path, f"found {shown(found)}, expected {expected}")


def _written_path(data: Any, loc: tuple[str | int, ...]) -> Path:
    """The path as it stands in the file: pydantic's loc also names union members, which nobody wrote."""
    path: list[str | int] = []
    here: Any = data
    for index, part in enumerate(loc):
        inside = isinstance(part, int) if isinstance(here, (list, tuple)) else part in _mapping(here)
        if inside:
            path.append(part)
            here = here[part]
        elif index == len(loc) - 1 and isinstance(here, Mapping):
            path.append(part)  # a key that is missing
    return tuple(path)


def _mapping(value: Any) -> Mapping[Any, Any]:
    return value if isinstance(value, Mapping) else {}


def _keys(model: type[BaseModel], loc: tuple[str | int, ...]) -> list[str]:
    """The keys that are valid at a place, for a hint."""
    models = [model]
    for part in loc:
        if isinstance(part, int):
            continue
        tagged = [m for m in models if _tag(m) == part]
        if tagged:
            models = tagged
            continue
        fields = [m.model_fields[part].annotation for m in models if part in m.model_fields]
        models = [found for annotation in fields for found in _models(annotation)] or models
    return sorted({name for m in models for name in m.model_fields})


def _tag(model: type[BaseModel]) -> str | None:
    kind = model.model_fields.get("type")
    options = typing.get_args(kind.annotation) if kind is not None else ()
    return options[0] if options else None


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from _models(argument)
