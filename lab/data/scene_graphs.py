"""Annotated videos to the tensors of `lab.graphs`, in the three ways that scene graphs are asked for.

`predcls` gives the network the annotated boxes with their classes, `sgcls` the annotated boxes with a
detector's scores of their classes, `sgdet` the detector's own boxes. The detections are input data.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from lab.config.dataset_info import DatasetInfo
from lab.data.file_problems import raise_all, read_bytes
from lab.data.protocols import CollatedDataset, NamedDataset
from lab.data.sources.detection_folder import DetectionFolder, Detector
from lab.data.splits import Parts, Splits, require_range
from lab.graphs import UNKNOWN, IoUMatcher, Matcher, SceneGraphBatch, SceneGraphTarget, Vocabulary, collate
from lab.state.object_walk import Unwatched

Mode = Literal["predcls", "sgcls", "sgdet"]
_SUREST = 1 - 2**-20  # a detector's highest probability: 1 means that a class is given
_TRIED = 200  # training videos in which one annotated pair, at least, has to be found
_KEPT_BYTES = 2**31  # of detections; items made of more are made anew each time
_NOTHING = 1e-9  # so that probabilities which are all zero can be scaled to a sum of one


@dataclass(frozen=True, slots=True)  # there are millions of them
class Box:
    """An annotated box: x1 y1 x2 y2 as fractions of the frame, and the index of its class."""

    corners: tuple[float, float, float, float]
    label: int


@dataclass(frozen=True, slots=True)
class Pair:
    """The relations between two boxes of a frame, given by their indices: relations' indices by group.

    A group that isn't there, or has none, was not annotated; of an exclusive group the first one counts.
    """

    subject: int
    object: int
    relations: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Frame:
    """An image of a video; `time` is its position in the video, in frames."""

    name: str
    time: float
    boxes: tuple[Box, ...]
    pairs: tuple[Pair, ...]


@dataclass(frozen=True)
class Video:
    """The annotated frames of a video, in the order of time."""

    name: str
    frames: tuple[Frame, ...]


@dataclass(frozen=True)
class Asking:
    """The scene graph task: the data that the network gets, and the data that it predicts.

    Args:
        subjects: the classes whose boxes are the subject of a pair with each other box of their frame.
        given: classes that need no detector, such as the wearer of the camera: their boxes are there in every
            mode, with their class.
        detector: its output for each frame; None where `mode` is `predcls` and there are no features.
        matcher: which of a detector's boxes is which of the annotated ones.
    Raises:
        ValueError: the mode is none of the three, or needs a detector that isn't there.
    """

    vocabulary: Vocabulary
    mode: Mode = "predcls"
    subjects: tuple[int, ...] = (0,)
    given: tuple[int, ...] = ()
    detector: Detector | None = None
    matcher: Matcher = field(default_factory=IoUMatcher)

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise ValueError(f"mode must be one of {', '.join(get_args(Mode))}, found {self.mode!r}")
        if self.mode != "predcls" and self.detector is None:
            lacks = "classes of the boxes" if self.mode == "sgcls" else "boxes and their classes"
            raise ValueError(
                f"mode: {self.mode} requires a detector's output for the {lacks}: set `detector` to its "
                "folder (see lab.data.DetectionFolder), or set mode: predcls"
            )

    @property
    def features(self) -> int:
        """The length of an appearance vector."""
        return self.detector.features if self.detector else 0


@dataclass(frozen=True)
class _Seen:
    """The boxes of one frame as the network gets them; `match` is an annotated box's index, or -1."""

    boxes: Tensor
    classes: Tensor
    features: Tensor
    match: Tensor


class SceneSet(CollatedDataset, NamedDataset, Unwatched):
    """Videos as items; a batch is one pair of the same kind, see `lab.graphs.collate`.

    Args:
        keep: keep an item once it was made; not for features that don't fit into memory.
    """

    collate = staticmethod(collate)

    def __init__(self, videos: Sequence[Video], asking: Asking, *, keep: bool = True) -> None:
        self.videos = tuple(videos)
        self.names = [video.name for video in videos]
        self.asking = asking
        self._kept: dict[int, tuple[SceneGraphBatch, SceneGraphTarget]] | None = {} if keep else None

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, index: int) -> tuple[SceneGraphBatch, SceneGraphTarget]:
        if self._kept is None:
            return scene(self.videos[index], self.asking)
        if index not in self._kept:
            self._kept[index] = scene(self.videos[index], self.asking)
        return self._kept[index]


