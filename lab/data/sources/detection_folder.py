"""Outputs of an object detector for the frames of videos, kept in files: networks never see an image."""

import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lab.store.paths import absolute

_SLACK = 1e-3  # of rounding
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, LookupError, NotImplementedError)


@dataclass(frozen=True)
class Detected:
    """The N boxes that a detector found in a frame."""

    boxes: Tensor  # (N, 4) float32, x1 y1 x2 y2 as fractions of the frame
    scores: Tensor  # (N, C) float32, the classes' probabilities, in the order of the vocabulary
    features: Tensor  # (N, D) float32, appearance


@runtime_checkable  # a config is checked against what its arguments are annotated with
class Detector(Protocol):
    """Returns the detections in a frame; `features` is the length D of an appearance vector, 0 for none."""

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


def find_detector(detector: "Detector | str | Path | None") -> "Detector | None":
    """The detector, or the folder that is named instead of one.

    Raises:
        ValueError: as for `DetectionFolder`.
    """
    return DetectionFolder(detector) if isinstance(detector, (str, Path)) else detector


def usable(name: str) -> bool:
    """Return whether the name of a video or a frame can be a file's, and leads to no other folder."""
    return name not in ("", ".", "..") and not set(name) & set("/\\\0")


class DetectionFolder:
    """Detections in `.npz` files, one a video or one a frame.

    `<root>/<video>.npz` holds `boxes` (N, 4), `scores` (N, C), `features` (N, D), which may be absent: D = 0,
    and `frames` (N,), for each box the name of its frame. `<root>/<video>/<frame>.npz` holds the same without
    `frames`. Boxes are x1 y1 x2 y2 as fractions of the frame, scores the probabilities of the vocabulary's
    classes in its order. Where a frame has no box, nothing was found in it.

    For `predcls` and `sgcls` an annotated box takes features and scores of the detected one that it matches,
    so that a detector which was run on the annotated boxes serves these modes best.

    Args:
        root: the folder.
    Raises:
        ValueError: it has no such file, or the first one is damaged.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = absolute(root)
        first = next((file for path in sorted(self.root.glob("*")) for file in _files(path)), None)
        if first is None:
            raise ValueError(
                f"{self.root}: no detections; there must be one .npz for each video, or a folder for each "
                "video with one for each frame"
            )
        _, self.classes, self.features = _shape(first)
        self._last: tuple[Path, Mapping[str, Detected]] | None = None

    def __call__(self, video: str, frame: str) -> Detected:
        """Return the detections in a frame.

        Raises:
            ValueError: with the path; the file is damaged, or holds what it shouldn't.
        """
        path = self.root / f"{video}.npz"
        whole = path.is_file()
        if not whole:
            path = self.root / video / f"{frame}.npz"
        # Frames of a video are requested one after another, so the last file is kept.
        if self._last is None or self._last[0] != path:
            self._last = path, _read(path, None if whole else frame) if path.is_file() else {}
        empty = Detected(torch.zeros(0, 4), torch.zeros(0, self.classes), torch.zeros(0, self.features))
        return self._last[1].get(frame, empty)

    def check(self, videos: Mapping[str, Iterable[str]], classes: int, problems: list[str]) -> int:
        """Validate the headers of the files of these videos; returns how many numbers the files hold.

        Args:
            videos: the names of the frames, by those of the videos.
            classes: how many the vocabulary has.
        """
        numbers = 0
        for video, frames in videos.items():
            path = self.root / f"{video}.npz"
            files = _files(path if path.is_file() else self.root / video)
            try:
                named = _frames(path) if path.is_file() else {file.stem for file in files}
                if (named or not files) and named.isdisjoint(frames):
                    problems.append(
                        f"{self.root}: no detections for any frame of {video}: it has {_some(named)}, "
                        f"but the annotated frames are {_some(frames)}"
                    )
                for file in files:
                    boxes, scores, features = _shape(file)
                    numbers += boxes * (4 + scores + features)
                    if (scores, features) != (classes, self.features):
                        problems.append(
                            f"{file}: scores of {scores} classes and {features} features, but there are "
                            f"{classes} classes, and the first file has {self.features} features"
                        )
            except ValueError as error:
                problems.append(str(error))
        return numbers


def _some(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)[:2]) or "none"


def _files(path: Path) -> list[Path]:
    """The .npz file that a path is, or those in the folder that it is."""
    return [path] if path.is_file() and path.suffix == ".npz" else sorted(path.glob("*.npz"))


def _shape(path: Path) -> tuple[int, int, int]:
    """Return the numbers of boxes, classes and features in a file, by the headers of its arrays.

    Raises:
        ValueError: with the path; it is damaged, or the shapes don't fit together.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    try:
        # Only the headers are read: the arrays of all videos may not fit into memory.
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                with archive.open(name) as file:
                    version = np.lib.format.read_magic(file)
                    read = np.lib.format.read_array_header_1_0
                    if version != (1, 0):
                        read = np.lib.format.read_array_header_2_0
                    shapes[name.removesuffix(".npy")] = read(file)[0]
    except OSError as error:
        raise ValueError(f"{path}: can't be read: {error.strerror or error}") from error
    except _DAMAGED as error:
        raise ValueError(f"{path}: not a readable .npz file ({error})") from error
    boxes, scores = shapes.get("boxes", ()), shapes.get("scores", ())
    features = shapes.get("features", (*boxes[:1], 0))
    if not len(boxes) == len(scores) == len(features) == 2 or boxes[1] != 4:
        raise ValueError(
            f"{path}: boxes (N, 4), scores (N, C) and features (N, D) are needed, found {shapes or 'nothing'}"
        )
    if not (boxes[0], boxes[0]) == (scores[0], features[0]) or shapes.get("frames", boxes[:1]) != boxes[:1]:
        raise ValueError(f"{path}: the arrays have different numbers of boxes: {shapes}")
    return boxes[0], scores[1], features[1]


