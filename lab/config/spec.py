"""A component in a config: an import path and its keyword arguments.

`net: model.MLP` is short for `net: {target: model.MLP}`. Whatever can be imported can be named, the user's
own module beside `main.py` included; nothing registers. Arguments are checked against the real signature and
its annotations before anything is built. A mapping with a `target` among the arguments is a component too.
"""

import functools
import importlib
import inspect
import re
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    GetJsonSchemaHandler,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic.errors import PydanticSchemaGenerationError, PydanticUndefinedAnnotation
from pydantic_core import CoreSchema

from lab.config.problems import ConfigError, Path, Problem, did_you_mean, shown

_IMPORT_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")


class Spec(BaseModel):
    """`target` and the keyword arguments it is called with."""

    model_config = ConfigDict(frozen=True, extra="allow")
    target: str

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = {"target": value}
        target = value.get("target") if isinstance(value, Mapping) else None
        if isinstance(target, str) and not _IMPORT_PATH.fullmatch(target):
            raise ValueError(f"'{target}' is no import path such as model.MLP")
        return value

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Both forms, for editors: the bare import path, and the mapping with its arguments."""
        full = handler.resolve_ref_schema(handler(schema))
        return {"anyOf": [{"type": "string", "pattern": r"^\w+(\.\w+)+$"}, dict(full)]}

    @property
    def arguments(self) -> dict[str, Any]:
        """The keyword arguments, nested components still as plain data."""
        return dict(self.model_extra or {})

    def resolve(self) -> Callable[..., Any]:
        """Import what `target` names.

        Raises:
            ConfigError: it can't be imported, or is nothing that can be called.
        """
        return _import(self.target)

    def check(self, *runtime: str, wildcard: str | None = None) -> Iterator[Problem]:
        """Yield what is wrong with the import path and the arguments, without building anything.

        Args:
            runtime: names for the positional arguments that only a run can give, such as the parameters.
            wildcard: a text that stands for a number filled in later, accepted for every argument.
        """
        try:
            target = self.resolve()
        except ConfigError as error:
            yield from error.problems
            return
        yield from _check_names(target, self.arguments, runtime)
        hints = _annotations(target)
        for name, value in self.arguments.items():
            if wildcard is not None and value == wildcard:
                continue
            nested = list(_components(value, (name,)))
            for path, spec in nested:
                yield from ConfigError(list(spec.check())).below(path).problems
            if not nested and name in hints:
                yield from _check_type(name, value, hints[name])

    def build(self, *runtime: Any, **overrides: Any) -> Any:
        """Call the target with the runtime arguments, then the config's; nested components are built first.

        Raises:
            ConfigError: the target refused its arguments with a ValueError.
        """
        target = self.resolve()
        arguments = {name: _build(value, (name,)) for name, value in {**self.arguments, **overrides}.items()}
        try:
            return target(*runtime, **_coerced(target, arguments))
        except ConfigError:
            raise
        except ValueError as error:
            raise ConfigError([Problem((), f"{self.target} can't be built: {error}")]) from error

    def as_function(self) -> Any:
        """A function as it is, its arguments bound; a class is built. For losses, which may be either."""
        target = self.resolve()
        if inspect.isclass(target):
            return self.build()
        arguments = {name: _build(value, (name,)) for name, value in self.arguments.items()}
        return functools.partial(target, **arguments) if arguments else target


def _import(name: str) -> Callable[..., Any]:
    parts = name.split(".")
    module: Any = None
    for end in range(1, len(parts)):
        module_name = ".".join(parts[:end])
        if module is not None and hasattr(module, parts[end - 1]) and end > 1:
            found = getattr(module, parts[end - 1])
            if not inspect.ismodule(found):
                break
        module = _import_module(module_name, module)
        if module is None:
            break
    value: Any = importlib.import_module(parts[0])
    for depth, part in enumerate(parts[1:], start=1):
        if not hasattr(value, part):
            where = ".".join(parts[:depth])
            public = [known for known in dir(value) if not known.startswith("_")]
            hint = did_you_mean(part, public)
            hint = hint if hint.startswith("; did") else ""
            raise _problem(f"'{where}' has no '{part}'{hint}", "target")
        value = getattr(value, part)
    if not callable(value):
        raise _problem(f"'{name}' is a {type(value).__name__}; a class or a function is expected", "target")
    return typing.cast(Callable[..., Any], value)


def _import_module(name: str, parent: Any) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name == name and parent is not None:
            return None  # an attribute of the parent, or a mistake that the attribute look-up explains
        if error.name == name:
            import pkgutil

            hint = did_you_mean(name, {m.name for m in pkgutil.iter_modules()})
            hint = hint if hint.startswith("; did") else ""
            message = f"there is no module '{name}' beside main.py or installed{hint}"
            raise _problem(message, "target") from None
        raise _problem(f"importing '{name}' failed: {error}", "target") from error
    except Exception as error:  # a user's module may raise anything
        raise _problem(f"importing '{name}' failed: {type(error).__name__}: {error}", "target") from error


def _problem(message: str, *path: str | int) -> ConfigError:
    return ConfigError([Problem(path, message)])


def _components(value: Any, path: Path) -> Iterator[tuple[Path, Spec]]:
    """The components directly within a value, with their paths."""
    if isinstance(value, Mapping) and isinstance(value.get("target"), str):
        yield path, Spec.model_validate(value)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _components(item, (*path, key))
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _components(item, (*path, index))


def _build(value: Any, path: Path) -> Any:
    if isinstance(value, Mapping) and isinstance(value.get("target"), str):
        try:
            return Spec.model_validate(value).build()
        except ConfigError as error:
            raise error.below(path) from error
    if isinstance(value, Mapping):
        return {key: _build(item, (*path, key)) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_build(item, (*path, index)) for index, item in enumerate(value)]
    return value


def _check_names(
    target: Callable[..., Any], arguments: Mapping[str, Any], runtime: tuple[str, ...]
) -> Iterator[Problem]:
    try:
        parameters = list(inspect.signature(target).parameters.values())
    except (ValueError, TypeError):  # some C functions tell nothing
        return
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    given = {p.name for p in positional[: len(runtime)]}
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters)
    named = [
        p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name not in given
    ]
    names = [p.name for p in named]
    label = getattr(target, "__name__", str(target))
    if len(positional) < len(runtime) and not any(p.kind is p.VAR_POSITIONAL for p in parameters):
        yield Problem(("target",), f"{label} must take {', '.join(runtime)} as its first arguments")
    for name in arguments:
        hint = did_you_mean(name, names)
        if name in given:
            yield Problem((name,), f"{label} gets '{name}' from the run; remove it here")
        elif name not in names and (not open_ended or hint.startswith("; did")):
            yield Problem((name,), f"{label} takes no '{name}'{hint}")
    for parameter in named:
        if parameter.default is parameter.empty and parameter.name not in arguments:
            yield Problem((), f"{label} needs '{parameter.name}', which is not given")


@functools.cache
def _annotations(target: Callable[..., Any]) -> Mapping[str, TypeAdapter[Any]]:
    """A checker for each annotated argument; what pydantic can't check stays unchecked."""
    function = target.__init__ if inspect.isclass(target) else target
    try:
        hints = typing.get_type_hints(function)
    except (NameError, TypeError, AttributeError):
        return {}
    adapters: dict[str, TypeAdapter[Any]] = {}
    for name, hint in hints.items():
        try:
            adapters[name] = TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))
        except (PydanticSchemaGenerationError, PydanticUndefinedAnnotation, TypeError):
            continue
        except Exception as error:  # PydanticUserError: a model it can't rebuild
            if type(error).__name__ != "PydanticUserError":
                raise
    return adapters


def _check_type(name: str, value: Any, adapter: TypeAdapter[Any]) -> Iterator[Problem]:
    try:
        result = adapter.validate_python(value)
    except ValidationError as error:
        expected = " or ".join(dict.fromkeys(_expected(item["msg"]) for item in error.errors()[:4]))
        yield Problem((name,), f"found {shown(value)}, expected {expected}")
        return
    # pydantic would read '1' as 1 and true as 1.0; a config means what it says
    if (
        isinstance(value, (str, bool))
        and isinstance(result, (int, float))
        and type(result) is not type(value)
    ):
        yield Problem((name,), f"found {shown(value)}, expected a number")


def _expected(message: str) -> str:
    return re.sub(r"^(Input should be|Value error,) ", "", message).removesuffix(
        ", unable to parse string as a number"
    )


def _coerced(target: Callable[..., Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """Lists become tuples where the signature says tuple; everything else is passed as it is."""
    hints = _annotations(target)
    result = dict(arguments)
    for name, value in arguments.items():
        if isinstance(value, list) and name in hints:
            try:
                checked = hints[name].validate_python(value)
            except ValidationError:
                continue
            if isinstance(checked, tuple):
                result[name] = checked
    return result
