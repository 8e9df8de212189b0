"""Prediction of one image's mask, of any size: band by band, from logits to probabilities and classes."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lab.data.image_reader import ImageReader
from lab.data.normalization import Normalise, statistics
from lab.predict.segmentation_run import Segmenter, require_in_range
from lab.store import file_io
from lab.tasks import tiling

SIXTEEN_BITS = 65535


_ROWS = 256


class Source:
    """One image file, decoded once and kept in the file's own type.

    Its pieces are those of what `ImageReader.read` returns, where a whole image of 8,192 × 8,192
    pixels with 16 bits takes 800 MB.

    Raises:
        ValueError: with the path, as `ImageReader.load`.
    """

    def __init__(self, path: Path, reader: ImageReader) -> None:
        self._reader = reader
        self.pixels: NDArray[Any] = np.ascontiguousarray(reader.load(path))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.pixels.shape[0], self.pixels.shape[1]

    def piece(self, top: int, bottom: int, left: int = 0, right: int | None = None) -> NDArray[Any]:
        """Return a part (h, w, C) of the image, uint8 or float32 in [0, 1]."""
        return self._reader.scale(np.ascontiguousarray(self.pixels[top:bottom, left:right]))

    def tensor(self, top: int, bottom: int, left: int = 0, right: int | None = None) -> Tensor:
        """Return a part as in the training before normalisation: float32 (C, h, w) in [0, 1]."""
        part = self.piece(top, bottom, left, right)
        values = torch.from_numpy(np.ascontiguousarray(part.transpose(2, 0, 1)))
        return values if values.is_floating_point() else values.float() / 255

    def fixed(self, normalise: Normalise | None) -> Normalise | None:
        """Return the normalisation of every piece: per-image mean and deviation are over all its pixels."""
        if normalise is None or normalise.mean is not None:
            return normalise
        height, _ = self.size
        blocks = (self.piece(top, min(top + _ROWS, height)) for top in range(0, height, _ROWS))
        return Normalise(*statistics(blocks))


@dataclass(frozen=True)
class Settings(tiling.Tiles):
    """Settings of the inference.

    Args:
        threshold: of a network with one logit: more than this probability is foreground.
    """

    threshold: float = 0.5

    def __post_init__(self) -> None:
        require_in_range(threshold=self.threshold)
        self.require_fit()


def predict_mask(
    loaded: Segmenter,
    source: Source,
    settings: Settings,
    sequence: int | None = None,
    probabilities: Path | None = None,
    on_progress: Callable[[int, int], object] = lambda done, rows: None,
) -> NDArray[np.uint8]:
    """Predict the mask (H, W) of class indices.

    Args:
        sequence: the index of the image's sequence, where the network takes one.
        probabilities: path to write them to, atomically: a `.png` of the foreground, 16 bits from 0 to
            1, or a `.npy` (classes, H, W), float16.
        on_progress: called with the rows that are done, and how many there are.
    """
    height, width = source.size
    mask = np.zeros((height, width), np.uint8)
    normalise = source.fixed(Normalise.from_facts(loaded.facts))

    def read(top: int, bottom: int, left: int, right: int) -> Tensor:
        piece = source.tensor(top, bottom, left, right)
        piece = piece if normalise is None else normalise(piece)
        moved: Tensor = loaded.runtime.move(piece[None])
        return moved

    others = () if sequence is None else (loaded.runtime.move(torch.tensor([sequence])),)
    # The writer of probabilities opens with the first band, which shows the number of classes.
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode())
        stack.enter_context(loaded.runtime.autocast())
        kept: NDArray[Any] | None = None
        network = loaded.task.network(loaded.model)
        for top, logits in tiling.bands(network, read, (height, width), settings, others):
            likely: Tensor = loaded.task.predict(logits)[0]
            require_fit(likely, loaded)
            rows = slice(top, top + likely.shape[1])
            classes = likely.argmax(0) if len(likely) > 1 else likely[0] > settings.threshold
            mask[rows] = classes.to(torch.uint8).cpu().numpy()
            if probabilities is not None and kept is None:
                kept = stack.enter_context(_probabilities(probabilities, (len(likely), height, width)))
            if kept is not None:
                values = likely if kept.dtype == np.float16 else (likely[-1:] * SIXTEEN_BITS).round()
                kept[:, rows] = values.cpu().numpy().astype(kept.dtype)
            on_progress(rows.stop, height)
    return mask


def require_fit(likely: Tensor, loaded: Segmenter) -> None:
    """Refuse probabilities (K, H, W) of another number of classes than the run's data has.

    Raises:
        ValueError: they are of another number.
    """
    expected = len(loaded.classes)
    if len(likely) != (1 if expected == 2 else expected) and len(likely) != expected:
        raise ValueError(
            f"{loaded.place}: the network outputs {len(likely)} channels, but the data of its run has "
            f"{expected} classes: {', '.join(loaded.classes)}"
        )


@contextmanager
def _probabilities(path: Path, shape: tuple[int, int, int]) -> Iterator[NDArray[Any]]:
    """An array (classes, H, W) for probabilities; the file appears when the context exits without an error.

    That of a `.png` holds the foreground alone, in 16 bits.
    """
    if path.suffix == ".png":
        values = np.zeros((1, *shape[1:]), np.uint16)
        yield values
        write_png(path, values[0])
        return
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        # Of several classes it may not fit into memory.
        mapped = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float16, shape=shape)
        yield mapped
        mapped.flush()
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_png(path: Path, picture: NDArray[np.uint8] | NDArray[np.uint16]) -> None:
    """Write an image (H, W) or (H, W, 3) in RGB order, 8 or 16 bits, atomically."""
    import cv2

    array = np.ascontiguousarray(picture[..., ::-1] if picture.ndim == 3 else picture)
    done, content = cv2.imencode(".png", array)
    assert done, f"{path}: {picture.shape} {picture.dtype} can't be a PNG"
    with file_io.atomic_open(path) as file:
        file.write(content.data)
