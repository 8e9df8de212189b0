"""EASG's published annotations: what the wearer of a camera does with things, in frames of Ego4D's clips.

Rodin et al., Action Scene Graphs for Long-Form Understanding of Egocentric Videos, CVPR 2024. The format of
EASG_unict_master_final.json is that which github.com/fpv-iplab/EASG reads in its dataloader/EASG.py; the file
comes with the archive that its README links to. Results are not comparable with its published tables: its
run_easg.py has another task and another evaluation, see docs/scene_graphs.md.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lab.data.csv_tables import PARTS
from lab.data.file_problems import raise_all, read_bytes
from lab.data.scene_graphs import Asking, Box, Frame, Mode, Pair, Video, clipped, drawn, names, scene_splits
from lab.data.sources.detection_folder import Detector, find_detector, usable
from lab.data.splits import Cut, Splits
from lab.graphs import IoUMatcher, Matcher, Vocabulary
from lab.store.paths import absolute

WEARER = "camera wearer"
MOMENTS = ("pre", "pnr", "post")
"""Before, at, and after the point of no return of an action: the frames that are annotated."""

_WHOLE = (0.0, 0.0, 1.0, 1.0)


def easg(
    path: str | Path,
    mode: Mode = "predcls",
    detector: Detector | str | Path | None = None,
    objects: str | Path | None = None,
    val_share: float | None = None,
    seed: int = 0,
    sample_size: int | None = None,
    matcher: Matcher | None = None,
) -> Splits:
    """The annotated frames of each clip as one item, (scenes, truth); see `lab.graphs`.

    Of the file this is used: by clip its `split`, its `video_uid` if it has one, its width `W` and height `H`
    in pixels, and its `graphs`, each with a `graph_uid`; the numbers of its frames `pre`, `pnr` and `post`;
    `triplets`, among them one `["CW", "verb", VERB]` and for each thing `[VERB, ROLE, THING]`, where what
    follows a colon in THING is left out; and `groundings`, by frame and thing the box `left`, `top`, `width`,
    `height` in pixels. Things without a box, and boxes of what no triplet names, are left out, as there.

    The wearer of the camera, whose box is the whole frame, is the subject of every pair: with each grounded
    thing one `verb` and one `role` hold. A thing of several roles has a pair for each, of which a network
    learns the first. A frame is named `GRAPH_pre`, and so on; the wearer needs no detector in any mode.

    Args:
        path: the JSON file.
        mode: `predcls`, `sgcls` or `sgdet`; the latter two need a detector.
        detector: what a detector found in the frames: a folder (`lab.data.DetectionFolder`), or your own. Its
            classes are the wearer, whom it needn't find, and the things in their order.
        objects: a file of the names of things, one a line, others are left out; None takes all, sorted.
        val_share: None takes the file's `val` clips to validate on; a fraction cuts its `train` clips
            instead, those of one `video_uid` on one side, and its `val` clips become the test set.
        seed: decides which clips a fraction or a sample takes.
        sample_size: take only so many clips of each published set, for a quick try.
        matcher: which detected box is which annotated one; IoU of at least 0.5 if there is none given.
    Raises:
        ValueError: an argument is out of its range, or the file is not as it should be: all problems in one
            message.
    """
    path = absolute(path)
    listed = names(Path(objects)) if objects is not None else None
    problems: list[str] = []
    clips = [_clip(uid, content, listed, problems) for uid, content in _load(path).items()]
    raise_all(problems, f"the annotations in {path}", "correct or remove what is named")
    clips = sorted((clip for clip in clips if clip.frames), key=lambda clip: clip.uid)
    vocabulary = _vocabulary(clips, listed)
    videos = {part: [clip.video(vocabulary) for clip in clips if clip.part == part] for part in PARTS}
    videos = {part: drawn(found, sample_size, seed) for part, found in videos.items()}
    if val_share is not None and videos["train"]:
        try:
            cut = Cut(val_share, 0.0, seed).parts(len(videos["train"]), _groups(videos["train"], clips))
        except ValueError as error:
            raise ValueError(f"{path}: {error} (of the split 'train'; a group is a video's clips)") from error
        train, val = ([videos["train"][index] for index in part] for part in cut[:2])
        videos = {"train": train, "val": val, "test": videos["val"] + videos["test"]}
    for part in ("train", "val") if val_share != 0 else ("train",):
        if not videos[part]:
            raise ValueError(f"{path}: no clip of the split {part!r} has a grounded thing")
    asking = Asking(vocabulary, mode, (0,), (0,), find_detector(detector), matcher or IoUMatcher())
    return scene_splits([videos[part] for part in PARTS], asking, "easg")


class _Wrong(ValueError):
    """The error in the annotation of a clip."""


@dataclass(frozen=True)
class _Thing:
    """A grounded thing of a frame, and the roles that it has in the action."""

    name: str
    roles: tuple[str, ...]
    corners: tuple[float, float, float, float]


@dataclass(frozen=True)
class _Moment:
    """A frame with grounded things; `number` is its place in the clip, where the file states it."""

    name: str
    number: float | None
    verb: str
    things: tuple[_Thing, ...]


@dataclass(frozen=True)
class _Clip:
    """A clip; `source` is the `video_uid` that it was cut from, where the file states it."""

    uid: str
    source: str | None
    part: str
    frames: tuple[_Moment, ...]

    def video(self, vocabulary: Vocabulary) -> Video:
        """The clip by the indices of a vocabulary; frames are counted where one has no number."""
        # A single missing number would mix positions in the clip with places in the list.
        counted = any(moment.number is None for moment in self.frames)
        frames = []
        for place, moment in enumerate(self.frames):
            boxes = [Box(_WHOLE, 0)]
            pairs = []
            verb = (vocabulary.relations["verb"].index(moment.verb),)
            for thing in moment.things:
                boxes.append(Box(thing.corners, vocabulary.objects.index(thing.name)))
                for role in thing.roles:
                    held = (vocabulary.relations["role"].index(role),)
                    pairs.append(Pair(0, len(boxes) - 1, {"verb": verb, "role": held}))
            time = float(place) if counted or moment.number is None else moment.number
            frames.append(Frame(moment.name, time, tuple(boxes), tuple(pairs)))
        return Video(self.uid, tuple(sorted(frames, key=lambda frame: frame.time)))


def _groups(videos: Sequence[Video], clips: Sequence[_Clip]) -> list[str]:
    """The video that each item was cut from; a clip without a stated one is a group by itself."""
    sources = {clip.uid: clip.source for clip in clips}
    return [sources[video.name] or f"clip {video.name}" for video in videos]


def _vocabulary(clips: Sequence[_Clip], listed: Sequence[str] | None) -> Vocabulary:
    """The listed things, or those that are grounded, and the verbs and roles that are annotated with them."""
    moments = [moment for clip in clips for moment in clip.frames]
    things = {thing.name for moment in moments for thing in moment.things}
    relations = {
        "verb": tuple(sorted({moment.verb for moment in moments})),
        "role": tuple(sorted({r for moment in moments for thing in moment.things for r in thing.roles})),
    }
    if not moments:
        raise ValueError("no clip has a grounded thing")
    return Vocabulary((WEARER, *(sorted(things) if listed is None else listed)), relations, ("verb", "role"))


def _clip(uid: str, content: object, listed: Sequence[str] | None, problems: list[str]) -> _Clip:
    """A clip's frames; what is wrong with it, or with a graph of it, is added to the problems."""
    try:
        if not usable(uid):
            raise _Wrong("its name can't be a file's")
        content = _mapping(content, "it")
        part, source = content.get("split"), content.get("video_uid")
        if not isinstance(part, str) or part not in PARTS:
            raise _Wrong(f"split is not one of {', '.join(PARTS)}")
        if source is not None and not isinstance(source, str):
            raise _Wrong("video_uid is not a string")
        size = _number(content.get("W"), "W"), _number(content.get("H"), "H")
        if min(size) <= 0:
            raise _Wrong("W and H are not the frames' width and height")
        graphs = content.get("graphs")
        if not isinstance(graphs, list):
            raise _Wrong("graphs is not a list")
    except _Wrong as error:
        problems.append(f"clip {uid[:80]!r}: {error}")
        return _Clip(uid, None, "", ())
    frames: list[_Moment] = []
    for place, graph in enumerate(graphs):
        try:
            frames += _moments(_mapping(graph, "it"), size, listed)
        except _Wrong as error:
            problems.append(f"clip {uid[:80]}, graph {place}: {error}")
    return _Clip(uid, source, part, tuple(frames))


