"""Sets of images of one class each, for every source of them, and the preprocessing of images."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lab.config.dataset_info import DatasetInfo, Facts
from lab.data.augment import Augment, Transforms, image_tensor
from lab.data.image_header import Pixels
from lab.data.image_mask_pairs import Items, SampledItems, in_memory
from lab.data.normalization import Mode, Normalise, fitted
from lab.data.pair_cache import Subset
from lab.data.splits import Indices, Parts, Splits

Labelled = tuple[Pixels, Pixels]
"""An image (H, W, C), uint8 or float32 in [0, 1], and its class, int64 (1,): a pair that a Store can keep."""


def prepare(image: Pixels, facts: Facts) -> Tensor:
    """An image as a network gets it, by what its training recorded in `Splits.facts`.

    Args:
        image: (H, W, C), as `lab.data.image_reader.read_image(path, facts["in_channels"])` gives it.
    Returns:
        float32 (C, *facts["size"]), normalised.
    Raises:
        ValueError: the image has another number of channels.
    """
    info = DatasetInfo.from_facts(facts)
    if image.ndim != 3 or image.shape[2] != info.in_channels:
        raise ValueError(
            f"expected an image (H, W, {info.in_channels}), found {' × '.join(map(str, image.shape))}"
        )
    assert info.size is not None, "its caller has found both"
    return _finished(resize(image, info.size), Normalise.from_facts(facts))


def resize(image: Pixels, size: Sequence[int]) -> Pixels:
    """An image (H, W, C) in the size [height, width]: sides that shrink by area, those that grow linearly.

    The sides' ratio is not kept. An image that has the size already is returned as it is.
    """
    import cv2

    height, width = size
    smaller = min(width, image.shape[1]), min(height, image.shape[0])
    # Interpolation by area avoids aliasing where an image shrinks, and would be blocky where it grows.
    for target, how in ((smaller, cv2.INTER_AREA), ((width, height), cv2.INTER_LINEAR)):
        if image.shape[1::-1] != target:
            image = np.asarray(cv2.resize(image, target, interpolation=how))
            image = image[..., None] if image.ndim == 2 else image  # cv2 drops a single channel's axis
    return image


class LabelledImages(Items):
    """Images and their classes, put through transforms with a fixed generator.

    An item is (image, class): float32 (C, H, W), in [0, 1] and then normalised; int64 ().

    Args:
        names: of the images.
    """

    def __init__(
        self,
        images: Sequence[Labelled],
        names: Sequence[str],
        normalise: Normalise | None = None,
        transforms: Transforms = (),
    ) -> None:
        super().__init__(images, names)
        self._normalise, self._augment = normalise, Augment(transforms)
        self._changed = bool(transforms)

    def _item(self, index: int, rng: np.random.Generator) -> tuple[Tensor, ...]:
        image, label = self._pairs[index]
        if self._changed:  # a transform may write to what it gets
            image = image.copy()
        changed = self._augment(rng, image=image)
        return _finished(changed["image"], self._normalise), torch.tensor(int(label[0]))


class AugmentedImages(LabelledImages, SampledItems):
    """Images whose transforms are random."""


def assemble(
    images: Sequence[Labelled],
    names: Sequence[str],
    parts: Parts,
    classes: Sequence[str],
    *,
    normalise: Mode = "none",
    transforms: Transforms = (),
    stacked_bytes: float = float("inf"),
) -> Splits:
    """Build the sets and their facts: each set in the order of its indices, the transforms for training only.

    The facts beside those of `Normalise`: `classes`, names by index; `in_channels`;
    `size` [height, width]; `counts` and `split`, how many of each class and whose names are in
    each set; `class_weights`, one a class k: n / (K · n_k) for n training images of K classes, so that rare
    classes weigh as much as frequent ones and the mean over the images is 1.

    Args:
        images: of one size, their classes below `len(classes)`; every class is in the training set.
        stacked_bytes: sets without transforms are stacked into one tensor while all of them, as float32,
            need no more; beyond it items are made one by one.
    """
    scale = fitted(normalise, (images[index][0] for index in parts.train))
    labels = np.array([int(images[index][1][0]) for index in range(len(images))])
    first = images[0][0]
    stacks = sum(map(len, parts)) * first.size * 4 <= stacked_bytes

    def serve(indices: Indices, changes: Transforms = ()) -> Dataset[object]:
        chosen, own = Subset(images, indices), [names[index] for index in indices]
        if changes:
            return AugmentedImages(chosen, own, scale, changes)
        plain = LabelledImages(chosen, own, scale)
        return in_memory(plain) if stacks else plain

    counts = {
        part: np.bincount(labels[indices], minlength=len(classes)).tolist()
        for part, indices in zip(Parts._fields, parts, strict=True)
    }
    info = DatasetInfo(
        in_channels=int(first.shape[2]),
        size=[int(side) for side in first.shape[:2]],
        classes=list(classes),
        normalise="none",
        counts={part: dict(zip(classes, found, strict=True)) for part, found in counts.items()},
        split=parts.named(names),
        class_weights=[len(parts.train) / (len(classes) * count) for count in counts["train"]],
    )
    val, test = (serve(part) if len(part) else None for part in (parts.val, parts.test))
    facts = info.to_facts() | (scale.facts() if scale else {})
    return Splits(serve(parts.train, transforms), val, test, facts)


def _finished(image: Pixels | Tensor, normalise: Normalise | None) -> Tensor:
    tensor = image_tensor(image)
    return tensor if normalise is None else normalise(tensor)