def _arrays(path: Path, *names: str) -> dict[str, NDArray[Any]]:
    """Those of the named arrays that a file has.

    Raises:
        ValueError: with the path; it is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in names if name in archive.files}
    except (OSError, *_DAMAGED) as error:
        raise ValueError(f"{path}: not a readable .npz file ({error})") from error


def _frames(path: Path) -> set[str]:
    """The frames that a video's file names.

    Raises:
        ValueError: with the path; it names none, or is damaged.
    """
    found = _arrays(path, "frames").get("frames")
    if found is None or found.dtype.kind != "U":
        raise ValueError(f"{path}: no array `frames` of the names of each box's frame")
    return set(found.tolist())


def _read(path: Path, frame: str | None) -> dict[str, Detected]:
    """A file's detections by frame: the one that it is of, or those that it names."""
    boxes, _, _ = _shape(path)
    arrays = _arrays(path, "boxes", "scores", "features", "frames")
    arrays.setdefault("features", np.zeros((boxes, 0)))
    for name in ("boxes", "scores", "features"):
        if arrays[name].dtype.kind not in "fiu" or not np.isfinite(arrays[name]).all():
            raise ValueError(f"{path}: {name} are not all finite numbers")
    low, high = arrays["boxes"][:, :2], arrays["boxes"][:, 2:]
    if (low > high).any() or (low < -_SLACK).any() or (high > 1 + _SLACK).any():
        raise ValueError(f"{path}: boxes must be x1 y1 x2 y2 as fractions of the frame, from 0 to 1")
    scores = arrays["scores"]
    if (scores < 0).any() or (scores.sum(1) > 1 + _SLACK).any():
        raise ValueError(f"{path}: scores must be probabilities of the classes, with a sum of at most 1")
    arrays["boxes"] = arrays["boxes"].clip(0, 1)
    tensors = [torch.from_numpy(arrays[name]).float() for name in ("boxes", "scores", "features")]
    if frame is not None:
        return {frame: Detected(*tensors)}
    names = arrays["frames"].astype(str)
    rows = {name: torch.from_numpy(np.flatnonzero(names == name)) for name in _frames(path)}
    return {name: Detected(*(part[index] for part in tensors)) for name, index in rows.items()}
