import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lab.config import RunConfig
from lab.data import action_genome
from lab.data.scene_graphs import SceneSet
from lab.graphs import UNKNOWN
from tests.scene_graph_files import HEIGHT, OBJECTS, RELATIONS, WIDTH, person, thing, write_action_genome


def tags(video: str, count: int) -> list[str]:
    return [f"{video}.mp4/{7 * index:06d}.png" for index in range(count)]


def small(folder: Path, **changes: Any) -> Path:
    """Six training videos and two test videos of three frames, with one cup each."""
    named = [tags(f"T{index}", 3) for index in range(6)] + [tags(f"X{index}", 3) for index in range(2)]
    persons = {tag: person() for video in named for tag in video}
    things = {
        tag: [thing("cup/glass/bottle", part="train" if tag[0] == "T" else "test")]
        for video in named
        for tag in video
    }
    return write_action_genome(folder, {**persons, **changes}, things)


def of(videos: Any) -> SceneSet:
    assert isinstance(videos, SceneSet)
    return videos


def test_a_frame_becomes_boxes_and_pairs(tmp_path: Path) -> None:
    first, *others = tags("001YG", 3)
    persons = {tag: person() for tag in (first, *others)}
    persons[first] = person([(48, 27, 240, 243), (0, 0, 10, 10)])
    things: dict[str, Any] = {tag: [thing("book")] for tag in others}
    things[first] = [
        thing(
            "cup/glass/bottle", (96, 54, 48, 27), ["unsure"], ["beneath", "in"], ["holding", "drinking_from"]
        ),
        thing("chair", None),
        thing(
            "sofa/couch",
            (400, 200, 160, 100),
            ["not_looking_at"],
            ["behind"],
            ["not_contacting", "sitting_on"],
        ),
    ]
    for tag in tags("other", 3):
        persons[tag], things[tag] = person(), [thing("book")]
    root = write_action_genome(tmp_path / "annotations", persons, things)
    splits = action_genome(tmp_path, val_share=0.5)
    assert sorted(of(splits.train).names + of(splits.val).names) == ["001YG.mp4", "other.mp4"]
    part = of(splits.train) if of(splits.train).names == ["001YG.mp4"] else of(splits.val)
    scenes, truth = part[0]
    words = splits.facts["objects"]
    assert len(words) == 36 and {"cup/glass/bottle", "sofa/couch", "closetcabinet"} < set(words)
    assert [words[label] for label in truth["labels"][:3]] == ["person", "cup/glass/bottle", "sofa/couch"]
    assert scenes["time"].tolist() == [0, 7, 14] and scenes["frame_of_box"].tolist() == [0, 0, 0, 1, 1, 2, 2]
    pixels = truth["boxes"][:3].numpy() * [WIDTH, HEIGHT, WIDTH, HEIGHT]
    assert np.allclose(pixels, [[48, 27, 240, 243], [96, 54, 144, 81], [400, 200, 480, 270]], atol=1e-3)
    assert truth["pairs"][:2].tolist() == [[0, 1], [0, 2]]
    relations = splits.facts["relations"]
    assert [len(names) for names in relations.values()] == [3, 6, 17]
    assert splits.facts["exclusive"] == ["attention"]
    assert [relations["attention"][index] for index in truth["predicates"]["attention"][:2]] == [
        "unsure",
        "not_looking_at",
    ]
    held = [
        [relations[group][index] for group in ("spatial", "contact") for index in row(truth, group, pair)]
        for pair in range(2)
    ]
    assert held == [["beneath", "in", "drinking_from", "holding"], ["behind", "not_contacting", "sitting_on"]]
    assert root.name == "annotations" and splits.facts["dataset"] == "action_genome"


def row(truth: Any, group: str, pair: int) -> list[int]:
    return [int(index) for index in truth["predicates"][group][pair].nonzero().flatten()]


def test_the_published_sets(tmp_path: Path) -> None:
    root = small(tmp_path)
    splits = action_genome(root, val_share=0.34)
    assert splits.facts["counts"] == {"train": 4, "val": 2, "test": 2}
    assert splits.facts["split"]["test"] == ["X0.mp4", "X1.mp4"]
    everything = [name for names in splits.facts["split"].values() for name in names]
    assert len(set(everything)) == 8
    again = action_genome(root, val_share=0.34)
    assert again.facts == splits.facts
    assert action_genome(root, val_share=0.34, seed=3).facts["split"] != splits.facts["split"]
    folds = [action_genome(root, folds=3, fold=fold).facts["split"]["val"] for fold in range(3)]
    assert sorted(name for names in folds for name in names) == [f"T{index}.mp4" for index in range(6)]
    few = action_genome(root, val_share=0.34, sample_size=3)
    assert few.facts["counts"] == {"train": 2, "val": 1, "test": 2}


