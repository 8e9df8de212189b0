import random
from collections.abc import Iterator

import albumentations as A
import cv2
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lab.config.mask_values import IGNORE_INDEX
from lab.data.image_mask_pairs import AugmentedPairs, FixedPairs, ImagePairs, in_memory
from lab.data.normalization import Normalise
from lab.data.pair_cache import Pair

RANDOM = [
    A.RandomCrop(24, 24, pad_if_needed=True),
    A.D4(p=1.0),
    A.OneOf([A.GaussianBlur(p=1.0), A.RandomBrightnessContrast(p=1.0)], p=0.7),
    A.GaussNoise(p=0.8),
]


def coded(count: int = 6, size: int = 32, channels: int = 3) -> list[Pair]:
    """Images that tell where each pixel came from: bright exactly where the mask is set."""
    rng = np.random.default_rng(0)
    masks = [(cv2.blur(rng.random((size, size)), (5, 5)) > 0.5).astype(np.uint8) for _ in range(count)]
    return [(np.repeat(mask[..., None] * np.uint8(200), channels, axis=2), mask) for mask in masks]


# --- items ------------------------------------------------------------------------------------------------


def test_items_are_scaled_and_binary() -> None:
    image = np.array([[[0, 51, 255]]], np.uint8)
    x, y = ImagePairs([(image, np.array([[1]], np.uint8))])[0]
    assert (x.shape, x.dtype, y.shape, y.dtype) == ((3, 1, 1), torch.float32, (1, 1, 1), torch.float32)
    torch.testing.assert_close(x.flatten(), torch.tensor([0, 0.2, 1]))
    assert y.item() == 1


@pytest.mark.parametrize("size", [1, 5])
@pytest.mark.parametrize("channels", [1, 3])
def test_small_and_grey_images_keep_their_axes(size: int, channels: int) -> None:
    x, y = ImagePairs(coded(1, size, channels), [A.HorizontalFlip(p=1.0)])[0]
    assert (x.shape, y.shape) == ((channels, size, size), (1, size, size))


