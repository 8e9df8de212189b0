"""Patches of large images: most of them around objects, some without any, cut anew in every epoch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict
from torch import Tensor

from lab.config.mask_values import IGNORE_INDEX
from lab.data.image_header import Pixels
from lab.data.image_mask_pairs import ImagePairs, SampledItems, Transforms
from lab.data.normalization import Normalise, statistics
from lab.data.pair_cache import Pair
from lab.data.splits import require_range

_TRIES = 24  # random places that are looked at for a patch without an object
_PIXELS = 1024  # of an object that are remembered as centres


@dataclass(frozen=True)
class Patches:
    """Options of cutting patches.

    Args:
        size: side of a patch in pixels. Transforms come after the cut: for rotations that bring in no
            padding, cut larger and end them with a CenterCrop.
        per_image: patches of each image in one epoch.
        negative_share: fraction of the patches that have no object in them, in [0, 1].
        jitter: how far an object's pixel may lie from the patch's centre along each axis, at most size / 2;
            by default size / 8. The pixel is always inside of the patch.
    Raises:
        ValueError: a number is out of its range.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    size: int = 256
    per_image: int = 16
    negative_share: float = 0.2
    jitter: int | None = None

    def __post_init__(self) -> None:
        require_range(1, size=self.size, per_image=self.per_image)
        require_range(0, 1, negative_share=self.negative_share)
        if not 0 <= self.reach <= self.size // 2:
            raise ValueError(f"jitter must be from 0 to size / 2, found {self.jitter} of size {self.size}")

    @property
    def reach(self) -> int:
        """The jitter in pixels."""
        return self.size // 8 if self.jitter is None else self.jitter


class PatchPairs(ImagePairs, SampledItems):
    """Patches as items; item i is cut from image i // per_image, at a place that the generator draws.

    A patch around an object: every object (a connected area of one class) is equally likely, whatever its
    size, then each of its pixels. An image without objects gives patches from anywhere. Images that are
    smaller than a patch are continued by reflection together with their masks, as predictions continue
    theirs: reflected objects are still objects, and a label of background would teach otherwise.

    With normalisation by the image's own pixels, it is the whole image's that count, as in a prediction.

    Raises:
        ValueError: no image has an object.
    """

    def __init__(
        self, pairs: Sequence[Pair], patches: Patches, transforms: Transforms = (), **options: Any
    ) -> None:
        self._background = options.pop("background", 0)
        super().__init__(pairs, transforms, **options)
        self._patches = patches
        self.images = self.names
        self.names = [name for name in self.names for _ in range(patches.per_image)]
        self._objects = [_objects(pairs[index][1], self._background) for index in range(len(pairs))]
        if not any(self._objects):
            raise ValueError(
                f"positives missing from patches: none of the {len(pairs)} training masks has a pixel of an "
                "object; look at mask_threshold, classes and ignore"
            )
        self._own: list[Normalise] | None = None
        if self._prepare.normalise is not None and self._prepare.normalise.mean is None:
            self._own = [Normalise(*statistics([pairs[index][0]])) for index in range(len(pairs))]

    def __len__(self) -> int:
        return len(self._pairs) * self._patches.per_image

    def facts(self) -> dict[str, object]:
        """Return the number of objects in the images, and the names of the images without any."""
        return {
            "objects": sum(map(len, self._objects)),
            "images_without": [n for n, found in zip(self.images, self._objects, strict=True) if not found],
        }

    def _item(self, index: int, rng: np.random.Generator) -> tuple[Tensor, ...]:
        which = index // self._patches.per_image
        image, mask = self._pairs[which]
        top, left = self._place(which, mask, rng)
        size = self._patches.size
        image, mask = (_cut(array, top, left, size) for array in (image, mask))
        return self._tensors(which, image, mask, rng, None if self._own is None else self._own[which])

    def _place(self, which: int, mask: Pixels, rng: np.random.Generator) -> tuple[int, int]:
        """Top and left of a patch, within the image wherever it fits."""
        objects, patches = self._objects[which], self._patches
        room = [max(0, side - patches.size) for side in mask.shape]
        # Without a background there is an object everywhere, and no place for a negative patch.
        if objects and (rng.random() >= patches.negative_share or self._background is None):
            pixels = objects[int(rng.integers(len(objects)))]
            pixel = np.unravel_index(int(pixels[rng.integers(len(pixels))]), mask.shape)
            # Of an even size the centre has one pixel less after it: full jitter would miss the pixel.
            least = -min(patches.reach, (patches.size - 1) // 2)
            shift = rng.integers(least, patches.reach, 2, endpoint=True)
            corner = [int(pixel[k]) - patches.size // 2 + int(shift[k]) for k in range(2)]
            return min(max(corner[0], 0), room[0]), min(max(corner[1], 0), room[1])
        # No object is wanted: of some random places the one with the fewest pixels of objects.
        best, fewest = (0, 0), mask.size + 1
        for _ in range(_TRIES if objects else 1):
            top, left = (int(rng.integers(side + 1)) for side in room)
            part = mask[top : top + patches.size, left : left + patches.size]
            found = int(is_object(part, self._background).sum())
            if found < fewest:
                best, fewest = (top, left), found
            if fewest == 0:
                break
        return best


def _cut(array: Pixels, top: int, left: int, size: int) -> Pixels:
    """A copy of size × size, continued by reflection where the array ends."""
    part = array[top : top + size, left : left + size]
    missing = [size - part.shape[0], size - part.shape[1]]
    if not any(missing):
        return part.copy()
    around = [(gap // 2, gap - gap // 2) for gap in missing] + [(0, 0)] * (array.ndim - 2)
    return np.pad(part, around, mode="reflect")


def is_object(mask: Pixels, background: int | None = 0) -> NDArray[np.bool_]:
    """The pixels that belong to an object: neither background, where there is such a class, nor ignored."""
    return np.asarray((mask != (IGNORE_INDEX if background is None else background)) & (mask != IGNORE_INDEX))


def _objects(mask: Pixels, background: int | None = 0) -> list[NDArray[np.int32]]:
    """For each connected area of one class the places of its pixels in the flattened mask, at most so many.

    Of a large area some are kept, drawn at random: as centres they are as good as all, in 4 KB, not 4 MB.
    """
    import cv2

    found: list[NDArray[np.int32]] = []
    for value in np.unique(mask[is_object(mask, background)]):
        _, labels = cv2.connectedComponents((mask == value).astype(np.uint8))
        flat = labels.ravel()
        places = np.flatnonzero(flat).astype(np.int32)
        # Sorted by component, so that one split separates the pixels of all components.
        places = places[np.argsort(flat[places], kind="stable")]
        for pixels in np.split(places, np.flatnonzero(np.diff(flat[places])) + 1):
            if len(pixels) > _PIXELS:  # every n-th would be a column where n divides the width
                pixels = np.random.default_rng(len(pixels)).choice(pixels, _PIXELS, replace=False)
            found.append(pixels)
    return found
