"""The return value of every data source, and the seeded cut of one set into several."""

import math
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from lab.config import ConfigError, Problem
from lab.config.dataset_info import NO_FACTS, DatasetInfo, Facts
from lab.data.grouped_split import chosen, dealt

WITHOUT = "`val: null` in the config trains without validation"


class Splits(NamedTuple):
    """The sets of one run. Items are tuples of tensors `(*inputs, target)`.

    `test` is for the final evaluation only. `val` is None where nothing is to be validated; the config then
    has `val: null`.

    `facts` is plain data, as JSON knows it, of what the sets are: what a prediction has to know again
    (normalisation, classes) and what a report shows (which sample was where). Checkpoints keep it.

    A dataset whose items are random (augmentation) is a `SampledDataset`: the loader hands it a generator
    seeded by (seed, epoch, index), so that an item depends neither on the number of workers nor on the order
    of calls.
    """

    train: Dataset[object]
    val: Dataset[object] | None
    test: Dataset[object] | None = None
    facts: Facts = NO_FACTS

    @property
    def info(self) -> DatasetInfo:
        """The facts that the program knows, typed."""
        return DatasetInfo.from_facts(self.facts)

    def declaring(self, info: DatasetInfo) -> "Splits":
        """The same sets with further facts."""
        return self._replace(facts={**self.facts, **info.to_facts()})


def splits_of(found: object, target: str) -> Splits:
    """The sets that a data target returned: (train, val), (train, val, test), `Splits`, or a list.

    Raises:
        ConfigError: it is something else.
    """

    def wrong(message: str) -> ConfigError:
        return ConfigError([Problem(("data", "target"), f"{target} must return {message}")])

    if not isinstance(found, (tuple, list)) or not 2 <= len(found) <= 4:
        many = f" of {len(found)}" if isinstance(found, (tuple, list)) else ""
        raise wrong(f"(train, val) or (train, val, test), found {type(found).__name__}{many}")
    sets, facts = found[:3], found[3] if len(found) == 4 else {}
    if not isinstance(facts, Mapping):
        kind = type(facts).__name__
        raise wrong(f"(train, val, test) and then facts, which are a mapping, found {kind} in their place")
    # A wrong type would otherwise surface as an obscure error in the first batch.
    for name, part in zip(Splits._fields, sets, strict=False):
        kind = type(part).__name__
        if isinstance(part, DataLoader):
            raise wrong(f"datasets, found {kind} as {name}: the run makes the loaders, return its dataset")
        if isinstance(part, (Tensor, np.ndarray)):
            raise wrong(
                f"datasets, found {kind} as {name}: return torch.utils.data.TensorDataset(inputs, targets)"
            )
        readable = isinstance(part, IterableDataset) or hasattr(type(part), "__getitem__")
        if not readable and not (part is None and name != "train"):
            raise wrong(f"datasets, found {kind} as {name}")
    return Splits(sets[0], sets[1], sets[2] if len(sets) > 2 else None, facts)


def require_range(least: float, most: float = math.inf, *, closed: bool = True, **found: float) -> None:
    """Raise ValueError where an argument, by its name, is not in [least, most], or else in [least, most)."""
    allowed = f"in [{least}, {most}{']' if closed else ')'}" if most < math.inf else f"at least {least}"
    for name, value in found.items():
        if not least <= value <= most or (value == most and not closed):
            raise ValueError(f"{name} must be {allowed}, found {value}")


def require_counts(train_count: int, val_count: int, test_count: int) -> None:
    """Raise ValueError where the counts of generated items are too small for sets."""
    require_range(1, train_count=train_count, val_count=val_count)
    require_range(0, test_count=test_count)


def is_empty(dataset: object) -> bool:
    """Return whether a dataset has a length, and it is 0."""
    return isinstance(dataset, Sized) and not len(dataset)


