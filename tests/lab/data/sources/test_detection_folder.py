from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lab.data.sources.detection_folder import DetectionFolder, find_detector, usable

BOXES = np.array([[0, 0, 0.5, 0.5], [0.25, 0.5, 1, 1], [0, 0, 1, 1]], np.float32)
SCORES = np.array([[0.5, 0.25], [0, 1], [0.75, 0]], np.float32)
FEATURES = np.arange(9, dtype=np.float32).reshape(3, 3)


def save(path: Path, **changes: Any) -> None:
    """A video's file; a change to None leaves an array out."""
    arrays = {
        "boxes": BOXES,
        "scores": SCORES,
        "features": FEATURES,
        "frames": np.array(["1.png", "2.png", "1.png"]),
    }
    arrays |= changes
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})


def problems(root: Path, videos: dict[str, list[str]], classes: int = 2) -> list[str]:
    found: list[str] = []
    DetectionFolder(root).check(videos, classes, found)
    return found


def test_a_file_for_each_video(tmp_path: Path) -> None:
    save(tmp_path / "a.mp4.npz")
    folder = DetectionFolder(tmp_path)
    assert (folder.features, folder.classes) == (3, 2)
    first = folder("a.mp4", "1.png")
    assert first.boxes.tolist() == BOXES[[0, 2]].tolist()
    assert first.scores.tolist() == SCORES[[0, 2]].tolist()
    assert first.features.tolist() == FEATURES[[0, 2]].tolist()
    assert folder("a.mp4", "2.png").features.tolist() == [[3, 4, 5]]
    assert folder("a.mp4", "3.png").scores.shape == (0, 2), "nothing was found in it"
    assert problems(tmp_path, {"a.mp4": ["1.png", "3.png"]}) == []
    assert folder.check({"a.mp4": ["1.png"]}, 2, []) == 3 * (4 + 2 + 3)


def test_a_file_for_each_frame(tmp_path: Path) -> None:
    save(tmp_path / "a" / "1.png.npz", frames=None)
    save(tmp_path / "a" / "2.png.npz", frames=None, boxes=BOXES[:0], scores=SCORES[:0], features=FEATURES[:0])
    folder = DetectionFolder(str(tmp_path))
    assert folder("a", "1.png").boxes.tolist() == BOXES.tolist()
    assert folder("a", "2.png").features.shape == (0, 3) and folder("a", "3.png").boxes.shape == (0, 4)
    assert problems(tmp_path, {"a": ["1.png", "2.png", "3.png"]}) == []


def test_without_features(tmp_path: Path) -> None:
    save(tmp_path / "a.npz", features=None)
    folder = DetectionFolder(tmp_path)
    assert folder.features == 0 and folder("a", "1.png").features.shape == (2, 0)
    assert folder("a", "1.png").boxes.dtype == torch.float32


def test_a_folder_or_a_detector(tmp_path: Path) -> None:
    save(tmp_path / "a.npz")
    found = find_detector(tmp_path)
    assert (
        isinstance(found, DetectionFolder) and find_detector(found) is found and find_detector(None) is None
    )


def test_all_problems_are_found_by_the_headers(tmp_path: Path) -> None:
    save(tmp_path / "a.npz")
    save(tmp_path / "classes.npz", scores=np.ones((3, 5)) / 5)
    save(tmp_path / "features.npz", features=None)
    save(tmp_path / "names.npz", frames=np.array(["0001", "0002", "0002"]))
    save(tmp_path / "nameless.npz", frames=None)
    save(tmp_path / "lengths.npz", scores=SCORES[:2])
    save(tmp_path / "boxes.npz", boxes=BOXES[:, :3])
    save(tmp_path / "objects.npz", frames=np.array(["1.png", "2.png", "1.png"], object))
    (tmp_path / "text.npz").write_text("no archive")
    save(tmp_path / "short.npz")
    (tmp_path / "short.npz").write_bytes((tmp_path / "short.npz").read_bytes()[:200])
    videos = {path.stem: ["1.png"] for path in sorted(tmp_path.iterdir())} | {"absent": ["1.png"]}
    found = problems(tmp_path, videos)
    for name, part in {
        "classes.npz": "scores of 5 classes and 3 features, but there are 2 classes",
        "features.npz": "and 0 features, but there are 2 classes, and the first file has 3 features",
        "names": "it has 0001, 0002, but the annotated frames are 1.png",
        "nameless.npz": "no array `frames`",
        "lengths.npz": "the arrays have different numbers of boxes",
        "boxes.npz": "boxes (N, 4), scores (N, C) and features (N, D) are needed",
        "objects.npz": "not a readable .npz file",
        "text.npz": "not a readable .npz file",
        "short.npz": "not a readable .npz file",
        "absent": "it has none, but the annotated frames are 1.png",
    }.items():
        assert any(name in problem and part in problem for problem in found), (name, found)
    assert len(found) == 10


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"boxes": BOXES * 2}, "boxes must be x1 y1 x2 y2 as fractions of the frame"),
        ({"boxes": BOXES[:, [2, 3, 0, 1]]}, "boxes must be x1 y1 x2 y2"),
        ({"scores": SCORES * 2}, "scores must be probabilities"),
        ({"scores": -SCORES}, "scores must be probabilities"),
        ({"features": FEATURES * np.nan}, "features are not all finite numbers"),
        ({"features": FEATURES.astype(str)}, "features are not all finite numbers"),
    ],
)
def test_content_that_is_no_detection(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    save(tmp_path / "a.npz", **changes)
    folder = DetectionFolder(tmp_path)
    with pytest.raises(ValueError, match=rf"a\.npz: {message}"):
        folder("a", "1.png")


def test_a_folder_without_detections(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(ValueError, match=r"no detections; there must be one \.npz for each video"):
            DetectionFolder(path)


def test_names_that_lead_elsewhere() -> None:
    assert all(usable(name) for name in ("001YG.mp4", "000089.png", "a b", "..."))
    assert not any(usable(name) for name in ("", ".", "..", "a/b", "/a", "a\\b", "a\0"))
