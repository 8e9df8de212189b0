"""Values that other libraries gave in the environment of `make reference`, 2026-11-30, as constants."""

import numpy as np
import pytest
import torch
from torch import nn

from lab.evaluate.operation_counts import count_operations
from lab.losses import WeightedSum
from lab.metrics.boundary import hausdorff95
from lab.metrics.class_scores import judge
from lab.predict.connected_objects import find_objects

ROW, COLUMN = np.mgrid[:12, :16]
DISC = (ROW - 5) ** 2 + (COLUMN - 6) ** 2 <= 16
ELLIPSE_AND_CORNER = ((ROW - 6) ** 2 / 4 + (COLUMN - 9) ** 2 / 25 <= 1) | ((ROW < 2) & (COLUMN < 2))


@pytest.mark.parametrize(("spacing", "expected"), [(1.0, 3.940832691319599), ((0.5, 2.0), 5.807548584904247)])
def test_hd95_of_medpy(spacing: float | tuple[float, float], expected: float) -> None:
    assert hausdorff95(DISC, ELLIPSE_AND_CORNER, spacing=spacing) == pytest.approx(expected, abs=1e-12)


def test_objects_of_scikit_image() -> None:
    corner, ellipse = find_objects(ELLIPSE_AND_CORNER.astype(np.uint8))
    assert (corner.area, corner.y, corner.x) == (4, 0.5, 0.5)
    assert (ellipse.area, ellipse.y, ellipse.x) == (31, 6.0, 9.0)
    assert [corner.diameter, ellipse.diameter] == pytest.approx([2.256758334191025, 6.282549314314218])
    assert [corner.perimeter, ellipse.perimeter] == pytest.approx([6.473754857208568, 24.784298694294677])


def test_losses_of_monai_and_torchvision() -> None:
    logits = torch.tensor([[[[2.0, -1.0, 0.5], [0.0, -3.0, 1.5]]]], dtype=torch.float64)
    mask = torch.tensor([[[[1.0, 0, 1], [1, 0, 0]]]], dtype=torch.float64)
    terms = {"dice": 1.0, "jaccard": 1.0, "focal": {"gamma": 2.0}, "tversky": {"alpha": 0.3, "beta": 0.7}}
    found = WeightedSum(terms)(logits, mask)  # type: ignore[arg-type]
    expected = {
        "dice": 0.3471755838899061, "jaccard": 0.5154125238633163, "focal": 0.23378391749081187,
        "tversky": 0.34128530927247425,
    }  # fmt: skip
    assert {name: float(each) for name, each in found.items()} == pytest.approx(expected, abs=1e-9)


def test_classification_of_torchmetrics() -> None:
    likely = [
        [0.7, 0.2, 0.1], [0.3, 0.4, 0.3], [0.25, 0.3, 0.45], [0.6, 0.3, 0.1], [0.15, 0.8, 0.05],
        [0.35, 0.33, 0.32],
    ]  # fmt: skip
    found = judge([0, 1, 1, 2, 1, 0], likely)
    assert found.calibration_error == pytest.approx(0.466667, abs=1e-4)
    assert [each.auc for each in found.classes] == pytest.approx([0.875, 0.8333333, 0.3], abs=1e-6)
    assert found.macro.f1 == pytest.approx(0.5333333, abs=1e-4)


def test_operations_of_fvcore() -> None:
    """It counts multiply-adds: 2,520 in the convolutions, 15 in the linear layer."""
    network = nn.Sequential(
        nn.Conv2d(2, 4, 3, stride=2, padding=1, groups=2), nn.ReLU(), nn.ConvTranspose2d(4, 3, 2, stride=2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 5),
    ).eval()  # fmt: skip
    assert count_operations(lambda: network(torch.zeros(1, 2, 9, 11))) == (2 * (2520 + 15), ())
