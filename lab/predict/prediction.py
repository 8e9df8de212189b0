"""The result of `--predict` that all tasks share: what failed, what is printed, and the record."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from lab.data.file_problems import MOST_SHOWN
from lab.predict.input_files import RECORD
from lab.predict.loaded_run import LoadedRun
from lab.store import file_io


@dataclass(frozen=True)
class Failure:
    """An image or a truth that can't be used."""

    name: str
    reason: str


@dataclass
class Prediction:
    """What was predicted.

    Args:
        images: how many were.
        failed: those that were skipped.
        notes: what the user should know.
    """

    output: Path
    images: int = 0
    failed: list[Failure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def fail(self, name: str, reason: object) -> None:
        """Skip an image; the rest is predicted all the same."""
        self.failed.append(Failure(name, str(reason)))

    def lines(self) -> Iterable[str]:
        """What was written where."""
        raise NotImplementedError

    def as_text(self) -> str:
        """Lines for the console, warnings and a screenful of failures first."""
        lines = [f"Warning: {note}" for note in self.notes]
        lines += [f"Failed: {failure.reason}" for failure in self.failed[:MOST_SHOWN]]
        if len(self.failed) > MOST_SHOWN:
            lines.append(f"  … and {len(self.failed) - MOST_SHOWN} more, see {self.output / RECORD}")
        lines += self.lines()
        return "\n".join([*lines, *([f"{len(self.failed)} failed."] if self.failed else [])])

    def write_record(self, loaded: LoadedRun, **values: object) -> None:
        """Write `prediction.json`: the network, these values, and what failed."""
        record = {
            "run": loaded.folder.absolute(),
            "weights": loaded.weights.name,
            "epoch": loaded.epoch,
            "classes": loaded.classes,
            **values,
            "failed": {failure.name: failure.reason for failure in self.failed},
            "notes": self.notes,
            "seconds": round(self.seconds, 3),
        }
        file_io.atomic_write(self.output / RECORD, file_io.to_json(record, indent=2) + "\n")


def make_folders(folders: Iterable[Path]) -> None:
    """Make folders with those above.

    Raises:
        ValueError: one can't be.
    """
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"{folder}: can't be written: {error.strerror or error}") from error