def unvalidated(val: object) -> str:
    """The warning that `val: null` leaves a validation set out; empty where there is none."""
    if val is None or is_empty(val):
        return ""
    # The length of a loader is in batches.
    counted = f"{len(val):,} " if isinstance(val, Dataset) and isinstance(val, Sized) else ""
    return f"val is null: the {counted}validation samples of the data are neither trained on nor validated on"


Indices = NDArray[np.intp]


class Parts(NamedTuple):
    """The items in each set: disjoint indices."""

    train: Indices
    val: Indices
    test: Indices

    def named(self, names: Sequence[str]) -> dict[str, list[str]]:
        """The names of the items in each set."""
        sets = zip(self._fields, self, strict=True)
        return {part: [names[index] for index in indices] for part, indices in sets}


def generated(*counts: int) -> tuple[list[tuple[str, int, int]], Parts]:
    """Name, set and number in it of each generated item, set after set, and the items of the sets."""
    items = [
        (f"{Parts._fields[split]}-{index}", split, index)
        for split, count in enumerate(counts)
        for index in range(count)
    ]
    return items, Parts(*np.split(np.arange(len(items)), np.cumsum(counts)[:-1]))


@dataclass(frozen=True)
class Cut:
    """Options of cutting one set into three, by `lab.data.source_arguments.CutArguments`."""

    val_share: float = 0.2
    test_share: float = 0.0
    seed: int = 0
    folds: int | None = None
    fold: int = 0

    def parts(
        self, total: int, groups: Sequence[str] | None = None, named: Sequence[str] | None = None
    ) -> Parts:
        """Cut `range(total)`.

        Args:
            groups: the group of each item; all items of one land on one side. Fractions are then met as
                nearly as whole groups allow: the differences to both wanted numbers of items have the
                smallest sum (beyond tens of thousands of groups and items, where one set is chosen after
                another or by a heuristic, nearly the smallest).
            named: `train`, `val` or `test` for each item, instead of fractions; with `folds` only `test`.
        Raises:
            ValueError: an argument is out of its range, a side would be empty, or names tear a group apart.
        """
        if named is not None and groups is not None:
            require_whole(groups, named if self.folds is None else [str(n == "test") for n in named])
        if self.folds is not None:
            return self._folded(total, groups, named)
        if named is not None:
            parts = Parts(*(np.flatnonzero(np.asarray(named) == part) for part in Parts._fields))
            # A column that names no validation item is fine where none is wanted.
            for part in ("train", "val") if self.val_share else ("train",):
                if not len(getattr(parts, part)):
                    raise ValueError(
                        f"the sets are named by a column, lists or folders, and nothing is in '{part}'"
                    )
            return parts
        if groups is None:
            return Parts(*split_indices(total, self.val_share, self.test_share, self.seed))
        _check_shares(self.val_share, self.test_share)
        units = _units(groups, self.seed)
        needed = 1 + sum(share > 0 for share in (self.val_share, self.test_share))
        if len(units) < needed:
            raise ValueError(f"{len(units)} group(s) can't be cut into {needed} sets: a group stays whole")
        shares = [share for share in (self.test_share, self.val_share) if share]
        taken = _take(units, [round(total * share) for share in shares], 1, self.seed) if shares else []
        val = _joined(taken.pop() if self.val_share else [])
        return Parts(_joined(units), val, _joined(taken.pop() if taken else []))

    def require_folds(self) -> None:
        """Raise ValueError where the number of folds, or of the one to validate on, is out of its range."""
        if self.folds is not None and (self.folds < 2 or not 0 <= self.fold < self.folds):
            raise ValueError(
                "folds must be at least 2 and fold from 0 to folds - 1, "
                f"found folds={self.folds}, fold={self.fold}"
            )

    def _folded(self, total: int, groups: Sequence[str] | None, named: Sequence[str] | None) -> Parts:
        """Test items first, by name or fraction, then folds over the rest."""
        assert self.folds is not None
        what = "images" if groups is None else "groups"
        self.require_folds()
        require_range(0, 1, closed=False, test_share=self.test_share)
        units = _units([str(index) for index in range(total)] if groups is None else groups, self.seed)
        test: list[Indices] = []
        if named is not None:
            test = [unit for unit in units if named[unit[0]] == "test"]
            units = [unit for unit in units if named[unit[0]] != "test"]
        elif self.test_share:
            # A group more in the test set must not leave too few for the folds.
            keep = 1 if groups is None else max(1, min(self.folds, len(units) - 1))
            (test,) = _take(units, [round(total * self.test_share)], keep, self.seed)
        if self.folds > len(units):
            after = " beside the test set" if test else ""
            raise ValueError(
                f"folds={self.folds}, but there are {len(units)} {what}{after}: "
                f"folds={len(units)} leaves one out at a time, and there can't be more"
            )
        folds = [
            [units[index] for index in fold] for fold in dealt([len(unit) for unit in units], self.folds)
        ]
        train = [unit for index, fold in enumerate(folds) if index != self.fold for unit in fold]
        return Parts(_joined(train), _joined(folds[self.fold]), _joined(test))


