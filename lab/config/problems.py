"""Problems of a config, reported so that they can be fixed: where, what was found, what is expected."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from difflib import get_close_matches
from enum import Enum

Path = tuple[str | int, ...]


def dotted(path: Path) -> str:
    """`("data", "transforms", 1, "p")` as the user writes it: `data.transforms.1.p`."""
    return ".".join(str(part) for part in path)


class ProblemKind(Enum):
    """The cause of a problem, as far as code depends on it: messages are for people alone."""

    VALUE = "value"  # a value that is wrong, and whatever has no kind of its own
    UNKNOWN_KEY = "unknown key"
    UNKNOWN_ARGUMENT = "unknown argument"
    GIVEN_BY_RUN = "given by the run"
    MISSING_KEY = "missing key"
    MISSING_ARGUMENT = "missing argument"
    NO_SUCH_PART = "no such part"  # a dotted path into the config leads nowhere

    @property
    def is_of_a_name(self) -> bool:
        """Return whether no other value in its place would help."""
        return self in (ProblemKind.UNKNOWN_KEY, ProblemKind.UNKNOWN_ARGUMENT, ProblemKind.GIVEN_BY_RUN)


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Args:
        where: `file:line`, or the `--set` that brought the value in.
        hint: advice at the end of the message, which a caller who knows more may replace.
    """

    path: Path
    message: str
    where: str = ""
    kind: ProblemKind = ProblemKind.VALUE
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        return f"{place}{dotted(self.path)}: {self.text}" if self.path else f"{place}{self.text}"

    @property
    def text(self) -> str:
        """The message with its hint."""
        return self.message + self.hint

    def below(self, prefix: Path) -> "Problem":
        """The same problem, seen from a parent: its path begins with `prefix`."""
        return replace(self, path=prefix + self.path)


class ConfigError(ValueError):
    """All problems of a config at once.

    Args:
        note: a further sentence, such as on what has not been checked yet.
    """

    def __init__(self, problems: Sequence[Problem], note: str = "") -> None:
        self.problems = tuple(problems)
        self.note = note
        super().__init__("\n".join([*map(str, self.problems), *([note] if note else [])]))

    def as_text(self) -> str:
        """The text for a terminal: the number of problems, and a line for each."""
        count = len(self.problems)
        head = f"{count} problem{'s' if count > 1 else ''} with the config:"
        return "\n".join([head, *(f"  {problem}" for problem in self.problems), *filter(None, [self.note])])

    def below(self, prefix: Path) -> "ConfigError":
        """The same problems, seen from a parent: their paths begin with `prefix`."""
        return ConfigError([problem.below(prefix) for problem in self.problems], self.note)

    @staticmethod
    def raise_if(problems: Iterable[Problem], note: str = "") -> None:
        """Raise an error where there are problems."""
        if found := list(problems):
            raise ConfigError(found, note)

    @staticmethod
    @contextmanager
    def within(prefix: Path) -> Iterator[None]:
        """Raise an error of the context as it is seen from a parent."""
        try:
            yield
        except ConfigError as error:
            raise error.below(prefix) from error

    @staticmethod
    @contextmanager
    def collected(problems: list[Problem] | None = None, prefix: Path = ()) -> Iterator[list[Problem]]:
        """Add the problems of an error of the context, seen from a parent, to others or to an empty list."""
        found = [] if problems is None else problems
        try:
            yield found
        except ConfigError as error:
            found += error.below(prefix).problems


class Refusal(ConfigError):
    """A component refused its arguments while it was built.

    Args:
        declared: it reported the combination as infeasible, by `lab.Infeasible` or `optuna.TrialPruned`;
            else it raised a ValueError or an AssertionError, which may be a mistake.
    """

    def __init__(self, problems: Sequence[Problem], note: str = "", *, declared: bool = False) -> None:
        super().__init__(problems, note)
        self.declared = declared

    def below(self, prefix: Path) -> "Refusal":
        """The same problems, seen from a parent."""
        return Refusal(super().below(prefix).problems, self.note, declared=self.declared)


def did_you_mean(found: str, known: Iterable[str]) -> str:
    """A hint at the end of a message: the nearest valid name, or all of them where none is near."""
    names = [str(name) for name in known]
    return nearest(found, names) or (f"; known: {', '.join(sorted(names))}" if names else "")


def nearest(found: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """A hint at the end of a message: the nearest valid name, or nothing where none is near."""
    names = list(known)
    near = get_close_matches(found, names, n=1, cutoff=cutoff)
    if not near:  # mse_loss for MSELoss
        lower = {name.lower(): name for name in names}
        near = [lower[name] for name in get_close_matches(found.lower(), lower, n=1, cutoff=cutoff)]
    return f"; did you mean '{near[0]}'?" if near else ""


def shown(value: object) -> str:
    """A value as the user wrote it, with its kind, cut where it is long."""
    kinds = {int: "whole number", float: "number", str: "text", dict: "mapping", list: "list"}
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and (value != value or abs(value) == float("inf")):
        return f"{value}".replace("inf", ".inf").replace("nan", ".nan")
    text = f"'{value}'" if isinstance(value, str) else repr(value)
    text = text if len(text) <= 80 else f"{text[:77]}..."
    return f"{text} ({kinds.get(type(value), type(value).__name__)})"
