from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from lab.data.scene_graphs import Frequencies
from lab.data.sources.moving_boxes import VOCABULARY, moving_boxes
from lab.graphs import UNKNOWN, SceneGraphBatch, SceneGraphTarget, collate

SMALL: dict[str, Any] = {"train_count": 30, "val_count": 10}


def batch(videos: Any) -> tuple[SceneGraphBatch, SceneGraphTarget]:
    return collate([videos[index] for index in range(len(videos))])


def same(one: Dataset[Any], other: Dataset[Any], index: int) -> bool:
    """Return whether all tensors of two items are equal."""

    def tensors(part: Any) -> Iterator[torch.Tensor]:
        for value in part.values():
            yield from tensors(value) if isinstance(value, dict) else [value]

    return all(
        torch.equal(a, b)
        for first, second in zip(one[index], other[index], strict=True)
        for a, b in zip(tensors(first), tensors(second), strict=True)
    )


def test_the_facts_and_the_shapes() -> None:
    splits = moving_boxes(3, 2, 1, features=7, frames=5)
    assert splits.facts == {
        **VOCABULARY.facts(),
        "features": 7,
        "mode": "predcls",
        "dataset": "action_genome",
        "counts": {"train": 3, "val": 2, "test": 1},
        "split": {"train": ["train-0", "train-1", "train-2"], "val": ["val-0", "val-1"], "test": ["test-0"]},
    }
    scenes, truth = splits.train[0]
    count, pairs = len(scenes["boxes"]), len(scenes["pairs"])
    assert scenes["features"].shape == (count, 7) and scenes["classes"].shape == (count, 9)
    assert scenes["time"].tolist() == [0, 1, 2, 3, 4]
    assert {name: tuple(value.shape) for name, value in truth["relations"].items()} == {
        "attention": (pairs,), "spatial": (pairs, 5), "contact": (pairs, 6),
    }  # fmt: skip
    assert moving_boxes(1, 1).test is None


def test_a_video_depends_on_the_seed_the_set_and_its_index() -> None:
    few, many, other = moving_boxes(2, 1), moving_boxes(4, 3), moving_boxes(2, 1, seed=1)
    assert all(same(few.train, many.train, index) for index in range(2))
    assert not same(few.train, other.train, 0)
    assert not torch.equal(few.train[0][0]["boxes"][:2], few.val[0][0]["boxes"][:2])


def test_what_happens_does_not_depend_on_how_it_is_seen() -> None:
    truths = [batch(moving_boxes(**SMALL, mode=mode).train)[1] for mode in ("predcls", "sgcls", "sgdet")]
    for truth in truths[1:]:
        for name in ("boxes", "labels", "pairs"):
            assert torch.equal(truth[name], truths[0][name])
        for group, told in truth["predicates"].items():
            assert torch.equal(told, truths[0]["predicates"][group])


def test_relations_follow_from_where_things_are() -> None:
    scenes, truth = batch(moving_boxes(**SMALL, noise=0.0).train)
    boxes, pairs = truth["boxes"].double(), truth["pairs"]
    centre, size = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    across, down = ((centre[pairs[:, 1]] - centre[pairs[:, 0]]) / size[pairs[:, 0]]).T
    spatial = truth["predicates"]["spatial"]
    for name, expected in {
        "above": down < -0.3,
        "beneath": down > 0.3,
        "on_the_side_of": across.abs() > 0.8,
    }.items():
        assert (spatial[:, VOCABULARY.relations["spatial"].index(name)] == expected).double().mean() > 0.999
    low = torch.maximum(boxes[pairs[:, 0], :2], boxes[pairs[:, 1], :2])
    high = torch.minimum(boxes[pairs[:, 0], 2:], boxes[pairs[:, 1], 2:])
    apart = (high - low).clamp(min=0).prod(1) <= 0.1 * size[pairs[:, 1]].prod(1)
    contact = truth["predicates"]["contact"]
    assert (contact[:, -1] == apart).double().mean() > 0.999
    holding, carrying = contact[:, 0] > 0, contact[:, 1] > 0
    assert (holding | ~carrying).all() and carrying.any() and (holding & ~carrying).any()
    assert (contact.sum(1) >= 1).all() and (spatial.sum(1) >= 1).all()
    assert (truth["predicates"]["attention"] != UNKNOWN).all()
    assert scenes["pairs"].shape[0] >= pairs.shape[0], "two persons are a pair that nobody annotated"


def test_every_relation_is_there_and_noise_adds_to_it() -> None:
    _, clean = batch(moving_boxes(**SMALL, noise=0.0).train)
    _, noisy = batch(moving_boxes(**SMALL, noise=0.5).train)
    for group, names in VOCABULARY.relations.items():
        told, other = clean["predicates"][group], noisy["predicates"][group]
        if told.dim() == 2:
            assert (told.mean(0) > 0.01).all(), group
        else:
            assert (torch.bincount(told, minlength=len(names)) > 0.1 * len(told)).all(), group
        changed = (told != other).reshape(len(told), -1).any(1).double().mean().item()
        assert 0.2 < changed < 0.5  # half are drawn anew, and some of these come out as they were


def test_a_guesser_cannot_know_what_geometry_decides() -> None:
    splits = moving_boxes(120, 40)
    scenes, truth = batch(splits.val)
    said = Frequencies(splits.train, VOCABULARY).logits(scenes)
    recalls = []
    for group, names in VOCABULARY.relations.items():
        told = truth["relations"][group]
        held = torch.nn.functional.one_hot(told.clamp(min=0), len(names)) if told.dim() == 1 else told
        best = said[group].argmax(1)[truth["judged"]]
        for index in range(len(names)):
            recalls.append((best[held[truth["judged"], index] > 0] == index).double().mean().item())
    assert np.mean(recalls) < 0.35, "half of the relations are never the most frequent of two classes"


def test_the_detector_confuses_misses_and_sees_what_is_not_there() -> None:
    scenes, truth = batch(moving_boxes(**SMALL, mode="sgcls").train)
    assert torch.allclose(scenes["classes"].sum(1), torch.ones(len(scenes["classes"])))
    right = (scenes["classes"].argmax(1) == truth["objects"]).double().mean().item()
    assert 0.8 < right < 0.97
    perfect, known = batch(moving_boxes(**SMALL, mode="sgcls", confusion=0.0).train)
    assert torch.equal(perfect["classes"].argmax(1), known["objects"])

    scenes, truth = batch(moving_boxes(**SMALL, mode="sgdet", misses=0.3, false_alarms=1.0).train)
    matched = int((truth["objects"] != UNKNOWN).sum())
    assert 0.6 < matched / len(truth["labels"]) < 0.75
    assert 0.8 < (len(scenes["boxes"]) - matched) / len(scenes["time"]) < 1.5
    exact, known = batch(moving_boxes(**SMALL, mode="sgdet", misses=0.0, false_alarms=0.0).train)
    assert len(exact["boxes"]) == len(known["labels"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"train_count": 0}, "train_count must be at least 1, found 0"),
        ({"frames": 1}, "frames must be at least 2"),
        ({"persons": 5}, r"persons must be in \[1, 4\], found 5"),
        ({"features": 3}, "features must be at least 4, found 3"),
        ({"noise": 1.5}, "noise must be in"),
        ({"misses": 1.0}, r"misses must be in \[0, 1\), found 1.0"),
        ({"blur": -1}, "blur must be at least 0, found -1"),
        ({"mode": "detect"}, "mode must be one of predcls, sgcls, sgdet, found 'detect'"),
    ],
)
def test_arguments_out_of_range(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        moving_boxes(**{"train_count": 1, "val_count": 1, **arguments})
