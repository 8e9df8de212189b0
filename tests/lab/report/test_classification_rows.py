import math
from pathlib import Path

import numpy as np
import pytest

from lab.evaluate.classification import Answer, ClassificationEvaluation
from lab.evaluate.efficiency import Efficiency, Speed
from lab.report.classification_rows import area, confused, cost, over_parts, speeds


def efficiency(flops: int | None) -> Efficiency:
    return Efficiency(51_539_906, 206_159_624, 3 * 2**20, flops, (1, 8, 8), "cpu", (Speed(1, 5e-4, 0.02, 9),))


@pytest.mark.parametrize(
    ("flops", "said"),
    [
        (None, "not countable for an image of 1 × 8 × 8"),
        (999, "999 FLOP for an image of 1 × 8 × 8"),
        (2_990_000, "2.99 MFLOP for an image of 1 × 8 × 8"),
        (3_628_146_688, "3.63 GFLOP for an image of 1 × 8 × 8"),
        (10**13, "10 TFLOP for an image of 1 × 8 × 8"),
    ],
)
def test_cost(flops: int | None, said: str) -> None:
    told = dict(cost(efficiency(flops)))
    assert told == {
        "parameters": "51,539,906",
        "weights": "196.61 MB",
        "checkpoint": "3.00 MB, including the state for resuming",
        "operations": said,
    }


def test_what_could_not_be_counted_is_named() -> None:
    found = Efficiency(1, 4, 4, None, (1, 8), "cpu", (), uncounted=("aten::_fft_r2c", "aten::_trilinear"))
    assert dict(cost(found))["operations"] == (
        "not countable (aten::_fft_r2c, aten::_trilinear) for an image of 1 × 8"
    )


def test_speeds() -> None:
    assert speeds(efficiency(1)) == [["1", "0.5 ms", "20 ms", "2,000"]]


def test_areas() -> None:
    assert (area(0.99961), area(1.0), area(math.nan)) == ("0.9996", "1.0000", "–")


def test_parts_and_mistakes() -> None:
    likely = np.array([[0.75, 0.25], [0.25, 0.75]], np.float32)
    answers = [
        Answer("a", 0, likely[0], "seed_0"),
        Answer("b", 1, likely[1], "seed_0"),
        Answer("a", 0, likely[1], "seed_1"),
        Answer("b", 1, likely[1], "seed_1"),
    ]
    evaluation = ClassificationEvaluation(Path("run"), "test", ["x", "y"], answers)
    accuracy = over_parts(evaluation)["accuracy"]
    assert accuracy is not None and accuracy.mean == 0.75
    assert accuracy.deviation == pytest.approx(np.std([1, 0.5], ddof=1))
    assert confused(evaluation) == [("x", "y", 1, 0.5)]
