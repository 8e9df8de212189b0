"""A metric that goes on from what a checkpoint held is worth what it would have been."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lab import checkpoint, metrics
from lab.metrics.metric_state import Unkeepable, load_metric_state, metric_state
from lab.state.plain_values import ON_DEVICE

CPU = torch.device("cpu")


class Running(nn.Module):
    """In the manner of torchmetrics: state in attributes and buffers, functions beside it."""

    total: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("total", torch.zeros(()), persistent=False)
        self.inner = nn.Module()
        self.inner.seen = []  # type: ignore[assignment]
        self.reductions = {"total": torch.sum}
        self.kept: Any = None

    def reset(self) -> None:
        self.total.zero_()
        self.inner.seen = []  # type: ignore[assignment]

    def update(self, prediction: Tensor, target: Tensor) -> None:
        self.total = self.total + (prediction - target).abs().sum()
        self.inner.seen.append(len(target))  # type: ignore[operator, union-attr]

    def compute(self) -> Tensor:
        return torch.as_tensor(self.total / sum(self.inner.seen))  # type: ignore[arg-type]


class Own:
    """Keeps what a checkpoint can't hold, and says itself how to."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.errors = np.zeros(0)

    def update(self, prediction: Tensor, target: Tensor) -> None:
        self.errors = np.append(self.errors, (prediction - target).numpy())

    def compute(self) -> Tensor:
        return torch.tensor(float(self.errors.max()))

    def state_dict(self) -> dict[str, Any]:
        return {"errors": torch.from_numpy(self.errors)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.errors = state["errors"].numpy()


def numbers(rows: int) -> tuple[Tensor, Tensor]:
    return torch.randn(rows, 2), torch.randn(rows, 2)


def classes(rows: int) -> tuple[Tensor, Tensor]:
    return torch.randn(rows, 3).softmax(1), torch.randint(3, (rows,))


def masks(rows: int) -> tuple[Tensor, Tensor]:
    return torch.rand(rows, 3, 4, 4), torch.randint(3, (rows, 4, 4))


@pytest.mark.parametrize(
    ("make", "batch"),
    [
        (metrics.MAE, numbers),
        (metrics.RMSE, numbers),
        (metrics.R2, numbers),
        (metrics.Accuracy, classes),
        (lambda: metrics.F1(average=1), classes),
        (metrics.Dice, masks),
        (lambda: metrics.IoU(average="set", class_index=2), masks),
        (metrics.OneClass, masks),
        (Running, numbers),
        (Own, numbers),
    ],
)
def test_goes_on(
    tmp_path: Path, make: Callable[[], Any], batch: Callable[[int], tuple[Tensor, Tensor]]
) -> None:
    torch.manual_seed(1)
    batches = [batch(rows) for rows in (3, 5, 2, 4)]
    whole, first, second = make(), make(), make()
    for each in batches:
        whole.update(*each)
    for each in batches[:2]:
        first.update(*each)
    checkpoint.save(tmp_path / "a.pt", {"metric": metric_state(first)})
    load_metric_state(second, checkpoint.load(tmp_path / "a.pt")["metric"], CPU)
    for each in batches[2:]:
        second.update(*each)
    assert torch.equal(second.compute(), whole.compute())


def test_graph_recall_keeps_its_batches() -> None:
    metric = metrics.GraphRecall("action_genome")
    metric._batches.append(({"objects": torch.ones(2)}, {"pairs": torch.zeros(1, 2)}))
    other = metrics.GraphRecall("action_genome")
    load_metric_state(other, metric_state(metric), CPU)
    assert torch.equal(other._batches[0][0]["objects"], torch.ones(2))


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (np.array(["a"]), "kept is of type ndarray of <U1"),
        ({"a": [1, iter((2,))]}, r"kept\['a'\]\[1\] is of type tuple_iterator"),
        ([torch.sum, torch.zeros(1)], r"kept\[0\] is of type builtin_function_or_method"),
        (nn.Linear(1, 1), "inner is of type Linear"),
    ],
)
def test_what_a_checkpoint_cannot_hold_is_named(value: Any, named: str) -> None:
    metric: Any = metrics.MAE()
    setattr(metric, "inner" if isinstance(value, nn.Module) else "kept", value)
    with pytest.raises(Unkeepable, match=f"MAE.{named}"):
        metric_state(metric)


def test_tensors_of_another_device_come_to_the_run_s() -> None:
    metric = metrics.MAE()
    metric._sum = torch.ones(())
    state = {**metric_state(metric), "_sum": {ON_DEVICE: metric._sum}}  # as a checkpoint of a GPU has it
    other = metrics.MAE()
    load_metric_state(other, state, torch.device("meta"))
    assert other._sum is not None and other._sum.device.type == "meta"
