from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from lab.tasks import Regression, Samples


@pytest.mark.parametrize("target", [(4,), (1, 4), (4, 2)])
def test_shapes_that_would_broadcast_are_refused(target: tuple[int, ...]) -> None:
    message = r"the network returns \(4, 1\) and the target is \(.*both must have one shape"
    with pytest.raises(ValueError, match=message):
        Regression().step(nn.Identity(), nn.functional.mse_loss, (torch.ones(4, 1), torch.ones(target)))


def test_step_and_prediction() -> None:
    result = Regression().step(
        nn.Identity(), nn.functional.mse_loss, (torch.tensor([[1.0], [3.0]]), torch.zeros(2, 1))
    )
    assert float(result.loss) == 5.0
    assert Regression().predict(result.output) is result.output


@pytest.mark.parametrize("features", [1, 3])
def test_picture(tmp_path: Path, features: int) -> None:
    torch.manual_seed(0)
    x = torch.rand(20, features)
    y = x.mean(1, keepdim=True)
    path = tmp_path / "a.png"
    assert Regression().draw(Samples([x], y, y + 0.1), path, "a title") is True
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    assert pixels.shape[0] > 100 and pixels.shape[1] > 100 and len(np.unique(pixels)) > 10
