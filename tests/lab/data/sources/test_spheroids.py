import time

import albumentations
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from lab.data import spheroids
from lab.data.image_mask_pairs import AugmentedPairs
from lab.data.sources.spheroids import Scene, draw

PLAIN = Scene(size=96, noise=0.0, blur=0.0, debris=0.0, touching=0.6)


def tensors(dataset: object) -> tuple[Tensor, ...]:
    assert isinstance(dataset, TensorDataset)
    return dataset.tensors


def rng(index: int) -> np.random.Generator:
    return np.random.default_rng((0, index))


def objects(mask: np.ndarray) -> int:
    import cv2

    return int(cv2.connectedComponents(mask)[0]) - 1


@pytest.mark.parametrize("channels", [1, 3])
def test_items_have_the_promised_shapes_and_ranges(channels: int) -> None:
    splits = spheroids(4, 3, 2, size=64, channels=channels)  # type: ignore[arg-type]
    for part, count in zip(splits[:3], (4, 3, 2), strict=True):
        images, masks = tensors(part)
        assert (images.shape, masks.shape) == ((count, channels, 64, 64), (count, 1, 64, 64))
        assert (images.dtype, masks.dtype) == (torch.float32, torch.float32)
        assert images.min() >= 0 and images.max() <= 1 and images.std() > 0.02
        assert masks.unique().tolist() == [0, 1]


def test_image_i_depends_on_seed_set_and_i_alone() -> None:
    small, large, other = (
        spheroids(3, 2, size=48),
        spheroids(5, 4, 2, size=48),
        spheroids(3, 2, size=48, seed=1),
    )
    for a, b in zip(
        tensors(small.train) + tensors(small.val), tensors(large.train) + tensors(large.val), strict=True
    ):
        assert torch.equal(a, b[: len(a)])
    assert not torch.equal(tensors(small.train)[0], tensors(other.train)[0])
    firsts = [tensors(part)[0][0] for part in large[:3]]
    assert not torch.equal(firsts[0], firsts[1]) and not torch.equal(firsts[1], firsts[2])


def test_all_pictures_differ() -> None:
    images, _ = tensors(spheroids(30, 1, size=32).train)
    assert len(images.flatten(1).unique(dim=0)) == 30


def test_debris_noise_and_blur_do_not_touch_the_mask() -> None:
    for index in range(20):
        clean, mask = draw(PLAIN, rng(index))
        dirty, same = draw(Scene(96, 0.1, 2.0, 60.0, 0.6), rng(index))
        assert np.array_equal(mask, same)
        assert np.abs(clean.astype(int) - dirty).mean() > 1


def test_every_picture_has_a_spheroid_that_can_be_seen() -> None:
    import cv2

    for index in range(60):
        image, mask = draw(PLAIN, rng(index))
        assert 20 < mask.sum() < 0.45 * mask.size
        around = cv2.dilate(mask, np.ones((7, 7), np.uint8)) - mask  # the fluid next to it is lighter
        assert image[mask == 1].mean() < image[around == 1].mean() - 4


def test_the_rim_is_not_in_the_mask() -> None:
    # A picture's darkest pixels lie in the rim; what touches the border of the image is no spheroid's core.
    for index in range(40):
        _, mask = draw(PLAIN, rng(index))
        assert mask[0].mean() + mask[-1].mean() + mask[:, 0].mean() + mask[:, -1].mean() < 0.8


def test_touching_spheroids_merge_in_the_mask() -> None:
    alone = [objects(draw(Scene(96, 0, 0, 0, 0.0), rng(index))[1]) for index in range(80)]
    touching = [objects(draw(Scene(96, 0, 0, 0, 1.0), rng(index))[1]) for index in range(80)]
    assert set(alone) >= {1, 2, 3}
    assert np.mean(np.equal(touching, 1)) > 0.9
    assert np.mean(np.equal(alone, 1)) < 0.75


def test_facts_and_names() -> None:
    splits = spheroids(2, 3, size=32, channels=3)
    assert splits.facts == {
        "in_channels": 3,
        "classes": ["background", "foreground"],
        "normalise": "none",
        "counts": {"train": 2, "val": 3, "test": 0},
        "split": {"train": ["train-0", "train-1"], "val": ["val-0", "val-1", "val-2"], "test": []},
    }
    assert splits.val.names == splits.facts["split"]["val"]  # type: ignore[attr-defined]


def test_transforms_make_the_train_set_random_and_leave_the_others_fixed() -> None:
    splits = spheroids(
        4,
        2,
        size=64,
        transforms=[albumentations.D4(p=1.0)],
        val_transforms=[albumentations.Resize(32, 32)],
    )
    assert isinstance(splits.train, AugmentedPairs)
    first = [splits.train.sample(0, np.random.default_rng(k))[0] for k in range(16)]
    assert 4 < len(torch.stack(first).flatten(1).unique(dim=0)) <= 8  # the square has eight symmetries
    assert tensors(splits.val)[0].shape == (2, 1, 32, 32)


def test_the_pictures_are_the_ones_they_have_always_been() -> None:
    """Configs of drawn spheroids name a Dice: it holds as long as these bytes do."""
    image, mask = draw(Scene(64, 0.03, 1.0, 12.0, 0.6), rng(3))
    assert abs(int(image.sum()) - 608141) < 100 and mask.sum() == 274  # OpenCV may round otherwise elsewhere


def test_drawing_is_fast() -> None:
    draw(PLAIN, rng(0))
    start = time.process_time()
    for index in range(50):
        draw(Scene(128, 0.03, 1.0, 12.0, 0.6), rng(index))
    assert (time.process_time() - start) / 50 < 0.02  # 2 ms where nothing else runs


@pytest.mark.parametrize(
    "arguments",
    [
        {"train_count": 0},
        {"val_count": 0},
        {"size": 16},
        {"channels": 2},
        {"noise": -0.1},
        {"blur": -1.0},
        {"debris": -1.0},
        {"touching": 1.5},
    ],
)
def test_arguments_out_of_range(arguments: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(arguments))):
        spheroids(**arguments)  # type: ignore[arg-type]