def test_frames_and_videos_that_are_left_out(tmp_path: Path) -> None:
    persons = {tag: person() for video in "abcd" for tag in tags(video, 4)}
    things = {tag: [thing("book"), thing("bag", None)] for tag in persons}
    persons[tags("a", 4)[1]] = person([])  # nobody was detected
    things[tags("b", 4)[2]] = [thing("book", None)]  # nothing can be seen
    things[tags("b", 4)[3]] = [thing("book", None)]
    things[tags("d", 4)[0]] = []
    listed = [tag for tag in persons if tag != tags("c", 4)[0]]
    root = write_action_genome(tmp_path, persons, things, listed)
    splits = action_genome(root, val_share=0.4)
    videos = {video.name: video for part in (splits.train, splits.val) for video in of(part).videos}
    assert {name: [frame.time for frame in video.frames] for name, video in videos.items()} == {
        "a.mp4": [0, 14, 21], "c.mp4": [7, 14, 21], "d.mp4": [7, 14, 21],
    }  # fmt: skip
    short = action_genome(root, val_share=0.4, min_frames=2)
    assert "b.mp4" in short.facts["split"]["train"] + short.facts["split"]["val"]
    with pytest.raises(ValueError, match="no video of the set 'train' has 5 usable frames"):
        action_genome(root, min_frames=5)


def test_the_frame_list_may_be_absent(tmp_path: Path) -> None:
    root = small(tmp_path)
    (root / "frame_list.txt").unlink()
    assert action_genome(root).facts["counts"]["test"] == 2


def test_detections_are_read_and_checked(tmp_path: Path) -> None:
    root = small(tmp_path / "ag")
    box = np.array([[48, 27, 240, 243], [96, 54, 144, 81]]) / [WIDTH, HEIGHT, WIDTH, HEIGHT]
    scores = np.zeros((2, 36))
    scores[[0, 1], [0, OBJECTS.index("cupglassbottle")]] = 0.75
    for name in [f"T{index}" for index in range(6)] + ["X0", "X1"]:
        frames = np.repeat([tag.split("/")[1] for tag in tags(name, 3)], 2)
        several = {"boxes": np.tile(box, (3, 1)), "scores": np.tile(scores, (3, 1))}
        path = tmp_path / "seen" / f"{name}.mp4.npz"
        path.parent.mkdir(exist_ok=True)
        np.savez(path, frames=frames, features=np.arange(12.0).reshape(6, 2), **several)
    for mode in ("predcls", "sgcls", "sgdet"):
        splits = action_genome(root, mode, tmp_path / "seen")
        scenes, truth = of(splits.train)[0]
        assert splits.facts["features"] == 2 and splits.facts["mode"] == mode
        assert scenes["features"].tolist() == np.arange(12.0).reshape(6, 2).tolist()
        assert scenes["classes"].max(1).values.tolist() == [1.0 if mode == "predcls" else 0.75] * 6
        assert truth["objects"].tolist() == [0, 10] * 3 and truth["judged"].all()
    np.savez(
        tmp_path / "seen" / "T3.mp4.npz",
        frames=frames,
        boxes=several["boxes"],
        scores=several["scores"][:, :9],
    )
    (tmp_path / "seen" / "X1.mp4.npz").unlink()
    with pytest.raises(
        ValueError, match=r"(?s)2 problems with the detections in .*T3.*scores of 9.*X1\.mp4: it has"
    ):
        action_genome(root, "sgdet", tmp_path / "seen")
    with pytest.raises(ValueError, match="mode: sgcls requires a detector's output"):
        action_genome(root, "sgcls")


