"""Points of a search space: drawn at random, listed, and compared."""

import math
import random
from collections.abc import Iterator, Mapping
from typing import Any

from lab.config.config_diff import same
from lab.config.search_parameters import CategoricalParameter, FloatParameter, IntParameter
from lab.config.search_space import AnyParameter, Space

Key = tuple[tuple[str, Any], ...]
MAX_POINTS = 100_000  # of a space that is listed point by point


def can_be_listed(space: Space) -> bool:
    """Return whether a space has so few points that they can be looked at one by one."""
    size = space.size()
    return size is not None and size <= MAX_POINTS


def draw(space: Space, rng: random.Random, fixed: Mapping[str, object] = {}) -> dict[str, object]:
    """A random point: path -> real value, as `Space.suggest` gives it.

    Args:
        fixed: parameters whose value is given, as stored.
    """

    def choose(name: str) -> object:
        parameter = space.parameters[name]
        return parameter.value(fixed[name]) if name in fixed else _drawn(parameter, rng)

    return space.chosen(choose)


def every(space: Space, fixed: Mapping[str, object] = {}) -> Iterator[dict[str, Any]]:
    """All points of a space that has finitely many, in order."""
    return _from(space, 0, {}, fixed)


def key(space: Space, params: Mapping[str, object]) -> Key:
    """A key that is equal for trials at the same point, from their parameters as stored.

    Parameters that are not active don't count, and steps are counted, as the same number of them may differ
    in the last digit. Parameters that this space doesn't have make a key of their own.
    """
    try:
        chosen: dict[str, object] = {}
        found: list[tuple[str, object]] = []
        for name in space.order:
            if space.active(name, chosen):
                parameter, label = space.parameters[name], params[name]
                choice = isinstance(parameter, CategoricalParameter)
                chosen[name] = parameter.value(label) if choice else label
                found.append((name, _place(parameter, label)))
    except (KeyError, ValueError, TypeError):
        return tuple(sorted((name, repr(value)) for name, value in params.items()))
    return tuple(found)


def _drawn(parameter: AnyParameter, rng: random.Random) -> object:
    """A random value, evenly on the parameter's own scale."""
    match parameter:
        case IntParameter(low=low, high=high, log=True):
            exponent = rng.uniform(math.log(low - 0.5), math.log(high + 0.5))
            return min(high, max(low, round(math.exp(exponent))))
        case FloatParameter(low=low, high=high, log=True):
            return min(high, max(low, math.exp(rng.uniform(math.log(low), math.log(high)))))
        case FloatParameter(low=low, high=high, step=None):
            return rng.uniform(low, high)
        case _:
            values = parameter.values
            assert values is not None, "it has a step, or choices"
            return values[rng.randrange(len(values))]


def _place(parameter: AnyParameter, label: Any) -> Any:
    match parameter:
        case CategoricalParameter():
            return next(n for n, own in enumerate(parameter.labels) if same(own, label))
        case FloatParameter(step=step) if step is not None:
            return round((label - parameter.low) / step)
        case _:
            return label


def _from(
    space: Space, index: int, chosen: dict[str, object], fixed: Mapping[str, object]
) -> Iterator[dict[str, object]]:
    if index == len(space.order):
        yield dict(chosen)
        return
    name = space.order[index]
    if not space.active(name, chosen):
        yield from _from(space, index + 1, chosen, fixed)
        return
    parameter = space.parameters[name]
    values = [parameter.value(fixed[name])] if name in fixed else parameter.values
    assert values is not None, "the space is finite"
    for value in values:
        yield from _from(space, index + 1, {**chosen, name: value}, fixed)
