from typing import Any

import numpy as np
import pytest
import torch

from lab.data import conditioned_discs
from lab.data.sources.conditioned_discs import CEILING, draw_discs


def test_items_have_the_promised_shapes_and_numbers() -> None:
    splits = conditioned_discs(8, 4, 2, size=32)
    for part, count in zip(splits[:3], (8, 4, 2), strict=True):
        dataset: Any = part
        assert len(dataset) == count
        image, sequence, mask = dataset[count - 1]
        assert (image.shape, mask.shape, sequence.shape) == ((1, 32, 32), (1, 32, 32), ())
        assert (image.dtype, sequence.dtype, mask.dtype) == (torch.float32, torch.int64, torch.float32)
        assert image.min() >= 0 and image.max() <= 1 and mask.unique().tolist() == [0, 1]
        assert sequence == (count - 1) % 4
    assert splits.facts["sequences"] == {"0": 0, "1": 1, "2": 2, "3": 3}


def test_the_sequence_decides_which_discs_are_meant() -> None:
    val: Any = conditioned_discs(4, 8, noise=0.0).val
    for index in range(8):
        image, sequence, mask = val[index]
        assert bool((image[mask == 1] > 0.5).all()) is (int(sequence) % 2 == 0)


def test_both_kinds_have_the_same_area_and_do_not_touch() -> None:
    for index in range(60):
        _, bright, dark = draw_discs(48, 1 + index % 4, 0.05, np.random.default_rng(index))
        assert bright.sum() == dark.sum() > 20 and not (bright & dark).any()


def test_the_ceiling_of_who_does_not_know_the_sequence() -> None:
    """Any share of the bright and of the dark discs: both in whole are best, at 2/3."""
    _, bright, dark = draw_discs(64, 2, 0.0, np.random.default_rng(0))

    def dice(prediction: np.ndarray, truth: np.ndarray) -> float:
        return float(2 * (prediction & truth).sum() / (prediction.sum() + truth.sum()))

    def expected(prediction: np.ndarray) -> float:
        return (dice(prediction, bright) + dice(prediction, dark)) / 2

    both = bright | dark
    assert expected(both) == pytest.approx(CEILING)
    assert expected(bright) == expected(dark) == 0.5
    rng = np.random.default_rng(0)
    for share in np.linspace(0.05, 1, 20):
        some = (bright & (rng.random(bright.shape) < share)) | (
            dark & (rng.random(dark.shape) < 1 - share / 2)
        )
        assert expected(some) < CEILING
    assert expected(both | (rng.random(both.shape) < 0.05)) < CEILING


def test_nothing_in_the_picture_tells_the_sequence() -> None:
    """The picture is drawn before the sequence is known: that of seed, set and number alone."""
    two: Any = conditioned_discs(8, 2, sequences=2).train
    four: Any = conditioned_discs(8, 2, sequences=4).train
    assert all(torch.equal(two[i][0], four[i][0]) for i in range(8))
    assert [int(four[i][1]) for i in range(8)] == [0, 1, 2, 3, 0, 1, 2, 3]


@pytest.mark.parametrize(
    "wrong",
    [
        *({"sequences": 3}, {"sequences": 0}, {"size": 16}, {"discs": 5}, {"noise": -0.1}),
        *({"train_count": 2}, {"val_count": 0}, {"test_count": -1}),
    ],
)
def test_arguments_out_of_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        conditioned_discs(**wrong)