def scene(video: Video, asking: Asking) -> tuple[SceneGraphBatch, SceneGraphTarget]:
    """One video as it is asked for, and what is right."""
    seen = [_see(video.name, frame, asking) for frame in video.frames]
    starts = np.cumsum([0, *(len(part.boxes) for part in seen)]).tolist()
    pairs: list[tuple[int, int]] = []
    known: list[Pair | None] = []
    for part, frame, start in zip(seen, video.frames, starts, strict=False):
        annotated: dict[tuple[int, int], Pair] = {}
        for pair in frame.pairs:
            annotated.setdefault((pair.subject, pair.object), pair)
        match = part.match.tolist()
        for one, other in _pairs(part.classes, asking):
            pairs.append((one + start, other + start))
            known.append(annotated.get((match[one], match[other])))
    classes = len(asking.vocabulary.objects)
    scenes = SceneGraphBatch(
        features=torch.cat([part.features for part in seen]) if seen else torch.zeros(0, asking.features),
        boxes=torch.cat([part.boxes for part in seen]) if seen else torch.zeros(0, 4),
        classes=torch.cat([part.classes for part in seen]) if seen else torch.zeros(0, classes),
        frame_of_box=_frames([len(part.boxes) for part in seen]),
        video_of_frame=torch.zeros(len(seen), dtype=torch.int64),
        time=torch.tensor([frame.time for frame in video.frames], dtype=torch.float32),
        pairs=torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2),
    )
    return scenes, _truth(video, seen, known, asking.vocabulary)


def _truth(
    video: Video, seen: Sequence[_Seen], known: Sequence[Pair | None], vocabulary: Vocabulary
) -> SceneGraphTarget:
    objects = []
    for part, frame in zip(seen, video.frames, strict=True):
        labels = [box.label for box in frame.boxes]
        objects += [UNKNOWN if index < 0 else labels[index] for index in part.match.tolist()]
    # Boxes are numbered through all frames of the video.
    starts = np.cumsum([0, *(len(frame.boxes) for frame in video.frames)]).tolist()
    annotated = [
        ((pair.subject + start, pair.object + start), pair)
        for frame, start in zip(video.frames, starts, strict=False)
        for pair in frame.pairs
    ]
    boxes = [box for frame in video.frames for box in frame.boxes]
    return SceneGraphTarget(
        objects=torch.tensor(objects, dtype=torch.int64),
        relations=_relations(known, vocabulary),
        judged=torch.tensor([pair is not None for pair in known], dtype=torch.bool),
        boxes=_corners(boxes),
        labels=torch.tensor([box.label for box in boxes], dtype=torch.int64),
        frame_of_box=_frames([len(frame.boxes) for frame in video.frames]),
        pairs=torch.tensor([ends for ends, _ in annotated], dtype=torch.int64).reshape(-1, 2),
        predicates=_relations([pair for _, pair in annotated], vocabulary),
        videos=torch.zeros(1, dtype=torch.int64),
    )


def _see(video: str, frame: Frame, asking: Asking) -> _Seen:
    """A frame's boxes in the mode that is asked for."""
    classes = len(asking.vocabulary.objects)
    boxes = _corners(frame.boxes)
    labels = torch.tensor([box.label for box in frame.boxes], dtype=torch.int64)
    truth = torch.nn.functional.one_hot(labels, classes).float()
    given = torch.isin(labels, torch.tensor(asking.given, dtype=torch.int64))
    detected = asking.detector(video, frame.name) if asking.detector else None
    # No detector: annotated boxes with their true classes, and no appearance.
    if detected is None:
        return _Seen(boxes, truth, torch.zeros(len(boxes), 0), torch.arange(len(boxes)))
    scores = detected.scores.clamp(max=_SUREST)
    # Match detections with the annotated boxes that are not given; then map to indices of all boxes.
    wanted = torch.nonzero(~given).flatten()
    match = asking.matcher(detected.boxes, boxes[wanted])
    hits = match >= 0
    match = torch.where(hits, torch.cat([wanted, wanted.new_zeros(1)])[match], match)
    if asking.mode == "sgdet":
        known = torch.nonzero(given).flatten()
        return _Seen(
            torch.cat([boxes[known], detected.boxes]),
            torch.cat([truth[known], scores]),
            torch.cat([torch.zeros(len(known), asking.features), detected.features]),
            torch.cat([known, match]),
        )
    # Annotated boxes, with the appearance and for `sgcls` the scores of the detection that matches.
    features = torch.zeros(len(boxes), asking.features)
    features[match[hits]] = detected.features[hits]
    if asking.mode == "sgcls":
        truth = torch.where(given[:, None], truth, torch.zeros_like(truth))
        truth[match[hits]] = scores[hits]
    return _Seen(boxes, truth, features, torch.arange(len(boxes)))


