"""Recall of scene graphs: which of the annotated triplets are among the K that a network is surest of.

A triplet is subject, predicate, object. The predicted ones are ordered by

    score(subject's class) · score(object's class) · probability(predicate),

and an annotated one is found at the rank of the first that has its three classes and whose two boxes each
overlap its own by an IoU of at least 0.5 (Lu et al. 2016, arXiv:1608.00187; Ji et al. 2020, Action Genome,
arXiv:1912.06992). The same in all modes: where boxes (sgcls) or boxes and classes (predcls) are given, they
match themselves. Ties keep the order of listing: unit by unit, in it pair by pair, in it predicate by
predicate.

The data set decides what is ranked against what (`units`), and `constraint` which predictions count:

| constraint | of each pair and unit |
|---|---|
| `with` | its most probable predicate (Zellers et al. 2018, Neural Motifs, arXiv:1711.06640) |
| `no` | all predicates, each a triplet of its own (Newell and Deng 2017, arXiv:1706.07365) |
| `semi` | those above a threshold; of an exclusive unit the best (Cong et al. 2021, arXiv:2107.12309) |

Recall@K is that of a frame, averaged over the frames that have a triplet. Mean Recall@K is taken of each
predicate by itself, over the frames that have it, and averaged over the predicates that any frame has, so
that rare ones weigh as much as frequent ones (Chen et al. 2019, KERN, arXiv:1903.03326; Tang et al. 2019,
VCTree, arXiv:1812.01880).
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import product
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lab.graphs import overlap
from lab.metrics.base import Metric

Constraint = Literal["with", "no", "semi"]
Dataset = Literal["action_genome", "easg"]
CONSTRAINTS: tuple[Constraint, ...] = get_args(Constraint)
KS = (10, 20, 50)
"""How many triplets of a frame count, in the papers' tables."""
Graphs = Mapping[str, Any]
"""A `SceneGraphPrediction` or a `SceneGraphTarget`, or as much of it as is needed."""
Numbers = NDArray[Any]  # float64 or int64
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class FrameGraph:
    """The predictions and the annotations of one frame.

    Args:
        boxes, labels, scores: of the predictions, (B, 4) x1 y1 x2 y2, (B,) and (B,) in [0, 1].
        pairs: subject and object as indices of boxes, (P, 2).
        relations: by group the probabilities (P, K).
        true_boxes, true_labels, true_pairs: (G, 4), (G,) and (Q, 2).
        predicates: by group (Q,) the predicate of an exclusive group, negative where none is annotated, or
            (Q, K) > 0.5 where it holds.
    """

    boxes: Floats
    labels: Ints
    scores: Floats
    pairs: Ints
    relations: Mapping[str, Floats]
    true_boxes: Floats
    true_labels: Ints
    true_pairs: Ints
    predicates: Mapping[str, Numbers]


@dataclass(frozen=True)
class Ranked:
    """The annotated triplets of one or more frames: (T,) each.

    Args:
        frame: their frames, numbered among those that have a triplet.
        predicate: the position of theirs among those of all units, one unit after another.
        rank: from 1; infinite where it wasn't predicted at all.
    """

    frame: Ints
    predicate: Ints
    rank: Floats

    def recall(self, k: int) -> float:
        """Recall@K, the mean over frames; NaN without any triplet."""
        return float(_mean_by(self.frame, self.rank <= k).mean()) if len(self.frame) else math.nan

    def mean_recall(self, k: int) -> float:
        """Mean Recall@K, over the predicates that are annotated; NaN where none is."""
        found = self.by_predicate(k)
        return sum(found.values()) / len(found) if found else math.nan

    def by_predicate(self, k: int) -> dict[int, float]:
        """Recall@K of each annotated predicate by its position, the mean over the frames that have it."""
        return {
            int(predicate): float(_mean_by(self.frame[own], self.rank[own] <= k).mean())
            for predicate in np.unique(self.predicate)
            for own in [self.predicate == predicate]
        }


