import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score
from torch import Tensor

from lab.metrics import MAE, R2, RMSE, Metric


def value(metric: Metric, prediction: Tensor, target: Tensor, batch: int = 1000) -> float:
    for rows in torch.arange(len(target)).split(batch):
        metric.update(prediction[rows], target[rows])
    return metric.compute().item()


def test_closed_form() -> None:
    prediction, target = torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([[1.0], [2.0], [6.0]])
    assert value(MAE(), prediction, target) == pytest.approx(1)
    assert value(RMSE(), prediction, target) == pytest.approx(3**0.5)
    assert value(R2(), prediction, target) == pytest.approx(1 - 9 / 14)  # ȳ = 3: 4 + 1 + 9


@pytest.mark.parametrize("shape", [(50,), (50, 1), (50, 3)])
@pytest.mark.parametrize("batch", [50, 16, 7])
def test_equals_scikit_learn(shape: tuple[int, ...], batch: int) -> None:
    generator = torch.Generator().manual_seed(0)
    target = 2 + 3 * torch.randn(shape, generator=generator)
    prediction = target + torch.randn(shape, generator=generator)
    y, z = target.double().numpy(), prediction.double().numpy()
    assert value(MAE(), prediction, target, batch) == pytest.approx(mean_absolute_error(y, z), rel=1e-5)
    assert value(RMSE(), prediction, target, batch) == pytest.approx(
        mean_squared_error(y, z) ** 0.5, rel=1e-5
    )
    assert value(R2(), prediction, target, batch) == pytest.approx(r2_score(y, z), rel=1e-5)


@settings(max_examples=40, deadline=None)
@given(offset=st.floats(-1000, 1000), seed=st.integers(0, 1000), batch=st.integers(1, 40))
def test_r2_far_from_zero_does_not_cancel(offset: float, seed: int, batch: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    target = torch.randn(40, 1, generator=generator) + offset
    prediction = target + 0.5 * torch.randn(40, 1, generator=generator)
    expected = r2_score(target.double().numpy(), prediction.double().numpy())
    assert value(R2(), prediction, target, batch) == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize(("shift", "expected"), [(0.0, 1.0), (1.0, 0.0)])
def test_r2_of_a_constant_target(shift: float, expected: float) -> None:
    target = torch.full((4, 1), 5.0)
    assert value(R2(), target + shift, target) == expected
    assert r2_score(target.numpy(), target.numpy() + shift) == expected


@pytest.mark.parametrize("constant", [5.7, 0.1, 1e6 + 0.7, 1e9, -3.3e-7])
@pytest.mark.parametrize("batch", [1, 2, 5])
def test_r2_of_a_constant_target_that_float32_rounds(constant: float, batch: int) -> None:
    """The mean of equal numbers differs from them in the last digit, all the spread that there is then."""
    target = torch.full((5,), constant)
    missed = target + torch.linspace(0, 1, 5) * max(1.0, abs(constant) * 1e-5)
    assert value(R2(), missed, target, batch) == 0
    assert value(R2(), target, target, batch) == 1
    two = torch.stack([target, torch.arange(5.0)], dim=1)
    assert value(R2(), two, two, batch) == 1
    expected = r2_score(two.double().numpy(), torch.stack([missed, torch.arange(5.0)], 1).double().numpy())
    assert value(R2(), torch.stack([missed, torch.arange(5.0)], dim=1), two, batch) == expected == 0.5


@pytest.mark.parametrize("offset", [0.0, 1e3, 1e6, 1e9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64])
@pytest.mark.parametrize("batch", [1, 7, 300])
def test_far_from_zero_and_over_many_batches(offset: float, dtype: torch.dtype, batch: int) -> None:
    """float32 holds multiples of 64 only at 1e9: the numbers' exact values count, however they are cut."""
    generator = torch.Generator().manual_seed(3)
    spread = max(1.0, offset * 1e-6)
    target = (offset + 10 * spread * torch.randn(300, 2, generator=generator, dtype=torch.float64)).to(dtype)
    noise = (3 * spread * torch.randn(300, 2, generator=generator, dtype=torch.float64)).to(dtype)
    y, z = target.double().numpy(), (target + noise).double().numpy()
    assert value(MAE(), target + noise, target, batch) == pytest.approx(mean_absolute_error(y, z), rel=1e-7)
    rmse = mean_squared_error(y, z) ** 0.5
    assert value(RMSE(), target + noise, target, batch) == pytest.approx(rmse, rel=1e-7)
    assert value(R2(), target + noise, target, batch) == pytest.approx(r2_score(y, z), abs=1e-7)


def test_a_hundred_thousand_small_errors_are_not_lost() -> None:
    """A float32 sum around 2²⁴ no longer moves by 1."""
    metric = MAE()
    metric.update(torch.tensor([2.0**24]), torch.tensor([0.0]))
    for _ in range(1000):
        metric.update(torch.tensor([1.0]), torch.tensor([0.0]))
    assert metric.compute().item() == pytest.approx((2**24 + 1000) / 1001, rel=1e-7)


def test_r2_goes_on_from_a_state_that_measured_from_zero() -> None:
    """As a checkpoint within an epoch holds it that was written before targets were taken relative."""
    target, prediction = torch.tensor([3.0, 5.0, 8.0, 9.0]), torch.tensor([3.5, 5.0, 7.0, 9.0])
    metric = R2()
    metric._samples = 2
    metric._state = torch.tensor([0.25]), torch.tensor([4.0]), torch.tensor([2.0])
    expected = r2_score(target.numpy(), prediction.numpy())
    assert value(metric, prediction[2:], target[2:]) == pytest.approx(expected)


def test_r2_of_one_sample_is_not_defined() -> None:
    assert np.isnan(value(R2(), torch.ones(1, 1), torch.ones(1, 1)))


def test_r2_takes_an_empty_batch() -> None:
    metric = R2()
    metric.update(torch.zeros(0, 1), torch.zeros(0, 1))
    assert value(metric, torch.tensor([[1.0], [3.0]]), torch.tensor([[1.0], [2.0]])) == pytest.approx(-1)
