"""Run folders with real files and networks whose answers are known, and images of every kind."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lab.checkpoint import save
from lab.config import RunConfig
from lab.config.validation import validate
from lab.predict.segmentation_run import Segmenter, load_segmenter
from lab.store import run_folder
from util import run

HERE = "tests.inference_tools"
PLAIN = {"in_channels": 3, "classes": ["background", "spot"]}
THREE = {"in_channels": 1, "classes": ["background", "grey", "white"]}


class Brightness(nn.Module):
    """Foreground is what is brighter than `at`; the weight decides how surely."""

    def __init__(self, at: float = 0.5, encoder_weights: str | None = "imagenet") -> None:
        super().__init__()
        assert encoder_weights is None, "it would be downloaded"
        self.at = at
        self.weight = nn.Parameter(torch.tensor(0.0))

    def forward(self, image: Tensor) -> Tensor:
        out: Tensor = self.weight * (image.mean(1, keepdim=True) - self.at)
        return out


class Greys(nn.Module):
    """Three classes: black, grey and white."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.0))

    def forward(self, image: Tensor) -> Tensor:
        levels = torch.tensor([0.0, 0.5, 1.0]).view(1, 3, 1, 1)
        out: Tensor = -self.weight * (image.mean(1, keepdim=True) - levels) ** 2
        return out


class Conditioned(Brightness):
    """An image of sequence 0 is seen as it is, of sequence 1 inverted, of an unknown one as background."""

    def forward(self, image: Tensor, sequence: Tensor) -> Tensor:  # type: ignore[override]
        sign = torch.where(sequence == 0, 1.0, -1.0).view(-1, 1, 1, 1)
        unknown = (sequence == -1).view(-1, 1, 1, 1)
        return super().forward(image) * sign - 1e3 * unknown


class Small(nn.Module):
    """A network that learns, of nine pixels across."""

    def __init__(self, in_channels: int = 3, classes: int = 1) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs in (in_channels, 8, 8, 8):
            layers += [nn.Conv2d(inputs, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()]
        self.body = nn.Sequential(*layers, nn.Conv2d(8, classes, 1))

    def forward(self, image: Tensor) -> Tensor:
        out: Tensor = self.body(image)
        return out


def make_run(
    folder: Path,
    net: Any = "Brightness",
    facts: Mapping[str, Any] | None = PLAIN,
    weight: float = 40.0,
    **values: Any,
) -> Path:
    """The folder of a run whose network has this weight; dotted paths override its config."""
    config = validate(
        RunConfig,
        {
            "device": "cpu",
            "task": {"target": "lab.tasks.Segmentation", "tile": 64, "overlap": 16},
            "data": "lab.data.image_folder",
            "net": f"{HERE}.{net}" if isinstance(net, str) else net,
        },
    ).with_values(values)
    (folder / run_folder.CHECKPOINTS).mkdir(parents=True)
    (folder / run_folder.CONFIG).write_text(config.to_yaml())
    content: dict[str, Any] = {"model": {"weight": torch.tensor(weight)}, "course": {"epoch": 7}}
    content |= {} if facts is None else {"data": facts}
    save(folder / run_folder.CHECKPOINTS / "best.pt", content)
    return folder


def train(folder: Path, settings: RunConfig) -> Path:
    """The folder of a run that was trained."""
    run(settings, run_dir=folder, console="quiet")
    return folder


def loaded(folder: Path, net: Any = "Brightness", **options: Any) -> Segmenter:
    """The run of `make_run`, loaded."""
    return load_segmenter(make_run(folder / "run", net, **options))


def write(path: Path, pixels: NDArray[Any]) -> Path:
    """An image file; colours are given as RGB(A)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if pixels.ndim == 3:
        pixels = pixels[..., [2, 1, 0, *range(3, pixels.shape[2])]]
    assert cv2.imwrite(str(path), np.ascontiguousarray(pixels))
    return path


def spots(size: tuple[int, int], *boxes: tuple[int, int, int, int], value: int = 255) -> NDArray[np.uint8]:
    """A black image (H, W) with bright rectangles (top, left, height, width)."""
    image = np.zeros(size, np.uint8)
    for top, left, height, width in boxes:
        image[top : top + height, left : left + width] = value
    return image
