"""The evaluation loop that all tasks share: each fold or seed by its own network and data."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

from lab.evaluate.splits import HeldOut, N, Split, usual_split
from lab.predict.loaded_run import missing_parts, parts_of, require_task

Progress = Callable[[int, int, str], object]
"""Takes the number of items that are done, how many there are, and what is being done."""


class OfPart(Protocol):
    """An item evaluated by the network of one fold or seed; `part` is empty for a single run."""

    @property
    def part(self) -> str: ...


@dataclass
class Evaluation:
    """The result of an evaluation: plain data, which a module of `lab.report` writes.

    Args:
        notes: warnings for the user.
        about: the settings of the evaluation, for the reader.
    """

    folder: Path
    split: Split
    notes: list[str] = field(default_factory=list, kw_only=True)
    about: dict[str, str] = field(default_factory=dict, kw_only=True)
    seconds: float = field(default=0.0, kw_only=True)

    @property
    def items(self) -> Sequence[OfPart]:
        """All evaluated items."""
        return ()

    @property
    def parts(self) -> list[str]:
        """The folds or seeds, in order; empty where the run is a single one."""
        return [part for part in dict.fromkeys(item.part for item in self.items) if part]

    def note(self, notes: Iterable[str]) -> None:
        """Add the notes that another part hasn't added already."""
        self.notes += [note for note in notes if note not in self.notes]


E = TypeVar("E", bound=Evaluation)


class Evaluator(Protocol[N, E]):
    """Evaluator of one kind of task: four steps, which `evaluate` calls in order.

    Attributes:
        task: the class that a run's task must be of; any by default, which needn't be a `Task`.
        whole: a run of several folds or seeds is evaluated as one; else each has to be named.
    """

    task: type = object
    whole: bool = True

    def load(self, folder: Path, *, device: str | None, data: Mapping[str, object] | None) -> N:
        """Load one network."""

    def begin(self, folder: Path, held_out: HeldOut[N]) -> E:
        """Create a result without items, from the first network.

        Args:
            folder: of the whole run.
        """

    def evaluate_part(self, result: E, held_out: HeldOut[N], on_progress: Progress) -> None:
        """Evaluate one network and add its items to the result."""

    def finish(self, result: E) -> None:
        """Complete the result after the last part; nothing by default."""
        return  # without a statement it would be abstract

    def evaluate(
        self,
        folder: Path | str,
        split: Split | None = None,
        *,
        device: str | None = None,
        data: Mapping[str, object] | None = None,
        on_progress: Progress = lambda done, items, what: None,
    ) -> E:
        """Evaluate a run on its own data: each fold or seed by its own network, where there are several.

        The data is rebuilt from the run's config.

        Args:
            split: by default `test` where there is one, else `val`; `val` for folds, whose validation items
                the fold's network was not trained on.
            device: overrides the config's.
            data: new locations of the run's data, by path, such as `{"data.root": "elsewhere"}`.

        Raises:
            CheckpointError: there are no weights, or they don't fit.
            ConfigError: the config can't be read, or its data or network can't be built.
            ValueError: the run's task is another, there is no such set, or its data is not that of the
                training.
        """
        folder, started = Path(folder), time.perf_counter()
        result: E | None = None
        for path, part in parts_of(folder) if self.whole else [(folder, "")]:
            loaded = self.load(path, device=device, data=data)
            require_task(loaded, self.task)
            splits = loaded.create_splits()
            # The first part decides for all: a mean over different splits would be meaningless.
            split = split or usual_split(splits, part)
            held_out = HeldOut(loaded, splits, split, part)
            if result is None:
                result = self.begin(folder, held_out)
                result.about = {**held_out.about(), **result.about}
            else:
                result.about["weights"] += f"; {part}: {held_out.about()['weights']}"
            self.evaluate_part(result, held_out, on_progress)
        assert result is not None
        result.notes += missing_parts(folder)
        self.finish(result)
        result.seconds = time.perf_counter() - started
        return result
