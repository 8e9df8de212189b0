from typing import Any

import albumentations as A
import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from lab.data import shapes
from lab.data.classification_sets import AugmentedImages
from lab.data.protocols import NamedTensors
from lab.data.sources.shapes import SHAPES, draw_shape

# The area of each shape whose points are at most 1 away from its centre.
AREAS = {
    "circle": np.pi,
    "square": 2,
    "triangle": 3 * np.sqrt(3) / 4,
    "pentagon": 2.5 * np.sin(np.radians(72)),
    "star": 5 * 0.4 * np.sin(np.radians(36)),
    "cross": 8 * np.sin(0.35) * np.cos(0.35) - 4 * np.sin(0.35) ** 2,
    "ring": np.pi * (1 - 0.55**2),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_has_its_area_and_is_whole(name: str) -> None:
    for seed in range(5):
        radius = np.random.default_rng(seed).uniform(0.22, 0.42)  # the first that is drawn
        picture = draw_shape(name, 64, 0.0, 1, np.random.default_rng(seed))[..., 0].astype(float)
        ground, shape = picture[0, 0], picture.ravel()[np.abs(picture - picture[0, 0]).argmax()]
        assert abs(ground - shape) >= 0.25 * 255 - 1
        edge = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
        assert np.abs(edge - ground).mean() < 0.1 * abs(shape - ground)
        area = ((picture - ground) / (shape - ground)).mean()
        assert area == pytest.approx(AREAS[name] * radius**2, rel=0.03)


def test_sets_hold_every_shape_equally_often() -> None:
    splits = shapes(["ring", "star"], train_count=6, val_count=4, test_count=2, size=16, channels=3)
    assert [type(part) for part in splits[:3]] == [NamedTensors] * 3
    assert splits.train[0][0].shape == (3, 16, 16)
    assert [int(splits.train[index][1]) for index in range(6)] == [0, 1, 0, 1, 0, 1]
    assert splits.facts["classes"] == ["ring", "star"] and splits.facts["size"] == [16, 16]
    assert splits.facts["counts"] == {
        "train": {"ring": 3, "star": 3},
        "val": {"ring": 2, "star": 2},
        "test": {"ring": 1, "star": 1},
    }
    assert splits.facts["split"]["test"] == ["test-0", "test-1"]
    assert shapes(train_count=4, val_count=4, test_count=0, size=8).test is None


def test_a_picture_depends_on_seed_set_and_index_alone() -> None:
    small: dict[str, Any] = {"val_count": 1, "test_count": 0, "size": 8}
    few, many, other = (shapes(train_count=n, seed=seed, **small) for n, seed in ((4, 0), (8, 0), (4, 1)))
    assert torch.equal(few.train[3][0], many.train[3][0])
    assert torch.equal(few.val[0][0], many.val[0][0]) and not torch.equal(few.val[0][0], few.train[0][0])
    assert not torch.equal(few.train[3][0], other.train[3][0])


def test_noise_is_the_difficulty() -> None:
    spread = [
        draw_shape("circle", 64, noise, 1, np.random.default_rng(3))[:4].std() / 255 for noise in (0, 0.05)
    ]
    assert spread[0] == 0 and spread[1] == pytest.approx(0.05, rel=0.15)


def test_transforms_are_for_training() -> None:
    splits = shapes(train_count=4, val_count=4, test_count=0, size=8, transforms=[A.D4(p=1.0)])
    assert isinstance(splits.train, AugmentedImages) and isinstance(splits.val, TensorDataset)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"classes": ["circle"]}, "two or more different ones of circle, square"),
        ({"classes": ["circle", "circle"]}, "two or more different ones of circle, square"),
        ({"classes": ["circle", "cube"]}, r"found \['circle', 'cube'\]"),
        ({"train_count": 3}, r"train_count must be at least 4 \(the classes\)"),
        ({"val_count": 0}, "val_count must be at least 1"),
        ({"size": 7}, "size must be at least 8"),
        ({"noise": -0.1}, "noise must be at least 0"),
        ({"channels": 2}, "channels must be 1 or 3"),
    ],
)
def test_arguments_out_of_range(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        shapes(**arguments)
