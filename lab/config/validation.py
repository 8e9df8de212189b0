"""Conversion of pydantic's errors to problems that name the place and what was expected."""

import re
import typing
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from lab.config.problems import ConfigError, Path, Problem, ProblemKind, did_you_mean, nearest, shown

M = TypeVar("M", bound=BaseModel)
_COMPONENT = "an import path such as model.MLP, or a mapping with a target"
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
    "finite_number": "a finite number",
    "greater_than_equal": "at least {ge}",
    "greater_than": "more than {gt}",
    "less_than_equal": "at most {le}",
    "less_than": "less than {lt}",
    "too_short": "a list of at least {min_length}",
    "too_long": "a list of at most {max_length}",
    "string_too_short": "a text that is not empty",
    "is_instance_of": "an instance of {class}",
    "literal_error": "{expected}",
}


def validate(model: type[M], data: Mapping[str, object]) -> M:
    """Validate plain data.

    Raises:
        ConfigError: with every problem at once; unknown keys name the nearest valid one.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise ConfigError(problems_in(error, data, model)) from None


def problems_in(
    error: ValidationError, data: Mapping[str, object], model: type[BaseModel] | None = None
) -> list[Problem]:
    """One of pydantic's errors as problems; a value that may be this or that has one, not two.

    Args:
        data: what was validated.
        model: whose keys are named as hints.
    """
    expected: dict[Path, list[str]] = {}
    choices: dict[Path, list[str]] = {}
    problems: list[Problem] = []
    for item in error.errors(include_url=False):
        details: dict[str, Any] = dict(item)
        path = written_path(data, item["loc"], missing=item["type"] == "missing")
        raised = details.get("ctx", {}).get("error")
        own = _own_problem(model, details, path)
        if isinstance(raised, ConfigError):  # by a validator of ours
            problems += raised.below(path).problems
        elif own is None:
            expected.setdefault(path, []).append(expectation(details))
            choices[path] = _choices(details)
        else:
            problems.append(own)
    # A union has an error for each of its members: one problem names all that is allowed.
    for path, options in expected.items():
        found = value_at(data, path)
        hint = nearest(found, choices[path]) if isinstance(found, str) else ""
        wanted = " or ".join(dict.fromkeys(options))
        problems.append(Problem(path, f"found {shown(found)}, expected {wanted}{hint}"))
    return list(dict.fromkeys(problems))


def _own_problem(model: type[BaseModel] | None, item: Mapping[str, Any], path: Path) -> Problem | None:
    """Return the problem of an error that is more than a value of another type."""
    if item["loc"][-1:] == ("[key]",) or item["type"] == "invalid_key":
        return Problem(path, f"the key {shown(item['input'])} must be a name")
    match item["type"]:
        case "extra_forbidden":
            hint = did_you_mean(str(path[-1]), _keys(model, item["loc"][:-1])) if model else ""
            return Problem(path, f"unknown key '{path[-1]}'{hint}", kind=ProblemKind.UNKNOWN_KEY)
        case "missing":
            return Problem(path, "is required, and not given", kind=ProblemKind.MISSING_KEY)
        case "value_error" | "assertion_error":
            return Problem(path, str(item["ctx"]["error"]))
    return None


def _choices(item: Mapping[str, Any]) -> list[str]:
    """The texts of a Literal; pydantic lists them in its message alone, each in quotes."""
    return re.findall(r"'([^']+)'", item["ctx"]["expected"]) if item["type"] == "literal_error" else []


def expectation(item: Mapping[str, Any]) -> str:
    """Describe what one of pydantic's errors expected."""
    context: dict[str, Any] = {name: _short(value) for name, value in item.get("ctx", {}).items()}
    if item["type"] in ("model_type", "model_attributes_type"):
        return _COMPONENT if context["class_name"].endswith("Spec") else "a mapping"
    if item["type"] == "missing":  # within a value
        return "a longer list" if isinstance(item["loc"][-1], int) else f"one with '{item['loc'][-1]}'"
    if item["type"] == "string_pattern_mismatch" and item["loc"][-1:] == ("device",):
        return "auto, cpu, cuda, cuda:1 or mps"
    if item["type"] == "literal_error":
        context["expected"] = str(context["expected"]).replace(" or None", " or null")  # as YAML writes it
    known = _EXPECTED.get(item["type"])
    return known.format(**context) if known else str(item["msg"]).removeprefix("Input should be ")


def _short(value: object) -> Any:
    """`1` for 1.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def value_at(data: Any, path: Path) -> Any:
    """The value as it was written."""
    for part in path:
        data = data[part]
    return data


def written_path(data: Any, loc: tuple[str | int, ...], *, missing: bool = False) -> Path:
    """The path as it is in the file: pydantic's loc also names union members.

    Args:
        missing: the last part is a key that should be there.
    """
    path: list[str | int] = []
    here: Any = data
    for index, part in enumerate(loc):
        if isinstance(here, (list, tuple)):
            inside = isinstance(part, int) and part < len(here)
        else:
            inside = isinstance(here, Mapping) and part in here
        if inside:
            path.append(part)
            here = here[part]
        elif missing and index == len(loc) - 1:
            path.append(part)
    return tuple(path)


def _keys(model: type[BaseModel], loc: tuple[str | int, ...]) -> list[str]:
    """The keys that are valid at a place, for a hint."""
    models = [model]
    for part in loc:
        if isinstance(part, int):
            continue
        # pydantic names the member of a union in the path, which is no key.
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


def _models(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from _models(argument)
