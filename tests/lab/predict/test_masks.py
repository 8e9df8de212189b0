"""From an image to its mask in bands, with the same answer as the validation's."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lab.data.image_reader import ImageReader
from lab.predict.masks import Settings, Source, predict_mask, write_png
from lab.predict.segmentation_run import Segmenter, load_segmenter
from tests.inference_tools import PLAIN, THREE, loaded, make_run, write

RNG = np.random.default_rng(0)
SETTINGS = Settings(tile=64, overlap=16, divisor=32, flips=False, threshold=0.5)


@pytest.fixture(scope="module")
def unet(tmp_path_factory: pytest.TempPathFactory) -> Segmenter:
    """A real network with random weights."""
    from lab.checkpoint import save

    net = {"target": "model.segmenter", "architecture": "Unet", "encoder": "resnet18"}
    folder = make_run(tmp_path_factory.mktemp("unet") / "run", net)
    from model import segmenter

    torch.manual_seed(0)
    facts = {**PLAIN, "normalise": "train", "mean": [0.4] * 3, "std": [0.3] * 3}
    save(folder / "checkpoints" / "best.pt", {"model": segmenter().state_dict(), "data": facts})
    return load_segmenter(folder)


@pytest.mark.parametrize("size", [(50, 40), (150, 97)])
@pytest.mark.parametrize("flips", [False, True])
def test_a_mask_is_what_the_task_infers_in_validation(
    unet: Segmenter, tmp_path: Path, size: tuple[int, int], flips: bool
) -> None:
    path = write(tmp_path / "a.png", RNG.integers(0, 256, (*size, 3), np.uint8))
    source, rows = Source(path, ImageReader()), list[tuple[int, int]]()
    settings = Settings(64, 16, 32, flips, 0.5)
    found = predict_mask(unet, source, settings, on_progress=lambda done, of: rows.append((done, of)))
    image = (source.tensor(0, size[0]) - 0.4) / 0.3
    unet.task.flips = flips
    with torch.inference_mode():
        likely = unet.task.predict(unet.task.infer(unet.model, image[None]))[0, 0].numpy()
    unet.task.flips = False
    clear = np.abs(likely - 0.5) > 1e-4
    assert clear.mean() > 0.9 and np.array_equal(found[clear], likely[clear] > 0.5) and 0 < found.mean() < 1
    assert rows[-1] == (size[0], size[0]) and rows == sorted(rows)


def test_a_network_that_answers_otherwise_than_its_data_is_refused(tmp_path: Path) -> None:
    run = loaded(tmp_path, "Greys", facts={**THREE, "classes": list("abcd")})
    path = write(tmp_path / "a.png", np.zeros((9, 9), np.uint8))
    with pytest.raises(ValueError, match="outputs 3 channels, but the data of its run has 4 classes"):
        predict_mask(run, Source(path, ImageReader(1)), SETTINGS)


def test_probabilities_are_whole_or_not_there(tmp_path: Path) -> None:
    run = loaded(tmp_path, "Greys", facts=THREE)
    source = Source(write(tmp_path / "a.png", np.zeros((200, 50), np.uint8)), ImageReader(1))

    def stop(done: int, of: int) -> None:
        raise KeyboardInterrupt

    for name in ("p.npy", "p.png"):
        with pytest.raises(KeyboardInterrupt):
            predict_mask(run, source, SETTINGS, probabilities=tmp_path / name, on_progress=stop)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "run"]


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_a_png_holds_what_was_given(tmp_path: Path, kind: type[np.generic]) -> None:
    from lab.data.image_reader import decode

    for shape in ((5, 7), (5, 7, 3)):
        picture = RNG.integers(0, np.iinfo(kind).max, shape).astype(kind)  # type: ignore[type-var]
        write_png(tmp_path / "a.png", picture)
        assert np.array_equal(decode(tmp_path / "a.png"), picture)
