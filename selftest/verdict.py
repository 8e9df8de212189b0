"""The result of trying a fault: a verdict, and the tally of the rounds that it is made of."""

import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from selftest.audit import Found
from selftest.bench import Done


@dataclass(frozen=True)
class Verdict:
    """The result of trying a fault.

    Args:
        figures: what was counted, by name, in the order in which it is printed: `{"lost": 0}`.
        broken: a line for each time that the promise was not kept: where, what was expected, what was found.
        untried: what could not be tried here, and why.
    """

    figures: Mapping[str, int | float | str]
    broken: Sequence[str] = ()
    untried: Sequence[str] = field(default=())

    @property
    def held(self) -> bool:
        """True where the promise was kept each time."""
        return not self.broken

    def as_text(self) -> str:
        """`0 lost, 0 twice, 200 kills`; a figure that is a text stands by its name."""
        return ", ".join(
            f"{name} {value}"
            if isinstance(value, str)
            else f"{value:{'.3g' if isinstance(value, float) else ','}} {name}"
            for name, value in self.figures.items()
        )


def judge_command(done: Done, codes: Collection[int], words: str = "") -> Iterator[str]:
    """Judge the end of a command: its exit code, the words that it has to print, no traceback."""
    if done.code not in codes:
        yield f"exit code {' or '.join(map(str, codes))} expected, found {done.code}: {done.last[:200]}"
    if words not in done.output:
        yield f"'{words}' expected, found {done.last[:200]}"
    if "Traceback" in done.output:
        yield f"no traceback expected, found {done.last[:200]}"


class Tally:
    """Figures of the rounds of a fault, and what is broken in any; several threads may add to them.

    Args:
        figures: in the order in which they are printed, with their first values.
    """

    def __init__(self, figures: Mapping[str, float]) -> None:
        self.figures = dict(figures)
        self.broken: list[str] = []
        self.untried: list[str] = []
        self._lock = threading.Lock()

    def add(self, name: str, count: float = 1) -> None:
        """Add to a figure."""
        with self._lock:
            self.figures[name] += count

    def most(self, name: str, value: float) -> None:
        """Keep the largest value of a figure."""
        with self._lock:
            self.figures[name] = max(self.figures[name], value)

    def expect(self, holds: bool, line: str) -> bool:
        """Add a line that is broken unless a condition holds, which is returned."""
        self.broken += [line] * (not holds)
        return holds

    def take(self, where: str, wrong: Iterable[str] | Found) -> bool:
        """Take in what a judge found somewhere; True where that is nothing.

        What an audit found is counted by its kind, too.
        """
        if isinstance(wrong, Found):
            for name, count in wrong.counted().items():
                self.add(name, count)
            lines = wrong.lines(where)
        else:
            lines = [f"{where}: {line}" for line in wrong]
        self.broken += lines
        return not lines

    def at_least(self, wanted: int, tried: float, what: str) -> None:
        """Add a line where there were fewer tries than wanted: what was never tried is no promise kept."""
        self.expect(tried >= wanted, f"expected {wanted} {what}, {tried} came about")

    def verdict(self) -> Verdict:
        """All of it; the figure `wrong`, where there is one, is the number of lines that are broken."""
        if "wrong" in self.figures:
            self.figures["wrong"] = len(self.broken)
        return Verdict(self.figures, self.broken, self.untried)
