"""Labelled images whose classes are how bright they are, and runs of classifiers whose answers are known."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from lab.config import RunConfig
from lab.config.validation import validate
from tests.inference_tools import train, write

HERE = "tests.classified_tools"
CLASSES = ("bright", "dark", "grey")
LEVELS = {"bright": 220, "dark": 30, "grey": 120}


class Levels(nn.Module):
    """Asked for images (N, C, H, W) in [0, 1]: the nearest of these levels, the more surely the nearer."""

    def __init__(self, levels: Sequence[float] = (220 / 255, 30 / 255, 120 / 255)) -> None:
        super().__init__()
        self.levels = tuple(levels)
        self.weight = nn.Parameter(torch.tensor(40.0))

    def forward(self, image: Tensor) -> Tensor:
        levels = torch.tensor(self.levels, device=image.device)
        out: Tensor = -self.weight * (image.mean((1, 2, 3))[:, None] - levels) ** 2
        return out


def make_images(root: Path, count: int, noise: float = 40.0, classes: Sequence[str] = CLASSES) -> Path:
    """`root/<class>/im00.png` and so on, 16 × 16 pixels; brightness varies by `noise` from image to image."""
    rng = np.random.default_rng(0)
    for number in range(count):
        name = classes[number % len(classes)]
        level = LEVELS[name] + rng.normal(0, noise)
        pixels = np.clip(level + rng.normal(0, 10, (16, 16, 3)), 0, 255).astype(np.uint8)
        write(root / name / f"im{number:02}.png", pixels)
    return root


def config(root: Path, **values: Any) -> RunConfig:
    """Of a run on such images, that needs a second."""
    plain = {
        "device": "cpu",
        "epochs": 3,
        "batch_size": 4,
        "task": "lab.tasks.Classification",
        "data": {
            "target": "lab.data.class_folder",
            "root": str(root),
            "size": 8,
            "val_share": 0.3,
            "test_share": 0.2,
        },
        "net": {"target": "model.ConvNet", "classes": "auto", "in_channels": "auto", "width": 4, "depth": 1},
        "criterion": "torch.nn.CrossEntropyLoss",
        "metrics": {"accuracy": "lab.metrics.Accuracy", "f1": "lab.metrics.F1"},
        "optimizer": {"target": "torch.optim.Adam", "lr": 0.03},
        "trackers": [],
        "pictures": {"enabled": False},
    }
    return validate(RunConfig, plain).with_values(values)


def train_levels(folder: Path, root: Path, **values: Any) -> Path:
    """A run whose network is `Levels`, and stays it."""
    still = {
        "net": f"{HERE}.Levels",
        "epochs": 1,
        "optimizer": {"target": "torch.optim.SGD", "lr": 0.0},
        "data.normalise": "none",
    }
    return train(folder, config(root, **{**still, **values}))


def partly(count: int = 30) -> tuple[TensorDataset, TensorDataset]:
    """Images in memory, a third of which nobody labelled, and some of which are labelled wrongly."""
    truth = torch.arange(count) % 3
    level = torch.tensor([220.0, 30.0, 120.0])[truth] / 255
    images = level.reshape(-1, 1, 1, 1).expand(-1, 3, 8, 8).contiguous()
    labels = truth.clone()
    labels[::5] = (labels[::5] + 1) % 3
    labels[1::3] = -100
    return TensorDataset(images, labels), TensorDataset(images, labels)
