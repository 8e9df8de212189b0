"""Images that a prediction couldn't use: the rest goes on, and they are told at the end."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.data.problems import MOST_SHOWN
from lab.inference.inputs import RECORD


@dataclass(frozen=True)
class Failure:
    """An image or a truth that can't be used."""

    name: str
    reason: str


def told(failed: Sequence[Failure], output: Path) -> list[str]:
    """A line a failure for the console, up to a screenful."""
    lines = [f"Failed: {failure.reason}" for failure in failed[:MOST_SHOWN]]
    if len(failed) > MOST_SHOWN:
        lines.append(f"  … and {len(failed) - MOST_SHOWN} more, see {output / RECORD}")
    return lines
