"""The parameters of a study: a range of numbers, or one of several choices."""

import decimal
import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    field_validator,
    model_validator,
)

from lab.config.base import Count, Flag, Frozen, Number
from lab.config.categorical_choices import SCALARS, Label, labels_of, names_of
from lab.config.config_diff import same
from lab.config.problems import ConfigError, Path, Problem, nearest, shown

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import BaseTrial

Integer = Annotated[int, Field(strict=True, ge=-(2**53), le=2**53)]  # storage keeps numbers as doubles


def _scalars(value: dict[str, object]) -> dict[str, object]:
    problems = []
    for key, wanted in value.items():
        options = wanted if isinstance(wanted, (list, tuple)) else [wanted]
        if not options or not all(isinstance(option, SCALARS) for option in options):
            problems.append(Problem((key,), f"found {shown(wanted)}, expected a value, or a list of values"))
    ConfigError.raise_if(problems)
    return value


When = Annotated[
    dict[str, Any],
    AfterValidator(_scalars),
    Field(description="path of another parameter, or below it -> the value, or values, that it must have"),
]


class BaseParameter(Frozen):
    """The base of all parameters: the conditions under which one is active."""

    @property
    def conditions(self) -> dict[str, tuple[object, ...]]:
        """Path -> the values of which one must stand there."""
        when: dict[str, object] = getattr(self, "when", {})
        return {
            key: tuple(wanted) if isinstance(wanted, (list, tuple)) else (wanted,)
            for key, wanted in when.items()
        }


class IntParameter(BaseParameter):
    """A whole number from low to high, both included."""

    type: Literal["int"]
    low: Integer = Field(description="the smallest value")
    high: Integer = Field(description="the largest value")
    step: Count = Field(1, description="distance of neighbours, counted from low")
    log: Flag = Field(False, description="search on a logarithmic scale")
    when: When = Field(default_factory=dict)

    @model_validator(mode="after")
    def _range(self) -> "IntParameter":
        step = None if self.step == 1 else self.step
        ConfigError.raise_if(_range_problems(self.low, self.high, step, self.log))
        return self

    @property
    def count(self) -> int:
        """The number of values."""
        return (self.high - self.low) // self.step + 1

    @property
    def values(self) -> Sequence[int]:
        """All of them, from low to high."""
        return range(self.low, self.high + 1, self.step)

    def suggest(self, trial: "BaseTrial", name: str) -> int:
        """Ask an Optuna trial for a value."""
        return int(trial.suggest_int(name, self.low, self.high, step=self.step, log=self.log))

    def distribution(self) -> "BaseDistribution":
        """The same for Optuna's storage."""
        from optuna.distributions import IntDistribution

        return IntDistribution(self.low, self.high, step=self.step, log=self.log)

    def label(self, value: object) -> int:
        """The value as it is stored: as it is.

        Raises:
            ValueError: it is none of this parameter's.
        """
        if isinstance(value, bool) or not isinstance(value, int) or value not in self.values:
            raise ValueError(f"{value!r} is no whole number from {self.low} to {self.high} by {self.step}")
        return value

    def value(self, label: object) -> int:
        """The value of what is stored, with the errors of `label`: a number is stored as it is."""
        return self.label(label)


