from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lab.data.scene_graphs import (
    Asking,
    Box,
    Frame,
    Frequencies,
    Mode,
    Pair,
    SceneSet,
    Video,
    drawn,
    scene,
    scene_splits,
)
from lab.data.sources.detection_folder import Detected, Remembered
from lab.graphs import UNKNOWN, IoUMatcher, Vocabulary, collate
from lab.state.attributes import Held

WORDS = Vocabulary(
    ("person", "cup", "table"),
    {"attention": ("at", "away"), "contact": ("hold", "touch", "none")},
    ("attention",),
)
PERSON, CUP, TABLE = (0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 0.75, 0.25), (0.5, 0.5, 1.0, 1.0)
VIDEO = Video(
    "v",
    (
        Frame(
            "0",
            0.0,
            (Box(CUP, 1), Box(PERSON, 0), Box(TABLE, 2)),
            (Pair(1, 0, {"attention": (1,), "contact": (0, 1)}), Pair(1, 2, {"contact": (2,)})),
        ),
        Frame("7", 7.0, (Box(PERSON, 0), Box(CUP, 1)), (Pair(0, 1, {"attention": (0,)}),)),
    ),
)


def detected(*found: tuple[Any, list[float]]) -> Detected:
    """Boxes and scores; the feature of a box is its place in the list, from 1."""
    boxes = torch.tensor([box for box, _ in found]).reshape(-1, 4)
    scores = torch.tensor([score for _, score in found]).reshape(-1, 3)
    return Detected(boxes, scores, torch.arange(1.0, len(found) + 1)[:, None])


def shifted(box: tuple[float, ...], by: float) -> tuple[float, ...]:
    return (box[0] + by, box[1], box[2] + by, box[3])


DETECTOR = Remembered(
    {
        ("v", "0"): detected(
            (shifted(TABLE, 0.01), [0.1, 0.2, 0.7]),
            ((0.9, 0.0, 1.0, 0.1), [0.0, 1.0, 0.0]),  # nothing is there
            (shifted(PERSON, 0.01), [0.8, 0.1, 0.1]),
        ),
        ("v", "7"): detected((shifted(CUP, 0.01), [0.4, 0.5, 0.1]), (PERSON, [0.3, 0.6, 0.1])),
    },
    1,
)


def asking(mode: Mode, **changes: Any) -> Asking:
    return Asking(WORDS, mode, **{"detector": DETECTOR, **changes})


def test_predcls_gives_boxes_and_classes() -> None:
    scenes, truth = scene(VIDEO, Asking(WORDS))
    assert scenes["boxes"].tolist() == [list(box) for box in (CUP, PERSON, TABLE, PERSON, CUP)]
    assert scenes["classes"].argmax(1).tolist() == [1, 0, 2, 0, 1] == truth["objects"].tolist()
    assert scenes["features"].shape == (5, 0)
    assert scenes["frame_of_box"].tolist() == [0, 0, 0, 1, 1] and scenes["video_of_frame"].tolist() == [0, 0]
    assert scenes["time"].tolist() == [0, 7]
    assert scenes["pairs"].tolist() == [[1, 0], [1, 2], [3, 4]] == truth["pairs"].tolist()
    assert truth["judged"].tolist() == [True, True, True]
    for told in (truth["relations"], truth["predicates"]):
        assert told["attention"].tolist() == [1, UNKNOWN, 0]
        assert told["contact"].tolist() == [[1, 1, 0], [0, 0, 1], [0, 0, 0]]


def test_an_annotated_box_takes_what_was_detected_there() -> None:
    scenes, _ = scene(VIDEO, asking("predcls"))
    assert scenes["features"].flatten().tolist() == [0, 3, 1, 2, 1], "the cup of frame 0 was missed"
    scenes, truth = scene(VIDEO, asking("sgcls"))
    assert scenes["boxes"].tolist() == [list(box) for box in (CUP, PERSON, TABLE, PERSON, CUP)]
    expected = [[0, 0, 0], [0.8, 0.1, 0.1], [0.1, 0.2, 0.7], [0.3, 0.6, 0.1], [0.4, 0.5, 0.1]]
    assert np.allclose(scenes["classes"], expected)
    assert truth["objects"].tolist() == [1, 0, 2, 0, 1]
    # In frame 7 nothing looks like a person most of all; the cup does more than the person.
    assert scenes["pairs"].tolist() == [[1, 0], [1, 2], [4, 3]]
    assert truth["judged"].tolist() == [True, True, False]
    assert truth["relations"]["attention"].tolist() == [1, UNKNOWN, UNKNOWN]
    assert truth["pairs"].tolist() == [[1, 0], [1, 2], [3, 4]], "what is judged by stays as it is annotated"


