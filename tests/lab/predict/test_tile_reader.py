"""Pieces of an image are those of the whole, whatever kind of file it is."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lab.data.image_reader import ImageReader
from lab.data.normalization import Normalise
from lab.predict.masks import Source
from tests.inference_tools import write

RNG = np.random.default_rng(0)
KINDS = {
    "grey.png": RNG.integers(0, 256, (37, 53), np.uint8),
    "colour.png": RNG.integers(0, 256, (37, 53, 3), np.uint8),
    "alpha.png": RNG.integers(0, 256, (37, 53, 4), np.uint8),
    "grey16.tif": RNG.integers(0, 65536, (37, 53), np.uint16),
    "colour16.png": RNG.integers(0, 65536, (37, 53, 3), np.uint16),
    "alpha16.png": RNG.integers(0, 65536, (37, 53, 4), np.uint16),
    "float.tif": RNG.random((37, 53), np.float32),
    "photo.jpg": RNG.integers(0, 256, (37, 53, 3), np.uint8),
    "pixel.png": RNG.integers(0, 256, (1, 1, 3), np.uint8),
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", KINDS)
def test_pieces_are_those_of_the_whole_that_training_reads(tmp_path: Path, name: str, channels: int) -> None:
    path = write(tmp_path / name, KINDS[name])
    source, whole = Source(path, ImageReader(channels)), ImageReader(channels).read(path)
    exact = whole.dtype == np.uint8 or KINDS[name].ndim == 2 or channels == 3
    assert source.size == whole.shape[:2] and np.array_equal(source.piece(0, source.size[0]), whole)
    if source.size[0] > 1:
        # OpenCV rounds a float's grey otherwise where a row ends elsewhere.
        assert np.allclose(source.piece(5, 29, 7, 20), whole[5:29, 7:20], rtol=0, atol=0 if exact else 1e-7)
    tensor = source.tensor(0, source.size[0])
    expected = torch.from_numpy(np.ascontiguousarray(whole.transpose(2, 0, 1)))
    assert tensor.dtype == torch.float32 and tensor.shape == (channels, *source.size)
    assert torch.equal(tensor, expected / 255 if whole.dtype == np.uint8 else expected)


@pytest.mark.parametrize("name", ["colour.png", "grey16.tif", "pixel.png"])
def test_an_images_own_normalisation_is_that_of_all_its_pixels(tmp_path: Path, name: str) -> None:
    source = Source(write(tmp_path / name, KINDS[name]), ImageReader())
    whole = Normalise()(source.tensor(0, source.size[0]))
    fixed = source.fixed(Normalise())
    assert fixed is not None and fixed.mean is not None
    pieces = [fixed(source.tensor(top, top + 10)) for top in range(0, source.size[0], 10)]
    assert torch.allclose(torch.cat(pieces, 1), whole, atol=1e-5)
    known = Normalise([0.1] * 3, [0.2] * 3)
    assert source.fixed(known) is known and source.fixed(None) is None


def test_a_file_cut_short_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png", KINDS["colour.png"])
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match=r"a\.png: not a readable image"):
        Source(path, ImageReader())


def test_other_channels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="with 1 or 3 channels, and the network takes 4"):
        Source(tmp_path / "a.png", ImageReader(4))
