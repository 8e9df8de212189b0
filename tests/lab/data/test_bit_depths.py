"""Bit depths and ranges of values of a set, and how those of other images differ."""

from pathlib import Path

import numpy as np
import pytest

from lab.config.dataset_info import DatasetInfo
from lab.data.bit_depths import Depths, changed


def depths(*files: tuple[str, float]) -> Depths:
    result = Depths()
    for index, (dtype, largest) in enumerate(files):
        result.add(np.dtype(dtype), largest, Path(f"{index}.png"))
    return result


def test_the_largest_value_of_each_type_is_a_fact() -> None:
    assert depths().largest() == {}
    assert depths(("uint8", 9), ("uint16", 700), ("uint8", 255), ("uint16", 30)).largest() == {
        "uint8": 255,
        "uint16": 700,
    }


@pytest.mark.parametrize(("largest", "bits"), [(4095, 12), (1023, 10), (16383, 14), (255, 8), (256, 9)])
def test_sixteen_bits_that_are_used_in_part_are_reported_unless_the_range_is_stated(
    largest: float, bits: int
) -> None:
    seen = depths(("uint16", largest), ("uint16", 12))
    (warning,) = seen.warnings(scaled=False)
    assert warning.startswith("of the 16 bits of 2 images (such as 0.png) only ")
    assert f"only {bits} are used (largest value {largest:,})" in warning
    assert f"set data.value_range: [0, {2**bits - 1}]" in warning
    assert seen.warnings(scaled=True) == []


@pytest.mark.parametrize("files", [[("uint16", 65535)], [("uint16", 0)], [("uint8", 3)], [("float32", 0.1)]])
def test_what_is_not_reported(files: list[tuple[str, float]]) -> None:
    assert depths(*files).warnings(scaled=False) == []


def test_a_set_of_several_depths_is_reported() -> None:
    (warning,) = depths(("uint8", 255), ("uint16", 65535), ("uint8", 2)).warnings(scaled=False)
    assert "2 of uint8 (such as 0.png), 1 of uint16 (such as 1.png)" in warning


TRAINED = DatasetInfo.from_facts({"depths": {"uint8": 250.0}})


def test_images_unlike_the_trainings_are_named() -> None:
    (note,) = depths(("uint16", 4080), ("uint16", 100)).unlike(TRAINED)
    assert note.startswith(
        "2 images (such as 0.png): 16 bits of which 12 are used, largest value 4,080, unlike"
    )
    assert "the training's (8 bits, largest value 250)" in note
    assert depths(("uint8", 255), ("uint8", 4)).unlike(TRAINED) == []
    (note,) = depths(("uint8", 1)).unlike(TRAINED)
    assert "the largest value is 1, and 250 in the training images of the same type" in note
    (note,) = depths(("uint16", 65535)).unlike(DatasetInfo(depths={"uint16": 4095.0}))
    assert "the largest value is 65,535, and 4,095" in note
    assert depths(("uint16", 65535)).unlike(DatasetInfo()) == []  # a run from before there was this fact
    (note,) = depths(("float32", 0.5)).unlike(DatasetInfo(depths={"uint16": 4095.0}, value_range=[0, 4095]))
    assert "32-bit floats up to 0.5" in note and "data.value_range [0, 4095]" in note


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ({"uint8": 255.0}, ""),
        ({"uint8": 32.0}, ""),
        ({"uint8": 31.0}, "8 bits, largest value 250; now 8 bits of which 5 are used, largest value 31"),
        (
            {"uint16": 4080.0},
            "8 bits, largest value 250; now 16 bits of which 12 are used, largest value 4,080",
        ),
        ({}, ""),
    ],
)
def test_data_that_changed(now: dict[str, float], expected: str) -> None:
    found = changed(TRAINED, DatasetInfo(depths=now))
    assert found == (expected and f"the images' depth has changed since the training: {expected}")