def _moments(
    graph: Mapping[str, object], size: tuple[float, float], listed: Sequence[str] | None
) -> Iterator[_Moment]:
    """The frames of an action in which a thing is grounded."""
    uid = graph.get("graph_uid")
    if not isinstance(uid, str) or not usable(uid):
        raise _Wrong("graph_uid can't be a file's name")
    verb, roles = _roles(graph.get("triplets"))
    groundings = _mapping(graph.get("groundings") or {}, "groundings")
    for moment in MOMENTS:
        boxes = _mapping(groundings.get(moment) or {}, f"groundings of {moment}")
        things = tuple(
            _Thing(name, tuple(roles[name]), _corners(box, size, f"{name[:80]!r} in {moment}"))
            for name, box in boxes.items()
            if name in roles and (listed is None or name in listed)
        )
        number = graph.get(moment)
        if things and not verb:
            raise _Wrong("no triplet states the verb of the camera wearer (CW)")
        if things:
            known = None if number is None else _number(number, moment)
            yield _Moment(f"{uid}_{moment}", known, verb, things)


def _roles(triplets: object) -> tuple[str, dict[str, dict[str, None]]]:
    """The verb, empty where there is none, and by thing its roles in the order of the triplets."""
    if not isinstance(triplets, list):
        raise _Wrong("triplets is not a list")
    verb, roles = "", dict[str, dict[str, None]]()
    for triplet in triplets:
        if not isinstance(triplet, list) or len(triplet) != 3 or not all(isinstance(n, str) for n in triplet):
            raise _Wrong("a triplet is not three strings")
        subject, relation, name = triplet
        if subject == "CW":
            verb = name
        else:
            roles.setdefault(name.split(":")[0], {})[relation] = None
    return verb, roles


def _corners(box: object, size: tuple[float, float], what: str) -> tuple[float, float, float, float]:
    """Convert a box in pixels to fractions of the frame, cut off at its border."""
    box = _mapping(box, what)
    left, top, width, height = (_number(box.get(key), what) for key in ("left", "top", "width", "height"))
    if min(width, height) < 0:
        raise _Wrong(f"{what}: width and height are below 0")
    return clipped(left / size[0], top / size[1], (left + width) / size[0], (top + height) / size[1])


def _mapping(value: object, what: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise _Wrong(f"{what} is not a JSON object")
    return value


def _number(value: object, what: str) -> float:
    with suppress(OverflowError):  # of a whole number that no float holds
        if not isinstance(value, bool) and isinstance(value, (int, float)) and math.isfinite(value):
            return float(value)
    raise _Wrong(f"{what}: a number is missing or not finite")


def _load(path: Path) -> dict[str, object]:
    data = read_bytes(path)
    try:
        content = json.loads(data.decode())
    except (ValueError, RecursionError) as error:  # not UTF-8, or not JSON
        raise ValueError(f"{path}: not JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: not an object by clip, as EASG's annotations are")
    return content
