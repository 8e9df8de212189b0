import albumentations as A
import numpy as np
import pytest
import torch

from lab.data.augment import Augment, image_tensor


def test_without_transforms_nothing_changes() -> None:
    image, rng = np.zeros((2, 3, 1), np.uint8), np.random.default_rng(0)
    assert Augment()(rng, image=image)["image"] is image
    assert rng.random() == np.random.default_rng(0).random()  # nor is anything drawn


def test_arrays_change_alike_and_by_the_generator_alone() -> None:
    augment = Augment([A.D4(p=1.0), A.RandomBrightnessContrast(p=1.0)])
    image = np.arange(16, dtype=np.uint8).reshape(4, 4, 1) * 10
    found = [augment(np.random.default_rng(seed), image=image, mask=image[..., 0]) for seed in range(60)]
    again = [augment(np.random.default_rng(seed), image=image, mask=image[..., 0]) for seed in range(60)]
    assert all((one["image"] == other["image"]).all() for one, other in zip(found, again, strict=True))
    assert len({one["mask"].tobytes() for one in found}) == 8  # the square's symmetries
    for one in found:
        order = np.argsort(one["mask"].ravel())
        assert (np.diff(one["image"].ravel()[order].astype(int)) >= 0).all()


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (np.array([[[0, 51, 255]]], np.uint8), [0, 0.2, 1]),
        (np.array([[[0, 13107, 65535]]], np.uint16), [0, 0.2, 1]),
        (np.array([[[0, 0.2, 7]]], np.float64), [0, 0.2, 7]),
        (torch.tensor([0, 51, 255], dtype=torch.uint8)[:, None, None], [0, 0.2, 1]),
    ],
)
def test_tensors_are_floats_channels_first(image: np.ndarray | torch.Tensor, expected: list[float]) -> None:
    tensor = image_tensor(image)
    assert (tensor.shape, tensor.dtype) == ((3, 1, 1), torch.float32)
    torch.testing.assert_close(tensor.flatten(), torch.tensor(expected))
    assert image_tensor(np.zeros((2, 5), np.uint8)).shape == (1, 2, 5)