def units(dataset: Dataset, groups: Iterable[str]) -> list[tuple[str, ...]]:
    """The groups of relations that make a triplet together.

    In Action Genome every group of a pair has triplets of its own, as in STTran's evaluator. In EASG (Rodin
    et al. 2024, arXiv:2312.03391) what is done and the object's role in it are one, *cut – with – knife*: its
    `easgcls`, with the product of the probabilities where EASG's own script takes their sum.

    Raises:
        ValueError: there is no such data set.
    """
    match dataset:
        case "action_genome":
            return [(group,) for group in groups]
        case "easg":
            return [tuple(groups)]
        case _:
            raise ValueError(f"dataset must be one of {', '.join(get_args(Dataset))}, found {dataset!r}")


def predicate_names(dataset: Dataset, relations: Mapping[str, Sequence[str]]) -> list[tuple[str, str]]:
    """(unit, predicate) by position, as `Ranked.predicate` counts: of `units`, joined by a dash."""
    return [
        (" – ".join(unit), " – ".join(names))
        for unit in units(dataset, relations)
        for names in product(*(relations[group] for group in unit))
    ]


def rank(
    frames: Iterable[FrameGraph],
    *,
    dataset: Dataset = "action_genome",
    constraint: Constraint = "with",
    threshold: float = 0.9,
    iou: float = 0.5,
) -> Ranked:
    """The rank of each annotated triplet among its frame's predictions.

    Args:
        threshold: a predicate is predicted under `semi` where its probability is above it.
        iou: by which boxes must at least overlap.
    """
    return merged([_ranked(frame, dataset, constraint, threshold, iou) for frame in frames])


def merged(parts: Sequence[Ranked]) -> Ranked:
    """The triplets of all parts; no frame is in two of them."""
    # Number the frames of each part after those of the parts before it.
    starts = np.cumsum([0, *(each.frame.max(initial=-1) + 1 for each in parts)])
    frames = [each.frame + start for each, start in zip(parts, starts, strict=False)]
    return Ranked(
        np.concatenate([*frames, np.zeros(0, np.int64)]),
        np.concatenate([*(each.predicate for each in parts), np.zeros(0, np.int64)]),
        np.concatenate([*(each.rank for each in parts), np.zeros(0)]),
    )


def annotated(frame: FrameGraph, dataset: Dataset) -> tuple[Ints, Ints]:
    """The true triplets as (T,) indices of `true_pairs` and (T,) positions of predicates, unit by unit."""
    pairs, predicates, before = [], [], 0
    for unit in units(dataset, frame.relations):
        sizes = [frame.relations[group].shape[1] for group in unit]
        truths = [frame.predicates[group] for group in unit]
        pair, predicate = np.nonzero(
            _joint([_one_hot(*each) for each in zip(truths, sizes, strict=True)]) > 0.5
        )
        pairs.append(pair)
        predicates.append(predicate + before)
        before += math.prod(sizes)
    return np.concatenate(pairs), np.concatenate(predicates)


def frames_of(predicted: Graphs, truth: Graphs) -> Iterator[FrameGraph]:
    """The frames of a batch, all of them in order.

    Args:
        predicted: `lab.graphs.SceneGraphPrediction` with probabilities, as `SceneGraph.predict` makes it.
        truth: `lab.graphs.SceneGraphTarget`.
    """
    scenes = predicted["scenes"]
    boxes, pairs = _array(scenes["boxes"]), _array(scenes["pairs"])
    objects = _array(predicted["objects"])
    labels, scores = objects.argmax(1), objects.max(1, initial=0)
    relations = {group: _array(each) for group, each in predicted["relations"].items()}
    true_boxes, true_labels = _array(truth["boxes"]), _array(truth["labels"])
    true_pairs = _array(truth["pairs"])
    predicates = {group: _array(each) for group, each in truth["predicates"].items()}
    # Boxes and pairs of both sides by frame; indices of boxes then count within the frame.
    frame, true_frame = _array(scenes["frame_of_box"]), _array(truth["frame_of_box"])
    number = len(scenes["time"])
    for own, pair, true, true_pair in zip(
        _members(frame, number),
        _members(frame[pairs[:, 0]], number),
        _members(true_frame, number),
        _members(true_frame[true_pairs[:, 0]], number),
        strict=True,
    ):
        yield FrameGraph(
            boxes[own],
            labels[own],
            scores[own],
            np.searchsorted(own, pairs[pair]),
            {group: each[pair] for group, each in relations.items()},
            true_boxes[true],
            true_labels[true],
            np.searchsorted(true, true_pairs[true_pair]),
            {group: each[true_pair] for group, each in predicates.items()},
        )


