import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.graphs import collate
from lab.metrics import GraphRecall
from lab.metrics.scene_graph import CONSTRAINTS, Constraint, Dataset, FrameGraph, predicate_names, rank, units

OBJECTS = 3
RELATIONS = {"attention": 2, "spatial": 3, "contact": 2}
EXCLUSIVE = {"action_genome": {"attention"}, "easg": set(RELATIONS)}
Item = tuple[dict[str, Any], dict[str, Any]]


def places(rng: np.random.Generator, frames: int) -> tuple[list[Any], ...]:
    """Boxes, their frames and pairs, said and true, and for each true box the said one it was taken from."""
    boxes, frame_of_box, pairs = [], [], []
    true_boxes, true_frames, true_pairs, likely = [], [], [], []
    for frame in range(frames):
        corners = rng.integers(0, 3, (int(rng.choice([0, 2, 3, 4])), 2))
        here = np.concatenate([corners, corners + rng.integers(1, 3, corners.shape)], 1) / 4
        own = rng.integers(0, 3, (int(rng.choice([0, 2, 3])), 2))
        others = np.concatenate([own, own + rng.integers(1, 3, own.shape)], 1) / 4
        share = min(len(here), len(others))
        others[:share] = np.where(rng.random((share, 1)) < 0.8, here[:share], others[:share])
        likely += [len(boxes) + place if place < share else -1 for place in range(len(others))]
        for count, start, found in (
            (len(here), len(boxes), pairs),
            (len(others), len(true_boxes), true_pairs),
        ):
            all_pairs = list(itertools.permutations(range(start, start + count), 2))
            keep = rng.random(len(all_pairs)) < 0.8
            found += [pair for pair, kept in zip(all_pairs, keep, strict=True) if kept]
        boxes += here.tolist()
        frame_of_box += [frame] * len(here)
        true_boxes += others.tolist()
        true_frames += [frame] * len(others)
    return boxes, frame_of_box, pairs, true_boxes, true_frames, true_pairs, likely


def video(seed: int, dataset: str = "action_genome", ties: bool = True, frames: int = 3) -> Item:
    """A random video, said and true; with `ties` all numbers are multiples of a quarter, 0 among them.

    Some boxes are the true ones, some are not; a frame may have no box, no pair or no annotation.
    """
    rng = np.random.default_rng(seed)
    boxes, frame_of_box, pairs, true_boxes, true_frames, true_pairs, likely = places(rng, frames)

    def probabilities(*shape: int) -> Any:
        return torch.from_numpy(rng.integers(0, 5, shape) / 4 if ties else rng.random(shape)).float()

    def truth(group: str, count: int, pairs: int) -> torch.Tensor:
        if group in EXCLUSIVE[dataset]:
            value = torch.from_numpy(rng.integers(0, count, pairs))
            return torch.where(torch.from_numpy(rng.random(pairs) < 0.1), -100, value)
        return torch.from_numpy(rng.random((pairs, count)) < 0.4).float()

    scenes = {
        "features": torch.zeros(len(boxes), 0),
        "boxes": torch.tensor(boxes).reshape(-1, 4),
        "classes": torch.zeros(len(boxes), OBJECTS),
        "frame_of_box": torch.tensor(frame_of_box, dtype=torch.int64),
        "video_of_frame": torch.zeros(frames, dtype=torch.int64),
        "time": torch.arange(frames).float(),
        "pairs": torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2),
    }
    said = {
        "scenes": scenes,
        "objects": probabilities(len(boxes), OBJECTS),
        "relations": {group: probabilities(len(pairs), count) for group, count in RELATIONS.items()},
    }
    guessed = said["objects"].numpy().argmax(1)
    labels = [
        int(guessed[box] if box >= 0 and rng.random() < 0.8 else rng.integers(0, OBJECTS)) for box in likely
    ]
    true = {
        "objects": torch.full((len(boxes),), -100),
        "relations": {group: truth(group, count, len(pairs)) for group, count in RELATIONS.items()},
        "judged": torch.zeros(len(pairs), dtype=torch.bool),
        "boxes": torch.tensor(true_boxes).reshape(-1, 4),
        "labels": torch.tensor(labels, dtype=torch.int64),
        "frame_of_box": torch.tensor(true_frames, dtype=torch.int64),
        "pairs": torch.tensor(true_pairs, dtype=torch.int64).reshape(-1, 2),
        "predicates": {group: truth(group, count, len(true_pairs)) for group, count in RELATIONS.items()},
        "videos": torch.zeros(1, dtype=torch.int64),
    }
    return said, true


