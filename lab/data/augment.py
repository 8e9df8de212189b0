"""Random transforms that draw from a generator they are given, and arrays as tensors."""

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lab.data.image_header import Pixels
from lab.state.attributes import Unwatched

Transforms = Sequence[Callable[..., Any]]
"""Albumentations transforms, applied in this order."""


class Augment(Unwatched):
    """Albumentations in a row; none leaves everything as it is."""

    def __init__(self, transforms: Transforms = ()) -> None:
        self._compose: Any = None
        if transforms:
            import albumentations  # 2 s, and nothing else here needs it

            self._compose = albumentations.Compose(list(transforms))

    def __call__(self, rng: np.random.Generator, **arrays: Pixels) -> Mapping[str, Pixels | Tensor]:
        """The arrays (`image`, perhaps `mask`), all changed alike, the randomness drawn from `rng` alone."""
        if self._compose is None:
            return arrays
        # Left alone, albumentations draws from one stream that workers share and every epoch repeats.
        self._compose.set_random_state(rng, random.Random(int(rng.integers(2**63))))
        changed: dict[str, Pixels | Tensor] = self._compose(**arrays)
        return changed


def image_tensor(image: Pixels | Tensor) -> Tensor:
    """Convert (H, W, C), (H, W) or a tensor (C, H, W), as of ToTensorV2, to float32 (C, H, W).

    Integers are scaled to [0, 1] by the range of their type.
    """
    # In NumPy up to the tensor: torch would spread each small sum over threads that wait for each other.
    array = image.numpy() if isinstance(image, Tensor) else np.atleast_3d(image).transpose(2, 0, 1)
    scale = 1 if array.dtype.kind == "f" else np.iinfo(array.dtype).max
    return torch.from_numpy(np.divide(array, np.float32(scale), dtype=np.float32, order="C"))
