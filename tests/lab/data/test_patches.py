from typing import Any

import albumentations as A
import cv2
import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from lab.config.argument_types import annotations, coerced
from lab.config.mask_values import IGNORE_INDEX
from lab.data import image_folder
from lab.data.loaders import create_loader
from lab.data.normalization import Normalise
from lab.data.pair_cache import Pair
from lab.data.patches import Patches, PatchPairs


def pair(mask: np.ndarray) -> Pair:
    """An image that tells the place of each pixel: row in the first channel, column in the second."""
    rows, columns = np.indices(mask.shape).astype(np.uint8)
    return np.dstack([rows, columns, mask]), mask


def scattered(size: int = 200) -> np.ndarray:
    """One large object and three small ones, far from one another."""
    mask = np.zeros((size, size), np.uint8)
    cv2.circle(mask, (60, 60), 40, 1, -1)
    for centre in ((150, 30), (30, 150), (150, 150)):
        cv2.circle(mask, centre, 3, 1, -1)
    return mask


def sampled(dataset: PatchPairs, count: int) -> list[tuple[torch.Tensor, ...]]:
    return [dataset.sample(k % len(dataset), np.random.default_rng(k)) for k in range(count)]


def corner(image: torch.Tensor) -> tuple[int, int]:
    return round(image[0, 0, 0].item() * 255), round(image[1, 0, 0].item() * 255)


# --- places -----------------------------------------------------------------------------------------------


def test_image_and_mask_are_cut_at_the_same_place_within_the_image() -> None:
    mask = scattered()
    for image, cut in sampled(PatchPairs([pair(mask)], Patches(64, 8, 0.3, 20)), 60):
        top, left = corner(image)
        assert image.shape == (3, 64, 64) and cut.shape == (1, 64, 64)
        assert np.array_equal(cut[0].numpy(), mask[top : top + 64, left : left + 64])
        assert torch.equal((image[2] * 255).round(), cut[0])


def test_the_share_of_patches_without_objects() -> None:
    for share in (0.0, 0.3, 1.0):
        dataset = PatchPairs([pair(scattered())], Patches(32, 8, share, 8))
        empty = np.mean([not mask.any() for _, mask in sampled(dataset, 400)])
        assert abs(empty - share) < 0.08 if 0 < share < 1 else empty == share


@pytest.mark.parametrize("jitter", [0, 10, 16])
def test_jitter_is_how_far_the_centre_is_from_an_object(jitter: int) -> None:
    mask = np.zeros((200, 200), np.uint8)
    mask[100, 90] = 1
    dataset = PatchPairs([pair(mask)], Patches(32, 8, 0.0, jitter))
    places = np.array([corner(image) for image, _ in sampled(dataset, 300)]) + 16 - (100, 90)
    assert np.abs(places).max() == jitter
    assert all(cut.sum() == 1 for _, cut in sampled(dataset, 50))