def test_sgdet_gives_what_was_detected() -> None:
    scenes, truth = scene(VIDEO, asking("sgdet"))
    assert scenes["features"].flatten().tolist() == [1, 2, 3, 1, 2]
    assert scenes["frame_of_box"].tolist() == [0, 0, 0, 1, 1]
    assert truth["objects"].tolist() == [2, UNKNOWN, 0, 1, 0]
    assert scenes["pairs"].tolist() == [[2, 0], [2, 1], [3, 4]]
    assert truth["judged"].tolist() == [True, False, False]
    assert truth["relations"]["contact"].tolist() == [[0, 0, 1], [0, 0, 0], [0, 0, 0]]
    assert truth["labels"].tolist() == [1, 0, 2, 0, 1] and truth["pairs"].tolist() == [[1, 0], [1, 2], [3, 4]]


def test_a_matcher_is_injected() -> None:
    _, strict = scene(VIDEO, asking("sgdet", matcher=IoUMatcher(0.99)))
    assert strict["objects"].tolist() == [UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, 0]
    _, nobody = scene(VIDEO, asking("sgdet", matcher=lambda boxes, true: torch.full((len(boxes),), -1)))
    assert set(nobody["objects"].tolist()) == {UNKNOWN} and not nobody["judged"].any()


def test_detections_that_match_nothing_are_refused() -> None:
    away = asking("sgdet", matcher=lambda boxes, true: torch.full((len(boxes),), -1))
    with pytest.raises(ValueError, match=r"no annotated pair of the first 2 training videos"):
        scene_splits(([VIDEO, VIDEO], [VIDEO], []), away, "action_genome")
    assert len(scene_splits(([VIDEO], [VIDEO], []), asking("sgdet"), "action_genome").train) == 1  # type: ignore[arg-type]


def test_a_detector_is_never_as_sure_as_what_is_given() -> None:
    sure = Remembered({("v", str(n)): detected((PERSON, [1.0, 0.0, 0.0])) for n in (0, 7)}, 1)
    scenes, _ = scene(VIDEO, asking("sgdet", detector=sure))
    assert 0.999 < float(scenes["classes"].max()) < 1


def test_what_is_given_needs_no_detector() -> None:
    scenes, truth = scene(VIDEO, asking("sgdet", given=(0,)))
    assert truth["objects"].tolist() == [0, 2, UNKNOWN, UNKNOWN, 0, 1, UNKNOWN]
    assert scenes["boxes"][[0, 4]].tolist() == [list(PERSON)] * 2
    assert scenes["classes"][[0, 4]].tolist() == [[1, 0, 0]] * 2
    assert scenes["features"].flatten().tolist() == [0, 1, 2, 3, 0, 1, 2]
    scenes, _ = scene(VIDEO, asking("sgcls", given=(0,)))
    assert scenes["classes"][[1, 3]].tolist() == [[1, 0, 0]] * 2


def test_frames_in_which_nothing_is() -> None:
    nothing = Remembered({("v", "0"): detected(), ("v", "7"): detected((PERSON, [1.0, 0, 0]))}, 1)
    scenes, truth = scene(VIDEO, asking("sgdet", detector=nothing))
    assert scenes["frame_of_box"].tolist() == [1] and scenes["pairs"].shape == (0, 2)
    assert scenes["time"].tolist() == [0, 7] and truth["relations"]["contact"].shape == (0, 3)
    scenes, truth = scene(Video("empty", ()), Asking(WORDS))
    assert scenes["boxes"].shape == (0, 4) and scenes["classes"].shape == (0, 3) and len(truth["videos"]) == 1
    both, _ = collate([scene(Video("empty", ()), Asking(WORDS)), scene(VIDEO, Asking(WORDS))])
    assert both["video_of_frame"].tolist() == [1, 1]


