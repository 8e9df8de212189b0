"""Pairs of image and mask as the items of a dataset, put through augmentation and normalisation."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from lab.config.mask_values import IGNORE_INDEX
from lab.data.augment import Augment, Transforms, image_tensor
from lab.data.image_header import Pixels
from lab.data.normalization import Normalise
from lab.data.pair_cache import Pair
from lab.data.protocols import NamedDataset, NamedTensors, SampledDataset, SizedImages

__all__ = ["AugmentedPairs", "FixedPairs", "ImagePairs", "Preparation", "Transforms", "in_memory"]


class Preparation:
    """Makes an item of a pair: transforms, tensors, normalisation.

    An item is (image, mask): float32 (C, H, W), scaled to [0, 1] unless a transform already returned floats,
    then normalised; the mask is float32 (1, H, W) in {0, 1, IGNORE_INDEX} for two classes, int64 (H, W) for
    more.
    """

    def __init__(
        self, transforms: Transforms = (), classes: int = 2, normalise: Normalise | None = None
    ) -> None:
        self.classes = classes
        self.normalise = normalise
        self._augment = Augment(transforms)

    def __call__(
        self, image: Pixels, mask: Pixels, rng: np.random.Generator, own: Normalise | None = None
    ) -> tuple[Tensor, Tensor]:
        """The item, its randomness drawn from `rng` alone; `own` replaces the normalisation."""
        changed = self._augment(rng, image=image, mask=mask)
        tensor = image_tensor(changed["image"])
        normalise = own or self.normalise
        if normalise is not None:
            tensor = normalise(tensor)
        return tensor, _mask_tensor(changed["mask"], self.classes)


class Items(NamedDataset):
    """Named items, each made of a kept pair with a generator, which is a fixed one for a plain `[index]`."""

    def __init__(self, pairs: Sequence[Pair], names: Sequence[str]) -> None:
        self._pairs, self.names = pairs, list(names)

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        return self._item(index, np.random.default_rng((0, index)))

    def _item(self, index: int, rng: np.random.Generator) -> tuple[Tensor, ...]:
        raise NotImplementedError


class SampledItems(Items, SampledDataset):
    """Items that are random: the loader asks for `sample` with the epoch's generator."""

    def sample(self, index: int, rng: np.random.Generator) -> tuple[Tensor, ...]:
        """Item `index`, its randomness drawn from `rng` alone: equal generators give equal items."""
        return self._item(index, rng)


class ImagePairs(Items):
    """Images and masks, each pair put through the same transforms with a fixed generator.

    An item is (image, mask), see `Preparation`, or (image, sequence, mask) with the sequence int64 ().

    Args:
        classes: how many the masks have, with the background.
        sequences: the number of each pair's sequence; -1 is an unknown one.
        names: of the pairs.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        transforms: Transforms = (),
        *,
        classes: int = 2,
        normalise: Normalise | None = None,
        sequences: Sequence[int] | None = None,
        names: Sequence[str] | None = None,
    ) -> None:
        super().__init__(pairs, list(map(str, range(len(pairs)))) if names is None else names)
        self._prepare = Preparation(transforms, classes, normalise)
        self._plain = not transforms
        self.sequences = sequences

    def _item(self, index: int, rng: np.random.Generator) -> tuple[Tensor, ...]:
        image, mask = self._pairs[index]
        # Of mapped files tensors and transforms want a copy of their own.
        if not (image.flags.writeable and mask.flags.writeable):
            image, mask = image.copy(), mask.copy()
        return self._tensors(index, image, mask, rng)

    def _tensors(
        self,
        which: int,
        image: Pixels,
        mask: Pixels,
        rng: np.random.Generator,
        own: Normalise | None = None,
    ) -> tuple[Tensor, ...]:
        """Return the item of pair `which`, made of its image and mask or of a patch of them."""
        image_tensor, mask_tensor = self._prepare(image, mask, rng, own)
        if self.sequences is None:
            return image_tensor, mask_tensor
        return image_tensor, torch.tensor(self.sequences[which]), mask_tensor


class FixedPairs(ImagePairs, SizedImages):
    """Image pairs whose items never change; `sizes` has (H, W) of each, so that a loader need not pad."""

    def __init__(self, pairs: Sequence[Pair], transforms: Transforms = (), **options: Any) -> None:
        super().__init__(pairs, transforms, **options)
        if self._plain:
            shapes = [mask.shape for _, mask in pairs]
        else:
            shapes = [self[index][-1].shape for index in range(len(pairs))]
        self.sizes = [(int(shape[-2]), int(shape[-1])) for shape in shapes]


class AugmentedPairs(ImagePairs, SampledItems):
    """Image pairs whose transforms are random."""


def in_memory(items: Items) -> TensorDataset:
    """The items, stacked: for those of one size that are to be served many times unchanged."""
    columns = zip(*(items[index] for index in range(len(items))), strict=True)
    return NamedTensors(*(torch.stack(column) for column in columns), names=items.names)


def _mask_tensor(mask: Pixels | Tensor, classes: int) -> Tensor:
    """Convert a mask (H, W) or (H, W, 1) of any type to the target of so many classes."""
    array = mask.numpy() if isinstance(mask, Tensor) else mask
    if array.ndim == 3:
        array = array[..., 0] if array.shape[-1] == 1 else array[0]
    if classes > 2:
        return torch.from_numpy(array.astype(np.int64, order="C"))
    target = (array > 0.5).astype(np.float32, order="C")
    target[array == IGNORE_INDEX] = IGNORE_INDEX
    return torch.from_numpy(target[None])
