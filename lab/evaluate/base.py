"""The evaluation loop that all tasks share: each fold or seed by its own network and data."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar

import torch
from torch import Tensor

from lab.config.dataset_info import DatasetInfo
from lab.data.bit_depths import changed
from lab.data.protocols import names_of
from lab.data.splits import Splits
from lab.predict.loaded_run import LoadedRun, missing_parts, parts_of, require_task
from lab.store import paths

Split = Literal["val", "test"]
N = TypeVar("N", bound=LoadedRun)


def usual_split(splits: Splits, part: str = "") -> Split:
    """Return `test` where there is a test set; `val` for a fold, whose network was not trained on it."""
    return "val" if splits.test is None or part.startswith("fold") else "test"


@dataclass(frozen=True)
class HeldOut(Generic[N]):
    """The split that one network is evaluated on.

    Args:
        splits: the run's data, as it is today.
        part: the fold or seed, where there are several.
    """

    loaded: N
    splits: Splits
    split: Split
    part: str = ""

    @property
    def dataset(self) -> Any:
        """The set itself, or None."""
        return getattr(self.splits, self.split)

    @property
    def where(self) -> str:
        """`fold_1: `, before what is reported of one part of several."""
        return f"{self.part}: " if self.part else ""

    def label(self, what: str) -> str:
        """Return a progress label such as `fold_1 images`."""
        return f"{self.part} {what}".strip()

    def about(self) -> dict[str, str]:
        """Describe the evaluated network and data, for the reader of a report."""
        loaded = self.loaded
        return {
            "weights": f"{loaded.weights.name}, epoch {loaded.epoch}",
            "network": str(loaded.config.net.target),
            "data": str(loaded.config.data.target),
            "device": f"{loaded.runtime.device}, {loaded.config.precision}",
        }

    def absent(self, items: str, hint: str = "") -> ValueError:
        """Return the error for a split that the run does not have.

        Args:
            items: of the set.
            hint: added where it is the test set.
        """
        place, split = self.loaded.place, self.split
        if split == "val" and self.loaded.config.val is None:
            return ValueError(f"{place}: it was trained with val: null, so it has no validation {items}")
        return ValueError(f"{place}: its data has no {split} {items}{hint if split == 'test' else ''}")

    def require_same(self, what: str, then: object, now: object, advice: str = "restore the data") -> None:
        """Raise ValueError unless the data identifies `what` by index as that of the training did."""
        if then != now:
            raise ValueError(
                f"{self.loaded.place}: the {what} of its data differ from those of the training, and the "
                f"network identifies them by index; {advice}"
            )

    def names(self) -> list[str]:
        """Return a name per item; their indices where the data has no names.

        Raises:
            ValueError: there is no such set, it is empty, or it does not support indexing.
        """
        dataset, which = self.dataset, f"{self.loaded.place}: "
        if dataset is None:
            raise self.absent("images", "; data.test_share sets some aside")
        try:
            count = len(dataset)
            dataset.__getitem__  # noqa: B018
        except (TypeError, AttributeError) as error:
            raise ValueError(f"{which}its {self.split} data does not support len() and indexing") from error
        if not count:
            raise ValueError(f"{which}its {self.split} data is empty")
        names = names_of(dataset)
        return [str(index) for index in range(count)] if names is None else names

    def changes(self, names: Iterable[str], what: str = "images") -> Iterator[str]:
        """Yield notes on changes of the data since the training, after those from loading.

        Args:
            names: of the set's images.
            what: they are.
        """
        trained, now, where, names = self.loaded.info, self.splits.info, self.where, list(names)
        yield from self.loaded.notes
        seen = sorted(set((trained.split or {}).get("train") or ()).intersection(names))
        if seen:
            yield (
                f"{where}the network was trained on {len(seen)} of these {what}, such as {seen[0]}: the data "
                f"has changed since, and their scores do not generalize to new {what}"
            )
        yield from (f"{where}{other}" for other in _others(trained, self.split, names, what))
        if depths := changed(trained, now):
            yield f"{where}{depths}"
        then = normalisation(trained)
        if then is not None and then != normalisation(now):
            yield f"{where}the training images have changed since; the normalisation is that of the training"


def as_trained(image: Tensor, then: DatasetInfo, now: DatasetInfo) -> Tensor:
    """Return an image (..., C, H, W) with the normalisation of the training, where today's data has another.

    Args:
        then, now: of the training, and of the data as it is.
    """
    old, new = normalisation(then), normalisation(now)
    if old is None or new is None or old == new:
        return image
    (mean, std), (new_mean, new_std) = (
        [torch.tensor(values, dtype=image.dtype).reshape(-1, 1, 1) for values in pair] for pair in (old, new)
    )
    return (image * new_std + new_mean - mean) / std


def normalisation(info: DatasetInfo) -> tuple[list[float], list[float]] | None:
    """Return mean and deviation by channel; None where each image has its own, or none."""
    mean, std = info.mean, info.std
    return None if mean is None or std is None else (list(mean), list(std))


def _others(info: DatasetInfo, split: Split, names: Iterable[str], what: str) -> Iterator[str]:
    """Yield a line where the set holds other images than it did when the run was trained."""
    then = (info.split or {}).get(split)
    if then is None or not (different := set(then) ^ (now := set(names))):
        return
    more, fewer = sorted(different & now), sorted(different - now)
    found = [(more, "are new"), (fewer, "are missing")]
    some = "; ".join(f"{len(each)} {what} {word}, such as {each[0]}" for each, word in found if each)
    yield f"the {split} set has changed since the run was trained: {some}"


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
        folder, started = paths.absolute(folder), time.perf_counter()
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
