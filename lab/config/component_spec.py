"""A component in a config: an import path and its keyword arguments.

`net: model.MLP` is short for `net: {target: model.MLP}`. Whatever can be imported can be named, the user's
own module beside `main.py` included; nothing registers. Arguments are checked against the real signature and
its annotations before anything is built. A mapping with a `target` among the arguments is a component too.
"""

import copy
import functools
import inspect
import itertools
import re
import sys
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, ValidationError, model_validator
from pydantic_core import CoreSchema

from lab.config import file_paths
from lab.config.argument_types import annotations, coerced
from lab.config.config_diff import is_component, parts
from lab.config.import_target import blame, is_library, resolve
from lab.config.mask_values import Auto
from lab.config.problems import ConfigError, Path, Problem, ProblemKind, Refusal, did_you_mean, nearest
from lab.config.signatures import Target, signature_of
from lab.config.validation import problems_in, validate
from lab.errors import Infeasible

Look: TypeAlias = Callable[[str], Target | None]
_IMPORT_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")


def is_import_path(text: str) -> bool:
    """Return whether a text is written as an import path is: names with dots between them."""
    return _IMPORT_PATH.fullmatch(text) is not None


class Spec(BaseModel):
    """A component: an import path, or a mapping of `target` and the keyword arguments it is called with."""

    model_config = ConfigDict(frozen=True, extra="allow")
    target: str = Field(description="import path of a class or function, such as torch.optim.AdamW")

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: object) -> object:
        if isinstance(value, str):
            value = {"target": value}
        target = value.get("target") if isinstance(value, Mapping) else None
        if isinstance(target, str) and not _IMPORT_PATH.fullmatch(target):
            raise ConfigError([Problem(("target",), f"'{target}' is no import path such as model.MLP")])
        return value

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, object]:
        """Both forms, for editors: the bare import path, and the mapping with its arguments."""
        full = dict(handler.resolve_ref_schema(handler(schema)))
        short = {"type": "string", "pattern": f"^{_IMPORT_PATH.pattern}$", "description": "import path"}
        full["properties"]["target"]["pattern"] = short["pattern"]
        return {"description": full.get("description", ""), "anyOf": [short, full]}

    @property
    def arguments(self) -> dict[str, Any]:
        """The keyword arguments, nested components still as plain data."""
        return dict(self.model_extra or {})

    def resolve(self) -> Target:
        """Import what `target` names.

        Raises:
            ConfigError: it can't be imported, or is nothing that can be called.
        """
        return resolve(self.target)

    def check(
        self,
        *runtime: str,
        wildcard: str | None = None,
        shared: Collection[str] = (),
        look: Look | None = None,
    ) -> Iterator[Problem]:
        """Yield what is wrong with the import path and the arguments, without building anything.

        Args:
            runtime: names for the positional arguments that only a run can give, such as the parameters.
            wildcard: a text that stands for a number filled in later, accepted for every argument.
            shared: what the component around this one got from the run; handed on to first ones so named.
            look: finds what an import path names, by default by importing it; None where it isn't known.
        """
        try:
            target = (look or resolve)(self.target)
        except ConfigError as error:
            yield from error.problems
            return
        misplaced = list(file_paths.problems(self.arguments))
        yield from misplaced
        if target is None:
            return
        runtime = runtime or _leading(target, shared, self.arguments)
        wrong = list(_check_names(target, self.arguments, runtime))
        yield from wrong
        checkers = annotations(target)
        given = _positional(target)[: len(runtime)]
        for name, value in self.arguments.items():
            if (wildcard is not None and value == wildcard) or any(p.path == (name,) for p in wrong):
                continue
            # Nested components are checked by their own signatures, and not by this annotation.
            nested = list(_components(value, (name,)))
            for path, part in nested:
                with ConfigError.collected() as found:
                    found += validate(Spec, part).check(wildcard=wildcard, shared=given, look=look)
                yield from (problem.below(path) for problem in found)
            if not nested and name in checkers and not any(p.path[:1] == (name,) for p in misplaced):
                yield from checkers[name].check(name, value)

    def takes(self, name: str, value: object) -> bool:
        """Return whether an argument's annotation allows a value; False where there is none."""
        checker = annotations(self.resolve()).get(name)
        return checker is not None and not list(checker.check(name, value))

    def automatic(self) -> list[str]:
        """Arguments that are not given and that the data fills in: their default is `Auto.AUTO`."""
        parameters = _parameters(self.resolve()) or []
        return [p.name for p in parameters if p.default is Auto.AUTO and p.name not in self.arguments]

    def build(self, *runtime: object, **overrides: object) -> Any:
        """Call the target with the runtime arguments, then the config's; nested components are built first.

        Raises:
            Refusal: the target refused its arguments: with `lab.Infeasible`, a ValueError or an
                AssertionError.
            ConfigError: another error of a library's, or that of a file where the target is ours. Other
                errors in the user's own code are mistakes in it and keep their traceback.
        """
        target = self.resolve()
        shared = dict(zip(_positional(target), runtime, strict=False))
        given = {**self.arguments, **overrides}
        arguments = {name: _build(value, (name,), shared) for name, value in given.items()}
        try:
            return target(*runtime, **coerced(target, arguments))
        except ConfigError:
            raise
        except Exception as error:
            for reason in (error, error.__cause__):
                if isinstance(reason, ValidationError):  # albumentations wraps it in a ValueError
                    raise Refusal(problems_in(reason, self.arguments)) from error
            declared = isinstance(error, Infeasible) or _is_pruned(error)
            refused = declared or isinstance(error, (ValueError, AssertionError))
            a_file = isinstance(error, OSError) and target.__module__.startswith("lab.")
            # A mistake in the user's own code keeps its traceback.
            if not refused and not is_library(target) and not a_file:
                raise
            kind = "" if isinstance(error, (ValueError, Infeasible)) else f"{type(error).__name__}: "
            verb = "is infeasible" if declared else "can't be built"
            problem = Problem((), f"{self.target} {verb}: {kind}{_text(error)}{blame(error)}")
            if refused:
                raise Refusal([problem], declared=declared) from error
            raise ConfigError([problem]) from error

    def as_function(self, **overrides: object) -> Any:
        """A function as it is, its arguments bound; a class is built. For losses, which may be either."""
        target = self.resolve()
        if inspect.isclass(target):
            return self.build(**overrides)
        if hasattr(target, "state_dict"):  # an instance: each run begins with it as it was imported
            target = copy.deepcopy(target)
        arguments = {name: _build(value, (name,), {}) for name, value in self.arguments.items()} | overrides
        return functools.partial(target, **coerced(target, arguments)) if arguments else target


