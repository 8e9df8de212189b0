"""Base classes for what datasets offer beyond items: an attribute of such a name alone means nothing.

The one exception is `collate(items)`: a method of the class that takes a list of items and nothing else makes
the batches. What torch cuts from a dataset (`Subset`, `random_split`) or joins (`ConcatDataset`) keeps it.
"""

import bisect
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias, TypeGuard, TypeVar

import numpy as np
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset, IterableDataset, Subset, TensorDataset

Collate: TypeAlias = Callable[[list[Any]], Any]
"""A function that makes a batch of items, which may be of any type."""

D = TypeVar("D", bound=Dataset[Any])


class CollatedDataset(Dataset[object]):
    """A dataset that makes its batches itself."""

    def collate(self, items: list[Any]) -> Any:
        """A batch of these items."""
        raise NotImplementedError


class SampledDataset(Dataset[object]):
    """A dataset whose items are random: the loader hands it a generator seeded by (seed, epoch, index).

    Its plain `[index]` gives the item with a fixed generator, to look at.
    """

    def sample(self, index: int, rng: np.random.Generator) -> object:
        """Item `index`, its randomness drawn from `rng` alone."""
        raise NotImplementedError

    def __getitem__(self, index: int) -> object:
        return self.sample(index, np.random.default_rng((0, index)))


class SizedImages(Dataset[object]):
    """A dataset of whole images that knows the size of each: batches of validation have one size each.

    Attributes:
        sizes: (H, W) of each item.
    """

    sizes: Sequence[tuple[int, int]]


class NamedDataset(Dataset[object]):
    """A dataset whose items have names, by which evaluations list them.

    Attributes:
        names: one an item.
    """

    names: list[str]


class NamedTensors(TensorDataset, NamedDataset):
    """Tensors in memory whose rows have names."""

    def __init__(self, *tensors: Tensor, names: list[str]) -> None:
        super().__init__(*tensors)
        self.names = names


class EpochStream(IterableDataset[object]):
    """A stream that gets the epoch before each pass, in the process that reads it."""

    def set_epoch(self, epoch: int) -> None:
        """The next pass is that of this epoch; training's count from 1, validation's is always 0."""
        raise NotImplementedError


def collate_of(dataset: object) -> Collate | None:
    """The function by which a dataset makes its batches; None where it leaves that to the loader."""
    if isinstance(dataset, CollatedDataset) or _has_collate(dataset):
        return dataset.collate
    if _is(dataset, Subset):
        return collate_of(dataset.dataset)
    if _is(dataset, ConcatDataset):
        found = [collate_of(part) for part in dataset.datasets]
        functions = {getattr(each, "__func__", each) for each in found}
        return found[0] if len(functions) == 1 else None
    return None


def located(dataset: object, index: int) -> tuple[object, int]:
    """The dataset below torch's cuts and joins that holds an item, and the item's number in it."""
    while True:
        if _is(dataset, Subset):
            index = int(dataset.indices[index])
            dataset = dataset.dataset
        elif _is(dataset, ConcatDataset):
            part = bisect.bisect_right(dataset.cumulative_sizes, index)
            index -= dataset.cumulative_sizes[part - 1] if part else 0
            dataset = dataset.datasets[part]
        else:
            return dataset, index


def is_sampled(dataset: object) -> bool:
    """Return whether any item of a dataset is random by `sample`."""
    if _is(dataset, Subset):
        return is_sampled(dataset.dataset)
    if _is(dataset, ConcatDataset):
        return any(is_sampled(part) for part in dataset.datasets)
    return isinstance(dataset, SampledDataset)


def names_of(dataset: object) -> list[str] | None:
    """The names of the items; None where they have none."""
    if isinstance(dataset, NamedDataset):
        return [str(name) for name in dataset.names]
    if _is(dataset, Subset) and (names := names_of(dataset.dataset)) is not None:
        return [names[int(index)] for index in dataset.indices]
    return None


def unused(dataset: object) -> Iterator[str]:
    """Methods that look like a protocol's and are not called, with what to do."""
    if _is(dataset, Subset):
        yield from unused(dataset.dataset)
        return
    name, kind = type(dataset).__name__, type(dataset)
    if not isinstance(dataset, SampledDataset) and _parameters(kind, "sample") == ["index", "rng"]:
        yield f"{name}.sample(index, rng) is not called: derive {name} from lab.data.SampledDataset"
    if not isinstance(dataset, EpochStream) and _parameters(kind, "set_epoch") == ["epoch"]:
        yield f"{name}.set_epoch(epoch) is not called: derive {name} from lab.data.EpochStream, a stream"
    if callable(getattr(dataset, "collate", None)) and collate_of(dataset) is None:
        yield (
            f"{name}.collate is not called, for it is no method that takes a list of items and nothing else: "
            f"derive {name} from lab.data.CollatedDataset"
        )


def _is(dataset: object, kind: type[D]) -> TypeGuard[D]:
    """Return whether it is torch's own class, or one that reads its items as that does."""
    return isinstance(dataset, kind) and type(dataset).__getitem__ is kind.__getitem__


def _has_collate(dataset: object) -> TypeGuard[CollatedDataset]:
    """Return whether a class that isn't derived from `CollatedDataset` has a method of the same call."""
    if inspect.getattr_static(type(dataset), "collate", None) is None:
        return False
    method = getattr(dataset, "collate", None)
    # An attribute of the object, such as a function that a library has set, isn't meant for a loader.
    if "collate" in getattr(dataset, "__dict__", {}) or not callable(method):
        return False
    try:
        parameters = list(inspect.signature(method).parameters.values())
    except (TypeError, ValueError):
        return False
    required = [
        p for p in parameters if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
    ]
    return len(required) == 1 and required[0].kind is not inspect.Parameter.KEYWORD_ONLY


def _parameters(kind: type, name: str) -> list[str]:
    """The names of a method's parameters, without `self`; none where there is no such method."""
    method = inspect.getattr_static(kind, name, None)
    if not inspect.isfunction(method):
        return []
    return list(inspect.signature(method).parameters)[1:]
