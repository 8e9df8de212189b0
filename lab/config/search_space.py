"""A study's search space: parameters by dotted path into a run's config, some of them under conditions."""

import itertools
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

from lab.config import config_file
from lab.config.categorical_choices import Label
from lab.config.config_diff import same
from lab.config.problems import ConfigError, Path, Problem, did_you_mean, dotted, nearest, shown
from lab.config.search_parameters import (
    CategoricalParameter,
    FloatParameter,
    IntParameter,
    Parameter,
    equal,
    lookup,
)

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

AnyParameter = IntParameter | FloatParameter | CategoricalParameter
KEY = "search_space"  # where a study file has it; the paths of problems begin with it
_FREE, _POOLS = 100, 20  # with more numbers than these, as many pools of them make the corners
MAX_GRID = 100_000  # points; Optuna lists them all in memory

__all__ = ["CategoricalParameter", "Corner", "FloatParameter", "IntParameter", "Parameter", "Space"]


@dataclass(frozen=True)
class Corner:
    """One point at the edge of the space."""

    label: str  # what it is the corner of, such as `optimizer.lr = 0.1 (high)`
    values: Mapping[str, Any]  # path -> real value, as `Space.suggest` gives them
    at: Path = ()  # the parameter and its bound or choice: ("optimizer.lr", "high"), ("net", "choices", 1)
    pool: tuple[str, ...] = ()  # numbers that are at their high together, where a space has many


@dataclass(frozen=True)
class _Condition:
    """A condition: one of the wanted values is at `rest` within the value chosen for the parameter `name`."""

    name: str
    rest: Path
    wanted: tuple[Any, ...]

    def holds(self, value: object) -> bool:
        """Return whether it holds for a value of the parameter."""
        there, found = lookup(value, self.rest)
        return there and any(equal(found, wanted) for wanted in self.wanted)


