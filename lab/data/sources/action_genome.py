"""Action Genome's published annotations: what a person does with things, in frames of Charades' videos.

Ji et al., Action Genome: Actions as Compositions of Spatio-temporal Scene Graphs, CVPR 2020. The files are as
github.com/JingweiJ/ActionGenome describes them, read in the way of STTran (Cong et al., ICCV 2021,
github.com/yrcong/STTran), which what is published since compares itself with.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lab.data.file_problems import raise_all
from lab.data.scene_graphs import Asking, Box, Frame, Mode, Pair, Video, clipped, drawn, names, scene_splits
from lab.data.sources.detection_folder import Detector, find_detector, usable
from lab.data.splits import Cut, Splits, require_range
from lab.data.unpickling import load_plain
from lab.graphs import IoUMatcher, Matcher, Vocabulary
from lab.store.paths import absolute

GROUPS = {"attention": slice(0, 3), "spatial": slice(3, 9), "contact": slice(9, None)}
"""The lines of relationship_classes.txt in each group of relations, which the file doesn't state."""

_KEYS = {
    "attention": "attention_relationship",
    "spatial": "spatial_relationship",
    "contact": "contacting_relationship",
}
_PERSONS, _THINGS = "person_bbox.pkl", "object_bbox_and_relationship.pkl"
_NEEDED = ("object_classes.txt", "relationship_classes.txt", _PERSONS, _THINGS)


def action_genome(
    root: str | Path,
    mode: Mode = "predcls",
    detector: Detector | str | Path | None = None,
    val_share: float = 0.1,
    seed: int = 0,
    folds: int | None = None,
    fold: int = 0,
    sample_size: int | None = None,
    min_frames: int = 3,
    matcher: Matcher | None = None,
) -> Splits:
    """The annotated frames of each video as one item, (scenes, truth); see `lab.graphs`.

    Of the folder's files these are read: `object_classes.txt` and `relationship_classes.txt`, a name a line,
    whose spellings `cupglassbottle` and `onthesideof` are taken for `cup/glass/bottle` and `on_the_side_of`;
    `frame_list.txt`, `VIDEO/FRAME` a line, where it is there; `person_bbox.pkl`, for each frame the boxes x1
    y1 x2 y2 in pixels, of which the first one is the person, and the frame's width and height;
    `object_bbox_and_relationship.pkl`, for each frame the things, each with a class, a box x y w h in pixels,
    the relations that the person has to it, whether it is visible, and the set that the frame is of.

    Frames without a person's box or a visible thing are left out, as are videos with fewer frames than
    `min_frames`. The published `test` videos are the test set; those of `train` are cut by `val_share`.

    Args:
        root: the folder of the files, or the one that has them in `annotations`.
        mode: `predcls`, `sgcls` or `sgdet`; the latter two need a detector.
        detector: what a detector found in the frames: a folder (`lab.data.DetectionFolder`), or your own.
        val_share: fraction of the training videos to validate on, in [0, 1); meaningless with `folds`.
        seed: decides which videos validate, and which a sample has.
        folds: cut the training videos into so many, instead of by fraction.
        fold: the one to validate on, from 0.
        sample_size: take only so many videos of each published set, for a quick try.
        min_frames: the fewest frames of a video, at least 1.
        matcher: which detected box is which annotated one; IoU of at least 0.5 if there is none given.
    Raises:
        ValueError: an argument is out of its range, a file is missing or not as it should be: all problems in
            one message.
    """
    require_range(1, min_frames=min_frames)
    root = absolute(root)
    folder = root / "annotations" if (root / "annotations").is_dir() else root
    reader = _Reader(folder)
    videos = reader.videos(min_frames)
    raise_all(reader.problems, f"the annotations in {folder}", "correct or remove what is named")
    if not videos["train"]:
        raise ValueError(f"{folder}: no video of the set 'train' has {min_frames} usable frames")
    official = {name: drawn(found, sample_size, seed) for name, found in videos.items()}
    parts = Cut(val_share, 0.0, seed, folds, fold).parts(len(official["train"]))
    train, val = ([official["train"][index] for index in part] for part in parts[:2])
    asking = Asking(
        reader.vocabulary(),
        mode,
        subjects=(reader.objects["person"],),
        detector=find_detector(detector),
        matcher=matcher or IoUMatcher(),
    )
    return scene_splits((train, val, official["test"]), asking, "action_genome")


