from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from lab.config.mask_values import IGNORE_INDEX
from lab.figures.panels import IGNORED, class_colour
from lab.tasks import Samples, Segmentation


@pytest.mark.parametrize("threshold", [0.0, 1.0, -0.5, 2.0])
def test_threshold_lies_between(threshold: float) -> None:
    with pytest.raises(ValueError, match=rf"in \(0, 1\), found {threshold}"):
        Segmentation(threshold)


@pytest.mark.parametrize("mask", [(2, 8, 8), (2, 1, 8, 4), (2, 2, 8, 8), (3, 1, 8, 8)])
def test_shapes_must_agree(mask: tuple[int, ...]) -> None:
    def criterion(output: Tensor, target: Tensor) -> Tensor:
        raise AssertionError("the loss would broadcast")

    says = r"the network returns \(2, 1, 8, 8\) and the masks are \([23], .*both must have one shape"
    with pytest.raises(ValueError, match=says):
        Segmentation().step(nn.Identity(), criterion, (torch.ones(2, 1, 8, 8), torch.ones(mask)))


def test_prediction_is_the_sigmoid_in_float32() -> None:
    found = Segmentation().predict(torch.tensor([[[[0.0, 2.0]]]], dtype=torch.bfloat16))
    assert found.dtype == torch.float32 and found.shape == (1, 1, 1, 2)
    assert found[0, 0].tolist() == [[0.5, pytest.approx(1 / (1 + np.exp(-2)), rel=1e-6)]]


def test_prediction_of_classes_is_the_softmax_in_float32() -> None:
    found = Segmentation().predict(torch.tensor([[0.0, 2.0, -1.0]], dtype=torch.bfloat16).reshape(1, 3, 1, 1))
    assert found.dtype == torch.float32 and found.shape == (1, 3, 1, 1)
    powers = np.exp([0.0, 2.0, -1.0])
    assert found.flatten().tolist() == pytest.approx((powers / powers.sum()).tolist(), rel=1e-6)


@pytest.mark.parametrize(
    ("logits", "target", "says"),
    [
        ((2, 3, 8, 8), torch.zeros(2, 1, 8, 8), "one foreground .* set net.classes to 1"),
        ((2, 1, 8, 8), torch.zeros(2, 8, 8).long(), "set net.classes to the number of classes"),
        ((2, 3, 8, 8), torch.zeros(2, 8, 4).long(), r"classes must be \(N, H, W\)"),
        ((2, 3, 8, 8), torch.zeros(2, 1, 8, 8).long(), r"classes must be \(N, H, W\)"),
        ((2, 8, 8), torch.zeros(2, 8, 8), "both must have one shape"),
    ],
)
def test_the_kind_of_mask_and_the_number_of_logits_must_agree(
    logits: tuple[int, ...], target: Tensor, says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        Segmentation().step(nn.Identity(), nn.functional.mse_loss, (torch.zeros(logits), target))


def test_a_map_for_each_class_is_no_mask() -> None:
    maps = torch.eye(3)[torch.randint(3, (2, 8, 8))].permute(0, 3, 1, 2)
    with pytest.raises(
        ValueError, match=r"classes are indices \(N, H, W\); of a map for each class, target.arg"
    ):
        Segmentation().step(nn.Identity(), nn.CrossEntropyLoss(), (torch.ones(2, 3, 8, 8), maps))


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8])
def test_classes_are_whole_numbers(dtype: torch.dtype) -> None:
    target = torch.zeros(2, 8, 8, dtype=dtype)
    result = Segmentation().step(nn.Identity(), lambda o, t: o.mean(), (torch.ones(2, 3, 8, 8), target))
    assert (float(result.loss), result.size) == (1.0, 2)


@pytest.mark.parametrize(
    "arguments", [{"tile": 0}, {"divisor": 0}, {"tile": 64, "overlap": 64}, {"overlap": -1}]
)
def test_tiles_that_make_no_sense(arguments: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"tile|overlap"):
        Segmentation(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [(70, 90), (33, 5), (64, 64), (200, 31)])
def test_infer_takes_images_of_any_size(size: tuple[int, int]) -> None:
    seen: list[tuple[int, ...]] = []

    def network(image: Tensor, sequence: Tensor) -> Tensor:
        seen.append(tuple(image.shape))
        assert sequence.tolist() == [4, 7]
        return torch.cat([image * 2, image + 1], dim=1)

    image = torch.rand(2, 1, *size)
    task = Segmentation(tile=64, overlap=16, divisor=32)
    found = task.infer(network, image, torch.tensor([4, 7]))
    torch.testing.assert_close(found, torch.cat([image * 2, image + 1], dim=1))
    assert all(height % 32 == width % 32 == 0 and max(height, width) <= 64 for *_, height, width in seen)
    assert (len(seen) > 1) == (max(size) > 64)


def test_infer_averages_mirror_images() -> None:
    ramp = torch.arange(32.0).expand(1, 1, 32, 32)

    def network(image: Tensor) -> Tensor:
        return image * ramp  # not the same for a mirror image

    image = torch.ones(1, 1, 32, 32)
    assert torch.equal(Segmentation().infer(network, image), ramp)
    torch.testing.assert_close(Segmentation(flips=True).infer(network, image), torch.full_like(ramp, 15.5))


def test_every_run_is_asked_whether_it_says_one_class_only() -> None:
    metrics = Segmentation(threshold=0.2).own_metrics()
    assert list(metrics) == ["one_class"]
    metrics["one_class"].update(torch.full((1, 1, 4, 4), 0.3), torch.zeros(1, 1, 4, 4))
    assert metrics["one_class"].compute().item() == 1.0
    metrics["one_class"].update(torch.full((1, 1, 4, 4), 0.1), torch.zeros(1, 1, 4, 4))
    assert metrics["one_class"].compute().item() == 0.5
    assert Segmentation().own_metrics()["one_class"] is not metrics["one_class"]


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


def sample_of_classes(size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    truth = torch.randint(0, 4, size)
    probability = nn.functional.one_hot(truth, 4).movedim(-1, 0).float() * 0.9
    truth[:3] = IGNORE_INDEX
    return torch.rand(3, *size), truth, probability


def test_classes_and_several_sizes_are_drawn(tmp_path: Path) -> None:
    images, truths, said = zip(*map(sample_of_classes, [(32, 40), (16, 24)]), strict=True)
    sequences = [torch.tensor(0), torch.tensor(3)]
    samples = Samples([list(images), sequences], list(truths), list(said))
    task = Segmentation(classes=("background", "cell", "debris", "rim"))
    assert task.draw(samples, tmp_path / "a.png", "title") is True
    panel = task.panel(samples)
    assert panel.shape == (32 + 4 + 16, 4 * 40 + 3 * 2, 3)
    shown = {tuple(pixel) for pixel in panel[:32, 42:82].reshape(-1, 3).tolist()}
    assert shown == {IGNORED, *(class_colour(index) for index in range(4))}
    stacked = Samples(
        [torch.stack([images[0]] * 2)], torch.stack([truths[0]] * 2), torch.stack([said[0]] * 2)
    )
    assert (task.panel(stacked)[:32] == panel[:32]).all()


def test_a_panel_of_large_images_is_not_huge() -> None:
    mask = torch.zeros(1, 1, 2100, 1500)
    panel = Segmentation().panel(Samples([torch.rand(1, 3, 2100, 1500)], mask, mask))
    assert panel.shape[0] == 420 and panel.shape[1] == 4 * 300 + 6
