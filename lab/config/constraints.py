"""Conditions between a study's parameters, which a point has to meet before it becomes a trial."""

import functools
import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator

from lab.config.component_spec import Spec, is_import_path
from lab.config.config_diff import flatten
from lab.config.expressions import Absent, Expression, ExpressionError, written
from lab.config.import_target import blame
from lab.config.problems import ConfigError, Path, Problem, did_you_mean, nearest, shown
from lab.config.search_parameters import CategoricalParameter, FloatParameter, lookup
from lab.config.search_points import can_be_listed, draw, every
from lab.config.search_space import Space
from lab.config.validation import validate
from lab.store.error_text import kind_and_text

KEY = "constraints"  # where a study file has them
DRAWS = 10_000  # random points of a space that can't be listed, before it counts as without a feasible one
FEW = 200  # random points of another, before it is listed


def _constraint(value: object) -> object:
    """An expression as it is; an import path, or a mapping with a target, as a component."""
    if isinstance(value, Mapping):
        return validate(Spec, value)
    if not isinstance(value, str):
        expected = "expected a text such as 'net.width % net.heads == 0', or an import path of a function"
        raise ConfigError([Problem((), f"found {shown(value)}, {expected}")])
    return value.strip()


Constraint = Annotated[str | Spec, BeforeValidator(_constraint, json_schema_input_type=str | Spec)]