class _Wrong(ValueError):
    """The error in the annotation of a frame."""


class _Reader:
    """Reads the files of a folder and collects what is wrong with them.

    Raises:
        ValueError: a file is missing, or a list of classes is no such list.
    """

    def __init__(self, folder: Path) -> None:
        lacking = [name for name in _NEEDED if not (folder / name).is_file()]
        if lacking:
            raise ValueError(
                f"{folder}: no {', '.join(lacking)}; they are published with github.com/JingweiJ/ActionGenome"
            )
        self.folder = folder
        self.problems: list[str] = []
        self._keys: dict[str, str] = {}
        self._spelt: dict[str, str] = {}
        self.objects = self._classes("object_classes.txt", 2)
        relations = list(self._classes("relationship_classes.txt", 10))
        self._relations = {
            group: {key: index for index, key in enumerate(relations[part])} for group, part in GROUPS.items()
        }
        if "person" not in self.objects:
            raise ValueError(f"{folder / 'object_classes.txt'}: no class person")

    def vocabulary(self) -> Vocabulary:
        """The classes' names, spelt as the annotations spell them."""
        spelt = self._spelt.__getitem__
        relations = {group: tuple(map(spelt, keys)) for group, keys in self._relations.items()}
        return Vocabulary(tuple(map(spelt, self.objects)), relations, ("attention",))

    def videos(self, min_frames: int) -> dict[str, list[Video]]:
        """The videos of `train` and `test`, by name, with their usable frames in the order of time."""
        persons, things = (self._by_frame(name) for name in (_PERSONS, _THINGS))
        tags = self._listed(things)
        frames: dict[str, list[Frame]] = {}
        parts: dict[str, str] = {}
        for tag in tags:
            try:
                video, name = _place(tag)
                for source, content in ((_PERSONS, persons), (_THINGS, things)):
                    if tag not in content:
                        raise _Wrong(f"it is not in {source}")
                part, frame = self._frame(name, persons[tag], things[tag])
                if frame is None:
                    continue
                # Frames of one video in two sets would leak training data into the test set.
                if parts.setdefault(video, part) != part:
                    raise _Wrong(f"it is of the set {part!r}, but the video is of {parts[video]!r}")
                frames.setdefault(video, []).append(frame)
            except _Wrong as error:
                self.problems.append(f"{tag}: {error}")
        found: dict[str, list[Video]] = {"train": [], "test": []}
        for name in sorted(frames):
            if len(frames[name]) >= min_frames:
                ordered = sorted(frames[name], key=lambda frame: frame.time)
                found[parts[name]].append(Video(name, tuple(ordered)))
        return found

    def _frame(self, name: str, person: object, things: object) -> tuple[str, Frame | None]:
        """The set that a frame is of, and the frame where it has a person and visible things."""
        if not isinstance(person, Mapping) or not isinstance(things, (list, tuple)):
            raise _Wrong("neither a person's boxes nor a list of things")
        number = re.match(r"\d{1,9}", name)
        if number is None:
            raise _Wrong("its name doesn't begin with its number")
        corners = _numbers(person.get("bbox"), "the person's bbox")
        width, height = size = _numbers(person.get("bbox_size"), "bbox_size", (2,)).tolist()
        if min(size) <= 0:
            raise _Wrong("bbox_size is not the frame's width and height")
        boxes, pairs, part = [], [], ""
        for index, thing in enumerate(things):
            if not isinstance(thing, Mapping):
                raise _Wrong(f"thing {index} is not a dict")
            part = part or _part(thing)
            if not isinstance(thing.get("visible"), (bool, np.bool_, int)):
                raise _Wrong(f"visible of thing {index} is neither true nor false")
            if thing["visible"]:
                boxes.append(self._box(thing, width, height))
                pairs.append(Pair(0, len(boxes), self._held(thing)))
        if not corners.size or not boxes:
            return part, None
        if corners.ndim != 2 or corners.shape[1] != 4:
            raise _Wrong(f"the person's bbox has the shape {corners.shape}, not (N, 4)")
        x1, y1, x2, y2 = corners[0].tolist()
        if x1 > x2 or y1 > y2:
            raise _Wrong("the person's bbox is not x1, y1, x2, y2")
        first = Box(clipped(x1 / width, y1 / height, x2 / width, y2 / height), self.objects["person"])
        return part, Frame(name, float(number[0]), (first, *boxes), tuple(pairs))

    def _box(self, thing: Mapping[str, object], width: float, height: float) -> Box:
        label = self.objects.get(self._key(thing.get("class")))
        if label is None:
            raise _Wrong(f"class {str(thing['class'])[:40]!r} is not in object_classes.txt")
        x, y, wide, high = _numbers(thing.get("bbox"), f"the bbox of {thing['class']}", (4,)).tolist()
        if min(wide, high) < 0:
            raise _Wrong(f"the bbox of {thing['class']} is not x, y, width, height")
        return Box(clipped(x / width, y / height, (x + wide) / width, (y + high) / height), label)

    def _held(self, thing: Mapping[str, object]) -> dict[str, tuple[int, ...]]:
        held = {}
        for group, field in _KEYS.items():
            found = thing.get(field)
            found = () if found is None else found
            if not isinstance(found, (list, tuple)):
                raise _Wrong(f"{field} of {thing['class']} is not a list")
            known = self._relations[group]
            keys = [self._key(name) for name in found]
            for name, key in zip(found, keys, strict=True):
                if key not in known:
                    raise _Wrong(
                        f"{field} of {thing['class']}: {name[:40]!r} is not in relationship_classes.txt"
                    )
            held[group] = tuple(dict.fromkeys(known[key] for key in keys))
        return held

    def _classes(self, file: str, fewest: int) -> dict[str, int]:
        """Indices by key, in the order of a file's lines."""
        keys = [self._key(line) for line in names(self.folder / file)]
        if len(keys) < fewest or len(set(keys)) < len(keys) or "" in keys:
            raise ValueError(f"{self.folder / file}: not a list of {fewest} or more different names")
        return {key: index for index, key in enumerate(keys)}

    def _by_frame(self, file: str) -> Mapping[object, object]:
        content = load_plain(self.folder / file)
        if not isinstance(content, dict):
            raise ValueError(f"{self.folder / file}: not a dict by frame, but a {type(content).__name__}")
        return content

    def _listed(self, things: Mapping[object, object]) -> Sequence[object]:
        path = self.folder / "frame_list.txt"
        return list(dict.fromkeys(names(path) if path.is_file() else things))

    def _key(self, name: object) -> str:
        """Return the key of a name: its letters alone, as the lists leave out the characters between them."""
        if not isinstance(name, str):
            raise _Wrong(f"a name is a {type(name).__name__}, not a string")
        if name not in self._keys:
            key = self._keys[name] = re.sub(r"[^a-z]", "", name.lower())
            self._spelt[key] = max(name, self._spelt.get(key, ""), key=len)
        return self._keys[name]


def _place(tag: object) -> tuple[str, str]:
    """Video and frame of `VIDEO/FRAME`."""
    parts = tag.split("/") if isinstance(tag, str) else []
    if len(parts) != 2 or not all(map(usable, parts)):
        raise _Wrong("not of the form VIDEO/FRAME")
    return parts[0], parts[1]


def _part(thing: Mapping[str, object]) -> str:
    metadata = thing.get("metadata")
    part = metadata.get("set") if isinstance(metadata, Mapping) else None
    if not isinstance(part, str) or part not in ("train", "test"):
        found = repr(part[:40]) if isinstance(part, str) else f"a {type(part).__name__}"
        raise _Wrong(f"metadata.set is {found}, not 'train' or 'test'")
    return part


def _numbers(value: Any, what: str, shape: tuple[int, ...] | None = None) -> NDArray[np.float64]:
    try:
        numbers = np.asarray(value, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise _Wrong(f"{what} is not made of numbers") from error
    if not np.isfinite(numbers).all():
        raise _Wrong(f"{what} is missing, or not finite")
    if shape is not None and numbers.shape != shape:
        raise _Wrong(f"{what} has the shape {numbers.shape}, not {shape}")
    return numbers
