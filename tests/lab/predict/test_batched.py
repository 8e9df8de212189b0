from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from lab.predict.classification import answers, class_names
from lab.predict.loaded_run import LoadedRun, load, require_task
from lab.tasks import Classification
from tests.classified_tools import HERE, Levels
from tests.inference_tools import make_run

FACTS = {"in_channels": 3, "classes": ["bright", "dark", "grey"], "size": [8, 8]}


class Told(Levels):
    """Keeps the sizes of the batches that it was asked."""

    batches: ClassVar[list[int]] = []

    def forward(self, image: Tensor) -> Tensor:
        self.batches.append(len(image))
        return super().forward(image)


def classifier(folder: Path, net: str = f"{HERE}.Levels", **values: object) -> LoadedRun:
    return load(make_run(folder, {"target": net}, FACTS, task="lab.tasks.Classification", **values))


def images(*sizes: int) -> list[tuple[int, list[Tensor]]]:
    """Numbered ones, each as bright as its number in tenths."""
    return [(n, [torch.full((3, size, size), n / 10)]) for n, size in enumerate(sizes)]


def test_answers_come_in_order_whatever_the_batches(tmp_path: Path) -> None:
    loaded = classifier(tmp_path, "tests.lab.predict.test_batched.Told", batch_size=3)
    Told.batches.clear()
    found = list(answers(loaded, images(8, 8, 8, 8, 5, 8, 8)))
    assert Told.batches == [3, 1, 1, 2]  # neighbours of one size
    assert [number for number, _, _ in found] == list(range(7))
    levels = np.array([220, 30, 120]) / 255
    for number, inputs, likely in found:
        logits = -40 * (number / 10 - levels) ** 2
        assert likely == pytest.approx(np.exp(logits) / np.exp(logits).sum(), abs=1e-5)
        assert inputs[0].mean().item() == pytest.approx(number / 10)
    assert list(answers(loaded, [])) == []


def test_names_of_classes(tmp_path: Path) -> None:
    loaded = classifier(tmp_path)
    assert class_names(loaded, 3) == ["bright", "dark", "grey"]
    assert class_names(loaded, 4) == ["0", "1", "2", "3"]


def test_other_tasks_are_refused(tmp_path: Path) -> None:
    loaded = classifier(tmp_path / "a")
    assert require_task(loaded, Classification) is loaded.task
    with pytest.raises(ValueError, match=r"the task lab.tasks.Classification, found .*Segment"):
        require_task(load(make_run(tmp_path / "b")), Classification)