def iou(a: list[float], b: list[float]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def candidates(
    said: dict[str, Any], true: dict[str, Any], dataset: str, constraint: str, threshold: float, frame: int
) -> list[Any]:
    """(score, subject, object, predicate) of a frame in the order of listing."""
    scenes, found = said["scenes"], []
    for unit in chosen(dataset):
        exclusive = all(true["predicates"][group].dim() == 1 for group in unit)
        for row, (one, two) in enumerate(scenes["pairs"].tolist()):
            if int(scenes["frame_of_box"][one]) != frame:
                continue
            columns = [said["relations"][group][row].tolist() for group in unit]
            options = []
            for predicate in itertools.product(*[range(len(column)) for column in columns]):
                probability = math.prod(c[p] for c, p in zip(columns, predicate, strict=True))
                options.append((probability, tuple(zip(unit, predicate, strict=True))))
            if constraint == "semi" and not exclusive:
                options = [option for option in options if option[0] > threshold]
            elif constraint != "no":
                best = max(probability for probability, _ in options)
                options = [option for option in options if option[0] == best][:1]
            sure = float(said["objects"][one].max()) * float(said["objects"][two].max())
            found += [(sure * probability, one, two, name) for probability, name in options]
    return found


def triplets(true: dict[str, Any], dataset: str, frame: int) -> Iterator[tuple[int, int, Any]]:
    """(subject, object, predicate) that are annotated in a frame."""
    for row, (one, two) in enumerate(true["pairs"].tolist()):
        if int(true["frame_of_box"][one]) != frame:
            continue
        for unit in chosen(dataset):
            holding = []
            for group in unit:
                held = true["predicates"][group][row]
                several = [int(p) for p in torch.nonzero(held)] if held.dim() else [int(held)]
                holding.append([(group, p) for p in several if p >= 0])
            for name in itertools.product(*holding):
                yield one, two, name


def chosen(dataset: str) -> list[list[str]]:
    return [[group] for group in RELATIONS] if dataset == "action_genome" else [list(RELATIONS)]


def by_hand(
    said: dict[str, Any], true: dict[str, Any], dataset: str, constraint: str, k: int, threshold: float
) -> tuple[float, float]:
    """Recall@K and mean Recall@K, written down as they are told: lists, loops, and a stable sort."""
    scenes, of_frames, of_predicates = said["scenes"], [], {}

    def same(mine: int, its: int) -> bool:
        right = int(said["objects"][mine].numpy().argmax()) == int(true["labels"][its])
        return right and iou(scenes["boxes"][mine].tolist(), true["boxes"][its].tolist()) >= 0.5

    for frame in range(len(scenes["time"])):
        order = candidates(said, true, dataset, constraint, threshold, frame)
        order.sort(key=lambda each: -each[0])
        found = []
        for one, two, name in triplets(true, dataset, frame):
            hits = [n == name and same(s, one) and same(o, two) for _, s, o, n in order[:k]]
            found.append((name, any(hits)))
        if found:
            of_frames.append(sum(hit for _, hit in found) / len(found))
        for name in {name for name, _ in found}:
            own = [hit for other, hit in found if other == name]
            of_predicates.setdefault(name, []).append(sum(own) / len(own))
    means = [sum(shares) / len(shares) for shares in of_predicates.values()]
    recall = sum(of_frames) / len(of_frames) if of_frames else math.nan
    return recall, sum(means) / len(means) if means else math.nan


def value(metric: GraphRecall, *batches: Item) -> float:
    for said, true in batches:
        metric.update(said, true)
    return metric.compute().item()


@pytest.mark.parametrize("dataset", ["action_genome", "easg"])
@pytest.mark.parametrize("constraint", CONSTRAINTS)
@given(st.integers(0, 2**32 - 1), st.booleans(), st.integers(1, 12), st.sampled_from([0.0, 0.25, 0.5]))
@settings(max_examples=60, deadline=None)
def test_equals_brute_force(
    dataset: Dataset, constraint: Constraint, seed: int, ties: bool, k: int, threshold: float
) -> None:
    said, true = video(seed, dataset, ties)
    expected = by_hand(said, true, dataset, constraint, k, threshold)
    for mean in (False, True):
        metric = GraphRecall(dataset, k, constraint, mean, threshold)
        assert value(metric, (said, true)) == pytest.approx(expected[mean], nan_ok=True, abs=1e-6)


def test_the_random_graphs_are_telling() -> None:
    for dataset in ("action_genome", "easg"):
        found = [by_hand(*video(seed, dataset), dataset, "no", 6, 0.5)[0] for seed in range(60)]
        known = [each for each in found if not math.isnan(each)]
        assert len(known) > 50 and sum(0 < each < 1 for each in known) > 10


@pytest.mark.parametrize("mean", [False, True])
def test_how_a_set_is_cut_into_batches_changes_nothing(mean: bool) -> None:
    items = [video(seed) for seed in range(6)]
    apart = value(GraphRecall("action_genome", 5, "no", mean), *items)
    scenes, true = collate([(said["scenes"], each) for said, each in items])  # type: ignore[misc]
    said = {
        "scenes": scenes,
        "objects": torch.cat([said["objects"] for said, _ in items]),
        "relations": {g: torch.cat([said["relations"][g] for said, _ in items]) for g in RELATIONS},
    }
    together = GraphRecall("action_genome", 5, "no", mean)
    assert value(together, (said, dict(true))) == pytest.approx(apart) and 0 < apart < 1
    together.reset()
    assert math.isnan(together.compute().item())


def frame(scores: list[list[float]], truth: list[int]) -> FrameGraph:
    """A person and two things side by side, all seen rightly; of one exclusive group `verb`."""
    boxes = np.array([[0, 0, 1, 1], [2, 0, 3, 1], [4, 0, 5, 1]], np.float64)
    pairs = np.array([[0, 1], [0, 2]])
    labels = np.array([0, 1, 1])
    return FrameGraph(
        boxes, labels, np.ones(3), pairs, {"verb": np.array(scores)}, boxes, labels, pairs,
        {"verb": np.array(truth)},
    )  # fmt: skip


def test_closed_form() -> None:
    # The first pair's most probable predicate is wrong: only without the constraint is its second one found.
    graph = frame([[0.6, 0.4], [0.3, 0.7]], [1, 1])
    with_one, without = rank([graph]), rank([graph], constraint="no")
    assert with_one.rank.tolist() == [math.inf, 1] and without.rank.tolist() == [3, 1]
    assert (with_one.recall(2), without.recall(2), without.recall(3)) == (0.5, 0.5, 1.0)


def test_ties_keep_the_order_of_listing() -> None:
    graph = frame([[0.5, 0.5], [0.5, 0.5]], [1, 0])
    assert rank([graph]).rank.tolist() == [math.inf, 2]
    assert rank([graph], constraint="no").rank.tolist() == [2, 3]


def test_rare_predicates_weigh_as_much_as_frequent_ones() -> None:
    graphs = [frame([[0.9, 0.1], [0.8, 0.2]], [0, 0]) for _ in range(9)]
    ranked = rank([*graphs, frame([[0.9, 0.1], [0.8, 0.2]], [1, 1])])
    assert ranked.recall(2) == pytest.approx(0.9) and ranked.by_predicate(2) == {0: 1.0, 1: 0.0}
    assert ranked.mean_recall(2) == 0.5


def test_a_doubtful_object_comes_later() -> None:
    sure = frame([[0.6, 0.0], [0.7, 0.0]], [0, 0])
    doubtful = FrameGraph(**{**vars(sure), "scores": np.array([1, 1, 0.5])})
    assert rank([sure]).rank.tolist() == [2, 1] and rank([doubtful]).rank.tolist() == [1, 2]


@pytest.mark.parametrize(("threshold", "expected"), [(0.5, [1.0, math.inf]), (0.3, [1.0, 2.0])])
def test_semi_says_what_is_above_the_threshold(threshold: float, expected: list[float]) -> None:
    graph = frame([[0.9, 0.5], [0.3, 0.2]], [0, 0])
    several = FrameGraph(**{**vars(graph), "predicates": {"verb": np.array([[1, 1], [0, 0]])}})
    assert rank([several], constraint="semi", threshold=threshold).rank.tolist() == expected


def test_boxes_must_overlap_by_half() -> None:
    graph = frame([[1.0, 0.0], [0.0, 0.0]], [0, -100])
    for width, found in ((1.0, 1.0), (2.0, 1.0), (2.01, math.inf)):
        boxes = graph.boxes.copy()
        boxes[0, 2] = width
        assert rank([FrameGraph(**{**vars(graph), "boxes": boxes})]).rank.tolist() == [found]


def test_nothing_annotated_is_no_number_and_nothing_said_is_zero() -> None:
    said, true = video(3)
    bare = {
        **true,
        "pairs": true["pairs"][:0],
        "predicates": {g: p[:0] for g, p in true["predicates"].items()},
    }
    assert math.isnan(value(GraphRecall("action_genome"), (said, bare))) and math.isnan(
        rank([]).mean_recall(5)
    )
    silent = {
        **said,
        "scenes": {**said["scenes"], "pairs": said["scenes"]["pairs"][:0]},
        "relations": {group: each[:0] for group, each in said["relations"].items()},
    }
    assert value(GraphRecall("action_genome"), (silent, true)) == 0.0


def test_units_and_names() -> None:
    relations = {"verb": ["cut", "take"], "role": ["dobj", "with"]}
    assert units("action_genome", relations) == [("verb",), ("role",)]
    assert units("easg", relations) == [("verb", "role")]
    assert predicate_names("action_genome", relations) == [
        ("verb", "cut"), ("verb", "take"), ("role", "dobj"), ("role", "with"),
    ]  # fmt: skip
    assert [name for _, name in predicate_names("easg", relations)] == [
        "cut – dobj", "cut – with", "take – dobj", "take – with",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"k": 0}, "k must be at least 1"),
        ({"constraint": "some"}, "constraint must be one of with, no, semi"),
        ({"dataset": "vidvrd"}, "dataset must be one of action_genome, easg"),
        ({"threshold": 1.0}, r"threshold in \[0, 1\)"),
        ({"iou": 0.0}, r"iou in \(0, 1\]"),
    ],
)
def test_refuses(arguments: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        GraphRecall(**{"dataset": "action_genome", **arguments})


def test_refuses_other_groups() -> None:
    said, true = video(0)
    relations = {group: said["relations"][group] for group in ("attention", "contact")}
    with pytest.raises(ValueError, match="attention, contact, and the annotation has attention, spatial"):
        GraphRecall("action_genome").update({**said, "relations": relations}, true)


def test_refuses_answers_that_are_not_finite() -> None:
    said, true = video(0)
    relations = {group: torch.full_like(each, torch.nan) for group, each in said["relations"].items()}
    metric = GraphRecall("action_genome")
    metric.update({**said, "relations": relations}, true)
    with pytest.raises(ValueError, match="is not finite"):
        metric.compute()