def _is_pruned(error: Exception) -> bool:
    """Return whether an exception is Optuna's TrialPruned; Optuna is not imported for it."""
    optuna = sys.modules.get("optuna")
    return optuna is not None and isinstance(error, optuna.TrialPruned)


def _text(error: Exception) -> str:
    """The message; of an assertion without one its line, `assert width % heads == 0`."""
    if text := str(error):
        return text
    frames = traceback.extract_tb(error.__traceback__)
    return (frames[-1].line or "") if frames and isinstance(error, AssertionError) else ""


def _components(value: object, path: Path) -> Iterator[tuple[Path, Mapping[str, object]]]:
    """The components directly within a value, as they are written, with their paths."""
    if is_component(value):
        yield path, value
    else:
        for key, item in parts(value):
            yield from _components(item, (*path, key))


def _build(value: object, path: Path, shared: Mapping[str, object]) -> object:
    if is_component(value):
        with ConfigError.within(path):
            spec = validate(Spec, value)
            leading = _leading(spec.resolve(), shared, spec.arguments)
            return spec.build(*(shared[name] for name in leading))
    if isinstance(value, Mapping):
        return {key: _build(item, (*path, key), shared) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_build(item, (*path, index), shared) for index, item in enumerate(value)]
    try:
        return file_paths.at_home(value, path)
    except ValueError as error:
        raise ConfigError([Problem(path, str(error))]) from error


def _parameters(target: Callable[..., object]) -> list[inspect.Parameter] | None:
    try:
        return list(signature_of(target).parameters.values())
    except (ValueError, TypeError):  # some C functions have none
        return None


def _positional(target: Callable[..., object]) -> list[str]:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [p.name for p in _parameters(target) or [] if p.kind in kinds]


def _leading(
    target: Callable[..., object], shared: Collection[str], arguments: Mapping[str, object]
) -> tuple[str, ...]:
    """The first parameters that take what the run gave to the component around this one."""
    free = itertools.takewhile(lambda name: name in shared and name not in arguments, _positional(target))
    return tuple(free)


def _check_names(
    target: Callable[..., object], arguments: Mapping[str, object], runtime: tuple[str, ...]
) -> Iterator[Problem]:
    parameters = _parameters(target)
    if parameters is None:
        return
    positional = _positional(target)
    given = positional[: len(runtime)]
    kinds = {p.kind for p in parameters}
    open_ended = inspect.Parameter.VAR_KEYWORD in kinds
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    named = [p for p in named if p.name not in given]
    names = {p.name for p in named}
    label = getattr(target, "__name__", str(target))
    if len(positional) < len(runtime) and inspect.Parameter.VAR_POSITIONAL not in kinds:
        yield Problem(("target",), f"{label} must take {', '.join(runtime)} as its first arguments")
    for name in arguments:
        if name in given:
            message = f"{label} gets '{name}' from the run"
            yield Problem((name,), message, kind=ProblemKind.GIVEN_BY_RUN, hint="; remove it here")
        elif name in names:
            continue
        elif not open_ended:
            hint = did_you_mean(name, names)
            yield Problem((name,), f"{label} takes no '{name}'", kind=ProblemKind.UNKNOWN_ARGUMENT, hint=hint)
        elif hint := nearest(name, names - set(arguments), cutoff=0.8):  # else `**kwargs` would swallow it
            yield Problem((name,), f"{label} names no '{name}'", kind=ProblemKind.UNKNOWN_ARGUMENT, hint=hint)
    for parameter in named:
        if parameter.default is parameter.empty and parameter.name not in arguments:
            message = f"{label} needs '{parameter.name}', which is not given"
            yield Problem((), message, kind=ProblemKind.MISSING_ARGUMENT)
