"""Points of a search space: drawn at random, listed, and compared."""

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lab.config.diff import same
from lab.config.parameters import CategoricalParameter, FloatParameter
from lab.config.space import Space

Key = tuple[tuple[str, Any], ...]


def draw(space: Space, rng: random.Random, fixed: Mapping[str, Any] = {}) -> dict[str, Any]:
    """A random point: path -> real value, as `Space.suggest` gives it.

    Args:
        fixed: parameters whose value is given, as stored.
    """
    return space.suggest(_Dice(rng, fixed))


def every(space: Space, fixed: Mapping[str, Any] = {}) -> Iterator[dict[str, Any]]:
    """All points of a space that has finitely many, in order."""
    return _from(space, 0, {}, fixed)


def key(space: Space, params: Mapping[str, Any]) -> Key:
    """A key that is equal for trials at the same point, from their parameters as stored.

    Parameters that are not active don't count, and steps are counted, as the same number of them may differ
    in the last digit. Parameters that this space doesn't have make a key of their own.
    """
    try:
        chosen: dict[str, Any] = {}
        found: list[tuple[str, Any]] = []
        for name in space.order:
            if space.active(name, chosen):
                parameter, label = space.parameters[name], params[name]
                choice = isinstance(parameter, CategoricalParameter)
                chosen[name] = parameter.value(label) if choice else label
                found.append((name, _place(parameter, label)))
    except (KeyError, ValueError, TypeError):
        return tuple(sorted((name, repr(value)) for name, value in params.items()))
    return tuple(found)


def _place(parameter: Any, label: Any) -> Any:
    match parameter:
        case CategoricalParameter():
            return next(n for n, own in enumerate(parameter.labels) if same(own, label))
        case FloatParameter(step=step) if step is not None:
            return round((label - parameter.low) / step)
        case _:
            return label


def _from(
    space: Space, index: int, chosen: dict[str, Any], fixed: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
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


class _Dice:
    """Answers a space's questions at random, as an Optuna trial does with a random sampler."""

    def __init__(self, rng: random.Random, fixed: Mapping[str, Any]) -> None:
        self._rng, self._fixed = rng, fixed

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        if name in self._fixed:
            return int(self._fixed[name])
        if log:
            exponent = self._rng.uniform(math.log(low - 0.5), math.log(high + 0.5))
            return min(high, max(low, round(math.exp(exponent))))
        return low + step * self._rng.randrange((high - low) // step + 1)

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        if name in self._fixed:
            return float(self._fixed[name])
        if log:
            return min(high, max(low, math.exp(self._rng.uniform(math.log(low), math.log(high)))))
        if step is not None:
            values = FloatParameter(type="float", low=low, high=high, step=step).values
            assert values is not None, "it has a step"
            return values[self._rng.randrange(len(values))]
        return self._rng.uniform(low, high)

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self._fixed[name] if name in self._fixed else choices[self._rng.randrange(len(choices))]
