"""Points that a study tries first: what is wrong with them, and how they are stored."""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from lab.config.categorical_choices import Label
from lab.config.config_diff import same
from lab.config.constraints import Constraints
from lab.config.problems import ConfigError, Problem, did_you_mean
from lab.config.search_parameters import CategoricalParameter
from lab.config.search_space import Space

KEY = "enqueue"  # where a study file has them


class Study(Protocol):
    """The part of a study's config that its points depend on."""

    @property
    def space(self) -> Space: ...
    @property
    def feasibility(self) -> Constraints: ...
    @property
    def enqueue(self) -> tuple[dict[str, object], ...]: ...
    @property
    def n_trials(self) -> int | None: ...
    @property
    def total(self) -> int: ...


def stored(space: Space, point: Mapping[str, object]) -> dict[str, Label]:
    """A point of the file as Optuna stores it, in the space's order; a choice may be written as its label.

    Raises:
        ConfigError: a parameter is unknown, or a value is none of its own; paths are within the point.
    """
    problems = [
        Problem((name,), f"is not searched{did_you_mean(name, space.parameters)}")
        for name in point
        if name not in space.parameters
    ]
    found: dict[str, Label] = {}
    for name in space.order:
        if name in point:
            try:
                found[name] = _label(space.parameters[name], point[name])
            except ValueError as error:
                problems.append(Problem((name,), str(error)))
    ConfigError.raise_if(problems)
    return found


def is_complete(space: Space, params: Mapping[str, object]) -> bool:
    """Return whether a stored point leaves nothing to be sampled."""
    try:
        space.from_params(params)
    except KeyError:
        return False
    return True


def enqueue_problems(config: Study, *, constrained: bool = True) -> Iterator[Problem]:
    """The problems of a study's enqueued points, with paths into the study's data.

    Args:
        constrained: compare them with the constraints, which are sound.
    """
    space = config.space
    count, functions = len(config.enqueue), config.feasibility.functions
    known = constrained and not functions  # else points can't be counted yet
    total = config.total if known else config.n_trials
    if total is not None and count > total:
        yield Problem((KEY,), f"has {count} points, and the study makes {total} trials; raise n_trials")
    read: dict[int, dict[str, Label]] = {}
    for index, point in enumerate(config.enqueue):
        if not point:
            yield Problem((KEY, index), "is empty; give at least one parameter, such as optimizer.lr: 3e-4")
            continue
        try:
            params = stored(space, point)
        except ConfigError as error:
            yield from error.below((KEY, index)).problems
            continue
        twin = next((i for i, other in read.items() if same(other, params)), None)
        if twin is not None:
            yield Problem((KEY, index), f"is the same point as the one at position {twin}; keep one")
        read[index] = params
        found = list(_idle(space, params))
        yield from (Problem((KEY, index, name), message) for name, message in found)
        if constrained and not functions and not found:
            yield from _infeasible(config, index, params)


def infeasible_points(config: Study) -> Iterator[Problem]:
    """Sound points that violate a constraint, functions included."""
    for index, point in enumerate(config.enqueue):
        yield from _infeasible(config, index, stored(config.space, point))


def _label(parameter: Any, value: Any) -> Label:
    try:
        label: Label = parameter.label(value)
    except ValueError:
        if isinstance(parameter, CategoricalParameter) and any(same(own, value) for own in parameter.labels):
            return value  # type: ignore[no-any-return]
        raise
    return label


def _idle(space: Space, params: Mapping[str, Label]) -> Iterator[tuple[str, str]]:
    """Parameters whose conditions don't hold at the point, or depend on what it leaves out."""
    chosen: dict[str, object] = {}
    for name in space.order:
        needed = space.needs(name)
        if name in params and not space.active(name, chosen):
            missing = [other for other in needed if other not in params]
            if missing:
                yield name, f"depends on {' and '.join(missing)}, which the point must give as well"
            else:
                yield name, "is not active at this point: its condition, 'when', doesn't hold; remove it"
        elif name in params:
            chosen[name] = space.parameters[name].value(params[name])


def _infeasible(config: Study, index: int, params: Mapping[str, Label]) -> Iterator[Problem]:
    chosen = {name: config.space.parameters[name].value(label) for name, label in params.items()}
    whole = is_complete(config.space, params)
    try:
        broken = config.feasibility.violated(chosen, partial=not whole)
    except ConfigError as error:
        yield from error.problems
        return
    if broken is not None:
        yield Problem((KEY, index), f"violates the constraint '{broken}'")
    elif not whole and config.feasibility.completed(params) is None:
        yield Problem((KEY, index), "no values of the other parameters were found that meet the constraints")
