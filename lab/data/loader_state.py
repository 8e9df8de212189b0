"""The state of a loader between two batches: of its dataset, sampler, generator and workers.

The loaders of `lab.data` draw from (seed, epoch, index). What a dataset keeps besides, such as a generator
of its own, is read from its attributes where this process reads the data. A worker's copy can't be reached.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset

from lab.data.loaders import Loaders, SampleLoader, TensorLoader
from lab.data.seeded_dataset import SeededDataset
from lab.data.streams import Share, StreamLoader
from lab.state.attributes import Held, has_own_state
from lab.state.components import Component, ComponentStates

_MOST = 2**20  # bytes of one value: a dataset isn't copied into every checkpoint
_OF_WORKERS = "in loader workers: {}, fine for a cache; with workers: 0 it resumes exactly"
_PERSISTENT = (
    "the random streams of workers that are kept over the epochs; persistent_workers=False resumes exactly"
)


class LoaderState(Component):
    """The state of one loader.

    Within an epoch a loader that can't leave out batches reads those before the checkpoint once more: then
    the state that counts is that of the epoch's beginning.
    """

    advice = ""  # the reasons contain it

    def __init__(self, phase: str, loader: object) -> None:
        self._loader = loader
        dataset = dataset_of(loader)
        kind = "stream" if isinstance(dataset, IterableDataset) else "data"
        self._own = has_own_state(loader)
        self._rereads = not isinstance(loader, (TensorLoader, SampleLoader)) and not self._own
        roots = {"loader": loader} if self._own else _roots(loader)
        called = loader if dataset is None else dataset
        super().__init__(f"{phase} {kind}", called, Held(roots, most=_MOST, closely=False))
        self.kind = type(called).__qualname__
        self._beginning: tuple[dict[str, object], list[str]] | None = None
        self.within = False

    @property
    def has_own(self) -> bool:
        """True where the loader, or the dataset, has a `state_dict`."""
        return self._own or has_own_state(dataset_of(self._loader))

    @property
    def continues(self) -> bool:
        """True where the loader stands where the epoch continues, by a state of its own; asked once."""
        within, self.within = self.within, False
        return within and self._own

    def begin(self) -> None:
        """Note the state at the beginning of an epoch."""
        if self._rereads:
            self._beginning = self._held.copied(), list(self._held.unkept)

    def state(self, within: bool) -> tuple[Mapping[str, Any], list[str]]:
        """Return what a checkpoint keeps."""
        # Batches before the checkpoint are read once more on resume, which needs the state of the beginning.
        if within and self._rereads and self._beginning is not None:
            held, unkept = self._beginning
        else:
            held, unkept = self._held.state(), self._held.unkept
        values = {"within": within, "held": held} if held else {}
        return values, [*unkept, *_out_of_reach(self._loader)]

    def load(self, state: Mapping[str, Any], device: torch.device) -> list[str]:
        """Restore it; a worker that starts later begins there, too."""
        self.within = bool(state["within"])
        return self._held.load(state["held"])


def include(components: ComponentStates, data: Loaders) -> LoaderState:
    """Add the data of a run; returns the state of the training data.

    The validation data comes first: where both are cuts of one dataset, training's state counts.
    """
    if data.val is not None:
        components.add("data.val", LoaderState("validation", data.val))
    train = LoaderState("training", data.train)
    components.add("data.train", train)
    return train


def dataset_of(loader: object) -> object:
    """The user's dataset below a loader; None where there is none to be seen."""
    if isinstance(loader, TensorLoader):
        return None
    dataset = getattr(loader, "dataset", None)
    return dataset.dataset if isinstance(dataset, (SeededDataset, Share)) else dataset


def _roots(loader: object) -> dict[str, object]:
    """The objects of this process whose attributes count; a worker begins with a copy of its dataset."""
    if isinstance(loader, TensorLoader):
        return {}
    if not isinstance(loader, DataLoader):
        return {"loader": loader}
    own = isinstance(loader, (SampleLoader, StreamLoader))  # which draw from (seed, epoch, index)
    names = () if own else ("generator", "sampler", "batch_sampler")
    return {**{name: getattr(loader, name) for name in names}, "dataset": dataset_of(loader)}


def _out_of_reach(loader: object) -> list[str]:
    """Return what only a worker knows."""
    if isinstance(loader, (SampleLoader, StreamLoader)):
        changed = loader.changed_in_workers
        return [_OF_WORKERS.format(changed)] if changed else []
    if isinstance(loader, DataLoader) and loader.num_workers and loader.persistent_workers:
        return [_PERSISTENT]
    return []
