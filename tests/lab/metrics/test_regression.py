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


def test_r2_of_one_sample_is_not_defined() -> None:
    assert np.isnan(value(R2(), torch.ones(1, 1), torch.ones(1, 1)))


def test_r2_takes_an_empty_batch() -> None:
    metric = R2()
    metric.update(torch.zeros(0, 1), torch.zeros(0, 1))
    assert value(metric, torch.tensor([[1.0], [3.0]]), torch.tensor([[1.0], [2.0]])) == pytest.approx(-1)
