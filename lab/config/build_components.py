"""The components of a run, built with what the data and the run fill in for `auto`."""

from collections.abc import Mapping
from typing import Any

from lab.config.component_spec import Spec
from lab.config.problems import ConfigError, Path, Problem
from lab.config.sections import AUTO


def filled(value: object, length: int) -> Any:
    """The same nested data with a number for each `auto`."""
    if isinstance(value, dict):
        return {key: filled(item, length) for key, item in value.items()}
    if isinstance(value, list):
        return [filled(item, length) for item in value]
    return length if value == AUTO else value


def size(fact: object) -> Any:
    """Return how many a fact names: of `{"contact": ["holding", "wearing"]}` it is `{"contact": 2}`."""
    if isinstance(fact, Mapping) and fact and all(isinstance(part, list) for part in fact.values()):
        return {name: len(part) for name, part in fact.items()}
    if isinstance(fact, (list, Mapping)):
        return len(fact)
    return fact if isinstance(fact, int) else None


def named(spec: Spec, path: Path, known: Mapping[str, object]) -> dict[str, Any]:
    """The known values for a component's arguments that are `auto`, written or by default.

    An argument of which nothing is known keeps the word where its annotation allows a text.

    Raises:
        ConfigError: nothing is known of one, and it can't be a text.
    """
    wanted = [name for name, value in spec.arguments.items() if value == AUTO]
    missing = [name for name in wanted if name not in known and not spec.takes(name, AUTO)]
    if missing:
        message = "cannot resolve 'auto': the dataset does not provide this value; set it explicitly"
        raise ConfigError([Problem((*path, name), message) for name in missing])
    return {name: known[name] for name in (*wanted, *spec.automatic()) if name in known}


def build(spec: Spec, path: Path, *runtime: object, **overrides: object) -> Any:
    """Build a component of the run.

    Raises:
        ConfigError: it can't be built; with its path in the run.
    """
    with ConfigError.within(path):
        return spec.build(*runtime, **overrides)