def test_floats_are_not_scaled_again() -> None:
    normalize = A.Normalize(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    x, _ = ImagePairs(coded(1), [normalize])[0]
    torch.testing.assert_close(x.unique(), torch.tensor([-2.0, (200 / 255 - 0.5) / 0.25]))


def test_to_tensor_gives_the_same_item() -> None:
    plain, tensor = ImagePairs(coded(1))[0], ImagePairs(coded(1), [A.ToTensorV2()])[0]
    assert all(torch.equal(a, b) for a, b in zip(plain, tensor, strict=True))


def test_image_and_mask_get_the_same_geometry() -> None:
    geometry = [A.D4(p=1.0), A.Affine(rotate=(-90, 90), scale=(0.7, 1.4), interpolation=0, p=1.0)]
    pairs = AugmentedPairs(coded(), geometry)
    for k in range(40):
        image, mask = pairs.sample(k % 6, np.random.default_rng(k))
        assert torch.equal((image[:1] > 0.5).float(), mask)
    assert not torch.equal(mask, ImagePairs(coded())[k % 6][1])


def test_the_stored_images_are_not_changed() -> None:
    stored = coded()
    pairs = AugmentedPairs(stored, RANDOM)
    for k in range(12):
        pairs.sample(k % 6, np.random.default_rng(k))
    for (image, mask), (image0, mask0) in zip(stored, coded(), strict=True):
        assert np.array_equal(image, image0) and np.array_equal(mask, mask0)


def test_in_memory_holds_the_same_items() -> None:
    pairs = ImagePairs(coded(), [A.RandomCrop(8, 8)])
    stacked = in_memory(pairs)
    for index in range(6):
        assert all(torch.equal(a, b) for a, b in zip(pairs[index], stacked[index], strict=True))


# --- randomness -------------------------------------------------------------------------------------------


def equal(a: tuple[Tensor, ...], b: tuple[Tensor, ...]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_equal_generators_give_equal_items_whatever_ran_before() -> None:
    one, two = AugmentedPairs(coded(), RANDOM), AugmentedPairs(coded(), RANDOM)
    expected = one.sample(3, np.random.default_rng((0, 1, 3)))
    random.seed(99)
    np.random.seed(99)
    for index in (5, 0, 3):
        two.sample(index, np.random.default_rng(index))
    assert equal(expected, two.sample(3, np.random.default_rng((0, 1, 3))))
    assert not equal(expected, two.sample(3, np.random.default_rng((0, 2, 3))))


def test_plain_indexing_is_fixed() -> None:
    pairs = AugmentedPairs(coded(), RANDOM)
    first = pairs[2]
    pairs.sample(2, np.random.default_rng(7))
    assert equal(first, pairs[2])
    assert not hasattr(ImagePairs(coded(), RANDOM), "sample")


class Epoch(Dataset[tuple[Tensor, ...]]):
    """Draw items as a loader does: a generator per (seed, epoch, index)."""

    def __init__(self, pairs: AugmentedPairs, epoch: int) -> None:
        self.pairs, self.epoch = pairs, epoch

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        return self.pairs.sample(index, np.random.default_rng((0, self.epoch, index)))


def test_workers_change_nothing_and_epochs_never_repeat() -> None:
    # Every image is the same here, so that only the augmentation can tell two items apart.
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    pairs = AugmentedPairs([(noise, np.zeros((32, 32), np.uint8))] * 6, RANDOM)

    def epoch(number: int, workers: int) -> Iterator[Tensor]:
        for image, _ in DataLoader(Epoch(pairs, number), batch_size=2, num_workers=workers):
            yield from image

    runs = [torch.stack([image for e in (1, 2) for image in epoch(e, workers)]) for workers in (0, 1, 2)]
    assert torch.equal(runs[0], runs[1]) and torch.equal(runs[0], runs[2])
    assert len(runs[0].flatten(1).unique(dim=0)) == 12  # six items, two epochs: no two alike


# --- classes, sequences, sizes ----------------------------------------------------------------------------


def test_targets_of_two_and_of_more_classes() -> None:
    mask = np.array([[0, 1, IGNORE_INDEX], [2, 0, 1]], np.uint8)
    image = np.zeros((2, 3, 1), np.uint8)
    _, two = ImagePairs([(image, np.minimum(mask, 1) + (mask == IGNORE_INDEX) * np.uint8(254))])[0]
    assert (two.dtype, two.tolist()) == (torch.float32, [[[0, 1, 255], [1, 0, 1]]])
    _, three = ImagePairs([(image, mask)], classes=3)[0]
    assert (three.dtype, three.tolist()) == (torch.int64, [[0, 1, 255], [2, 0, 1]])


def test_a_sequence_comes_between_image_and_mask() -> None:
    pairs = AugmentedPairs(coded(2), RANDOM, sequences=[3, -1], names=["a", "b"])
    image, sequence, mask = pairs.sample(1, np.random.default_rng(0))
    assert (sequence.item(), sequence.dtype, sequence.shape) == (-1, torch.int64, ())
    assert (image.shape, mask.shape, pairs.names) == ((3, 24, 24), (1, 24, 24), ["a", "b"])


def test_normalisation_comes_after_the_transforms() -> None:
    twice = A.RandomBrightnessContrast(brightness_limit=(0.1, 0.1), contrast_limit=(0, 0), p=1.0)
    pair = (np.full((2, 2, 1), 51, np.uint8), np.zeros((2, 2), np.uint8))
    image, _ = ImagePairs([pair], [twice], normalise=Normalise([0.2], [0.1]))[0]
    torch.testing.assert_close(image, torch.full((1, 2, 2), 1.0), atol=0.05, rtol=0)


def test_fixed_pairs_know_their_sizes() -> None:
    pairs = [*coded(2, 8), *coded(1, 12)]
    assert FixedPairs(pairs).sizes == [(8, 8), (8, 8), (12, 12)]
    assert FixedPairs(pairs, [A.CenterCrop(4, 6)]).sizes == [(4, 6)] * 3


def test_mapped_arrays_are_not_written_to() -> None:
    (image, mask), stored = coded(1)[0], coded(1)[0]
    for array in (image, mask):
        array.flags.writeable = False
    AugmentedPairs([(image, mask)], RANDOM).sample(0, np.random.default_rng(0))
    assert np.array_equal(image, stored[0]) and np.array_equal(mask, stored[1])