@pytest.mark.parametrize("size", [1, 2, 7, 8])
@pytest.mark.parametrize("place", [(0, 0), (20, 17), (39, 17), (39, 39)])
def test_full_jitter_never_misses_the_object(size: int, place: tuple[int, int]) -> None:
    mask = np.zeros((40, 40), np.uint8)
    mask[place] = 1
    dataset = PatchPairs([pair(mask)], Patches(size, 1, 0.0, size // 2))
    found = {tuple(np.argwhere(cut[0].numpy())[0]) for _, cut in sampled(dataset, 600)}
    assert all(cut.sum() == 1 for _, cut in sampled(dataset, 300))
    if place == (20, 17):  # inside of the image the pixel is at every place of the patch
        assert len(found) == size**2


def test_every_object_is_equally_likely_whatever_its_size() -> None:
    dataset = PatchPairs([pair(scattered())], Patches(24, 8, 0.0, 0))
    centres = [np.array(corner(image)) + 12 for image, _ in sampled(dataset, 600)]
    large = np.mean([np.hypot(*(centre - 60)) < 45 for centre in centres])
    assert abs(large - 0.25) < 0.06  # one of four; by pixels it were 0.98


def test_objects_of_each_class_count() -> None:
    mask = np.zeros((100, 100), np.uint8)
    mask[20:30, 20:40] = 1
    mask[20:30, 40:44] = 2  # touches the other, and is another object all the same
    mask[70:90, 70:90] = IGNORE_INDEX
    dataset = PatchPairs([pair(mask)], Patches(16, 4, 0.0, 0), classes=3)
    assert dataset.facts() == {"objects": 2, "images_without": []}
    centres = np.array([cut[8, 8].item() for _, cut in sampled(dataset, 200)])
    assert set(centres) == {1, 2} and abs(np.mean(centres == 2) - 0.5) < 0.12


def test_a_pixel_of_a_large_object_may_be_anywhere_in_it() -> None:
    mask = np.zeros((220, 220), np.uint8)
    mask[10:210, 10:210] = 1
    dataset = PatchPairs([pair(mask)], Patches(8, 8, 0.0, 0))
    centres = np.array([corner(image) for image, _ in sampled(dataset, 400)]) + 4
    assert centres.min() < 20 and centres.max() > 200
    assert np.abs(centres.mean(0) - 110).max() < 8


def test_an_image_full_of_objects_gives_its_emptiest_places() -> None:
    mask = np.ones((60, 60), np.uint8)
    mask[:20, :20] = 0
    cuts = [cut.mean().item() for _, cut in sampled(PatchPairs([pair(mask)], Patches(20, 4, 1.0, 4)), 40)]
    assert 0 < np.mean(cuts) < 0.8  # 0.95 at random


# --- images without, and smaller than a patch -------------------------------------------------------------


def test_images_without_objects_give_patches_from_anywhere_and_are_named() -> None:
    empty = np.zeros((80, 80), np.uint8)
    dataset = PatchPairs([pair(empty), pair(scattered())], Patches(32, 50, 0.0, 4), names=["a", "b"])
    assert dataset.facts()["images_without"] == ["a"]
    assert dataset.names[49:51] == ["a", "b"] and len(dataset) == 100
    corners = {corner(dataset.sample(k, np.random.default_rng(k))[0]) for k in range(50)}
    assert len(corners) > 40
    assert all(dataset.sample(k, np.random.default_rng(k))[1].any() for k in range(50, 100))


def test_no_object_anywhere_is_an_error() -> None:
    ignored = np.full((9, 9), IGNORE_INDEX, np.uint8)
    with pytest.raises(ValueError, match="positives missing from patches: none of the 2 training masks"):
        PatchPairs([pair(ignored), pair(ignored * 0)], Patches(4, 1, 0.0, 0))


@pytest.mark.parametrize("shape", [(10, 50), (50, 10), (5, 7), (1, 3)])
def test_a_smaller_image_is_continued_by_reflection_with_its_mask(shape: tuple[int, int]) -> None:
    mask = np.zeros(shape, np.uint8)
    mask[0, 1] = 1
    for image, cut in sampled(PatchPairs([pair(mask)], Patches(20, 4, 0.5, 5)), 20):
        assert image.shape == (3, 20, 20) and cut.shape == (1, 20, 20)
        assert torch.equal((image[2] * 255).round(), cut[0])
        if max(shape) <= 20:
            assert cut.sum() > 1


# --- randomness -------------------------------------------------------------------------------------------

TRANSFORMS = [A.D4(p=1.0), A.RandomBrightnessContrast(p=1.0), A.CenterCrop(24, 24)]


def test_epochs_differ_and_workers_do_not() -> None:
    from lab.config.sections import LoaderConfig

    dataset = PatchPairs([pair(scattered()), pair(scattered(180))], Patches(32, 3), TRANSFORMS)

    def epochs(workers: int) -> list[torch.Tensor]:
        config = LoaderConfig.model_validate({"workers": workers})
        loader: Any = create_loader(dataset, 4, shuffle=True, seed=7, config=config)
        images = []
        for epoch in (1, 2):
            loader.set_epoch(epoch)
            images.append(torch.cat([batch[0] for batch in loader]))
        loader.stop()
        return images

    alone, two = epochs(0), epochs(2)
    assert all(torch.equal(a, b) for a, b in zip(alone, two, strict=True))
    assert alone[0].shape == (6, 3, 24, 24)
    assert len(torch.cat(alone).flatten(1).unique(dim=0)) == 12


def test_an_item_is_a_function_of_its_generator() -> None:
    dataset = PatchPairs([pair(scattered())], Patches(32, 8), TRANSFORMS)
    one, _, again = (dataset.sample(3, np.random.default_rng(seed)) for seed in (1, 2, 1))
    assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))
    assert torch.equal(dataset[3][0], dataset[3][0])


def test_the_images_are_not_changed() -> None:
    image, mask = pair(scattered())
    sampled(PatchPairs([(image, mask)], Patches(32, 8), TRANSFORMS), 20)
    assert np.array_equal(image, pair(scattered())[0]) and np.array_equal(mask, scattered())


def test_a_patch_is_normalised_by_its_whole_image() -> None:
    image, mask = pair(scattered())
    dataset = PatchPairs([(image, mask)], Patches(32, 8), normalise=Normalise(), sequences=[5])
    whole = Normalise()(torch.from_numpy(image).permute(2, 0, 1) / 255)
    plain = PatchPairs([(image, mask)], Patches(32, 8), sequences=[5])
    for k in range(8):
        cut, sequence, _ = dataset.sample(k, np.random.default_rng(k))
        top, left = corner(plain.sample(k, np.random.default_rng(k))[0])
        torch.testing.assert_close(cut, whole[:, top : top + 32, left : left + 32], atol=1e-4, rtol=1e-4)
        assert sequence == 5


# --- in a config ------------------------------------------------------------------------------------------


def test_a_wrong_key_is_refused_with_its_path() -> None:
    checker = annotations(image_folder)["patches"]
    assert list(checker.check("patches", {"size": 64, "negative_share": 0})) == []
    assert list(checker.check("patches", None)) == []
    (problem,) = checker.check("patches", {"sise": 64})
    assert problem.path == ("patches", "sise")
    (problem,) = checker.check("patches", {"size": 64.5})
    assert problem.path == ("patches", "size") and "64.5" in problem.message
    assert coerced(image_folder, {"patches": {"size": 64}})["patches"] == Patches(size=64)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"size": 0}, "size must be at least 1, found 0"),
        ({"per_image": 0}, "per_image must be at least 1, found 0"),
        ({"negative_share": 1.1}, r"negative_share must be in \[0, 1\]"),
        ({"jitter": -1}, "jitter must be from 0"),
        ({"size": 32, "jitter": 17}, "jitter must be from 0 to size / 2, found 17 of size 32"),
    ],
)
def test_numbers_out_of_range(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Patches(**wrong)
    with pytest.raises(ValidationError, match=message):
        TypeAdapter(Patches).validate_python(wrong)
