from typing import Any

import albumentations as A
import cv2
import numpy as np
import pytest
import torch

from lab.data import Splits
from lab.data.classification_sets import AugmentedImages, Labelled, LabelledImages, assemble, prepare, resize
from lab.data.loaders import TensorLoader, create_loader
from lab.data.protocols import NamedTensors
from lab.data.splits import Parts

CLASSES = ["low", "high"]


def made(count: int = 10, channels: int = 1) -> list[Labelled]:
    """Uniform pictures of 4×6 pixels that are brighter than the last; three of four are of class 0."""
    return [
        (np.full((4, 6, channels), 20 * index, np.uint8), np.array([int(index % 4 == 3)]))
        for index in range(count)
    ]


def splits(**options: Any) -> Splits:
    parts = Parts(*(np.array(indices) for indices in ([7, 0, 3, 1, 2, 4], [5, 6], [8, 9])))
    return assemble(made(), [f"p{index}" for index in range(10)], parts, CLASSES, **options)


def test_items_are_images_in_the_unit_range_and_classes() -> None:
    image, label = splits().train[0]
    assert (image.shape, image.dtype, label.shape, label.dtype) == ((1, 4, 6), torch.float32, (), torch.int64)
    assert label == 1 and torch.equal(image, torch.full((1, 4, 6), 140 / 255))


def test_the_facts_say_what_the_sets_are() -> None:
    facts = splits(normalise="train").facts
    pixels = np.array([140, 0, 60, 20, 40, 80]) / 255
    assert facts["mean"] == pytest.approx([pixels.mean()]) and facts["std"] == pytest.approx([pixels.std()])
    assert {name: facts[name] for name in facts if name not in ("mean", "std")} == {
        "in_channels": 1,
        "size": [4, 6],
        "classes": CLASSES,
        "normalise": "train",
        "counts": {
            "train": {"low": 4, "high": 2},
            "val": {"low": 2, "high": 0},
            "test": {"low": 2, "high": 0},
        },
        "split": {"train": ["p7", "p0", "p3", "p1", "p2", "p4"], "val": ["p5", "p6"], "test": ["p8", "p9"]},
        "class_weights": [6 / (2 * 4), 6 / (2 * 2)],
    }


@pytest.mark.parametrize("normalise", ["train", "image", "none"])
@pytest.mark.parametrize("channels", [1, 3])
def test_prediction_prepares_as_training_did(normalise: Any, channels: int) -> None:
    rng = np.random.default_rng(0)
    images = [(rng.integers(0, 256, (5, 7, channels), np.uint8), np.array([k % 2])) for k in range(6)]
    parts = Parts(np.arange(4), np.arange(4, 6), np.array([], np.intp))
    made = assemble(images, [str(k) for k in range(6)], parts, CLASSES, normalise=normalise)
    assert made.test is None
    for index in range(2):
        assert torch.equal(prepare(images[4 + index][0], made.facts), made.val[index][0])
    large = cv2.resize(images[4][0], (14, 10), interpolation=cv2.INTER_NEAREST).reshape(10, 14, channels)
    assert torch.equal(prepare(large, made.facts), made.val[0][0])  # its areas' means


def test_prepare_refuses_other_channels() -> None:
    facts = splits().facts
    with pytest.raises(ValueError, match=r"expected an image \(H, W, 1\), found 4 × 6 × 3"):
        prepare(np.zeros((4, 6, 3), np.uint8), facts)
    with pytest.raises(ValueError, match=r"found 4 × 6$"):
        prepare(np.zeros((4, 6), np.uint8), facts)


@pytest.mark.parametrize("channels", [1, 3])
def test_resize_shrinks_by_area_and_grows_linearly(channels: int) -> None:
    stripes = np.zeros((8, 8, channels), np.float32)
    stripes[::2] = 1
    assert resize(stripes, [8, 8]) is stripes
    half = resize(stripes, [4, 4])
    assert half.shape == (4, 4, channels) and (half == 0.5).all()
    wide = resize(stripes, [4, 16])  # one side shrinks, the other grows
    assert wide.shape == (4, 16, channels) and (wide == 0.5).all()
    ramp = np.tile(np.array([0, 1], np.float32)[None, :, None], (1, 1, channels))
    assert resize(ramp, [1, 4])[0, :, 0] == pytest.approx([0, 0.25, 0.75, 1])


def test_sets_without_transforms_are_stacked_while_they_fit() -> None:
    whole = splits()
    assert [type(part) for part in whole[:3]] == [NamedTensors] * 3
    assert isinstance(create_loader(whole.train, 2, shuffle=True), TensorLoader)
    enough = 10 * 4 * 6 * 4
    assert type(splits(stacked_bytes=enough).val) is NamedTensors
    single = splits(stacked_bytes=enough - 1)
    assert [type(part) for part in single[:3]] == [LabelledImages] * 3
    for one, other in zip(whole[:3], single[:3], strict=True):
        assert one.names == other.names  # type: ignore[union-attr]
        for index in range(len(other)):  # type: ignore[arg-type]
            assert all(torch.equal(a, b) for a, b in zip(one[index], other[index], strict=True))  # type: ignore[index]


def test_transforms_are_for_training_and_draw_from_the_loader_alone() -> None:
    noisy = splits(transforms=[A.GaussNoise(std_range=(0.2, 0.2), p=1.0)])
    assert isinstance(noisy.train, AugmentedImages) and type(noisy.val) is NamedTensors
    first, again, other = (noisy.train.sample(0, np.random.default_rng(seed))[0] for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(noisy.train[0][0], noisy.train[0][0])
    assert first.std() > 0.1


def inverted(image: np.ndarray, **options: Any) -> np.ndarray:
    """Writes to what it gets."""
    return np.subtract(255, image, out=image)


@pytest.mark.parametrize("writeable", [True, False])  # those of a file can't be written to
def test_transforms_do_not_change_what_is_kept(writeable: bool) -> None:
    images = made(4)
    for image, _ in images:
        image.flags.writeable = writeable
    items = AugmentedImages(images, ["a"] * 4, None, [A.Lambda(image=inverted, p=1.0)])
    for index in range(4):
        for _ in range(2):
            assert items[index][0].max() == pytest.approx((255 - 20 * index) / 255)
        assert LabelledImages(images, ["a"] * 4)[index][0].max() == pytest.approx(20 * index / 255)
