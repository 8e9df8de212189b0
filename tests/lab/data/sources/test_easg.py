import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lab.data import easg
from lab.data.scene_graphs import SceneSet
from tests.scene_graph_files import clip, graph, grounding, write_easg

CUT = graph(
    "g1",
    [("CW", "verb", "cut"), ("cut", "dobj", "bread"), ("cut", "with", "knife:1"), ("cut", "on", "board")],
    {
        "pre": {"bread": grounding(100, 50, 200, 100), "knife": grounding(900, 400, 200, 200)},
        "post": {"bread": grounding(0, 0, 500, 250), "cat": grounding(0, 0, 10, 10)},
    },
)
HOLD = graph(
    "g0",
    [("hold", "dobj", "knife"), ("hold", "with", "knife"), ("CW", "verb", "hold")],
    {"pnr": {"knife": grounding(10, 10, 10, 10)}},
    first=2,
)


def of(videos: Any) -> SceneSet:
    assert isinstance(videos, SceneSet)
    return videos


def small(path: Path, count: int = 6) -> Path:
    clips = {f"t{index}": clip([CUT]) for index in range(count)}
    return write_easg(path, {**clips, "v": clip([HOLD], "val"), "e": clip([graph("x", [], {})], "val")})


def test_a_clip_becomes_frames_with_the_wearer_as_the_subject(tmp_path: Path) -> None:
    path = write_easg(tmp_path / "a.json", {"c": clip([CUT, HOLD]), "v": clip([HOLD], "val")})
    splits = easg(path)
    assert splits.facts["objects"] == ["camera wearer", "bread", "knife"]
    assert splits.facts["relations"] == {"verb": ["cut", "hold"], "role": ["dobj", "with"]}
    assert splits.facts["exclusive"] == ["verb", "role"] and splits.facts["dataset"] == "easg"
    video = of(splits.train).videos[0]
    assert [(frame.name, frame.time) for frame in video.frames] == [
        ("g0_pnr", 7),
        ("g1_pre", 10),
        ("g1_post", 19),
    ]
    scenes, truth = of(splits.train)[0]
    assert truth["labels"].tolist() == [0, 2, 0, 1, 2, 0, 1] == truth["objects"].tolist()
    shares = [[0, 0, 1, 1], [0.1, 0.1, 0.3, 0.3], [0.9, 0.8, 1, 1], [0, 0, 1, 1], [0, 0, 0.5, 0.5]]
    assert np.allclose(truth["boxes"][2:], shares)
    assert truth["pairs"].tolist() == [[0, 1], [0, 1], [2, 3], [2, 4], [5, 6]], (
        "a knife of two roles, two pairs"
    )
    assert truth["predicates"]["verb"].tolist() == [1, 1, 0, 0, 0]
    assert truth["predicates"]["role"].tolist() == [0, 1, 0, 1, 0]
    assert scenes["pairs"].tolist() == [[0, 1], [2, 3], [2, 4], [5, 6]]
    assert truth["relations"]["role"].tolist() == [0, 0, 1, 0], "the first role is learnt"


def test_the_published_sets_or_a_share(tmp_path: Path) -> None:
    path = small(tmp_path / "a.json")
    splits = easg(path)
    assert splits.facts["split"] == {"train": [f"t{index}" for index in range(6)], "val": ["v"], "test": []}
    cut = easg(path, val_share=0.34)
    assert cut.facts["counts"] == {"train": 4, "val": 2, "test": 1} and cut.facts["split"]["test"] == ["v"]
    assert easg(path, val_share=0.34, seed=5).facts["split"] != cut.facts["split"]
    assert easg(path, sample_size=2).facts["counts"] == {"train": 2, "val": 1, "test": 0}


@pytest.mark.parametrize("seed", range(8))
def test_no_video_is_on_two_sides(tmp_path: Path, seed: int) -> None:
    videos = {f"t{index}": f"video {index % 4}" for index in range(16)}
    clips = {name: clip([CUT], video=video) for name, video in videos.items()}
    path = write_easg(tmp_path / "a.json", {**clips, "v": clip([HOLD], "val", video="held back")})
    split = easg(path, val_share=0.25, seed=seed).facts["split"]
    sides = {part: {videos[name] for name in split[part]} for part in ("train", "val")}
    assert not sides["train"] & sides["val"]
    assert (len(sides["train"]), len(sides["val"])) == (3, 1)
    assert (len(split["train"]), len(split["val"]), split["test"]) == (12, 4, ["v"])


def test_clips_without_a_video_are_cut_by_themselves(tmp_path: Path) -> None:
    known = {f"t{index}": clip([CUT], video="one") for index in range(3)}
    mixed = {**known, "u": clip([CUT]), "w": clip([CUT], video="")}
    held = {"v": clip([HOLD], "val")}
    split = easg(write_easg(tmp_path / "a.json", {**mixed, **held}), val_share=0.4).facts["split"]
    assert sorted([split["train"], split["val"]]) == [["t0", "t1", "t2"], ["u", "w"]]
    path = write_easg(tmp_path / "b.json", {**known, **held})
    with pytest.raises(ValueError, match=r"b\.json: 1 group\(s\) can't be cut into 2 sets.*a video's clips"):
        easg(path, val_share=0.4)
    with pytest.raises(ValueError, match=r"a\.json: val_share must be in \[0, 1\)"):
        easg(tmp_path / "a.json", val_share=1.5)


