import time
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from lab.data import Splits, spheroid_plates
from lab.data.patches import Patches
from lab.data.sources.spheroids import Scene, draw_plate

SMALL: dict[str, Any] = {"count": 3, "size": 128, "wells": 2}


def small(**options: Any) -> Splits:
    return spheroid_plates(**{**SMALL, **options})


def test_a_plate_depends_on_seed_and_number_alone() -> None:
    one, more, other = (
        spheroid_plates(count, 128, 2, normalise="none", seed=seed)
        for count, seed in ((3, 0), (5, 0), (3, 1))
    )

    def plates(splits: Splits) -> dict[str, torch.Tensor]:
        parts: list[Any] = [splits.train, splits.val]
        return {name: part[i][0] for part in parts for i, name in enumerate(part.names)}

    assert sorted(plates(one)) == ["plate-0", "plate-1", "plate-2"]
    assert all(torch.equal(plates(one)[name], plates(more)[name]) for name in plates(one))
    assert not torch.equal(plates(one)["plate-0"], plates(other)["plate-0"])
    assert not torch.equal(plates(one)["plate-0"], plates(one)["plate-1"])


@pytest.mark.parametrize("channels", [1, 3])
def test_validation_is_on_whole_plates(channels: int) -> None:
    splits = small(channels=channels, patches=Patches(48, 5, jitter=8), folds=3, fold=2)
    train: Any = splits.train
    val: Any = splits.val
    assert (len(train), len(val), splits.test) == (10, 1, None)
    assert [part.shape for part in train[0]] == [(channels, 48, 48), (1, 48, 48)]
    assert [part.shape for part in val[0]] == [(channels, 128, 128), (1, 128, 128)]
    assert splits.facts["in_channels"] == channels and len(splits.facts["mean"]) == channels


def test_leaving_one_out_judges_every_plate_once() -> None:
    held = [small(folds=3, fold=fold).facts["split"]["val"] for fold in range(3)]
    assert sorted(held) == [["plate-0"], ["plate-1"], ["plate-2"]]


def test_spheroids_lie_in_wells_and_some_wells_are_empty() -> None:
    _, mask = draw_plate(Scene(64, 0.0, 0.0, 0.0, 0.6), 8, 0.3, np.random.default_rng(0))
    wells = mask.reshape(8, 64, 8, 64).swapaxes(1, 2)
    filled = wells.any(axis=(2, 3)).mean()
    assert 0.5 < filled < 0.9
    y, x = np.mgrid[:64, :64] - 31.5
    assert not wells[:, :, np.hypot(x, y) > 0.47 * 64].any()


def test_no_seam_shows_where_wells_meet() -> None:
    """One lamp and one camera: beside the wells the picture goes on as smoothly as elsewhere."""
    image, _ = draw_plate(Scene(64, 0.0, 0.0, 0.0, 0.6), 4, 0.0, np.random.default_rng(1))
    corner = image.astype(float)[58:70, 58:70]
    assert np.abs(np.diff(corner, axis=0)).max() <= 2 and np.abs(np.diff(corner, axis=1)).max() <= 2


def test_spheroids_can_be_seen() -> None:
    image, mask = draw_plate(Scene(64, 0.0, 0.0, 0.0, 0.6), 4, 0.0, np.random.default_rng(2))
    around = cv2.dilate(mask, np.ones((7, 7), np.uint8)) - mask
    assert image[mask == 1].mean() < image[around == 1].mean() - 10


def test_drawing_is_fast() -> None:
    draw_plate(Scene(64, 0.03, 1.0, 12.0, 0.6), 2, 0.15, np.random.default_rng(0))
    start = time.process_time()
    draw_plate(Scene(256, 0.03, 1.0, 12.0, 0.6), 8, 0.15, np.random.default_rng(0))
    assert time.process_time() - start < 2.5  # 0.6 s where nothing else runs


@pytest.mark.parametrize(
    "wrong",
    [{"count": 1}, {"size": 100, "wells": 3}, {"wells": 0}, {"size": 32}, {"empty": 1.0}, {"noise": -1.0}],
)
def test_arguments_out_of_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        small(**wrong)