class FloatParameter(BaseParameter):
    """A number from low to high, both included."""

    type: Literal["float"]
    low: Number = Field(description="the smallest value")
    high: Number = Field(description="the largest value")
    step: Number | None = Field(None, gt=0, description="distance of neighbours, counted from low")
    log: Flag = Field(False, description="search on a logarithmic scale")
    when: When = Field(default_factory=dict)

    @model_validator(mode="after")
    def _range(self) -> "FloatParameter":
        ConfigError.raise_if(_range_problems(self.low, self.high, self.step, self.log))
        return self

    @property
    def count(self) -> int | None:
        """The number of values; None where they can't be counted."""
        if self.step is None:
            return 1 if self.low == self.high else None
        # In decimals: in floats, 0.3 / 0.1 is less than 3.
        return int((_exact(self.high) - _exact(self.low)) / _exact(self.step)) + 1

    @property
    def values(self) -> Sequence[float] | None:
        """All of them, from low to high; None where they can't be counted."""
        return None if self.count is None else [self._after(steps) for steps in range(self.count)]

    def exact(self, value: float) -> float:
        """One of the values as it is written: 0.3 where three steps of 0.1 add up to 0.30000000000000004."""
        return value if self.step is None else self._after(round((value - self.low) / self.step))

    def _after(self, steps: int) -> float:
        """The value that many steps above the lowest."""
        return float(_exact(self.low) + _exact(self.step or 0.0) * steps)

    def suggest(self, trial: "BaseTrial", name: str) -> float:
        """Ask an Optuna trial for a value."""
        return float(trial.suggest_float(name, self.low, self.high, step=self.step, log=self.log))

    def distribution(self) -> "BaseDistribution":
        """The same for Optuna's storage."""
        from optuna.distributions import FloatDistribution

        return FloatDistribution(self.low, self.high, step=self.step, log=self.log)

    def label(self, value: Any) -> float:
        """The value as it is stored: as it is.

        Raises:
            ValueError: it is none of this parameter's.
        """
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not self.low <= value <= self.high:
            raise ValueError(f"{value!r} is no number from {self.low:g} to {self.high:g}")
        steps = 0.0 if self.step is None else (value - self.low) / self.step
        if abs(steps - round(steps)) > 1e-8:  # as exact as Optuna is
            raise ValueError(f"{value!r} is no number from {self.low:g} by steps of {self.step:g}")
        return float(value)

    def value(self, label: object) -> float:
        """The value of what is stored, with the errors of `label`: a number is stored as it is."""
        return self.label(label)


class CategoricalParameter(BaseParameter):
    """One of several choices: plain values, lists, mappings, or whole components."""

    type: Literal["categorical"] = "categorical"
    choices: tuple[Any, ...] = Field(min_length=1, description="any values, whole components too")
    when: When = Field(default_factory=dict)

    @field_validator("choices")
    @classmethod
    def _distinct(cls, value: tuple[object, ...]) -> tuple[object, ...]:
        problems = []
        for index, choice in enumerate(value):
            twin = next((i for i in range(index) if same(value[i], choice)), None)
            if twin is not None:
                problems.append(Problem((index,), f"{shown(choice)} is listed twice; keep one"))
        ConfigError.raise_if(problems)
        return value

    @property
    def count(self) -> int:
        """The number of choices."""
        return len(self.choices)

    @property
    def values(self) -> Sequence[Any]:
        """The choices."""
        return self.choices

    @functools.cached_property
    def labels(self) -> tuple[Label, ...]:
        """The stored and shown form of each choice: a plain value as it is, a component by its short name.

        Where two would be equal, and for lists and mappings, it is the whole as JSON.
        """
        return labels_of(self.choices)

    @functools.cached_property
    def names(self) -> tuple[Label, ...]:
        """The label of each choice, as reports show it.

        Where several choices are the same component with other arguments, it is `HuberLoss(delta=2.0)`.
        """
        return names_of(self.choices, self.labels)

    def suggest(self, trial: "BaseTrial", name: str) -> Any:
        """Ask an Optuna trial for a choice; Optuna sees the labels only."""
        return self.value(trial.suggest_categorical(name, self.labels))

    def distribution(self) -> "BaseDistribution":
        """The same for Optuna's storage."""
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.labels)

    def label(self, value: object) -> Label:
        """A choice as it is stored.

        Raises:
            ValueError: it is not one of the choices.
        """
        for choice, label in zip(self.choices, self.labels, strict=True):
            if same(choice, value):
                return label
        raise ValueError(f"{shown(value)} is not one of the choices")

    def value(self, label: Any) -> Any:
        """The choice of what is stored.

        Raises:
            ValueError: no choice has this label.
        """
        for choice, own in zip(self.choices, self.labels, strict=True):
            if same(own, label):
                return choice
        known = ", ".join(str(own) for own in self.labels)
        raise ValueError(f"{shown(label)} is not one of the choices {known}")