class Space:
    """The search space of a study.

    Args:
        parameters: by dotted path, in the file's order.

    Raises:
        ConfigError: a path is none, or is listed twice; a condition names no parameter, can't hold, or
            depends on itself.
    """

    def __init__(self, parameters: Mapping[str, AnyParameter]) -> None:
        self.parameters = dict(parameters)
        self._paths = {name: config_file.split(name) for name in self.parameters}
        ConfigError.raise_if(self._path_problems())
        self._at = {path: name for name, path in self._paths.items()}
        self._conditions: dict[str, tuple[_Condition, ...]] = {}
        ConfigError.raise_if(self._read_conditions())
        self.order = self._sorted()
        ConfigError.raise_if(self._impossible())

    def owner(self, path: Path, among: Collection[str] | None = None) -> str | None:
        """The parameter at a path of the run's config, or the nearest above it.

        Args:
            among: the parameters to look at; by default all.
        """
        above = filter(None, (self._at.get(path[:end]) for end in range(len(path), 0, -1)))
        return next((name for name in above if among is None or name in among), None)

    def path(self, name: str) -> Path:
        """A parameter's path into the run's config."""
        return self._paths[name]

    def active(self, name: str, chosen: Mapping[str, object]) -> bool:
        """Return whether a parameter is active, given the real values of those earlier in the order."""
        return all(c.name in chosen and c.holds(chosen[c.name]) for c in self._conditions[name])

    def needs(self, name: str) -> tuple[str, ...]:
        """The other parameters that a parameter's conditions name."""
        return tuple(dict.fromkeys(condition.name for condition in self._conditions[name]))

    def chosen(self, choose: Callable[[str], Any]) -> dict[str, Any]:
        """The real values of all active parameters, each chosen by name when it is known to be active."""
        values: dict[str, Any] = {}
        for name in self.order:
            if self.active(name, values):
                values[name] = choose(name)
        return values

    def suggest(self, trial: "BaseTrial") -> dict[str, Any]:
        """Ask an Optuna trial for all active parameters: path -> real value, for `with_values`."""
        return self.chosen(lambda name: self.parameters[name].suggest(trial, name))

    def from_params(self, params: Mapping[str, object]) -> dict[str, object]:
        """The same from what Optuna stored; parameters that are not active are left out.

        Raises:
            KeyError: an active parameter is missing.
            ValueError: a value is out of range, or none of the choices.
        """
        return self.chosen(lambda name: self.parameters[name].value(params[name]))

    def to_params(self, values: Mapping[str, object]) -> dict[str, Label]:
        """Real values as Optuna stores them, in the order, such as for `enqueue_trial`.

        Raises:
            KeyError, ValueError: as `from_params`.
        """
        active = self.chosen(values.__getitem__)
        return {name: self.parameters[name].label(value) for name, value in active.items()}

    def shown(self, params: Mapping[str, Any]) -> dict[str, Label]:
        """A stored point as reports show it: with names for choices, and numbers as they are."""
        found = dict(params)
        for name, label in params.items():
            parameter = self.parameters.get(name)
            if isinstance(parameter, CategoricalParameter):
                pairs = zip(parameter.labels, parameter.names, strict=True)
                found[name] = next((shown for own, shown in pairs if same(own, label)), label)
        return found

    def corners(self) -> list[Corner]:
        """Distinct points with each choice, and the low and the high of each number.

        The others have their first choice or low; where the one in question has conditions, they hold.
        Of many numbers without conditions, some are at their high together: a pool, for `apart`.
        """
        pools = {pool[0]: pool for pool in self._pools()}
        others = {name for pool in pools.values() for name in pool[1:]}
        found = [edge for name in self.parameters if name not in others for edge in self._edges(name)]
        for place, edge in enumerate(found):
            if edge.at[1] == "high" and (pool := pools.get(str(edge.at[0]))):
                numbers = {name: getattr(self.parameters[name], edge.at[1]) for name in pool}
                found[place] = replace(edge, values=self._point(numbers), pool=pool)
        return _distinct(found)

    def apart(self, corner: Corner) -> list[Corner]:
        """The corners of a pool's numbers, one by one."""
        return [edge for name in corner.pool for edge in self._edges(name) if edge.at[1] == "high"]

    def extremes(self) -> list[Corner]:
        """Fewer points, for what is costly: all numbers low, all high, and each choice with the numbers high.

        A network is largest, and a batch too, where the numbers are high.
        """
        found = [Corner(f"all numbers {bound}", self._point({}, bound)) for bound in ("low", "high")]
        for name, parameter in self.parameters.items():
            if isinstance(parameter, CategoricalParameter):
                found += self._edges(name, "high")
        return _distinct(found)

    def _pools(self) -> list[tuple[str, ...]]:
        """Numbers that no condition concerns, in as many pools as there may be; none where these are few."""
        asked = {condition.name for conditions in self._conditions.values() for condition in conditions}
        names = (name for name in self.parameters if name not in asked and not self._conditions[name])
        free = [name for name in names if not isinstance(self.parameters[name], CategoricalParameter)]
        size = math.ceil(len(free) / _POOLS)
        return [tuple(free[n : n + size]) for n in range(0, len(free), size)] if len(free) > _FREE else []

    def _edges(self, name: str, numbers: str = "low") -> Iterator[Corner]:
        """The points at each choice of a parameter, or at its low and its high."""
        parameter = self.parameters[name]
        if isinstance(parameter, CategoricalParameter):
            for index, choice in enumerate(parameter.choices):
                label, at = f"{name} = {parameter.names[index]}", (name, "choices", index)
                yield Corner(label, self._point({name: choice}, numbers), at)
            return
        for bound in ("low", "high"):
            value = getattr(parameter, bound)
            yield Corner(f"{name} = {value:g} ({bound})", self._point({name: value}), (name, bound))

    def grid(self) -> dict[str, list[object]]:
        """All stored values of each parameter, for a grid sampler.

        Raises:
            ConfigError: they can't be counted, are too many, or depend on conditions.
        """
        ConfigError.raise_if(self._no_grid())
        return {name: [p.label(value) for value in p.values or ()] for name, p in self.parameters.items()}

    def _no_grid(self) -> Iterator[Problem]:
        total = 1
        for name, parameter in self.parameters.items():
            if parameter.conditions:
                message = "a grid has no conditions; take optuna.samplers.BruteForceSampler, or remove them"
                yield Problem((KEY, name, "when"), message)
            if parameter.count is None:
                message = "a grid needs a finite number of values; give it a step, or choices"
                yield Problem((KEY, name), message)
            total *= parameter.count or 1
        if total > MAX_GRID:
            yield Problem((KEY,), f"the grid has {total:,} points, and at most {MAX_GRID:,} can be listed")

    def size(self) -> int | None:
        """The number of distinct points, or None where they can't be counted."""
        asked: dict[str, list[object]] = {}
        for conditions in self._conditions.values():
            for condition in conditions:
                asked.setdefault(condition.name, []).extend(condition.wanted)
        return self._count(0, {}, asked)

    def _count(self, index: int, chosen: dict[str, object], asked: Mapping[str, list[object]]) -> int | None:
        """Points of the parameters from an index on; values that no condition asks for are counted as one."""
        if index == len(self.order):
            return 1
        name = self.order[index]
        parameter = self.parameters[name]
        if not self.active(name, chosen):
            return self._count(index + 1, chosen, asked)
        if parameter.count is None:
            return None
        # No condition asks for it, so each of its values leads to as many points.
        if name not in asked:
            rest = self._count(index + 1, chosen, asked)
            return None if rest is None else parameter.count * rest
        if isinstance(parameter, CategoricalParameter):
            groups = [(1, choice) for choice in parameter.choices]
        else:
            # NaN is equal to none of the wanted values, and so stands for all others.
            wanted = [v for v in dict.fromkeys(asked[name]) if _takes(parameter, v)]
            groups = [(1, value) for value in wanted] + [(parameter.count - len(wanted), math.nan)]
        total = 0
        for times, value in groups:
            rest = self._count(index + 1, {**chosen, name: value}, asked) if times else 0
            if rest is None:
                return None
            total += times * rest
        return total

    def _point(self, fixed: Mapping[str, object], numbers: str = "low") -> dict[str, object]:
        """A point with these values, where their conditions hold."""
        values = {**(self._brought_in(next(iter(fixed))) or {} if fixed else {}), **fixed}

        def choose(name: str) -> object:
            parameter = self.parameters[name]
            if isinstance(parameter, CategoricalParameter):
                return values.get(name, parameter.choices[0])
            return values.get(name, getattr(parameter, numbers))

        return self.chosen(choose)

    def _brought_in(self, name: str) -> dict[str, object] | None:
        """Values of others that make a parameter active, or None where no values do."""
        demands: dict[str, list[_Condition]] = {}
        waiting = [name]
        while waiting:
            for condition in self._conditions[waiting.pop()]:
                if condition.name not in demands:
                    waiting.append(condition.name)
                demands.setdefault(condition.name, []).append(condition)
        result = {}
        for other, conditions in demands.items():
            parameter = self.parameters[other]
            if isinstance(parameter, CategoricalParameter):
                options = list(parameter.choices)
            else:
                options = [v for v in conditions[0].wanted if _takes(parameter, v)]
            fitting = [option for option in options if all(c.holds(option) for c in conditions)]
            if not fitting:
                return None
            result[other] = fitting[0]
        return result

    def _path_problems(self) -> Iterator[Problem]:
        seen: dict[Path, str] = {}
        for name, path in self._paths.items():
            if not path:
                yield Problem((KEY, name), f"'{name}' is no path such as optimizer.lr")
            elif path in seen:
                yield Problem((KEY, name), f"is the same path as '{seen[path]}'; keep one")
            seen[path] = name

    def _read_conditions(self) -> Iterator[Problem]:
        for name, parameter in self.parameters.items():
            read = []
            for key, wanted in parameter.conditions.items():
                at: Path = (KEY, name, "when", key)
                other = self.owner(config_file.split(key) or ("",))
                if other is None:
                    known = [known for known in self.parameters if known != name]
                    yield Problem(at, f"'{key}' is no parameter of this space{did_you_mean(key, known)}")
                elif other == name:
                    yield Problem(at, "depends on itself; `when` must refer to another parameter")
                else:
                    condition = _Condition(other, config_file.split(key)[len(self._paths[other]) :], wanted)
                    read.append(condition)
                    for index, value in enumerate(wanted):
                        listed = isinstance(parameter.when[key], (list, tuple))
                        for message in self._never(condition, value):
                            yield Problem((*at, index) if listed else at, message)
            self._conditions[name] = tuple(read)

    def _never(self, condition: _Condition, wanted: object) -> Iterator[str]:
        """Why a parameter never has this value, if so."""
        parameter, name = self.parameters[condition.name], condition.name
        if isinstance(parameter, CategoricalParameter):
            found = [lookup(choice, condition.rest) for choice in parameter.choices]
            values = [value for there, value in found if there]
            if not any(equal(value, wanted) for value in values):
                verb = f"has {dotted(condition.rest)}:" if condition.rest else "is"
                texts = [value for value in values if isinstance(value, str)]
                hint = nearest(wanted, texts) if isinstance(wanted, str) else ""
                if not condition.rest and any(isinstance(v, dict) and "target" in v for v in values):
                    hint = f"; ask for '{name}.target'"
                elif not hint and values:
                    hint = f"; there are: {', '.join(dict.fromkeys(map(shown, values)))}"
                yield f"no choice of '{name}' {verb} {shown(wanted)}{hint}"
        elif condition.rest:
            yield f"'{name}' is a number, and has no part '{condition.rest[0]}'"
        elif parameter.count is None:
            yield f"'{name}' is continuous, and hardly ever a single value; give it a step"
        elif not _takes(parameter, wanted):
            yield (
                f"'{name}' is never {shown(wanted)}: it goes from {parameter.low:g} to {parameter.high:g}"
                + ("" if parameter.step in (None, 1) else f" by {parameter.step:g}")
            )

    def _sorted(self) -> tuple[str, ...]:
        """Conditions first, and a path before those below it; else the file's order."""
        names = list(self.parameters)
        waiting = {name: self._before(name) for name in names}
        after: dict[str, list[int]] = {name: [] for name in names}
        for place, name in enumerate(names):
            for other in waiting[name]:
                after[other].append(place)
        ready = [place for place, name in enumerate(names) if not waiting[name]]
        order: list[str] = []
        while ready:
            name = names[heappop(ready)]
            order.append(name)
            del waiting[name]
            for place in after[name]:
                waiting[names[place]].remove(name)
                if not waiting[names[place]]:
                    heappush(ready, place)
        if waiting:
            raise ConfigError([self._cycle(waiting)])
        return tuple(order)

    def _before(self, name: str) -> set[str]:
        path = self._paths[name]
        above = {self._at[path[:end]] for end in range(1, len(path)) if path[:end] in self._at}
        return above | {condition.name for condition in self._conditions[name]}

    def _cycle(self, before: Mapping[str, set[str]]) -> Problem:
        """One way round among parameters that wait for each other."""
        way = [next(iter(before))]
        while way[-1] not in way[:-1]:
            way.append(min(before[way[-1]], key=list(self.parameters).index))
        way = way[way.index(way[-1]) :]
        name = next(n for n in way if self.parameters[n].conditions)
        message = f"the conditions form a cycle: {' needs '.join(way)}"
        if any(b not in {each.name for each in self._conditions[a]} for a, b in itertools.pairwise(way)):
            message += "; a path needs those above it, too"
        return Problem((KEY, name, "when"), message)

    def _impossible(self) -> Iterator[Problem]:
        for name in self.parameters:
            if self._brought_in(name) is None:
                message = (
                    "the conditions exclude each other, or those of what they name; it is never searched"
                )
                yield Problem((KEY, name, "when"), message)


def _takes(parameter: AnyParameter, value: object) -> bool:
    try:
        parameter.label(value)
    except ValueError:
        return False
    return True


def _distinct(corners: list[Corner]) -> list[Corner]:
    kept: dict[str, Corner] = {}
    for corner in corners:
        kept.setdefault(repr(sorted(corner.values.items())), corner)
    return list(kept.values())