class GraphRecall(Metric):
    """Recall@K or mean Recall@K of scene graphs; batches are kept, and worked out on the CPU at the end.

    Args:
        dataset: whose way of making triplets it is, `action_genome` or `easg`; `auto`: that of the data.
        k: how many triplets of a frame count, ≥ 1.
        constraint: how much may be predicted for a pair, `with`, `no` or `semi`.
        mean: over predicates instead of frames.
        threshold: of `semi`, in [0, 1).
        iou: by which boxes must at least overlap, in (0, 1].

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        dataset: Dataset,
        k: int = 20,
        constraint: Constraint = "with",
        mean: bool = False,
        threshold: float = 0.9,
        iou: float = 0.5,
    ) -> None:
        if k < 1:
            raise ValueError(f"k must be at least 1, found {k}")
        if constraint not in CONSTRAINTS:
            raise ValueError(f"constraint must be one of {', '.join(CONSTRAINTS)}, found {constraint!r}")
        if not 0 <= threshold < 1 or not 0 < iou <= 1:
            raise ValueError(f"expected threshold in [0, 1) and iou in (0, 1], found {threshold} and {iou}")
        units(dataset, ())  # says where there is no such one
        self.k, self.constraint, self.mean, self.dataset = k, constraint, mean, dataset
        self._threshold, self._iou = threshold, iou
        self.reset()

    def reset(self) -> None:
        """Forget all batches."""
        self._batches: list[tuple[Graphs, Graphs]] = []
        self._device = torch.device("cpu")

    def update(self, prediction: Graphs, target: Graphs) -> None:
        """Take in a `SceneGraphPrediction` with probabilities (`SceneGraph.predict`), and its target.

        Raises:
            ValueError: the groups of relations of the two differ.
        """
        if (found := list(prediction["relations"])) != (known := list(target["predicates"])):
            raise ValueError(
                f"the network predicts the relations {', '.join(found)}, and the annotation has "
                f"{', '.join(known)}"
            )
        # Keep only what the ranks need: appearance vectors would fill the memory.
        needed = ("boxes", "frame_of_box", "time", "pairs")
        scenes = {name: prediction["scenes"][name].detach() for name in needed}
        relations = {group: each.detach() for group, each in prediction["relations"].items()}
        predicted = {"scenes": scenes, "objects": prediction["objects"].detach(), "relations": relations}
        names = ("boxes", "labels", "frame_of_box", "pairs", "predicates")
        self._batches.append((predicted, {name: target[name] for name in names}))
        self._device = predicted["objects"].device

    def compute(self) -> Tensor:
        """The value in [0, 1], 0-dim float32; NaN where nothing is annotated."""
        ranked = rank(
            (frame for predicted, truth in self._batches for frame in frames_of(predicted, truth)),
            dataset=self.dataset,
            constraint=self.constraint,
            threshold=self._threshold,
            iou=self._iou,
        )
        value = ranked.mean_recall(self.k) if self.mean else ranked.recall(self.k)
        return torch.tensor(value, device=self._device)


def _ranked(
    frame: FrameGraph, dataset: Dataset, constraint: Constraint, threshold: float, iou: float
) -> Ranked:
    """The ranks of one frame's annotated triplets."""
    pair, predicate = annotated(frame, dataset)
    if not len(pair):
        return Ranked(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
    if not all(np.isfinite(each).all() for each in (frame.scores, *frame.relations.values())):
        raise ValueError("the network's output is not finite: a frame has a NaN among its probabilities")
    # The score of a triplet: both objects' probabilities times that of the predicate, unit by unit.
    subject, thing = frame.pairs[:, 0], frame.pairs[:, 1]
    sure = frame.scores[subject] * frame.scores[thing]
    scores, predicted = [], []
    for unit in units(dataset, frame.relations):
        probability = _joint([frame.relations[group] for group in unit])
        exclusive = all(frame.predicates[group].ndim == 1 for group in unit)
        scores.append(sure[:, None] * probability)
        predicted.append(_candidates(probability, constraint, exclusive, threshold))
    ranks = np.concatenate(_positions(scores, predicted), axis=1)
    # A predicted pair matches an annotated one where classes and boxes of both ends do.
    match = overlap(torch.from_numpy(frame.boxes), torch.from_numpy(frame.true_boxes)).numpy() >= iou
    match &= frame.labels[:, None] == frame.true_labels
    of_pair = match[np.ix_(subject, frame.true_pairs[:, 0])] & match[np.ix_(thing, frame.true_pairs[:, 1])]
    # The rank of a triplet is that of the best prediction with its predicate and a matching pair.
    first = np.where(of_pair[:, pair], ranks[:, predicate], np.inf).min(0, initial=np.inf)
    return Ranked(np.zeros(len(pair), np.int64), predicate, first)


def _candidates(
    probability: Floats, constraint: Constraint, exclusive: bool, threshold: float
) -> NDArray[np.bool_]:
    """Select the predicates (P, K) of each pair that are triplets."""
    if constraint == "no":
        return np.ones(probability.shape, np.bool_)
    if constraint == "semi" and not exclusive:
        return probability > threshold
    predicted = np.zeros(probability.shape, np.bool_)
    predicted[np.arange(len(predicted)), probability.argmax(1)] = True  # the first of equal ones
    return predicted


def _positions(scores: Sequence[Floats], predicted: Sequence[NDArray[np.bool_]]) -> list[Floats]:
    """The rank of each triplet in its frame, in the shapes of its units (P, K); infinite where it is none."""
    flat = np.concatenate([score.ravel() for score in scores])
    candidates = np.flatnonzero(np.concatenate([each.ravel() for each in predicted]))
    ranks = np.full(len(flat), np.inf)
    # A stable sort keeps ties in their order of listing, which makes the figures reproducible.
    order = candidates[np.argsort(-flat[candidates], kind="stable")]
    ranks[order] = np.arange(1, len(order) + 1)
    ends = np.cumsum([score.size for score in scores])
    parts = zip(np.split(ranks, ends[:-1]), scores, strict=True)
    return [part.reshape(score.shape) for part, score in parts]


def _joint(groups: Sequence[Floats]) -> Floats:
    """The products of the groups' columns, the first group's outermost: (P, K₁ · K₂ ⋯)."""
    return reduce(
        lambda before, each: (before[:, :, None] * each[:, None, :]).reshape(
            len(each), before.shape[1] * each.shape[1]
        ),
        groups,
    )


def _one_hot(predicates: Numbers, count: int) -> Floats:
    """(Q, K) of 0 and 1, from that or from class indices (Q,), of which negative ones are none."""
    if predicates.ndim == 2:
        return predicates.astype(np.float64)
    hot: Floats = (predicates[:, None] == np.arange(count)).astype(np.float64)
    return hot


def _mean_by(frame: Ints, found: NDArray[np.bool_]) -> Floats:
    """The share of what was found in each frame that there is."""
    _, index = np.unique(frame, return_inverse=True)
    shares: Floats = np.bincount(index, weights=found) / np.bincount(index)
    return shares


def _members(frame: Ints, frames: int) -> list[Ints]:
    """The rising indices of each frame's members."""
    order = np.argsort(frame, kind="stable")
    return np.split(order, np.searchsorted(frame[order], np.arange(1, frames)))[:frames]


def _array(tensor: Tensor) -> Numbers:
    """On the CPU; floating point numbers, whatever their precision, as float64."""
    tensor = tensor.detach().cpu()
    result: Numbers = (tensor.double() if tensor.is_floating_point() else tensor).numpy()
    return result