class Constraints:
    """All of a study's constraints.

    Args:
        items: expressions, and functions of a point: a mapping of the parameters' paths to their values.
        base: the base run as plain data, whose values an expression may name as well.
        first_parts: what a path into a run can begin with; anything else with dots is an import path.
    """

    def __init__(
        self,
        items: Sequence[str | Spec],
        space: Space,
        base: Mapping[str, object],
        first_parts: Sequence[str],
    ) -> None:
        self._space, self._base = space, base
        self._rules: list[Expression | Spec | None] = []  # None: it can't be read
        self._texts: list[str] = []
        self._unread: list[Problem] = []
        for index, item in enumerate(items):
            self._texts.append(item.target if isinstance(item, Spec) else item)
            if isinstance(item, str) and is_import_path(item) and item.partition(".")[0] not in first_parts:
                item = Spec(target=item)
            try:
                self._rules.append(Expression(item) if isinstance(item, str) else item)
            except ExpressionError as error:
                self._rules.append(None)
                self._unread.append(Problem((KEY, index), f"'{item}' {error}"))

    def __bool__(self) -> bool:
        return bool(self._rules)

    @property
    def functions(self) -> list[tuple[int, Spec]]:
        """Those that have to be imported, and their places in the list."""
        return [(index, rule) for index, rule in enumerate(self._rules) if isinstance(rule, Spec)]

    def problems(self) -> list[Problem]:
        """The problems of the expressions: their syntax, the names in them, the kinds of values."""
        found = list(self._unread)
        for index, rule in enumerate(self._rules):
            if isinstance(rule, Expression):
                found += list(self._of_names(index, rule)) or list(self._of_values(index, rule))
        return sorted(found, key=lambda problem: problem.path[1])

    def violated(self, values: Mapping[str, object], *, partial: bool = False) -> str | None:
        """The first constraint that a point doesn't meet, as it was written; None where it meets all.

        A constraint that needs a value which the point doesn't have, such as a parameter that isn't active,
        doesn't apply.

        Args:
            values: by path, as `Space.suggest` gives them.
            partial: parameters that are not among the values have yet to be chosen.

        Raises:
            ConfigError: a constraint can't be computed, or gives neither true nor false.
        """
        values = {name: self._exact(name, value) for name, value in values.items()}
        for index, rule in enumerate(self._rules):
            if rule is None:
                continue
            if isinstance(rule, Spec):
                if not partial and not self._asked(index, rule, values):
                    return self._texts[index]
                continue
            try:
                if not rule.holds(self._finder(values, partial)):
                    return self._texts[index]
            except Absent:
                continue
            except ExpressionError as error:
                raise ConfigError([Problem((KEY, index), f"'{rule.text}' {_at(error, values)}")]) from None
        return None

    def nowhere(self) -> list[Problem]:
        """Report a space no point of which meets the constraints, by listing points or drawing them."""
        if not self:
            return []
        listed = can_be_listed(self._space)
        counts: Counter[str] = Counter()
        for point in every(self._space) if listed else self._drawn(DRAWS):
            broken = self.violated(point)
            if broken is None:
                return []
            counts[broken] += 1
        return [Problem((KEY,), none_meets(counts, listed))]

    def completed(self, fixed: Mapping[str, object]) -> dict[str, object] | None:
        """A point with the given values, as stored, that meets the constraints; None where none is found."""
        # Random points are quick where many meet the constraints; a list is sure where few do.
        listed = can_be_listed(self._space)
        rest = every(self._space, fixed) if listed else ()
        points = itertools.chain(self._drawn(FEW if listed else DRAWS, fixed), rest)
        return next((point for point in points if self.violated(point) is None), None)

    def _drawn(self, count: int, fixed: Mapping[str, object] = {}) -> Iterator[dict[str, object]]:
        rng = random.Random(0)
        return (draw(self._space, rng, fixed) for _ in range(count))

    def _exact(self, name: str, value: Any) -> Any:
        """A value as a condition would write it: the sampler's sums of steps are off in the last digit."""
        parameter = self._space.parameters[name]
        return parameter.exact(value) if isinstance(parameter, FloatParameter) else value

    def _asked(self, index: int, spec: Spec, values: Mapping[str, object]) -> bool:
        """The answer of a function."""
        try:
            answer = self._function(index)(dict(values))
        except ConfigError as error:
            raise error.below((KEY, index)) from error
        except Exception as error:
            message = f"{spec.target} fails: {kind_and_text(error)}{blame(error)}"
            raise ConfigError([Problem((KEY, index), message)]) from error
        if type(answer).__name__ not in ("bool", "bool_"):  # NumPy's, too
            message = f"{spec.target} returns {answer!r}, expected True or False"
            raise ConfigError([Problem((KEY, index), message)])
        return bool(answer)

    # An import may take seconds, and each point asks.
    @functools.cache  # noqa: B019 - it lives as long as the study's config
    def _function(self, index: int) -> Callable[[Mapping[str, Any]], Any]:
        rule = self._rules[index]
        assert isinstance(rule, Spec)
        function: Callable[[Mapping[str, object]], object] = rule.as_function()
        return function

    def _finder(self, values: Mapping[str, object], partial: bool) -> Callable[[Path], Any]:
        def find(path: Path) -> Any:
            owner = self._space.owner(path, values)
            if partial and self._open(path, values):
                raise Absent(path)
            rest = path if owner is None else path[len(self._space.path(owner)) :]
            there, value = lookup(self._base if owner is None else values[owner], rest)
            if not there:
                raise Absent(path)
            if isinstance(value, Mapping):
                name, part = written(path), next(iter(value), "target")
                raise ExpressionError(f"names {name}, which has parts; name one, such as {name}.{part}")
            return value

        return find

    def _open(self, path: Path, values: Mapping[str, object]) -> bool:
        """Return whether a parameter that has no value yet decides what is at a path."""
        paths = (self._space.path(name) for name in self._space.parameters if name not in values)
        return any(path[: len(own)] == own or own[: len(path)] == path for own in paths)

    def _of_names(self, index: int, rule: Expression) -> Iterator[Problem]:
        for path in rule.paths:
            if not any(there for there, _ in self._places(path)):
                name = written(path)
                hint = nearest(name, self._names) or did_you_mean(name, self._space.parameters)
                message = f"'{rule.text}' names {name}, which the study neither searches nor sets{hint}"
                yield Problem((KEY, index), message)

    def _places(self, path: Path) -> Iterator[tuple[bool, object]]:
        """Yield each value that may stand at a path: in the base run, or in a choice."""
        yield lookup(self._base, path)
        for name, parameter in self._space.parameters.items():
            own = self._space.path(name)
            if path[: len(own)] == own:
                if isinstance(parameter, CategoricalParameter):
                    yield from (lookup(choice, path[len(own) :]) for choice in parameter.choices)
                else:
                    yield path == own, None

    @functools.cached_property
    def _names(self) -> list[str]:
        """All that an expression may name, for hints."""
        found = dict.fromkeys([*self._space.parameters, *flatten(self._base)])
        for name, parameter in self._space.parameters.items():
            for choice in parameter.choices if isinstance(parameter, CategoricalParameter) else ():
                if isinstance(choice, Mapping):
                    found |= dict.fromkeys(f"{name}.{inner}" for inner in flatten(choice))
        return list(found)

    def _of_values(self, index: int, rule: Expression) -> Iterator[Problem]:
        """Yield a problem where an expression can't be computed at a corner of the space."""
        for corner in self._space.corners():
            try:
                rule.holds(self._finder(corner.values, partial=False))
            except Absent:
                continue
            except ExpressionError as error:
                yield Problem((KEY, index), f"'{rule.text}' {_at(error, corner.values)}")
                return


def none_meets(violations: Counter[str], listed: bool) -> str:
    """A message that no point meets the constraints, with the violations of each, the most frequent first.

    Args:
        listed: they are all points of the space, and not random ones.
    """
    total = violations.total()
    points = f"none of the {total:,} points of the space" if listed else f"none of {total:,} random points"
    tallied = ", ".join(f"{text} ({count:,} times)" for text, count in violations.most_common())
    return f"{points} meets the constraints; violated: {tallied}"


def _at(error: ExpressionError, values: Mapping[str, object]) -> str:
    point = ", ".join(f"{name}={value!r}"[:60] for name, value in list(values.items())[:6])
    return f"{error} (at {point})" if point else str(error)
