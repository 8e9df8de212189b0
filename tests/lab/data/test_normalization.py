import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lab.data.normalization import Normalise, fitted, statistics

RNG = np.random.default_rng(0)


@given(
    seed=st.integers(0, 100), channels=st.sampled_from([1, 3]), count=st.integers(1, 4), deep=st.booleans()
)
def test_statistics_are_those_of_all_pixels_together(
    seed: int, channels: int, count: int, deep: bool
) -> None:
    rng = np.random.default_rng(seed)
    images = [rng.integers(0, 256, (*rng.integers(1, 9, 2), channels), np.uint8) for _ in range(count)]
    images[0][0, 0] = rng.integers(0, 2, channels) * 255
    pixels = np.concatenate([image.reshape(-1, channels) for image in images]) / 255
    given_images = [image.astype(np.float32) / 255 for image in images] if deep else images
    mean, std = statistics(given_images)
    np.testing.assert_allclose(mean, pixels.mean(0), atol=1e-6)
    expected = pixels.std(0)
    np.testing.assert_allclose(std, np.where(expected < 1e-6, 1, expected), atol=1e-6)


def test_a_tall_image_of_many_bits_is_taken_in_pieces() -> None:
    image = RNG.random((600, 5, 3)).astype(np.float32)
    mean, std = statistics([image])
    np.testing.assert_allclose(mean, image.mean((0, 1), dtype=np.float64), rtol=1e-12)
    np.testing.assert_allclose(std, image.std((0, 1), dtype=np.float64), rtol=1e-9)


def test_a_channel_without_deviation_is_centred_only() -> None:
    mean, std = statistics([np.full((4, 4, 1), 51, np.uint8)])
    assert mean == pytest.approx([0.2]) and std == [1.0]
    assert Normalise()(torch.full((2, 3, 3), 0.4)).abs().max() < 1e-6


def test_the_training_images_get_mean_0_and_deviation_1() -> None:
    images = [RNG.integers(0, 99, (size, 7, 3), np.uint8) for size in (5, 30)]
    normalise = Normalise(*statistics(images))
    pixels = torch.cat(
        [normalise(torch.from_numpy(image).permute(2, 0, 1) / 255).flatten(1) for image in images], 1
    )
    torch.testing.assert_close(pixels.mean(1), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(pixels.std(1, correction=0), torch.ones(3), atol=1e-5, rtol=0)


def test_an_image_by_its_own_pixels() -> None:
    image = torch.from_numpy(RNG.random((3, 9, 11), np.float32)) * torch.tensor([1, 0.1, 5]).view(3, 1, 1)
    before = image.clone()
    found = Normalise()(image)
    torch.testing.assert_close(found.mean((1, 2)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.std((1, 2), correction=0), torch.ones(3), atol=1e-5, rtol=0)
    assert found.dtype == torch.float32 and torch.equal(image, before)


def test_facts_bring_the_same_normalisation_back() -> None:
    image = torch.from_numpy(RNG.random((1, 4, 4), np.float32))
    for normalise in (Normalise([0.3], [0.2]), Normalise()):
        again = Normalise.from_facts(normalise.facts())
        assert again is not None and torch.equal(again(image), normalise(image))
    assert Normalise([0.3], [0.2]).facts() == {"normalise": "train", "mean": [0.3], "std": [0.2]}
    assert Normalise.from_facts({}) is Normalise.from_facts({"normalise": "none"}) is None


def test_channels_must_fit() -> None:
    with pytest.raises(ValueError, match="the image has 1 channels, the normalisation 3"):
        Normalise([0.1] * 3, [1.0] * 3)(torch.zeros(1, 2, 2))


def test_fitted_is_by_the_training_images_or_by_nothing() -> None:
    images = [RNG.integers(0, 99, (5, 7, 2), np.uint8) for _ in range(3)]
    by_all, by_each = fitted("train", images), fitted("image", images)
    assert by_all is not None and (by_all.mean, by_all.std) == statistics(images)
    assert by_each is not None and by_each.mean is by_each.std is None
    assert fitted("none", images) is None
