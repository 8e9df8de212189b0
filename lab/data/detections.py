"""What an object detector said of the frames of videos, kept in files: the networks never see a picture."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True)
class Detected:
    """The N boxes that a detector found in a frame."""

    boxes: Tensor  # (N, 4) float32, x1 y1 x2 y2 as shares of the frame
    scores: Tensor  # (N, C) float32, the classes' probabilities, in the order of the vocabulary
    features: Tensor  # (N, D) float32, appearance


class Detector(Protocol):
    """Tells what was detected in a frame; `features` is the length D of an appearance vector, 0 for none."""

    @property
    def features(self) -> int: ...

    def __call__(self, video: str, frame: str) -> Detected: ...


class Remembered:
    """Detections in memory, by video and frame."""

    def __init__(self, frames: Mapping[tuple[str, str], Detected], features: int) -> None:
        self.features = features
        self._frames = frames

    def __call__(self, video: str, frame: str) -> Detected:
        return self._frames[video, frame]