def _range_problems(low: float, high: float, step: float | None, log: bool) -> Iterator[Problem]:
    """Yield a problem unless the range holds something, and the step leads to its end."""
    if low > high:
        yield Problem(("low",), f"found {shown(low)}, which is more than high, {high:g}")
        return
    if log and low <= 0:
        yield Problem(("low",), f"found {shown(low)}, expected more than 0 where log is true")
    if log and step is not None:
        yield Problem(("step",), "goes with log: false only; remove step, or log")
    elif step is not None:
        try:
            rest = (_exact(high) - _exact(low)) % _exact(step)
        except decimal.InvalidOperation:  # more steps than digits
            yield Problem(("step",), f"found {shown(step)}, which is too small for {low:g} to {high:g}")
            return
        if rest:
            last = float(_exact(high) - rest)
            message = f"found {shown(step)}, which leads from {low:g} to {last:g} and not to {high:g}"
            yield Problem(("step",), f"{message}; give high: {last:g}, or another step")


def _exact(number: float) -> decimal.Decimal:
    """The number as it is written: 0.1 is a tenth."""
    return decimal.Decimal(repr(number))


def _kind(value: object) -> str | None:
    if isinstance(value, Mapping):
        found = value.get("type", "categorical" if "choices" in value else None)
        return found if isinstance(found, str) else None
    return getattr(value, "type", None)


def _known_kind(value: object) -> object:
    """Report what is missing, rather than which of three classes doesn't fit."""
    if isinstance(value, BaseParameter):
        return value
    expected = "{type: int, low, high}, {type: float, low, high} or {choices: [...]}"
    if not isinstance(value, Mapping):
        raise ConfigError([Problem((), f"found {shown(value)}, expected {expected}")])
    kinds = ("int", "float", "categorical")
    if "type" not in value and "choices" not in value:
        hints = {key: nearest(str(key), ["type", "choices"]) for key in value}
        hint = next((f" (for '{key}'{near})" for key, near in hints.items() if near), "")
        raise ConfigError([Problem((), f"has no type{hint}; expected {expected}")])
    if _kind(value) not in kinds:
        found: object = value["type"]
        hint = nearest(found, kinds) if isinstance(found, str) else ""
        message = f"found {shown(found)}, expected int, float or categorical{hint}"
        raise ConfigError([Problem(("type",), message)])
    return value


Parameter = Annotated[
    Annotated[IntParameter, Tag("int")]
    | Annotated[FloatParameter, Tag("float")]
    | Annotated[CategoricalParameter, Tag("categorical")],
    Discriminator(_kind),
    BeforeValidator(_known_kind, json_schema_input_type=IntParameter | FloatParameter | CategoricalParameter),
]


def lookup(value: object, rest: Path) -> tuple[bool, object]:
    """Look up a path within a chosen value: (whether it is there, the value).

    The text of a component's short form has a `target`.
    """
    for part in rest:
        if isinstance(value, Mapping):
            key = next((key for key in value if str(key) == str(part)), None)
            if key is None:
                return False, None
            value = value[key]
        elif isinstance(value, (list, tuple)) and isinstance(part, int) and part < len(value):
            value = value[part]
        elif isinstance(value, str) and part == "target":
            continue
        else:
            return False, None
    return True, value


def equal(value: object, wanted: object) -> bool:
    """Return whether a value meets a condition; numbers are compared as exactly as steps are."""
    if isinstance(value, float) and isinstance(wanted, (int, float)) and not isinstance(wanted, bool):
        return math.isclose(value, wanted, rel_tol=1e-9, abs_tol=1e-15)
    return same(value, wanted)
