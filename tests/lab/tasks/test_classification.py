from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from lab.metrics import Accuracy
from lab.tasks import Classification, Samples, StepResult


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


# --- mixing -----------------------------------------------------------------------------------------------


class Seen(nn.Module):
    """Keeps the images; its logits are zeros for three classes."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.images = images
        return torch.zeros(len(images), 3)


def mixed(task: Classification, seed: int = 0, count: int = 6) -> tuple[torch.Tensor, StepResult]:
    """What the network sees of images that are full of their class, and what the step returns."""
    torch.manual_seed(seed)
    labels = torch.arange(count) % 3
    images = labels.float()[:, None, None, None].expand(-1, 2, 8, 8)
    net = Seen()
    result = task.step(net, nn.CrossEntropyLoss(), (images, labels))
    return net.images, result


@pytest.mark.parametrize("options", [{"mixup": 0.5}, {"cutmix": 1.0}, {"mixup": 0.5, "cutmix": 1.0}])
def test_classes_are_mixed_in_the_shares_of_the_images(options: dict[str, float]) -> None:
    for seed in range(8):
        images, result = mixed(Classification(**options), seed)
        assert result.target.shape == (6, 3) and result.size == 6
        torch.testing.assert_close(result.target.sum(1), torch.ones(6))
        torch.testing.assert_close(images.mean((1, 2, 3)), result.target @ torch.arange(3.0))
        assert float(result.loss) == pytest.approx(1.0986123)


def test_mixup_blends_and_cutmix_lays_over() -> None:
    for seed in range(8):
        blended, _ = mixed(Classification(mixup=0.5), seed)
        assert all(image.unique().numel() == 1 for image in blended)
        laid, _ = mixed(Classification(cutmix=1.0), seed)
        assert set(laid.unique().tolist()) <= {0.0, 1.0, 2.0}
    both = Classification(mixup=0.5, cutmix=1.0)
    blends = [not (mixed(both, seed)[0] % 1 == 0).all() for seed in range(20)]
    assert 3 <= sum(blends) <= 17


def test_the_global_stream_decides_how_images_are_mixed() -> None:
    task = Classification(mixup=0.5, cutmix=1.0)
    one, same, other = (mixed(task, seed)[0] for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_nothing_is_mixed_outside_of_training() -> None:
    task, net = Classification(mixup=0.5), Seen().eval()
    images, labels = torch.rand(4, 1, 8, 8), torch.tensor([0, 1, 2, 0])
    result = task.step(net, nn.CrossEntropyLoss(), (images, labels))
    assert torch.equal(net.images, images) and torch.equal(result.target, labels)
    assert torch.equal(mixed(Classification())[1].target, torch.arange(6) % 3)


def test_a_batch_of_one_is_mixed_with_itself() -> None:
    images, result = mixed(Classification(mixup=0.5, cutmix=1.0), count=1)
    assert torch.equal(images, torch.zeros(1, 2, 8, 8)) and torch.equal(result.target, torch.eye(3)[:1])


def test_targets_in_shares_are_mixed_further() -> None:
    torch.manual_seed(0)
    shares = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
    result = Classification(mixup=1.0).step(Seen(), nn.CrossEntropyLoss(), (torch.rand(2, 1, 8, 8), shares))
    share = float(result.target[0, 0] * 2)
    assert 0 < share < 1
    torch.testing.assert_close(result.target, torch.tensor([[share, 1 - share], [1 - share, share]]) @ shares)


def test_bf16_does_not_round_the_shares() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        _, result = mixed(Classification(mixup=0.5))
    assert result.target.dtype == torch.float32
    torch.testing.assert_close(result.target.sum(1), torch.ones(6), atol=1e-6, rtol=0)


def test_metrics_judge_by_the_largest_share() -> None:
    accuracy, shares = Accuracy(), torch.tensor([[0.3, 0.7], [0.6, 0.4], [0.2, 0.8], [0.9, 0.1]])
    logits = torch.tensor([[0.0, 1.0], [0.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
    Classification().update({"accuracy": accuracy}, StepResult(torch.tensor(0.0), logits, shares, 4))
    assert float(accuracy.compute()) == 0.75


def test_what_cannot_be_mixed_is_refused() -> None:
    with pytest.raises(ValueError, match="mixup and cutmix must be >= 0"):
        Classification(mixup=-0.1)
    task, labels = Classification(mixup=0.5), torch.tensor([0, 1])
    with pytest.raises(ValueError, match=r"mix images \(N, C, H, W\)"):
        task.step(nn.Linear(4, 2), nn.CrossEntropyLoss(), (torch.rand(2, 4), labels))
    with pytest.raises(ValueError, match=r"expected logits \(N, classes\)"):
        task.step(nn.Flatten(0), nn.CrossEntropyLoss(), (torch.rand(2, 1, 4, 4), labels))
