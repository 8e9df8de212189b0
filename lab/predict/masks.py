"""Prediction of one image's mask, of any size: band by band, from logits to probabilities and classes."""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lab.data.normalization import Normalise
from lab.predict.segmentation_run import Segmenter, require_in_range
from lab.predict.tile_reader import Source
from lab.store import file_io
from lab.tasks import tiling

SIXTEEN_BITS = 65535


@dataclass(frozen=True)
class Settings:
    """Settings of the inference.

    Args:
        tile, overlap: as `lab.tasks.tiling.infer`.
        flips: average over the image's flips (test-time augmentation).
        threshold: of a network with one logit: more than this probability is foreground.
    """

    tile: int
    overlap: int
    divisor: int
    flips: bool
    threshold: float

    def __post_init__(self) -> None:
        require_in_range(threshold=self.threshold)
        tile = self.tile + -self.tile % self.divisor
        tiling.positions(2 * tile, tile, self.overlap, self.divisor)


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
        kept: Callable[[int, Tensor], None] | None = None
        for top, logits in tiling.bands(
            loaded.task.network(loaded.model),
            read,
            (height, width),
            others=others,
            tile=settings.tile,
            overlap=settings.overlap,
            divisor=settings.divisor,
            flips=settings.flips,
        ):
            likely: Tensor = loaded.task.predict(logits)[0]
            require_fit(likely, loaded)
            rows = slice(top, top + likely.shape[1])
            classes = likely.argmax(0) if len(likely) > 1 else likely[0] > settings.threshold
            mask[rows] = classes.to(torch.uint8).cpu().numpy()
            if probabilities is not None:
                kept = kept or stack.enter_context(
                    _ProbabilityWriter(probabilities, len(likely), (height, width))
                )
                kept(top, likely)
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
            f"{loaded.folder}: the network outputs {len(likely)} channels, but the data of its run has "
            f"{expected} classes: {', '.join(loaded.classes)}"
        )


class _ProbabilityWriter(AbstractContextManager[Callable[[int, Tensor], None]]):
    """Writer of probabilities (K, rows, W); the file appears when the context exits without an error."""

    def __init__(self, path: Path, classes: int, size: tuple[int, int]) -> None:
        self._path, self._temporary = path, path.with_name(f".{path.name}.tmp")
        self._values: NDArray[Any]
        if path.suffix == ".png":
            self._values = np.zeros((1, *size), np.uint16)
        else:  # of several classes it may not fit into memory
            shape = (classes, *size)
            self._values = np.lib.format.open_memmap(
                self._temporary, mode="w+", dtype=np.float16, shape=shape
            )

    def __enter__(self) -> Callable[[int, Tensor], None]:
        return self._take

    def _take(self, top: int, likely: Tensor) -> None:
        rows = slice(top, top + likely.shape[1])
        if self._values.dtype == np.uint16:
            likely = (likely[-1:] * SIXTEEN_BITS).round()  # of two classes, the foreground
        self._values[:, rows] = likely.cpu().numpy().astype(self._values.dtype)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._values.dtype == np.uint16:
            if kind is None:
                write_png(self._path, self._values[0])
            return
        self._values.flush()  # type: ignore[attr-defined]
        del self._values
        if kind is None:
            self._temporary.replace(self._path)
        self._temporary.unlink(missing_ok=True)


def write_png(path: Path, picture: NDArray[np.uint8] | NDArray[np.uint16]) -> None:
    """Write an image (H, W) or (H, W, 3) in RGB order, 8 or 16 bits, atomically."""
    import cv2

    array = np.ascontiguousarray(picture[..., ::-1] if picture.ndim == 3 else picture)
    done, content = cv2.imencode(".png", array)
    assert done, f"{path}: {picture.shape} {picture.dtype} can't be a PNG"
    with file_io.atomic_open(path) as file:
        file.write(content.data)
