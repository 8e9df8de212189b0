"""Recall of scene graphs, by loops over frames, annotations and triplets."""

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.reference.masks import Rng
from benchmarks.reference.quantity import Pair, Quantity
from lab.metrics.scene_graph import Constraint, FrameGraph, rank

GROUPS = {"attention": 3, "contact": 4}


def frame(rng: Rng) -> FrameGraph:
    """Some boxes and annotations, of which about half fit one another."""
    count, true_count = (int(rng.integers(2, 6)) for _ in range(2))
    corners = rng.random((count, 2))
    boxes = np.concatenate([corners, corners + 0.2 + rng.random((count, 2))], 1)
    true_boxes = boxes[rng.integers(0, count, true_count)] + rng.normal(0, 0.08, (true_count, 4))
    pairs = np.array([(a, b) for a in range(count) for b in range(count) if a != b and rng.random() < 0.8])
    true_pairs = [(a, b) for a in range(true_count) for b in range(true_count) if a != b]
    true_pairs = [pair for pair in true_pairs if rng.random() < 0.6]
    pairs = pairs.reshape(-1, 2).astype(np.int64)
    truth = np.array(true_pairs, np.int64).reshape(-1, 2)
    return FrameGraph(
        boxes=boxes,
        labels=rng.integers(0, 2, count),
        scores=rng.random(count),
        pairs=pairs,
        relations={name: rng.random((len(pairs), size)) for name, size in GROUPS.items()},
        true_boxes=true_boxes,
        true_labels=rng.integers(0, 2, true_count),
        true_pairs=truth,
        predicates={
            "attention": rng.integers(-1, GROUPS["attention"], len(truth)),
            "contact": rng.integers(0, 2, (len(truth), GROUPS["contact"])),
        },
    )


def iou(a: Any, b: Any) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    both = width * height
    return float(both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both))


def triplets(graph: FrameGraph, constraint: Constraint) -> list[tuple[float, int, str, int]]:
    """(score, pair, group, predicate), the surest first."""
    found = []
    for number, (subject, thing) in enumerate(graph.pairs):
        for group, probabilities in graph.relations.items():
            row = probabilities[number]
            for predicate, probability in enumerate(row):
                several = graph.predicates[group].ndim == 2
                if constraint == "with" or (constraint == "semi" and not several):
                    counts = predicate == row.argmax()
                else:
                    counts = constraint == "no" or probability > 0.9
                if counts:
                    score = graph.scores[subject] * graph.scores[thing] * probability
                    found.append((float(score), number, group, predicate))
    return sorted(found, reverse=True)


def looped(frames: list[FrameGraph], constraint: Constraint, k: int) -> tuple[float, float]:
    """Recall@K over frames, and over predicates."""
    by_frame: list[float] = []
    by_predicate: dict[tuple[str, int], list[float]] = {}
    for graph in frames:
        first = triplets(graph, constraint)[:k]
        hits: dict[tuple[str, int], list[bool]] = {}
        for number, (subject, thing) in enumerate(graph.true_pairs):
            for group, annotated in graph.predicates.items():
                row = annotated[number]
                true = np.flatnonzero(row) if annotated.ndim == 2 else [row] if row >= 0 else []
                for predicate in true:
                    hit = any(
                        (group, predicate) == (found_group, found)
                        and all(
                            graph.labels[box] == graph.true_labels[real]
                            and iou(graph.boxes[box], graph.true_boxes[real]) >= 0.5
                            for box, real in zip(graph.pairs[pair], (subject, thing), strict=True)
                        )
                        for _, pair, found_group, found in first
                    )
                    hits.setdefault((group, int(predicate)), []).append(hit)
        if hits:
            by_frame.append(float(np.mean([hit for each in hits.values() for hit in each])))
        for key, each in hits.items():
            by_predicate.setdefault(key, []).append(float(np.mean(each)))
    means = [np.mean(each) for each in by_predicate.values()]
    return (float(np.mean(by_frame)), float(np.mean(means))) if by_frame else (float("nan"), float("nan"))


def recall(constraint: Constraint) -> Callable[[Rng], Pair]:
    def draw(rng: Rng) -> Pair:
        frames = [frame(rng) for _ in range(int(rng.integers(1, 5)))]
        k = int(rng.choice([1, 5, 10, 20]))
        found = rank(frames, dataset="action_genome", constraint=constraint)
        return [found.recall(k), found.mean_recall(k)], looped(frames, constraint, k)

    return draw


QUANTITIES = tuple(
    Quantity(f"Recall@K and mean Recall@K, constraint {each!r}", "plain loop", recall(each), 1e-9)
    for each in ("with", "no", "semi")
)
