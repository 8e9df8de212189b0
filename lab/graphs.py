"""Scene graphs as tensors: the boxes of a video's frames, and what holds between pairs of them.

A batch is videos one after another, none padded: indices give the frame of a box and the video of a frame.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, cast

import torch
from torch import Tensor

from lab.config.dataset_info import DatasetInfo, Facts

UNKNOWN = -100
"""The class of a box that matches no annotated one, and of an exclusive relation that nobody annotated."""


class SceneGraphBatch(TypedDict):
    """The input of a network: V videos with F frames, B boxes and P pairs, all of them one after another."""

    features: Tensor  # (B, D) float32, the detector's appearance vectors; D may be 0
    boxes: Tensor  # (B, 4) float32, x1 y1 x2 y2 as shares of the frame, in [0, 1]
    classes: Tensor  # (B, C) float32: one-hot truth, or the detector's probabilities; zeros: there are none
    frame_of_box: Tensor  # (B,) int64, ascending
    video_of_frame: Tensor  # (F,) int64, ascending
    time: Tensor  # (F,) float32, position within the video, in frames
    pairs: Tensor  # (P, 2) int64, subject and object as indices of boxes, both of one frame


class SceneGraphTarget(TypedDict):
    """The ground truth: aligned with the scenes for training, and the annotated graph for evaluation.

    The annotated graph has G boxes and Q pairs of its own, since a detector may miss some of them. Relations
    are by group: (P,) int64 for an exclusive one, (P, K) float32 in {0, 1} where several can hold.
    """

    objects: Tensor  # (B,) int64, class of each box of the scenes, UNKNOWN where it matches no annotated one
    relations: dict[str, Tensor]  # of the scenes' pairs; UNKNOWN or zeros where a pair isn't annotated
    judged: Tensor  # (P,) bool, whether the pair is an annotated one
    boxes: Tensor  # (G, 4) float32, as in the scenes
    labels: Tensor  # (G,) int64
    frame_of_box: Tensor  # (G,) int64, numbered as the scenes' frames
    pairs: Tensor  # (Q, 2) int64, indices of annotated boxes
    predicates: dict[str, Tensor]  # of the annotated pairs, each with Q for P
    videos: Tensor  # (V,) int64; only its length counts


class SceneGraphPrediction(TypedDict):
    """The output of a network."""

    scenes: SceneGraphBatch  # as it was asked
    objects: Tensor  # (B, C) logits
    relations: dict[str, Tensor]  # by group (P, K) logits


Matcher = Callable[[Tensor, Tensor], Tensor]
"""Boxes (B, 4) and annotated ones (G, 4) of a frame to (B,) int64: an index of the latter, or -1 for none."""


@dataclass(frozen=True)
class Vocabulary:
    """The names that a graph is written with.

    Args:
        objects: the names of the classes of boxes, by index.
        relations: the names of the relations, by group and index.
        exclusive: the groups of which exactly one relation holds for a pair; of the others several can.
    Raises:
        ValueError: a name is there twice, a list is empty, or `exclusive` names no group.
    """

    objects: tuple[str, ...]
    relations: Mapping[str, tuple[str, ...]]
    exclusive: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for what, names in {
            "objects": self.objects,
            "groups": tuple(self.relations),
            **self.relations,
        }.items():
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice or not names:
                raise ValueError(f"{what}: {f'{twice[0]!r} appears twice' if twice else 'no names'}")
        strange = sorted(set(self.exclusive) - set(self.relations))
        if strange:
            raise ValueError(
                f"exclusive: {strange[0]!r} is not one of the groups: {', '.join(self.relations)}"
            )

    def facts(self) -> dict[str, object]:
        """`objects`, `relations` and `exclusive` as plain lists, for a data source's facts."""
        return DatasetInfo(
            objects=list(self.objects),
            relations={group: list(names) for group, names in self.relations.items()},
            exclusive=list(self.exclusive),
        ).to_facts()

    @classmethod
    def from_facts(cls, facts: Facts) -> "Vocabulary":
        """The vocabulary that `facts` were made from."""
        info = DatasetInfo.from_facts(facts)
        relations = {group: tuple(names) for group, names in info.relations.items()}
        return cls(tuple(info.objects), relations, tuple(info.exclusive))


