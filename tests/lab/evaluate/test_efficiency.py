from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lab import checkpoint
from lab.evaluate.efficiency import BATCHES, LEAST, MOST, measure
from lab.predict.loaded_run import LoadedRun, load
from tests.inference_tools import make_run

HERE = "tests.lab.evaluate.test_efficiency"
FACTS = {"in_channels": 1, "classes": ["a", "b", "c"], "size": [8, 8]}


class Known(nn.Module):
    """A convolution of 1 to 4 channels and a linear layer to 3 classes, without biases; a buffer of 5."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.0))
        self.body = nn.Conv2d(1, 4, 3, padding=1, bias=False).requires_grad_(False)
        self.head = nn.Linear(4, 3, bias=False)
        self.register_buffer("seen", torch.zeros(5, dtype=torch.int64))

    def forward(self, image: Tensor) -> Tensor:
        out: Tensor = self.head(self.body(image).mean((2, 3)))
        return out


class Attending(nn.Module):
    """Torch's transformer layer, which is one fused operation outside of training."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

    def forward(self, image: Tensor) -> Tensor:
        out: Tensor = self.layer(image[:, 0]).mean(1)
        return out


class Conditioned(Known):
    """Takes a number beside the image."""

    def forward(self, image: Tensor, number: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(image) * number[:, None]


class Tied(nn.Module):
    """Two layers of one weight; buffers that no checkpoint holds, of which some share memory."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(8, 8), nn.Linear(8, 8)
        self.two.weight = self.one.weight
        self.register_buffer("index", torch.zeros(1000, dtype=torch.long), persistent=False)
        self.register_buffer("second_half", self.index[500:], persistent=False)
        self.register_buffer("every", torch.zeros(1).expand(700), persistent=False)
        self.register_buffer("sparse", torch.eye(8).to_sparse(), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        out: Tensor = self.two(self.one(image[:, 0])).mean(1)
        return out


class Fourier(nn.Module):
    """A matrix product, and a transform that has no formula."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 3)

    def forward(self, image: Tensor) -> Tensor:
        out: Tensor = self.head(torch.fft.fft(image[:, 0]).real.mean(1))
        return out


class Counting(nn.Module):
    """Does no arithmetic that is counted."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.0))

    def forward(self, image: Tensor) -> Tensor:
        return image.mean((2, 3)).repeat(1, 3)


def loaded(folder: Path, net: str, **values: Any) -> LoadedRun:
    """A run with a network of that name, its weights as they were made."""
    made = make_run(
        folder / "run", {"target": f"{HERE}.{net}"}, FACTS, task="lab.tasks.Classification", **values
    )
    path = made / "checkpoints" / "best.pt"
    kinds = {kind.__name__: kind for kind in (Known, Attending, Conditioned, Tied, Fourier, Counting)}
    network = kinds[net]()
    checkpoint.save(path, {**checkpoint.load(path), "model": network.state_dict()})
    return load(made)


def test_size_and_arithmetic_in_closed_form(tmp_path: Path) -> None:
    run = loaded(tmp_path, "Known")
    found = measure(run, [torch.zeros(1, 8, 8)], batches=(1,))
    assert found.parameters == 1 + 4 * 9 + 12
    assert found.weight_bytes == 4 * found.parameters + 8 * 5
    assert found.checkpoint_bytes == (tmp_path / "run" / "checkpoints" / "best.pt").stat().st_size
    assert found.flops == 2 * (64 * 4 * 9 + 12)
    assert found.input == (1, 8, 8)


def test_fused_layers_are_counted_too(tmp_path: Path) -> None:
    """On any processor. Projections to 3 · 8, attention, 8 to 8, 8 to 16 and back, of 8 tokens of 8."""
    before = torch.backends.mha.get_fastpath_enabled()
    found = measure(loaded(tmp_path, "Attending"), [torch.zeros(1, 8, 8)], batches=())
    tokens, width = 8, 8
    products = 4 * tokens * width**2 + 2 * tokens * width * 16
    attention = 2 * tokens**2 * width
    assert found.flops == 2 * (products + attention) and found.speeds == ()
    assert torch.backends.mha.get_fastpath_enabled() == before


def test_weights_are_counted_where_they_lie(tmp_path: Path) -> None:
    found = measure(loaded(tmp_path, "Tied"), [torch.zeros(1, 8, 8)], batches=())
    assert found.parameters == 64 + 2 * 8
    assert found.weight_bytes == 4 * (64 + 2 * 8) + 8 * 1000 + 4 + 8 * (8 * 2) + 4 * 8


def test_no_figure_where_there_is_nothing_to_count_or_something_has_no_formula(tmp_path: Path) -> None:
    found = measure(loaded(tmp_path / "a", "Counting"), [torch.zeros(1, 8, 8)], batches=())
    assert (found.flops, found.uncounted) == (None, ())
    found = measure(loaded(tmp_path / "b", "Fourier"), [torch.zeros(1, 8, 8)], batches=())
    assert (found.flops, found.uncounted) == (None, ("aten::_fft_r2c",))


def test_times_are_of_both_batches(tmp_path: Path) -> None:
    run = loaded(tmp_path, "Known", precision="bf16")
    found = measure(run, [torch.zeros(1, 8, 8)])
    assert tuple(speed.batch for speed in found.speeds) == BATCHES == (1, 32)
    for speed in found.speeds:
        assert LEAST <= speed.passes <= MOST
        assert 0 < speed.median <= speed.p95 < 5
        assert speed.throughput == pytest.approx(speed.batch / speed.median)
    threads = torch.get_num_threads()
    assert found.device.startswith("cpu") and f"{threads} thread" in found.device
    assert found.device.endswith("bf16")


def test_networks_of_several_inputs(tmp_path: Path) -> None:
    inputs = [torch.zeros(1, 8, 8), torch.tensor(3)]
    found = measure(loaded(tmp_path, "Conditioned"), inputs, batches=(2,))
    assert found.input == (1, 8, 8) and found.speeds[0].batch == 2
    assert found.flops == 2 * (64 * 4 * 9 + 12)
