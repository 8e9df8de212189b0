import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from lab.data import function
from lab.data.sources.function import FUNCTIONS


def tensors(dataset: object) -> tuple[torch.Tensor, ...]:
    assert isinstance(dataset, TensorDataset)
    return dataset.tensors


@pytest.mark.parametrize("name", FUNCTIONS)
def test_without_noise_y_is_f_of_x(name: str) -> None:
    x, y = tensors(function(name=name, noise=0, dims=3).train)  # type: ignore[arg-type]
    assert (x.shape, y.shape, x.dtype, y.dtype) == ((1024, 3), (1024, 1), torch.float32, torch.float32)
    expected = FUNCTIONS[name](x.double().numpy()).mean(1, keepdims=True)
    np.testing.assert_allclose(y.numpy(), expected, atol=1e-5)


def test_values_of_the_functions() -> None:
    at = np.array([-1.0, -0.5, 0.5, 1.0])
    np.testing.assert_allclose(FUNCTIONS["sin"](at), [0, -1, 1, 0], atol=1e-12)
    np.testing.assert_allclose(FUNCTIONS["polynomial"](at), [-1, 1, -1, 1])
    np.testing.assert_allclose(
        FUNCTIONS["chirp"](at), [0, -np.sin(3 * np.pi / 4), np.sin(3 * np.pi / 4), 0], atol=1e-12
    )
    np.testing.assert_allclose(FUNCTIONS["step"](at), [-1, -1, 1, 1])


def test_noise_and_range_are_as_asked() -> None:
    x, y = tensors(function(train_count=20_000, noise=0.3, low=2, high=5).train)
    assert x.min() >= 2 and x.max() < 5
    residual = y.double() - torch.sin(torch.pi * x.double())
    assert residual.std().item() == pytest.approx(0.3, rel=0.03)


def test_the_seed_decides_and_the_sets_differ() -> None:
    one, same, other = function(seed=1, test_count=256), function(seed=1, test_count=256), function(seed=2)
    assert torch.equal(tensors(one.train)[1], tensors(same.train)[1])
    assert not torch.equal(tensors(one.train)[0], tensors(other.train)[0])
    assert not torch.equal(tensors(one.val)[0], tensors(one.test)[0])
    assert function().test is None


def test_a_larger_train_set_changes_nothing_else() -> None:
    assert torch.equal(tensors(function(train_count=10).val)[0], tensors(function(train_count=20).val)[0])


@pytest.mark.parametrize(
    "arguments",
    [{"name": "cosine"}, {"train_count": 0}, {"val_count": 0}, {"dims": 0}, {"noise": -1.0}, {"low": 2.0}],
)
def test_arguments_out_of_range(arguments: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(arguments))):
        function(**arguments)  # type: ignore[arg-type]


def test_a_source_is_imported_when_it_is_named_and_imports_nothing_slow() -> None:
    code = """
import sys
import lab.data
print([name for name in sys.modules if name.startswith("lab.data.sources")])
from lab.data import *
print(sorted({"albumentations", "cv2", "sklearn", "scipy"} & set(sys.modules)), moving_boxes.__name__)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "[] moving_boxes"]
