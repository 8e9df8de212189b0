"""The result of `--predict`, common to all tasks: failures, console text, and record."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lab.data.file_problems import MOST_SHOWN, indented
from lab.predict.input_files import RECORD
from lab.predict.loaded_run import LoadedRun
from lab.store import file_io, paths


@dataclass(frozen=True)
class Failure:
    """An image or a truth that can't be used."""

    name: str
    reason: str


@dataclass
class Prediction:
    """The result of a prediction.

    Args:
        images: the number of predicted images.
        failed: the images that were skipped.
        notes: warnings for the user.
    """

    output: Path
    images: int = 0
    failed: list[Failure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def fail(self, name: str, reason: object) -> None:
        """Record an image as skipped."""
        self.failed.append(Failure(name, str(reason)))

    def lines(self) -> Iterable[str]:
        """Return the lines on the files written."""
        raise NotImplementedError

    def as_text(self) -> str:
        """Return the text for the console, warnings and the first failures at the top."""
        lines = [f"Warning: {note}" for note in self.notes]
        lines += [f"Failed: {failure.reason}" for failure in self.failed[:MOST_SHOWN]]
        if len(self.failed) > MOST_SHOWN:
            lines.append(
                f"  … and {len(self.failed) - MOST_SHOWN} more, see {paths.shown(self.output / RECORD)}"
            )
        lines += self.lines()
        return "\n".join([*lines, *([f"{len(self.failed)} failed."] if self.failed else [])])

    def write_record(self, loaded: LoadedRun, **values: object) -> None:
        """Write `prediction.json`: the network, these values, and the failures."""
        record = {
            "run": loaded.folder,
            "weights": loaded.weights.name,
            "epoch": loaded.epoch,
            "classes": loaded.classes,
            **values,
            "failed": {failure.name: failure.reason for failure in self.failed},
            "notes": self.notes,
            "seconds": round(self.seconds, 3),
        }
        file_io.atomic_write(self.output / RECORD, file_io.to_json(record, indent=2) + "\n")


def prepare_output(outputs: Sequence[Path], inputs: Iterable[Path], force: bool) -> None:
    """Create the folders of all outputs; refuse to replace files without `force`, and inputs in any case.

    Raises:
        ValueError: a file exists, or a folder can't be created.
    """
    there = [path for path in outputs if path.exists()]
    # By resolved path: an input may be named by a link or a relative path.
    read = {path.resolve() for path in inputs}
    if own := [path for path in there if path.resolve() in read]:
        raise ValueError(
            f"{paths.shown(own[0])} is an input and would be overwritten; choose another output folder"
        )
    if there and not force:
        head = f"{len(there)} file{'s' if len(there) > 1 else ''} would be overwritten"
        lines = indented([paths.shown(path) for path in there])
        raise ValueError("\n".join([f"{head}; choose another output folder or pass --force:", *lines]))
    for folder in sorted({path.parent for path in outputs}):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"{paths.shown(folder)}: can't be written: {error.strerror or error}") from error
