"""What a condition is worth: a network without it stays below a ceiling, and one with it doesn't."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import model
from lab.config import RunConfig
from lab.data.sources.conditioned_discs import CEILING
from tests.conftest import ROOT
from util import run


class Unconditioned(nn.Module):
    """The same network, which isn't told the sequence."""

    def __init__(self, in_channels: int = 1, classes: int = 1) -> None:
        super().__init__()
        self.net = model.segmenter("Unet", in_channels=in_channels, classes=classes)

    def forward(self, image: Tensor, sequence: Tensor) -> Tensor:
        out: Tensor = self.net(image)
        return out


@pytest.mark.slow
def test_film_leaves_the_ceiling_of_the_plain_network_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    conditioned = RunConfig.from_yaml(ROOT / "configs" / "sequences.yaml").with_values(
        {"epochs": 5, "trackers": [], "pictures.enabled": False, "device": "cpu"}
    )
    net = {"target": "tests.test_conditions.Unconditioned", "in_channels": "auto", "classes": "auto"}
    plain = conditioned.with_values({"net": net})
    assert float(run(plain, console="quiet")) < CEILING + 0.02
    assert float(run(conditioned, console="quiet")) > 0.9