def test_a_pair_that_is_annotated_twice_is_learnt_once() -> None:
    pairs = (Pair(0, 1, {"attention": (1,)}), Pair(0, 1, {"attention": (0,)}))
    video = Video("v", (Frame("0", 0.0, (Box(PERSON, 0), Box(CUP, 1)), pairs),))
    _, truth = scene(video, Asking(WORDS))
    assert truth["relations"]["attention"].tolist() == [1]
    assert truth["predicates"]["attention"].tolist() == [1, 0] and len(truth["pairs"]) == 2


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("sgcls", "mode: sgcls requires a detector's output for the classes of the boxes"),
        ("sgdet", "mode: sgdet requires a detector's output for the boxes and their classes"),
        ("all", "mode must be one of predcls, sgcls, sgdet, found 'all'"),
    ],
)
def test_a_mode_that_cannot_be_asked_for(mode: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Asking(WORDS, mode)


def test_sets_keep_their_items_and_tell_facts() -> None:
    splits = scene_splits(([VIDEO, VIDEO], [VIDEO], []), Asking(WORDS), "easg")
    assert (
        isinstance(splits.train, SceneSet) and splits.train[1] is splits.train[1] and len(splits.train) == 2
    )
    assert (
        SceneSet([VIDEO], Asking(WORDS), keep=False)[0] is not SceneSet([VIDEO], Asking(WORDS), keep=False)[0]
    )
    assert splits.test is None and splits.facts["dataset"] == "easg"
    assert splits.facts["counts"] == {"train": 2, "val": 1, "test": 0}
    assert splits.facts["split"]["train"] == ["v", "v"] and splits.facts["features"] == 0


def test_kept_items_are_no_state() -> None:
    dataset = SceneSet([VIDEO], Asking(WORDS))
    held = Held({"dataset": dataset})
    assert dataset[0] is dataset[0] and held.state() == {} and held.unkept == []


def test_a_sample_is_seeded_and_keeps_the_order() -> None:
    videos = [Video(str(index), ()) for index in range(20)]
    few = [int(video.name) for video in drawn(videos, 5, seed=1)]
    assert few == sorted(few) and len(few) == 5 and few == [int(v.name) for v in drawn(videos, 5, seed=1)]
    assert few != [int(video.name) for video in drawn(videos, 5, seed=2)]
    assert drawn(videos, None, 0) == videos == drawn(videos, 30, 0)
    with pytest.raises(ValueError, match="sample_size must be at least 1, found 0"):
        drawn(videos, 0, 0)


PAIRS = st.lists(
    st.tuples(st.sampled_from([1, 2]), st.integers(-1, 1), st.sets(st.integers(0, 2))),
    min_size=1,
    max_size=12,
)


@given(told=PAIRS, mixed=st.tuples(st.integers(0, 4), st.integers(1, 4)))
def test_the_guesser_knows_the_shares(told: list[tuple[int, int, set[int]]], mixed: tuple[int, int]) -> None:
    frames = []
    for index, (label, attention, contact) in enumerate(told):
        held = {"attention": (attention,) if attention >= 0 else (), "contact": tuple(contact)}
        frames.append(Frame(str(index), index, (Box(PERSON, 0), Box(CUP, label)), (Pair(0, 1, held),)))
    videos = SceneSet([Video("v", tuple(frames))], Asking(WORDS))
    guesser = Frequencies(videos, WORDS)
    scenes, _ = videos[0]

    def shares(label: int) -> tuple[list[float], list[float]]:
        """By counting, with one imagined pair that is as all are on average."""
        result: list[list[float]] = []
        for group, size in (("attention", 2), ("contact", 3)):
            sets = [(one, {two} if group == "attention" else three) for one, two, three in told]
            sets = [(one, held) for one, held in sets if held != {-1}]
            own = [held for one, held in sets if one == label]
            result.append([])
            for k in range(size):
                average = (sum(k in held for _, held in sets) + 1 / size) / (len(sets) + 1)
                result[-1].append((sum(k in held for held in own) + average) / (len(own) + 1))
        return result[0], result[1]

    said = guesser.logits(scenes)
    for row, (label, _, _) in enumerate(told):
        attention, contact = shares(label)
        assert np.allclose(said["attention"][row].softmax(0), attention, atol=1e-5)
        assert np.allclose(said["contact"][row].sigmoid(), contact, atol=1e-5)

    weights = np.array(mixed) / sum(mixed)  # of cup and table
    scenes = {**scenes, "classes": scenes["classes"].clone()}
    scenes["classes"][1] = torch.tensor([0, *weights])
    expected = weights[0] * np.array(shares(1)[1]) + weights[1] * np.array(shares(2)[1])
    assert np.allclose(guesser.logits(scenes)["contact"][0].sigmoid(), expected, atol=1e-5)


def test_the_guesser_without_any_word_on_the_classes() -> None:
    guesser = Frequencies(SceneSet([VIDEO], Asking(WORDS)), WORDS)
    scenes, _ = scene(VIDEO, Asking(WORDS))
    scenes["classes"] = torch.zeros_like(scenes["classes"])
    said = guesser.logits(scenes)
    assert said["contact"].shape == (3, 3) and torch.isfinite(said["contact"]).all()
    assert torch.allclose(said["attention"].softmax(1)[0], said["attention"].softmax(1)[2])
