import json
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lab.data.sources.moving_boxes import moving_boxes
from lab.graphs import IoUMatcher, Vocabulary, collate, overlap

WORLD = moving_boxes(12, 1, frames=3, mode="sgdet", misses=0.4, false_alarms=1.0)


def boxes(seed: int, count: int) -> Tensor:
    """Boxes on a coarse grid, so that many overlap alike."""
    corner = np.random.default_rng(seed).integers(0, 4, (count, 2))
    size = np.random.default_rng(seed + 1).integers(0, 4, (count, 2))
    return torch.from_numpy(np.concatenate([corner, corner + size], 1) / 8).float()


@pytest.mark.parametrize(
    ("one", "other", "share"),
    [
        ((0, 0, 2, 2), (1, 1, 3, 3), 1 / 7),
        ((0, 0, 2, 2), (0, 0, 2, 2), 1),
        ((0, 0, 2, 2), (2, 0, 4, 2), 0),
        ((0, 0, 4, 1), (1, 0, 3, 1), 1 / 2),
        ((1, 1, 1, 3), (1, 1, 1, 3), 0),
        ((0, 0, 1, 1), (5, 5, 6, 6), 0),
    ],
)
def test_overlap(one: Any, other: Any, share: float) -> None:
    found = overlap(torch.tensor([one]).float(), torch.tensor([other, one]).float())
    assert found.shape == (1, 2) and found[0, 0].item() == pytest.approx(share)


@given(seed=st.integers(0, 10**6), count=st.integers(0, 5), others=st.integers(0, 5))
def test_the_matcher_takes_the_best_pair_that_is_left(seed: int, count: int, others: int) -> None:
    found, true = boxes(seed, count), boxes(seed + 2, others)
    shares = overlap(found, true).numpy().copy()
    expected = np.full(count, -1)
    while shares.size and shares.max() >= 0.25:
        box, other = divmod(int(shares.argmax()), others)  # the first of equal ones
        expected[box] = other
        shares[box], shares[:, other] = -1, -1
    assert IoUMatcher(0.25)(found, true).tolist() == expected.tolist()


def test_a_threshold_out_of_range() -> None:
    for threshold in (0, -1, 1.1):
        with pytest.raises(ValueError, match=r"threshold must be in \(0, 1\], found"):
            IoUMatcher(threshold)
    assert IoUMatcher(1.0)(boxes(3, 4)[:1], boxes(3, 4)[:1]).tolist() in ([0], [-1])


@given(st.lists(st.integers(0, 11), min_size=1, max_size=5))
def test_a_batch_is_its_videos_one_after_another(indices: list[int]) -> None:
    items = [WORLD.train[index] for index in indices]
    scenes, truth = collate(items)
    frame, box, true = 0, 0, 0
    for number, (one, right) in enumerate(items):
        frames, found = len(one["time"]), len(one["boxes"])
        here, there = slice(box, box + found), slice(true, true + len(right["boxes"]))
        assert torch.equal(scenes["boxes"][here], one["boxes"])
        assert torch.equal(truth["boxes"][there], right["boxes"])
        assert torch.equal(scenes["frame_of_box"][here] - frame, one["frame_of_box"])
        assert torch.equal(truth["frame_of_box"][there] - frame, right["frame_of_box"])
        assert (scenes["video_of_frame"][frame : frame + frames] == number).all()
        of_it = (scenes["pairs"][:, 0] >= box) & (scenes["pairs"][:, 0] < box + found)
        assert torch.equal(scenes["pairs"][of_it] - box, one["pairs"])
        assert torch.equal(truth["judged"][of_it], right["judged"])
        for group, told in right["relations"].items():
            assert torch.equal(truth["relations"][group][of_it], told)
        frame, box, true = frame + frames, box + found, true + len(right["boxes"])
    assert torch.equal(truth["videos"], torch.arange(len(items)))
    assert len(scenes["boxes"]) == box and len(truth["boxes"]) == true
    for pairs, frames_of in (
        (scenes["pairs"], scenes["frame_of_box"]),
        (truth["pairs"], truth["frame_of_box"]),
    ):
        assert (frames_of[pairs[:, 0]] == frames_of[pairs[:, 1]]).all(), "a pair is of one frame"


def test_batches_can_be_joined_again() -> None:
    items = [WORLD.train[index] for index in range(5)]
    at_once = collate(items)
    in_two = collate([collate(items[:2]), collate(items[2:])])
    for one, other in zip(at_once, in_two, strict=True):
        for name, value in one.items():
            values, others = (part if isinstance(part, dict) else {"": part} for part in (value, other[name]))
            assert all(torch.equal(values[key], others[key]) for key in values), name


def test_a_vocabulary_survives_json() -> None:
    words = Vocabulary(("person", "cup"), {"attention": ("at", "away"), "contact": ("on",)}, ("attention",))
    assert Vocabulary.from_facts(json.loads(json.dumps(words.facts()))) == words


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((("cup", "cup"), {"a": ("b",)}), "objects: 'cup' appears twice"),
        (((), {"a": ("b",)}), "objects: no names"),
        ((("cup",), {"a": ()}), "a: no names"),
        ((("cup",), {}), "groups: no names"),
        ((("cup",), {"a": ("b",)}, ("c",)), "exclusive: 'c' is not one of the groups: a"),
    ],
)
def test_a_vocabulary_that_is_none(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Vocabulary(*arguments)