def _pairs(classes: Tensor, asking: Asking) -> list[tuple[int, int]]:
    """Each subject with each other box of the frame.

    Subjects are the boxes whose most probable class is one; where a detector finds none, the box that is one
    most probably, as there is somebody in every frame that was annotated.
    """
    if len(classes) < 2:
        return []
    best, index = (part.tolist() for part in classes.max(1))
    chosen = [k for k, (score, label) in enumerate(zip(best, index, strict=True))
              if score > 0 and label in asking.subjects]  # fmt: skip
    if asking.mode != "predcls" and not chosen:
        being = classes[:, list(asking.subjects)].sum(1)
        chosen = [int(being.argmax())] if being.max() > 0 else []
    return [(one, other) for one in chosen for other in range(len(classes)) if one != other]


def _relations(pairs: Sequence[Pair | None], vocabulary: Vocabulary) -> dict[str, Tensor]:
    """By group (P,) int64 where exclusive, (P, K) float32 elsewhere; nothing is known of None."""
    result = {}
    for group, names in vocabulary.relations.items():
        held = [tuple(pair.relations.get(group, ())) if pair else () for pair in pairs]
        if group in vocabulary.exclusive:
            result[group] = torch.tensor([each[0] if each else UNKNOWN for each in held], dtype=torch.int64)
            continue
        result[group] = torch.zeros(len(pairs), len(names))
        rows = [row for row, each in enumerate(held) for _ in each]
        result[group][rows, [index for each in held for index in each]] = 1
    return result


def _corners(boxes: Sequence[Box]) -> Tensor:
    return torch.tensor([box.corners for box in boxes], dtype=torch.float32).reshape(-1, 4)


def clipped(*corners: float) -> tuple[float, float, float, float]:
    """Cut off corners, as fractions of the frame, at its border."""
    x1, y1, x2, y2 = (min(1.0, max(0.0, corner)) for corner in corners)
    return x1, y1, x2, y2


def _frames(counts: Sequence[int]) -> Tensor:
    """The frame of each box, from how many boxes each frame has."""
    return torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts, dtype=torch.int64))