def test_a_list_of_things_and_a_detector(tmp_path: Path) -> None:
    path = small(tmp_path / "a.json")
    (tmp_path / "objects.txt").write_text("spoon\nknife\n", encoding="utf-8")
    (tmp_path / "seen").mkdir()
    for name in [*(f"t{index}" for index in range(6)), "v"]:
        frame = "g0_pnr" if name == "v" else "g1_pre"
        boxes = np.array([[0.01, 0.02, 0.02, 0.04] if name == "v" else [0.9, 0.8, 1, 1]])
        np.savez(tmp_path / "seen" / f"{name}.npz", boxes=boxes, scores=[[0, 0.25, 0.5]], frames=[frame])
    splits = easg(path, "sgdet", tmp_path / "seen", tmp_path / "objects.txt")
    assert splits.facts["objects"] == ["camera wearer", "spoon", "knife"]
    scenes, truth = of(splits.train)[0]
    assert scenes["boxes"].tolist() == [[0, 0, 1, 1], pytest.approx([0.9, 0.8, 1, 1])]
    assert scenes["classes"].tolist() == [[1, 0, 0], [0, 0.25, 0.5]] and truth["objects"].tolist() == [0, 2]
    assert scenes["pairs"].tolist() == [[0, 1]] and truth["judged"].tolist() == [True]


def test_frames_are_counted_where_the_file_does_not_number_them(tmp_path: Path) -> None:
    unnumbered = {**CUT, "post": None}
    splits = easg(write_easg(tmp_path / "a.json", {"c": clip([unnumbered, HOLD]), "v": clip([HOLD], "val")}))
    assert [frame.time for frame in of(splits.train).videos[0].frames] == [0, 1, 2]


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    box = grounding(0, 0, 5, 5)
    triplets = [("CW", "verb", "cut"), ("cut", "dobj", "bread")]
    graphs = {
        "no triplet states the verb": graph("g", triplets[1:], {"pre": {"bread": box}}),
        "a triplet is not three strings": {**graph("g", [], {}), "triplets": [["CW", "verb"]]},
        "triplets is not a list": {**graph("g", [], {}), "triplets": 3},
        "groundings is not a JSON object": {**graph("g", triplets, {}), "groundings": [1]},
        "groundings of pnr is not a JSON object": graph("g", triplets, {"pnr": [1]}),
        "'bread' in pre is not a JSON object": graph("g", triplets, {"pre": {"bread": 7}}),
        "'bread' in post: a number is missing": graph("g", triplets, {"post": {"bread": {"left": 1}}}),
        "'bread' in pre: width and height are below 0": graph(
            "g", triplets, {"pre": {"bread": {**box, "width": -1}}}
        ),
        "graph_uid can't be a file's name": graph("../g", triplets, {"pre": {"bread": box}}),
        "pre: a number is missing or not finite": {
            **graph("g", triplets, {"pre": {"bread": box}}),
            "pre": "7",
        },
    }
    clips = {
        "a": clip(list(graphs.values())),
        "b": clip([], "dev"),
        "c": clip([], width=0),
        "d": {**clip([]), "graphs": None},
        "..": clip([]),
        "e": 5,
        "f": {**clip([]), "video_uid": 7},
    }
    with pytest.raises(ValueError) as error:
        easg(write_easg(tmp_path / "a.json", clips))
    text = str(error.value)
    assert text.startswith(f"16 problems with the annotations in {tmp_path / 'a.json'}")
    for index, message in enumerate(graphs):
        assert f"clip a, graph {index}: {message}" in text, (message, text)
    for message in (
        "clip 'b': split is not one of train, val, test",
        "clip 'c': W and H are not",
        "clip 'd': graphs is not a list",
        "clip '..': its name can't be a file's",
        "clip 'e': it is not a JSON object",
        "clip 'f': video_uid is not a string",
    ):
        assert message in text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[1]", "not an object by clip"),
        ("{}", "no clip has a grounded thing"),
        (json.dumps({"t": clip([CUT])}), "no clip of the split 'val' has a grounded thing"),
    ],
)
def test_files_that_are_something_else(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        easg(path)
    with pytest.raises(ValueError, match=r"b\.json: can't be read: No such file"):
        easg(tmp_path / "b.json")


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_in_the_file_is_read_or_told(tmp_path: Path, data: st.DataObject) -> None:
    clips = json.loads(json.dumps({"t": clip([CUT, HOLD]), "u": clip([CUT]), "v": clip([HOLD], "val")}))
    place: Any = clips
    key: Any = "t"
    while isinstance(place[key], (dict, list)) and place[key] and data.draw(st.integers(0, 4)):
        place = place[key]
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
    place[key] = data.draw(JUNK)
    path = write_easg(tmp_path / "a.json", clips)
    try:
        splits = easg(path)
    except ValueError as error:
        assert f"with the annotations in {path}" in str(error)
        return
    for video in (*of(splits.train).videos, *of(splits.val).videos):
        assert [frame.time for frame in video.frames] == sorted(frame.time for frame in video.frames)
        for frame in video.frames:
            assert frame.pairs and all(0 <= c <= 1 for box in frame.boxes for c in box.corners)
    scenes, truth = of(splits.train)[0]
    assert len(scenes["boxes"]) == len(truth["objects"]) and (truth["predicates"]["verb"] >= 0).all()
