"""The sets of a run from pairs of image and mask: shared by every source of segmentation data."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from lab.config.dataset_info import DatasetInfo
from lab.config.mask_values import Auto, background_index
from lab.data.image_mask_pairs import AugmentedPairs, FixedPairs, Transforms
from lab.data.normalization import Mode, fitted
from lab.data.pair_cache import Pair, Subset
from lab.data.patches import Patches, PatchPairs, is_object
from lab.data.splits import Cut, Parts, Splits, require_whole
from lab.data.unicode_names import numbers_first


@dataclass(frozen=True)
class Sample:
    """Metadata of a labelled image."""

    name: str
    group: str | None = None
    sequence: str | None = None
    split: str | None = None


@dataclass(frozen=True)
class Serving:
    """Options of making items of pairs, by `lab.data.source_arguments.PairArguments`.

    Raises:
        ValueError: the transforms normalise too, or `normalise` is none of its words.
    """

    patches: Patches | Mapping[str, Any] | None = None
    normalise: Mode = "train"
    transforms: Transforms = ()
    val_transforms: Transforms = ()

    def __post_init__(self) -> None:
        if self.normalise not in ("train", "image", "none"):
            raise ValueError(f"normalise must be train, image or none, found {self.normalise!r}")
        if isinstance(self.patches, Mapping):
            try:
                # A config passes a mapping, and the dataclass is frozen.
                object.__setattr__(self, "patches", Patches(**self.patches))
            except TypeError as error:
                raise ValueError(f"patches: {error}") from error
        for name in ("transforms", "val_transforms"):
            if self.normalise != "none" and any(_normalises(step) for step in getattr(self, name)):
                raise ValueError(
                    f"{name} has a Normalize, and normalise: {self.normalise} does that again: remove the "
                    "transform (its numbers would not be in the checkpoint), or set normalise: none"
                )


def _normalises(step: object) -> bool:
    """Return whether a transform is, or contains, albumentations.Normalize."""
    inner = getattr(step, "transforms", ())
    return type(step).__name__ == "Normalize" or any(_normalises(part) for part in inner)


def divide(samples: Sequence[Sample], cut: Cut) -> Parts:
    """Divide samples into sets: by their splits where they have some, else by the cut; groups stay whole.

    Where the splits name no `val`, it is cut from the training samples.

    Raises:
        ValueError: as for `Cut.parts`; or `test_share` has no effect.
    """
    groups = [str(sample.group) for sample in samples] if any(s.group is not None for s in samples) else None
    named = [str(sample.split) for sample in samples] if any(s.split is not None for s in samples) else None
    # Names of training and test data alone leave validation to the cut; all other cases are those of `Cut`.
    if named is None or cut.folds is not None or not {"train"} <= set(named) <= {"train", "test"}:
        return cut.parts(len(samples), groups, named)
    names = np.asarray(named)
    free, test = np.flatnonzero(names == "train"), np.flatnonzero(names == "test")
    if cut.test_share and len(test):
        raise ValueError("test_share has no effect where the test set is named already: leave it at 0")
    if groups is not None:
        require_whole(groups, named)
    parts = cut.parts(len(free), None if groups is None else [groups[index] for index in free])
    return Parts(free[parts.train], free[parts.val], test if len(test) else free[parts.test])


def assemble(
    samples: Sequence[Sample],
    pairs: Sequence[Pair],
    parts: Parts,
    serving: Serving,
    classes: Sequence[str],
    unlabelled: Sequence[str] = (),
    background: str | None = Auto.AUTO,
) -> Splits:
    """Build the sets. Validation and test images are whole and ordered by size, so that no batch is padded.

    Args:
        pairs: of each sample; read once for the statistics, and for the objects where patches are cut.
        classes: names by index.
        background: the class that is no object; None: each is one; `auto`: the one that is called so.
        unlabelled: names of images that are in no set, for the facts.
    Raises:
        ValueError: no training mask has an object, or there is no class `background`.
    """
    nothing = background_index(classes, background)
    trained = Subset(pairs, parts.train)
    normalise = fitted(serving.normalise, (trained[index][0] for index in range(len(trained))))
    numbers = _sequences([samples[index] for index in parts.train])

    def serve(indices: Iterable[int], kind: Callable[..., Dataset[object]], *options: Any) -> Dataset[object]:
        chosen = list(indices)
        return kind(
            Subset(pairs, chosen),
            *options,
            names=[samples[index].name for index in chosen],
            sequences=None
            if numbers is None
            else [numbers.get(str(samples[index].sequence), -1) for index in chosen],
            classes=len(classes),
            normalise=normalise,
        )

    def serve_whole(indices: Iterable[int]) -> Dataset[object]:
        ordered = sorted(indices, key=lambda index: pairs[index][1].shape)
        return serve(ordered, FixedPairs, serving.val_transforms)

    if isinstance(serving.patches, Patches):
        kind = functools.partial(PatchPairs, background=nothing)
        train = serve(parts.train, kind, serving.patches, serving.transforms)
    else:
        train = serve(parts.train, AugmentedPairs if serving.transforms else FixedPairs, serving.transforms)
    split = parts.named([sample.name for sample in samples])
    info = DatasetInfo(
        in_channels=int(pairs[0][0].shape[2]),
        classes=list(classes),
        background=None if nothing is None else classes[nothing],
        normalise="none",
        sequences=numbers,
        counts=_counts(split, unlabelled),
        split=split,
        without_objects=_without_objects(samples, pairs, parts.train, nothing) or (),
        patches=train.facts() if isinstance(train, PatchPairs) else None,
    )
    val, test = (serve_whole(part) if len(part) else None for part in (parts.val, parts.test))
    return Splits(train, val, test, info.to_facts() | (normalise.facts() if normalise else {}))


def _counts(split: Mapping[str, Sequence[str]], unlabelled: Sequence[str]) -> dict[str, int]:
    counts = {name: len(names) for name, names in split.items()}
    return {**counts, "unlabelled": len(unlabelled)} if unlabelled else counts


def _without_objects(
    samples: Sequence[Sample], pairs: Sequence[Pair], trained: Iterable[int], background: int | None
) -> list[str]:
    """The training images that show nothing but background, where there are any.

    Raises:
        ValueError: all of them do: the masks are read otherwise than they are meant.
    """
    trained = list(trained)
    names = [samples[index].name for index in trained if not is_object(pairs[index][1], background).any()]
    if trained and len(names) == len(trained):
        raise ValueError(
            f"none of the {len(names)} training masks has a pixel of an object; look at mask_threshold, "
            "classes and ignore"
        )
    return names


def _sequences(trained: Sequence[Sample]) -> dict[str, int] | None:
    """A number for each sequence of the training samples, in order; None: nothing is conditioned."""
    names = {sample.sequence for sample in trained if sample.sequence is not None}
    return {name: number for number, name in enumerate(sorted(names, key=numbers_first))} or None