def names(path: Path) -> list[str]:
    """The lines of a list of names, without empty ones.

    Raises:
        ValueError: with the path; it can't be read.
    """
    try:
        return [line.strip() for line in read_bytes(path).decode().splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text: {error.reason} at byte {error.start}") from error


def drawn(videos: Sequence[Video], sample_size: int | None, seed: int) -> list[Video]:
    """At most so many of the videos, all of them without a size, in their order.

    Raises:
        ValueError: the size is below 1.
    """
    if sample_size is None:
        return list(videos)
    require_range(1, sample_size=sample_size)
    chosen = np.random.default_rng(seed).permutation(len(videos))[:sample_size]
    return [videos[index] for index in sorted(chosen.tolist())]


def scene_splits(videos: Sequence[Sequence[Video]], asking: Asking, dataset: str) -> Splits:
    """Training, validation and test videos as sets, with the facts that prediction and evaluation need.

    Args:
        dataset: `action_genome` or `easg`, whose evaluation protocol is followed.
    Raises:
        ValueError: the detections don't fit to the videos: all problems in one message.
    """
    numbers = 0
    if isinstance(asking.detector, DetectionFolder):
        problems: list[str] = []
        named = {video.name: [frame.name for frame in video.frames] for part in videos for video in part}
        numbers = asking.detector.check(named, len(asking.vocabulary.objects), problems)
        raise_all(
            problems, f"the detections in {asking.detector.root}", "detect these again, or leave them out"
        )
    sets = [SceneSet(part, asking, keep=4 * numbers <= _KEPT_BYTES) for part in videos]
    if asking.mode == "sgdet":
        _require_matches(sets[0])
    info = DatasetInfo(
        features=asking.features,
        mode=asking.mode,
        dataset=dataset,
        counts={name: len(part) for name, part in zip(Parts._fields, sets, strict=True)},
        split={name: part.names for name, part in zip(Parts._fields, sets, strict=True)},
    )
    splits = Splits(sets[0], sets[1], sets[2] if len(sets[2]) else None, asking.vocabulary.facts())
    return splits.declaring(info)


def _require_matches(train: SceneSet) -> None:
    """Raise ValueError where the detections match nothing, so that there would be nothing to learn from."""
    looked_at = min(len(train), _TRIED)
    if looked_at and not any(bool(train[index][1]["judged"].any()) for index in range(looked_at)):
        raise ValueError(
            f"no annotated pair of the first {looked_at} training videos has both its boxes among the "
            "detected ones, so there is nothing to learn from: are the detections' boxes x1 y1 x2 y2, in "
            "fractions of the frame?"
        )


class Frequencies:
    """The baseline to beat: the most frequent relations between boxes of two classes, without the image.

    The frequency of a relation among the annotated pairs of (subject, object) classes, with one imagined pair
    more that is as all pairs are on average; Zellers et al., Neural Motifs, 2018, found it hard to beat.

    Args:
        items: the training set.
    """

    def __init__(
        self, items: SceneSet | Sequence[tuple[SceneGraphBatch, SceneGraphTarget]], vocabulary: Vocabulary
    ) -> None:
        self.vocabulary = vocabulary
        targets = [items[index][1] for index in range(len(items))]
        ends = torch.cat([truth["labels"][truth["pairs"]] for truth in targets]).reshape(-1, 2)
        self._subjects, rows = ends[:, 0].unique(return_inverse=True)
        self._frequencies: dict[str, Tensor] = {}
        for group, names in vocabulary.relations.items():
            held = torch.cat([truth["predicates"][group] for truth in targets])
            known = torch.ones(len(held), dtype=torch.bool)
            if group in vocabulary.exclusive:
                known = held != UNKNOWN
                held = torch.nn.functional.one_hot(held.clamp(min=0), len(names)).float()
            count = torch.zeros(len(self._subjects), len(vocabulary.objects), len(names))
            place = (rows[known], ends[known, 1])
            # Relations, and annotated pairs, are counted by the classes of subject and object.
            count.index_put_(place, held[known], accumulate=True)
            pairs = torch.zeros(count.shape[:2]).index_put_(place, torch.tensor(1.0), accumulate=True)
            average = (held[known].sum(0) + 1 / len(names)) / (known.sum() + 1)
            self._frequencies[group] = (count + average) / (pairs[..., None] + 1)

    def logits(self, scenes: SceneGraphBatch) -> dict[str, Tensor]:
        """By group (P, K), on the CPU: their softmax where exclusive, else their sigmoid, is the frequency.

        It is the one expected under the probabilities of the boxes' classes; where they are all zero, each
        class is as probable as another.
        """
        classes, pairs = scenes["classes"].float().cpu(), scenes["pairs"].cpu()
        subject, other = classes[pairs[:, 0]][:, self._subjects], classes[pairs[:, 1]]
        subject, other = (part + _NOTHING / max(1, part.shape[1]) for part in (subject, other))
        subject, other = (part / part.sum(1, keepdim=True) for part in (subject, other))
        result = {}
        for group, frequencies in self._frequencies.items():
            expected = torch.zeros(len(pairs), frequencies.shape[2])
            for index in range(len(self._subjects)):  # few; all at once would be (P, subjects, classes, K)
                expected += subject[:, index, None] * (other @ frequencies[index])
            exclusive = group in self.vocabulary.exclusive
            result[group] = expected.log() if exclusive else torch.logit(expected, eps=1e-6)
        return result
