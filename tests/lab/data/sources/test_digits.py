import albumentations as A
import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch.utils.data import TensorDataset

from lab.data import digits
from lab.data.classification_sets import AugmentedImages


def tensors(dataset: object) -> tuple[torch.Tensor, ...]:
    assert isinstance(dataset, TensorDataset)
    return dataset.tensors


def test_the_sets_hold_every_picture_once_with_its_label() -> None:
    splits = digits(val_share=0.2, test_share=0.1)
    sets = [tensors(part) for part in splits[:3]]
    assert [len(labels) for _, labels in sets] == [1797 - 359 - 180, 359, 180]
    images, labels = (torch.cat(parts) for parts in zip(*sets, strict=True))
    assert (images.shape, images.dtype, labels.dtype) == ((1797, 1, 8, 8), torch.float32, torch.int64)
    assert (images.min(), images.max()) == (0, 1)

    def rows(pictures: np.ndarray, classes: np.ndarray) -> list[tuple[float, ...]]:
        return sorted(
            (*p, c) for p, c in zip(pictures.reshape(-1, 64).tolist(), classes.tolist(), strict=True)
        )

    raw, truth = load_digits(return_X_y=True)
    assert rows(images.numpy() * 16, labels.numpy()) == rows(raw, truth)


def test_every_set_has_the_same_share_of_each_class() -> None:
    splits = digits(val_share=0.2, test_share=0.2)
    shares = [torch.bincount(tensors(part)[1], minlength=10) / len(part) for part in splits[:3]]  # type: ignore[arg-type]
    for share in shares:
        torch.testing.assert_close(share, shares[0], atol=0.004, rtol=0)


def test_the_seed_decides() -> None:
    one, same, other = (tensors(digits(seed=seed).val)[0] for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert digits().test is None


def test_sample_size_is_per_class() -> None:
    splits = digits(sample_size=20)
    counts = sum(torch.bincount(tensors(part)[1], minlength=10) for part in (splits.train, splits.val))
    assert counts.tolist() == [20] * 10  # type: ignore[union-attr]


def test_the_facts_tell_which_picture_is_where() -> None:
    splits = digits(test_share=0.2)
    facts = splits.facts
    assert facts["classes"] == [str(digit) for digit in range(10)]
    assert (facts["size"], facts["in_channels"], facts["normalise"]) == ([8, 8], 1, "none")
    raw, truth = load_digits(return_X_y=True)
    for part, dataset in zip(("train", "val", "test"), splits[:3], strict=True):
        images, labels = tensors(dataset)
        chosen = [int(name) for name in facts["split"][part]]
        assert (images.numpy().reshape(-1, 64) * 16 == raw[chosen]).all()
        assert labels.tolist() == truth[chosen].tolist()
        assert facts["counts"][part] == {
            str(k): int(count) for k, count in enumerate(np.bincount(truth[chosen]))
        }


def test_transforms_are_for_training() -> None:
    splits = digits(sample_size=20, transforms=[A.Affine(rotate=(30, 30), p=1.0)])
    plain = digits(sample_size=20)
    assert isinstance(splits.train, AugmentedImages)
    turned, label = splits.train.sample(0, np.random.default_rng(0))
    image, same = plain.train[0]
    assert label == same and turned.shape == image.shape and turned.min() >= 0 and turned.max() <= 1
    assert not torch.equal(turned, image)
    assert torch.equal(tensors(splits.val)[0], tensors(plain.val)[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sample_size": 1}, "sample_size must be between 2 and 174"),
        ({"sample_size": 175}, "sample_size must be between 2 and 174"),
        ({"sample_size": 4}, "fewer than one image for each of the 10 classes"),
        ({"val_share": -0.1}, "val_share must be in"),
    ],
)
def test_arguments_out_of_range(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        digits(**arguments)  # type: ignore[arg-type]