def collate(
    items: Sequence[tuple[SceneGraphBatch, SceneGraphTarget]],
) -> tuple[SceneGraphBatch, SceneGraphTarget]:
    """Items one after another as one: indices of boxes, frames and videos move up by what is before them."""
    # The sizes of each item, by which the indices of later items are moved.
    boxes = [len(scenes["boxes"]) for scenes, _ in items]
    frames = [len(scenes["time"]) for scenes, _ in items]
    videos = [len(truth["videos"]) for _, truth in items]
    annotated = [len(truth["boxes"]) for _, truth in items]
    by_scene = {"frame_of_box": frames, "video_of_frame": videos, "pairs": boxes}
    by_truth = {"frame_of_box": frames, "pairs": annotated, "videos": videos}
    scenes = _joined(SceneGraphBatch, [scenes for scenes, _ in items], by_scene)
    truth = _joined(SceneGraphTarget, [truth for _, truth in items], by_truth)
    return cast(SceneGraphBatch, scenes), cast(SceneGraphTarget, truth)


def _joined(
    kind: type, parts: Sequence[Mapping[str, Any]], counts: Mapping[str, Sequence[int]]
) -> dict[str, Any]:
    """The entries of several items one after another; `counts` has those that are indices, by name."""
    joined: dict[str, Any] = {}
    for name in kind.__annotations__:
        values = [part[name] for part in parts]
        if isinstance(values[0], Mapping):
            joined[name] = {group: torch.cat([value[group] for value in values]) for group in values[0]}
        else:
            joined[name] = _moved(values, counts[name]) if name in counts else torch.cat(values)
    return joined


def _moved(parts: Sequence[Tensor], counts: Sequence[int]) -> Tensor:
    """Indices one after another, those of part i raised by the sum of the counts before i."""
    starts = [sum(counts[:index]) for index in range(len(counts))]
    return torch.cat([part + start for part, start in zip(parts, starts, strict=True)])


def overlap(boxes: Tensor, others: Tensor) -> Tensor:
    """Intersection over union of (N, 4) with (M, 4) boxes: (N, M) in [0, 1], 0 where both are empty."""
    low = torch.maximum(boxes[:, None, :2], others[None, :, :2])
    high = torch.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    areas = [(part[:, 2:] - part[:, :2]).clamp(min=0).prod(-1) for part in (boxes, others)]
    union = areas[0][:, None] + areas[1][None, :] - shared
    return torch.where(union > 0, shared / union.clamp(min=torch.finfo(union.dtype).tiny), shared)


class IoUMatcher:
    """Boxes to annotated ones by overlap: the best pair first, each at most once, ties by the lower indices.

    Args:
        threshold: the least intersection over union of a match, in (0, 1].
    Raises:
        ValueError: the threshold is out of its range.
    """

    def __init__(self, threshold: float = 0.5) -> None:
        if not 0 < threshold <= 1:
            raise ValueError(f"threshold must be in (0, 1], found {threshold}")
        self.threshold = threshold

    def __call__(self, boxes: Tensor, annotated: Tensor) -> Tensor:
        """For each of (B, 4) boxes the index of one of (G, 4) annotated ones, or -1: (B,) int64."""
        found = torch.full((len(boxes),), -1, dtype=torch.int64)
        if not len(boxes) or not len(annotated):
            return found
        shares = overlap(boxes, annotated).flatten()
        taken: set[int] = set()
        # Greedy, the best pair first; the stable sort makes ties reproducible.
        for place in torch.argsort(shares, descending=True, stable=True).tolist():
            if shares[place] < self.threshold:
                break
            box, other = divmod(place, len(annotated))
            if found[box] < 0 and other not in taken:
                found[box] = other
                taken.add(other)
        return found
