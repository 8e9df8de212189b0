"""Notes on the data before a training."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from lab.config import RunConfig
from lab.data.loaders import create_loaders
from lab.train.data_notes import data_notes, loss_notes


def test_a_class_with_few_samples_is_reported(config: Callable[..., RunConfig]) -> None:
    data = create_loaders(config(), None, None, torch.device("cpu"))

    def noted(facts: dict[str, Any]) -> list[str]:
        return [note.message for note in data_notes(config(), replace(data, facts=facts))]

    (note,) = noted({"counts": {"train": {"cat": 500, "lynx": 50, "dog": 70}}})
    assert "has 50 of 'lynx' and 500 of 'cat'" in note and "class_weights: auto" in note
    assert noted({"counts": {"train": {"cat": 500, "lynx": 51}}}) == []
    assert noted({"counts": {"train": 500, "val": 2}}) == noted({}) == []


def test_a_loss_that_is_a_sum() -> None:
    (note,) = loss_notes(nn.MSELoss(reduction="sum"))
    assert note.level == "warning" and "depend on batch_size" in note.message
    silent = (nn.MSELoss(), lambda output, target: (output - target).sum())
    assert [note for criterion in silent for note in loss_notes(criterion)] == []