def _units(groups: Sequence[str], seed: int) -> list[Indices]:
    """The indices of each group, the groups shuffled: by names and seed alone, not by the files' order."""
    members: dict[str, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    names = sorted(members)
    order = np.random.default_rng(seed).permutation(len(names))
    return [np.asarray(members[names[index]], np.intp) for index in order]


def _take(units: list[Indices], wanted: Sequence[int], keep: int, seed: int) -> list[list[Indices]]:
    """Move units out of the list into sets whose numbers of items are nearest to those that are wanted."""
    sets = chosen([len(unit) for unit in units], wanted, keep, np.random.default_rng(seed))
    taken = [[units[index] for index in own] for own in sets]
    used = {index for own in sets for index in own}
    units[:] = [unit for index, unit in enumerate(units) if index not in used]
    return taken


def _joined(units: Sequence[Indices]) -> Indices:
    return np.sort(np.concatenate(units)) if units else np.empty(0, np.intp)


def require_whole(groups: Sequence[str], named: Sequence[str]) -> None:
    """Raise an error if names put a group on more than one side.

    Raises:
        ValueError: they do.
    """
    sides: dict[str, set[str]] = {}
    for group, name in zip(groups, named, strict=True):
        sides.setdefault(group, set()).add(name)
    torn = [group for group, found in sides.items() if len(found) > 1]
    if torn:
        raise ValueError(f"the column of splits puts groups on more than one side: {', '.join(torn[:8])}")


def _check_shares(val_share: float, test_share: float) -> None:
    if not 0 <= val_share < 1 or not 0 <= test_share < 1 or val_share + test_share >= 1:
        raise ValueError(
            f"val_share must be in [0, 1), test_share in [0, 1) and their sum below 1, "
            f"found val_share={val_share}, test_share={test_share}"
        )


def split_counts(total: int, val_share: float, test_share: float) -> tuple[int, int, int]:
    """Return the numbers of items in train, val and test; a fraction above 0 gets at least one item.

    Raises:
        ValueError: a fraction is outside its range, or no item is left for train.
    """
    _check_shares(val_share, test_share)
    val = max(1, round(total * val_share)) if val_share else 0
    test = max(1, round(total * test_share)) if test_share else 0
    if val + test >= total:
        raise ValueError(
            f"{total} items are too few for val_share={val_share}, test_share={test_share}: "
            "none is left to train on"
        )
    return total - val - test, val, test


def split_indices(
    total: int, val_share: float, test_share: float, seed: int
) -> tuple[Indices, Indices, Indices]:
    """Shuffle `range(total)` by `seed` and cut it into train, val and test (disjoint, together everything).

    Raises:
        ValueError: as for `split_counts`.
    """
    train, val, _ = split_counts(total, val_share, test_share)
    order = np.random.default_rng(seed).permutation(total)
    return order[:train], order[train : train + val], order[train + val :]
