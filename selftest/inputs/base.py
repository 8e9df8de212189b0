"""One odd or wrong input, its config, and the verdict on what the command made of it."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

Files = Callable[[Path], Mapping[str, object]]
"""Writes the files of an input into an empty folder; returns the sections of the config that read them."""


RUN, OUTPUT, TRUTH = "run.yaml", "predicted", "truth"
"""The config of an input, and the folders of predicted masks and of the true ones."""
PREDICT = ("--predict", "2", "--input", "new", "--output", OUTPUT)  # a run's name begins with its year
USERS = Path(__file__).with_name("users.py")
MODULE = "mine"
_STILL: Mapping[str, object] = {
    "batch_size": 8,
    "epochs": 1,
    "threads": 1,
    "device": "cpu",
    "pictures": {"enabled": False},
    "trackers": [],
    "optimizer": {"target": "torch.optim.SGD", "lr": 0.0},
}
COUNT = {"count": f"{MODULE}.Count"}


class Ending(Enum):
    """The command's treatment of an input."""

    RIGHT = "right"  # the figures are the true ones
    WARNED = "warned of"  # it ran, and a note names the cause
    REFUSED = "refused"  # exit code 2, the cause is named, no traceback
    UNCLEAR = "unclear"  # it failed without naming the cause
    SILENT = "silent errors"  # exit code 0, a wrong figure, and no note that names the cause


GOOD = frozenset({Ending.RIGHT, Ending.WARNED, Ending.REFUSED})
"""The endings that keep the promise."""


@dataclass(frozen=True)
class WrongInput:
    """An input, and what is right about it.

    Args:
        kind: the kind of fault, such as `masks`.
        what: the input in a few words.
        files: writes it, and returns the sections of its config.
        expected: last values of the run by name, computed without the product; none where no value is right.
        words: one of them, in lower case, has to be in a refusal or a warning. None where the docs promise
            that the input is read: only the right values will do.
        command: what the program is called with.
        then: and with what afterwards, if the first call succeeds.
        code: the exit code of a refusal.
    """

    kind: str
    what: str
    files: Files
    expected: Mapping[str, float]
    words: Sequence[str] = ()
    command: Sequence[str] = ("--run", RUN, "--json")
    then: Sequence[str] = ()
    code: int = 2


@dataclass(frozen=True)
class Seen:
    """The results of a command: its exit code, the text of its console, the last values of its run."""

    code: int | None
    console: str
    values: Mapping[str, float]

    @property
    def notes(self) -> str:
        """The notes among the lines of `--json`, and the lines of commands without it; in lower case."""
        found = []
        for line in self.console.splitlines():
            if not line.startswith("{"):
                found.append(line)
            elif (event := json.loads(line)).get("event") == "note":
                found.append(str(event.get("message", "")))
        return "\n".join(found).lower()


def judge(given: WrongInput, seen: Seen) -> Ending:
    """The ending that an input came to."""

    def named(text: str) -> bool:
        return any(word in text for word in given.words)

    if seen.code == given.code and "Traceback (most recent call last)" not in seen.console:
        return Ending.REFUSED if named(seen.console.lower()) else Ending.UNCLEAR
    if seen.code != 0:
        return Ending.UNCLEAR
    if given.expected and all(close(seen.values.get(name), value) for name, value in given.expected.items()):
        return Ending.RIGHT
    return Ending.WARNED if named(seen.notes) else Ending.SILENT


def close(found: float | None, expected: float) -> bool:
    """Return whether a figure is the expected one, but for rounding in the sixth digit of float32 sums."""
    return found is not None and math.isclose(found, expected, rel_tol=2e-5, abs_tol=2e-6)


def config(**sections: object) -> dict[str, object]:
    """A run of one epoch that changes no weight, with these sections."""
    return {"name": "input", **_STILL, **sections}


def written(**sections: object) -> Files:
    """An input that is all in its config."""
    return lambda folder: config(**sections)


def mine(name: str, **arguments: object) -> dict[str, object]:
    """A component of the user's own module."""
    return {"target": f"{MODULE}.{name}", **arguments}
