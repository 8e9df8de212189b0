"""What the fault suite is made of: a fault, how often it is tried, and what that came to."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from selftest.bench import Bench


@dataclass(frozen=True)
class Verdict:
    """What trying a fault came to.

    Args:
        figures: what was counted, by what it is called, in the order in which it is told: `{"lost": 0}`.
        broken: a line for each time that the promise was not kept: where, what was expected, what was found.
        untried: what could not be tried here, and why.
    """

    figures: Mapping[str, int | float | str]
    broken: Sequence[str] = ()
    untried: Sequence[str] = field(default=())

    @property
    def held(self) -> bool:
        """Whether the promise was kept each time."""
        return not self.broken

    def as_text(self) -> str:
        """`0 lost, 0 twice, 200 kills`; a figure that is a text stands by its name."""
        return ", ".join(
            f"{name} {value}"
            if isinstance(value, str)
            else f"{value:.3g} {name}"
            if isinstance(value, float)
            else f"{value:,} {name}"
            for name, value in self.figures.items()
        )


def short_of(count: int, tried: int, what: str) -> list[str]:
    """A line where there were fewer tries than wanted: a promise is not kept by what was never tried."""
    return [] if tried >= count else [f"expected {count} {what}, {tried} came about"]


Attempt: TypeAlias = Callable[[Bench, int], Verdict]


@dataclass(frozen=True)
class Fault:
    """One line of the table of promises.

    Args:
        number: of the line.
        title: what happens.
        promise: what comes of it.
        quick: how often it is tried within the five minutes of all.
        full: how often for the figures that are published.
        attempt: tries it so often.
    """

    number: int
    title: str
    promise: str
    quick: int
    full: int
    attempt: Attempt