def test_a_config_names_detector_and_matcher(tmp_path: Path) -> None:
    root, seen = small(tmp_path / "ag"), tmp_path / "seen"
    for index in range(8):
        name, frames = f"{'T' if index < 6 else 'X'}{index % 6}.mp4", [tags("T", 1)[0].split("/")[1]]
        seen.mkdir(exist_ok=True)
        np.savez(seen / f"{name}.npz", boxes=[[0.1, 0.1, 0.5, 0.7]], scores=np.eye(1, 36) / 2, frames=frames)
    detector = {"target": "lab.data.DetectionFolder", "root": str(seen)}
    data: dict[str, Any] = {"target": "lab.data.action_genome", "root": str(root), "mode": "sgcls"}
    found = []
    for threshold in (0.7, 0.8):  # the box overlaps the person's by 3/4
        matcher = {"target": "lab.graphs.IoUMatcher", "threshold": threshold}
        config = RunConfig.model_validate(
            {"net": "torch.nn.Identity", "data": {**data, "detector": detector, "matcher": matcher}}
        )
        found.append(of(config.create_data()[0])[0][0]["classes"].sum().item())
    assert found == [0.5, 0]


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    wrong: dict[str, tuple[Any, Any, str]] = {
        "a/1.png": (person(), [thing("unicorn")], "class 'unicorn' is not in object_classes.txt"),
        "a/2.png": (
            person(),
            [thing("book", contact=["in"])],
            "contacting_relationship of book: 'in' is not in relationship_classes.txt",
        ),
        "a/3.png": (person(), [thing("book", (1, 2, -3, 4))], "the bbox of book is not x, y, width, height"),
        "a/4.png": (person(), [{**thing("book"), "bbox": None}], "the bbox of book is missing"),
        "a/5.png": (person(), [thing("book", part="val")], "metadata.set is 'val', not 'train' or 'test'"),
        "a/6.png": (person([(5, 5, 1, 1)]), [thing("book")], "the person's bbox is not x1, y1, x2, y2"),
        "a/7.png": ({**person(), "bbox_size": (0, 5)}, [thing("book")], "bbox_size is not the frame's width"),
        "a/8.png": (None, [thing("book")], "neither a person's boxes nor a list of things"),
        "a/x.png": (person(), [thing("book")], "its name doesn't begin with its number"),
        "../1.png": (person(), [thing("book")], "not of the form VIDEO/FRAME"),
        "a": (person(), [thing("book")], "not of the form VIDEO/FRAME"),
        "b/1.png": (person(), [thing("book")], ""),
        "b/2.png": (
            person(),
            [thing("book", part="test")],
            "it is of the set 'test', but the video is of 'train'",
        ),
    }
    persons = {tag: one for tag, (one, _, _) in wrong.items()}
    things = {tag: many for tag, (_, many, _) in wrong.items()}
    root = write_action_genome(tmp_path, persons, things, [*things, "c/1.png"])
    with pytest.raises(ValueError) as error:
        action_genome(root)
    text = str(error.value)
    assert text.startswith(f"13 problems with the annotations in {root}")
    for tag, (_, _, message) in wrong.items():
        assert not message or f"{tag}: {message}" in text, (tag, text)
    assert "c/1.png: it is not in person_bbox.pkl" in text and "b/1.png" not in text


def test_files_that_are_missing_or_something_else(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"no object_classes\.txt, relationship_classes\.txt, person_bbox\.pkl"
    ):
        action_genome(tmp_path)
    root = small(tmp_path / "ag")
    (root / "person_bbox.pkl").write_bytes(pickle.dumps([1]))
    with pytest.raises(ValueError, match=r"person_bbox\.pkl: not a dict by frame, but a list"):
        action_genome(root)
    (root / "object_classes.txt").write_text("cup\nbook\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"object_classes\.txt: no class person"):
        action_genome(root)
    (root / "relationship_classes.txt").write_text("\n".join(RELATIONS[:9]), encoding="utf-8")
    with pytest.raises(ValueError, match=r"relationship_classes\.txt: not a list of 10 or more"):
        action_genome(root)
    with pytest.raises(ValueError, match="min_frames must be at least 1, found 0"):
        action_genome(root, min_frames=0)


def test_a_hostile_file_is_refused(tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "executed"),)

    root = small(tmp_path / "ag")
    (root / "person_bbox.pkl").write_bytes(pickle.dumps({"T0.mp4/000000.png": Hostile()}))
    with pytest.raises(ValueError, match=r"person_bbox\.pkl: holds (posix|nt)\.mkdir, and only containers"):
        action_genome(root)
    assert not (tmp_path / "executed").exists()


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(np.zeros((2, 4))),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_in_the_files_is_read_or_told(tmp_path: Path, data: st.DataObject) -> None:
    persons: dict[str, Any] = {tag: person() for video in "abc" for tag in tags(video, 3)}
    things: dict[str, Any] = {tag: [thing("book"), thing("bag")] for tag in persons}
    tag = data.draw(st.sampled_from(sorted(persons)))
    junk = data.draw(JUNK)
    place = data.draw(
        st.sampled_from(["person", "things", "thing", "key", "person key", "metadata", "relations"])
    )
    if place == "person":
        persons[tag] = junk
    elif place == "things":
        things[tag] = junk
    elif place == "thing":
        things[tag][1] = junk
    elif place == "key":
        things[tag][1][data.draw(st.sampled_from(sorted(thing("book"))))] = junk
    elif place == "person key":
        persons[tag][data.draw(st.sampled_from(["bbox", "bbox_size"]))] = junk
    elif place == "metadata":
        things[tag][1]["metadata"] = {"set": junk}
    else:
        things[tag][1]["spatial_relationship"] = [junk]
    root = write_action_genome(tmp_path, persons, things, protocol=data.draw(st.integers(0, 5)))
    try:
        splits = action_genome(root, val_share=0.34)
    except ValueError as error:
        assert tag in str(error) and "1 problem with the annotations" in str(error)
        return
    for video in (*of(splits.train).videos, *of(splits.val).videos):
        for frame in video.frames:
            assert frame.pairs and all(0 <= c <= 1 for box in frame.boxes for c in box.corners)
    for index in range(len(of(splits.train))):
        _, truth = of(splits.train)[index]
        assert ((truth["predicates"]["attention"] >= 0) | (truth["predicates"]["attention"] == UNKNOWN)).all()
