"""Which epoch is best, and the course of a training as a state."""

import math
from typing import Any

import pytest
import torch

from lab.config.sections import Monitor
from lab.events import named
from lab.train.progress import BestEpoch, FiniteMonitor, Schedule, TrainerState

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("mode", "curve", "improved"),
    [
        ("min", [3.0, 2.0, 2.5, 1.0], [1, 1, 0, 1]),
        ("max", [3.0, 2.0, 2.5, 4.0], [1, 0, 0, 1]),
        ("min", [1.0, 1.0], [1, 0]),  # a tie is no improvement
        ("max", [1.0, 1.0], [1, 0]),
        ("max", [-3.0, -2.0, -2.5], [1, 1, 0]),
        ("min", [NAN, 1.0, NAN, 0.5], [0, 1, 0, 1]),
        ("max", [NAN, 1.0, NAN, 1.5], [0, 1, 0, 1]),
        ("max", [INF, 1.0, INF, -INF], [0, 1, 0, 0]),  # infinite is never best
        ("min", [-INF, 1.0, -INF, INF], [0, 1, 0, 0]),
    ],
)
def test_best(mode: Any, curve: list[float], improved: list[int]) -> None:
    best = BestEpoch(Monitor(metric="val_dice", mode=mode))
    rows = [{"val_loss": 9.0, "val_dice": value} for value in curve]
    assert [best.update(epoch, row) for epoch, row in enumerate(rows, 1)] == [bool(i) for i in improved]
    last = max((epoch for epoch, better in enumerate(improved, 1) if better), default=0)
    assert best.epoch == last and best.values == (rows[last - 1] if last else {})


def test_best_keeps_a_copy_and_goes_on_from_its_state() -> None:
    best = BestEpoch(Monitor())
    row = {"val_loss": 2.0}
    best.update(1, row)
    row["val_loss"] = 0.0
    again = BestEpoch(Monitor())
    again.load_state_dict(best.state_dict())
    assert (again.epoch, again.values) == (1, {"val_loss": 2.0})
    assert [again.update(2, {"val_loss": 2.0}), again.update(3, {"val_loss": 1.9})] == [False, True]


def test_a_name_that_is_not_logged_is_named() -> None:
    with pytest.raises(ValueError, match="nothing is logged as 'val_dice'; there are: val_loss, lr"):
        BestEpoch(Monitor(metric="val_dice", mode="max")).update(1, {"val_loss": 1.0, "lr": 0.1})
    assert named({"a": 1.0}, "a") == 1.0


def course(mode: Any, returns: Any, curve: list[float]) -> TrainerState:
    result = TrainerState(Monitor(metric="val_dice", mode=mode, returns=returns))
    for epoch, value in enumerate(curve, 1):
        row = {"val_loss": 1.0, "val_dice": value}
        result.best.update(epoch, row)
        result.end_epoch(row, 0.5)
    return result


@pytest.mark.parametrize(
    ("mode", "returns", "curve", "value"),
    [
        ("min", "best", [], INF),
        ("max", "best", [], -INF),
        ("max", "last", [], -INF),
        ("min", "best", [2.0, 1.0, 3.0], 1.0),
        ("max", "best", [2.0, 1.0, 3.0, 0.5], 3.0),
        ("max", "last", [2.0, 3.0, 0.5], 0.5),
        ("max", "best", [NAN], -INF),
        ("min", "best", [INF, NAN], INF),
    ],
)
def test_value_of_a_training(mode: Any, returns: Any, curve: list[float], value: float) -> None:
    assert course(mode, returns, curve).value == value


def test_course_round_trip() -> None:
    first = course("max", "best", [0.5, 0.75, 0.25])
    first.samples, first.train_seconds = 60, 1.5
    second = TrainerState(Monitor(metric="val_dice", mode="max"))
    second.load_state_dict(first.state_dict())
    assert second.state_dict() == first.state_dict()
    assert (second.epoch, second.value, second.best.epoch, second.seconds) == (3, 0.75, 2, 1.5)
    assert second.samples_per_second == 40.0
    second.end_epoch({"val_dice": 0.1}, 1.0)
    assert (len(second.history), len(first.history)) == (4, 3)


def test_speed_before_anything_was_trained() -> None:
    assert TrainerState(Monitor()).samples_per_second == 0.0


def test_schedulers_step_and_a_plateau_gets_its_metric() -> None:
    def lr_after(kind: str, values: dict[str, float]) -> float:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        scheduler: Any = (
            torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, factor=0.5)
            if kind == "plateau"
            else torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.1)
        )
        optimizer.step()
        for _ in range(2):
            Schedule(scheduler, "epoch", "val_loss").after_epoch(values)
            Schedule(scheduler, "step", "val_loss").after_epoch(values)
            Schedule(scheduler, "epoch", "val_loss").after_step()
        return float(optimizer.param_groups[0]["lr"])

    assert lr_after("plateau", {"val_loss": 1.0}) == 0.5
    assert lr_after("step", {}) == pytest.approx(0.01)
    with pytest.raises(ValueError, match="'val_loss'"):
        lr_after("plateau", {"train_loss": 1.0})
    Schedule(None, "epoch", "val_loss").after_epoch({})
    with pytest.raises(ValueError, match="found batch"):
        Schedule(None, "batch", "val_loss")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_a_value_that_is_not_finite_is_seen_at_once_on_a_cpu(dtype: torch.dtype) -> None:
    watch = FiniteMonitor()
    seen = [
        watch(torch.tensor(value, dtype=dtype, requires_grad=True)) for value in (1.0, NAN, -2.0, INF, -INF)
    ]
    assert seen == [False, True, False, True, True]


def test_elsewhere_nothing_is_waited_for() -> None:
    assert not FiniteMonitor()(torch.empty((), device="meta"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_it_is_seen_without_a_wait() -> None:
    watch = FiniteMonitor()
    watch(torch.ones((), device="cuda"))
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        bad = watch(torch.full((), NAN, device="cuda"))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.cuda.synchronize()
    assert bad or watch(torch.ones((), device="cuda"))
