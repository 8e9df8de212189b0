from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from lab.tasks import Samples, Segmentation


@pytest.mark.parametrize("threshold", [0.0, 1.0, -0.5, 2.0])
def test_threshold_lies_between(threshold: float) -> None:
    with pytest.raises(ValueError, match=f"between 0 and 1, found {threshold}"):
        Segmentation(threshold)


@pytest.mark.parametrize("mask", [(2, 8, 8), (2, 1, 8, 4), (2, 2, 8, 8)])
def test_shapes_must_agree(mask: tuple[int, ...]) -> None:
    def criterion(output: Tensor, target: Tensor) -> Tensor:
        return output.mean()

    says = r"the network returns \(2, 1, 8, 8\) and the masks are \(2, .*both must have one shape"
    with pytest.raises(ValueError, match=says):
        Segmentation().step(nn.Identity(), criterion, (torch.ones(2, 1, 8, 8), torch.ones(mask)))


def test_prediction_is_the_sigmoid_in_float32() -> None:
    found = Segmentation().predict(torch.tensor([[0.0, 2.0]], dtype=torch.bfloat16))
    assert found.dtype == torch.float32
    assert found.tolist() == [[0.5, pytest.approx(1 / (1 + np.exp(-2)), rel=1e-6)]]


def test_more_inputs_than_the_image() -> None:
    def model(image: Tensor, sequence: Tensor) -> Tensor:
        return image * sequence.reshape(-1, 1, 1, 1)

    batch = (torch.ones(2, 1, 4, 4), torch.tensor([1.0, 3.0]), torch.zeros(2, 1, 4, 4))
    result = Segmentation().step(model, nn.functional.mse_loss, batch)
    assert float(result.loss) == 5.0


@pytest.mark.parametrize("channels", [1, 3])
def test_picture_and_panel(tmp_path: Path, channels: int) -> None:
    torch.manual_seed(0)
    truth = (torch.rand(2, 1, 32, 32) > 0.5).float()
    samples = Samples([torch.rand(2, channels, 32, 32)], truth, truth * 0.9)
    assert Segmentation().draw(samples, tmp_path / "a.png", "title") is True
    with Image.open(tmp_path / "a.png") as image:
        width, height = image.size
    assert width > height > 50  # four columns, two rows
    panel = Segmentation().panel(samples)
    assert panel.dtype == np.uint8 and panel.shape[2] == 3
    assert panel.shape[0] >= 2 * 32 and panel.shape[1] >= 4 * 32


def test_threshold_decides_what_the_panel_shows() -> None:
    samples = Samples([torch.zeros(1, 1, 8, 8)], torch.ones(1, 1, 8, 8), torch.full((1, 1, 8, 8), 0.4))
    strict, lenient = Segmentation(0.5).panel(samples), Segmentation(0.3).panel(samples)
    assert not np.array_equal(strict, lenient)
