"""One contract for all metrics: what every one of them must do, whatever it measures."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from lab.config.mask_values import IGNORE_INDEX
from lab.metrics import (
    F1,
    MAE,
    R2,
    RMSE,
    Accuracy,
    ClassPrecision,
    ClassRecall,
    Dice,
    IoU,
    Metric,
    OneClass,
    Precision,
    Recall,
)


def masks(rows: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Some of the masks are empty, and so are some of the predictions."""
    full = (torch.rand(rows, 1, 1, 1, generator=generator) > 0.3).float()
    seen = (torch.rand(rows, 1, 1, 1, generator=generator) > 0.3).float()
    truth = (torch.rand(rows, 1, 4, 5, generator=generator) > 0.5).float() * full
    return torch.rand(rows, 1, 4, 5, generator=generator) * seen, truth


def classes(rows: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    logits = torch.randn(rows, 3, generator=generator)
    return logits.softmax(1), torch.randint(0, 3, (rows,), generator=generator)


def labels(rows: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Masks of three classes, with pixels that nobody judged."""
    logits = torch.randn(rows, 3, 4, 5, generator=generator)
    target = torch.randint(0, 3, (rows, 4, 5), generator=generator)
    hidden = torch.rand(rows, 4, 5, generator=generator) > 0.8
    return logits.softmax(1), target.masked_fill(hidden, IGNORE_INDEX)


def values(rows: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    target = torch.randn(rows, 2, generator=generator)
    return target + 0.3 * torch.randn(rows, 2, generator=generator), target


Data = Callable[[int, torch.Generator], tuple[Tensor, Tensor]]
METRICS: list[Any] = [
    pytest.param(lambda: Dice(), masks, id="dice-image"),
    pytest.param(lambda: Dice(average="set"), masks, id="dice-set"),
    pytest.param(lambda: IoU(), masks, id="iou-image"),
    pytest.param(lambda: IoU(average="set"), masks, id="iou-set"),
    pytest.param(lambda: Dice(), labels, id="dice-classes"),
    pytest.param(lambda: IoU(average="set"), labels, id="iou-classes-set"),
    pytest.param(lambda: Dice(class_index=2), labels, id="dice-one-of-the-classes"),
    pytest.param(lambda: Precision(), masks, id="precision"),
    pytest.param(lambda: Recall(), labels, id="recall-classes"),
    pytest.param(lambda: OneClass(), masks, id="one-class"),
    pytest.param(lambda: OneClass(), labels, id="one-class-of-several"),
    pytest.param(Accuracy, classes, id="accuracy"),
    pytest.param(lambda: F1(), classes, id="f1"),
    pytest.param(lambda: ClassPrecision("weighted"), classes, id="precision-of-classes"),
    pytest.param(lambda: ClassRecall(), classes, id="recall-of-classes"),
    pytest.param(MAE, values, id="mae"),
    pytest.param(RMSE, values, id="rmse"),
    pytest.param(R2, values, id="r2"),
]
every_metric = pytest.mark.parametrize(("make", "data"), METRICS)


def measure(metric: Metric, prediction: Tensor, target: Tensor, cuts: list[int] | None = None) -> Tensor:
    bounds = [0, *sorted(cuts or []), len(target)]
    for first, last in itertools.pairwise(bounds):
        if last > first:
            metric.update(prediction[first:last], target[first:last])
    return metric.compute()


@every_metric
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), rows=st.integers(2, 12), share=st.lists(st.floats(0, 1), max_size=4))
def test_batches_do_not_change_the_result(
    make: Callable[[], Metric], data: Data, seed: int, rows: int, share: list[float]
) -> None:
    prediction, target = data(rows, torch.Generator().manual_seed(seed))
    whole = measure(make(), prediction, target)
    cut = measure(make(), prediction, target, [int(s * rows) for s in share])
    torch.testing.assert_close(cut, whole, rtol=1e-4, atol=1e-5)


@every_metric
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), rows=st.integers(2, 12))
def test_order_does_not_change_the_result(
    make: Callable[[], Metric], data: Data, seed: int, rows: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    prediction, target = data(rows, generator)
    order = torch.randperm(rows, generator=generator)
    expected = measure(make(), prediction, target)
    torch.testing.assert_close(
        measure(make(), prediction[order], target[order]), expected, rtol=1e-4, atol=1e-5
    )


@every_metric
def test_reset_forgets_everything(make: Callable[[], Metric], data: Data) -> None:
    first = data(5, torch.Generator().manual_seed(1))
    second = data(7, torch.Generator().manual_seed(2))
    metric = make()
    measure(metric, *first)
    metric.reset()
    assert torch.isnan(metric.compute())
    assert measure(metric, *second) == measure(make(), *second)


@every_metric
def test_the_result_is_one_detached_float(make: Callable[[], Metric], data: Data) -> None:
    prediction, target = data(5, torch.Generator().manual_seed(1))
    value = measure(make(), prediction.requires_grad_(True), target)
    assert (value.shape, value.dtype, value.requires_grad) == ((), torch.float32, False)


@every_metric
def test_compute_can_be_asked_again(make: Callable[[], Metric], data: Data) -> None:
    metric = make()
    first = measure(metric, *data(5, torch.Generator().manual_seed(1)))
    assert metric.compute() == first


@every_metric
def test_half_precision_predictions_are_accepted(make: Callable[[], Metric], data: Data) -> None:
    prediction, target = data(6, torch.Generator().manual_seed(1))
    half = measure(make(), prediction.bfloat16(), target)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, measure(make(), prediction.bfloat16().float(), target))


class ForbidSync(TorchDispatchMode):
    """Fails where a value is read back: `.item()`, `bool(tensor)`, shapes that depend on data."""

    FORBIDDEN = ("_local_scalar_dense", "is_nonzero", "nonzero", "masked_select", "equal")

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func.overloadpacket.__name__ not in self.FORBIDDEN, f"{func} waits for the device"
        return func(*args, **(kwargs or {}))


def test_the_guard_sees_a_read_back() -> None:
    with pytest.raises(AssertionError, match="waits for the device"), ForbidSync():
        float(torch.ones(()))


@every_metric
def test_nothing_waits_for_the_device(make: Callable[[], Metric], data: Data) -> None:
    prediction, target = data(6, torch.Generator().manual_seed(1))
    metric = make()
    with ForbidSync():
        metric.update(prediction[:4], target[:4])
        metric.update(prediction[4:], target[4:])
        metric.compute()


@every_metric
def test_state_lives_where_the_batches_live(make: Callable[[], Metric], data: Data) -> None:
    prediction, target = data(6, torch.Generator().manual_seed(1))
    metric = make()
    metric.update(prediction.to("meta"), target.to("meta"))
    metric.update(prediction.to("meta"), target.to("meta"))
    assert metric.compute().device.type == "meta"


@every_metric
def test_shapes_that_would_broadcast_are_refused(make: Callable[[], Metric], data: Data) -> None:
    prediction, target = data(6, torch.Generator().manual_seed(1))
    with pytest.raises(ValueError, match="found"):
        make().update(prediction, target[..., None])


def test_every_metric_of_the_package_is_in_the_contract() -> None:
    import lab.metrics

    tested = {type(make.values[0]()).__name__ for make in METRICS}  # type: ignore[operator]
    assert tested == set(lab.metrics.__all__) - {"Metric", "GraphRecall"}  # graphs: test_scene_graph.py
