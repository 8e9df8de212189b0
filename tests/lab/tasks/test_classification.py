from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from lab.tasks import Classification, Samples


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_prediction_is_the_softmax(dtype: torch.dtype) -> None:
    logits = torch.tensor([[0.0, 0.0], [2.0, 0.0]], dtype=dtype)
    found = Classification().predict(logits)
    high = 1 / (1 + torch.exp(torch.tensor(-2.0)))
    assert found.dtype == torch.float32
    assert torch.allclose(found, torch.tensor([[0.5, 0.5], [high, 1 - high]]), atol=1e-6)


def test_step_takes_class_indices() -> None:
    logits = torch.log(torch.tensor([[0.25, 0.75], [0.5, 0.5]]))
    result = Classification().step(nn.Identity(), nn.CrossEntropyLoss(), (logits, torch.tensor([1, 0])))
    expected = -(torch.log(torch.tensor(0.75)) + torch.log(torch.tensor(0.5))) / 2
    assert float(result.loss) == pytest.approx(float(expected)) and result.size == 2


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("classes", [(), ("cat", "dog")])
def test_picture_and_panel_of_images(tmp_path: Path, channels: int, classes: tuple[str, ...]) -> None:
    torch.manual_seed(0)
    samples = Samples(
        [torch.rand(3, channels, 8, 8)], torch.tensor([0, 1, 1]), torch.eye(2)[torch.tensor([0, 0, 1])]
    )
    task = Classification(classes)
    assert task.draw(samples, tmp_path / "a.png", "title") is True
    with Image.open(tmp_path / "a.png") as image:
        assert min(image.size) > 50
    panel = task.panel(samples)
    assert panel is not None and panel.dtype == "uint8" and panel.shape[2] == 3
    assert panel.shape[0] >= 3 * 8 and panel.shape[1] >= 8


def test_no_picture_of_what_is_no_image(tmp_path: Path) -> None:
    samples = Samples([torch.rand(3, 5)], torch.zeros(3, dtype=torch.int64), torch.ones(3, 2))
    assert Classification().draw(samples, tmp_path / "a.png", "") is False
    assert Classification().panel(samples) is None and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("output", "target"),
    [
        (torch.ones(4, 1), torch.zeros(4, dtype=torch.int64)),  # the softmax of one class is always 1
        (torch.ones(4, 3, 2), torch.zeros(4, dtype=torch.int64)),
        (torch.ones(4, 3), torch.zeros(4, 1, dtype=torch.int64)),
        (torch.ones(4, 3), torch.zeros(3, dtype=torch.int64)),
        (torch.ones(4, 3), torch.zeros(4)),
        (torch.ones(4, 3), torch.zeros(4, 2)),
    ],
)
def test_shapes_that_say_nothing_are_refused(output: torch.Tensor, target: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"expected logits \(N, classes\) and class indices \(N,\)"):
        Classification().step(nn.Identity(), lambda out, truth: out.mean(), (output, target))


def test_shares_of_the_classes_are_a_target_too() -> None:
    shares = torch.full((4, 2), 0.5)
    result = Classification().step(nn.Identity(), nn.CrossEntropyLoss(), (torch.zeros(4, 2), shares))
    assert float(result.loss) == pytest.approx(0.6931472)
