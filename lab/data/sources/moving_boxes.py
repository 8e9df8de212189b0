"""A generated world for scene graphs: people move among things, and where they are decides what holds.

Nothing is drawn: a frame is boxes, and appearance vectors such as a detector would give. Lengths are
fractions of the frame's side.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lab.data.scene_graphs import Asking, Box, Frame, Mode, Pair, Video, scene_splits
from lab.data.sources.detection_folder import Detected, Remembered
from lab.data.splits import Parts, Splits, require_counts, require_range
from lab.graphs import IoUMatcher, Matcher, Vocabulary

Array = NDArray[np.float64]

VOCABULARY = Vocabulary(
    ("person", "cup", "book", "phone", "bag", "chair", "sofa", "table", "door"),
    {
        "attention": ("looking_at", "not_looking_at", "unsure"),
        "spatial": ("above", "beneath", "in_front_of", "behind", "on_the_side_of"),
        "contact": ("holding", "carrying", "touching", "sitting_on", "leaning_on", "not_contacting"),
    },
    ("attention",),
)

_SIZES = {  # width and height
    "person": (0.16, 0.42),
    "cup": (0.06, 0.07),
    "book": (0.09, 0.07),
    "phone": (0.05, 0.08),
    "bag": (0.12, 0.12),
    "chair": (0.16, 0.22),
    "sofa": (0.34, 0.18),
    "table": (0.3, 0.16),
    "door": (0.16, 0.42),
}
_PORTABLE = ("cup", "book", "phone", "bag")
_SEATS = ("chair", "sofa")
_STATE = 3  # numbers of an appearance vector that encode a state: cosine and sine of the gaze, and the depth
_WALKING = 0.012  # a frame; who moves faster walks
_TOUCH = 0.1  # of a thing's area, inside a person's box


@dataclass(frozen=True)
class World:
    """Parameters of the generated videos; see `moving_boxes` for the meaning of the fields."""

    frames: int
    persons: int
    things: int
    features: int
    noise: float
    blur: float
    confusion: float
    misses: float
    false_alarms: float

    def __post_init__(self) -> None:
        require_range(2, frames=self.frames)
        require_range(1, 4, persons=self.persons)
        require_range(1, 12, things=self.things)
        require_range(_STATE + 1, features=self.features)
        require_range(0, 1, noise=self.noise)
        require_range(0, 1, closed=False, misses=self.misses)
        require_range(0, blur=self.blur, confusion=self.confusion, false_alarms=self.false_alarms)


def moving_boxes(
    train_count: int = 200,
    val_count: int = 50,
    test_count: int = 0,
    mode: Mode = "predcls",
    frames: int = 8,
    persons: int = 2,
    things: int = 4,
    features: int = 16,
    noise: float = 0.03,
    blur: float = 0.1,
    confusion: float = 1.0,
    misses: float = 0.1,
    false_alarms: float = 0.5,
    seed: int = 0,
    matcher: Matcher | None = None,
) -> Splits:
    """Videos of people among things, annotated with what holds between each person and each thing.

    An item is (scenes, truth) of one video, see `lab.graphs`; video i of a set depends on (seed, set, i)
    alone. What decides, and who knows only the classes can but guess what is frequent between them:

    - attention (one holds): the angle between a person's gaze, given by the person's appearance, and the
      thing's direction.
    - spatial (several can): where the thing is, measured by the person's box; in front or behind by the
      depths, given by the appearances.
    - contact (several can): the overlap, the thing's class and place, and whether the person walks, which a
      single frame doesn't show.

    Args:
        train_count, val_count, test_count: videos in each set.
        mode: `predcls` gives true boxes and classes, `sgcls` true boxes and the detector's probabilities,
            `sgdet` the detector's boxes and probabilities.
        frames: in a video, at least 2.
        persons: at most in a video, 1 to 4.
        things: at most in a video, 1 to 12; at least half as many are there.
        features: length of the appearance vectors, at least 4.
        noise: fraction of a pair's groups in which one random relation is annotated instead, in [0, 1].
        blur: standard deviation of what is added to each number of an appearance vector, ≥ 0.
        confusion: standard deviation of what is added to the logits of the detector's classes, where the
            right one is 3 above the others, ≥ 0.
        misses: fraction of the boxes that the detector doesn't find, in [0, 1).
        false_alarms: mean number of boxes in a frame that it finds where nothing is, ≥ 0.
        seed: decides the videos; independent of the run's seed, so that seeds share their sets.
        matcher: which detected box is which true one; IoU of at least 0.5 if there is none given.
    Raises:
        ValueError: an argument is out of its range.
    """
    require_counts(train_count, val_count, test_count)
    world = World(frames, persons, things, features, noise, blur, confusion, misses, false_alarms)
    known: dict[tuple[str, str], Detected] = {}
    counts = (train_count, val_count, test_count)
    videos = [_make(world, split, count, mode, seed, known) for split, count in enumerate(counts)]
    asking = Asking(VOCABULARY, mode, detector=Remembered(known, features), matcher=matcher or IoUMatcher())
    return scene_splits(videos, asking, "action_genome")


def _make(
    world: World, split: int, count: int, mode: Mode, seed: int, known: dict[tuple[str, str], Detected]
) -> list[Video]:
    """The videos of one set; a detector's output for their frames is added to `known`."""
    videos = []
    for index in range(count):
        # Two streams: what happens must not depend on how it is seen.
        rng, eye = (np.random.default_rng((seed, split, index, stream)) for stream in range(2))
        bodies = _happen(world, rng)
        videos.append(_annotate(f"{Parts._fields[split]}-{index}", bodies, world, rng))
        seen = _detect(bodies, world, mode, eye)
        for frame, detected in zip(videos[-1].frames, seen, strict=True):
            known[videos[-1].name, frame.name] = detected
    return videos


@dataclass(frozen=True)
class _Body:
    """A person or a thing, through a video of T frames."""

    label: int
    corners: Array  # (T, 4), inside the frame
    depth: float  # from -1, far, to 1, near
    gaze: Array  # (T, 2) a person's direction of sight, of length 1; zeros for a thing
    walks: bool

    @property
    def name(self) -> str:
        return VOCABULARY.objects[self.label]

    @property
    def centre(self) -> Array:
        return (self.corners[:, :2] + self.corners[:, 2:]) / 2

    @property
    def size(self) -> Array:
        return self.corners[:, 2:] - self.corners[:, :2]


def _happen(world: World, rng: np.random.Generator) -> list[_Body]:
    """The bodies of one video, the persons first."""
    time = np.arange(world.frames)[:, None]
    paths, walks = [], []
    for _ in range(int(rng.integers(1, world.persons + 1))):
        start, angle = rng.uniform((0.2, 0.35), (0.8, 0.65)), rng.uniform(0, 2 * np.pi)
        walks.append(bool(rng.random() < 0.5))
        speed = rng.uniform(0.02, 0.05) if walks[-1] else 0.0
        assert not walks[-1] or speed > _WALKING
        path = start + time * speed * np.array([np.cos(angle), 0.4 * np.sin(angle)])
        path += 0.002 * rng.standard_normal(path.shape)
        paths.append(_reflected(path, np.array([0.12, 0.3]), np.array([0.88, 0.7])))
    kinds = 1 + rng.choice(8, int(rng.integers((world.things + 1) // 2, world.things + 1)), world.things > 8)
    things = []
    for label in kinds.tolist():
        name, person = VOCABULARY.objects[label], int(rng.integers(len(paths)))
        path = np.broadcast_to(rng.uniform(0.1, 0.9, 2), paths[0].shape)
        if name in _PORTABLE and rng.random() < 0.6:  # taken at some time, or had from the start
            since = int(rng.integers(world.frames)) if rng.random() < 0.4 else 0
            hand = rng.uniform(-1, 1, 2) * np.array([0.45, 0.35]) * _SIZES["person"]
            path = np.where(time < since, path, paths[person] + hand)
        elif name not in _PORTABLE and rng.random() < 0.7:  # where people are
            below = 0.12 if name in _SEATS else 0.0
            path = paths[person].mean(0) + rng.normal((0, below), 0.1) + 0 * path
        depth = float(rng.uniform(-1, 1))
        things.append(_Body(label, _box(path, name, rng), depth, np.zeros_like(path), False))
    persons = []
    for path, walk in zip(paths, walks, strict=True):
        corners = _box(path, "person", rng)
        gaze = _gaze(corners, things, rng)
        persons.append(_Body(0, corners, float(rng.uniform(-1, 1)), gaze, walk))
    return [*persons, *things]


def _reflected(path: Array, low: Array, high: Array) -> Array:
    """The path as walls at `low` and `high` throw it back."""
    span = high - low
    folded = np.mod(path - low, 2 * span)
    return np.asarray(low + np.where(folded > span, 2 * span - folded, folded))


def _box(path: Array, name: str, rng: np.random.Generator) -> Array:
    """Corners (T, 4) around a path of centres (T, 2), cut off at the frame's border."""
    half = np.array(_SIZES[name]) * rng.uniform(0.85, 1.15) / 2
    path = np.clip(path, half / 2, 1 - half / 2)
    return np.asarray(np.clip(np.concatenate([path - half, path + half], 1), 0, 1))


def _head(corners: Array) -> Array:
    """Return the position of a person's eyes: the middle, at a seventh of the height."""
    return np.stack([(corners[:, 0] + corners[:, 2]) / 2, (6 * corners[:, 1] + corners[:, 3]) / 7], 1)


def _gaze(corners: Array, things: Sequence[_Body], rng: np.random.Generator) -> Array:
    """Return the direction of a gaze at one of the things, rather at one to read, or around."""
    angle = rng.uniform(0, 2 * np.pi) + np.cumsum(0.3 * rng.standard_normal(len(corners)))
    if rng.random() < 0.7:
        liking = np.array([3.0 if thing.name in ("book", "phone") else 1.0 for thing in things])
        thing = things[int(rng.choice(len(things), p=liking / liking.sum()))]
        way = thing.centre - _head(corners)
        angle = np.arctan2(way[:, 1], way[:, 0]) + 0.15 * rng.standard_normal(len(corners))
    return np.stack([np.cos(angle), np.sin(angle)], 1)


def _annotate(name: str, bodies: Sequence[_Body], world: World, rng: np.random.Generator) -> Video:
    """The video's frames with what holds between each person and each thing."""
    persons = [index for index, body in enumerate(bodies) if body.name == "person"]
    things = [index for index in range(len(bodies)) if index not in persons]
    pairs: list[list[Pair]] = [[] for _ in range(world.frames)]
    for person in persons:
        for thing in things:
            held = _holds(bodies[person], bodies[thing])
            for time in range(world.frames):
                relations = {}
                for group, table in held.items():
                    relations[group] = tuple(np.flatnonzero(table[:, time]).tolist())
                    if rng.random() < world.noise:
                        relations[group] = (int(rng.integers(len(table))),)
                pairs[time].append(Pair(person, thing, relations))
    frames = []
    for time, found in enumerate(pairs):
        boxes = tuple(Box(tuple(body.corners[time].tolist()), body.label) for body in bodies)
        frames.append(Frame(f"{time:06d}", float(time), boxes, tuple(found)))
    return Video(name, tuple(frames))


def _holds(person: _Body, thing: _Body) -> dict[str, NDArray[np.bool_]]:
    """Return the relations that hold, by group (K, T)."""
    way = thing.centre - _head(person.corners)
    cosine = (way * person.gaze).sum(1) / np.maximum(np.linalg.norm(way, axis=1), 1e-6)
    across, down = ((thing.centre - person.centre) / person.size).T
    aside = np.abs(across) > 0.8
    nearer = np.full(len(way), thing.depth > person.depth)

    low = np.maximum(person.corners[:, :2], thing.corners[:, :2])
    high = np.minimum(person.corners[:, 2:], thing.corners[:, 2:])
    touch = np.clip(high - low, 0, None).prod(1) > _TOUCH * thing.size.prod(1)
    none = np.zeros_like(touch)
    hold = touch & (down < 0.15) if thing.name in _PORTABLE else none
    sit = touch & (down > 0.1) & (not person.walks) if thing.name in _SEATS else none
    lean = touch & (np.abs(across) > 0.35) if thing.name in ("table", "door") else none
    return {
        "attention": np.stack([cosine > 0.85, cosine <= 0.5, (cosine > 0.5) & (cosine <= 0.85)]),
        "spatial": np.stack([down < -0.3, down > 0.3, ~aside & nearer, ~aside & ~nearer, aside]),
        "contact": np.stack([hold, hold & person.walks, touch & ~hold & ~sit & ~lean, sit, lean, ~touch]),
    }


def _detect(bodies: Sequence[_Body], world: World, mode: Mode, rng: np.random.Generator) -> list[Detected]:
    """Return a detector's output for each frame: the true boxes in order, or for `sgdet` the boxes found."""
    labels = np.array([body.label for body in bodies])
    result = []
    for time in range(world.frames):
        boxes = np.stack([body.corners[time] for body in bodies])
        state = np.stack([np.array([*body.gaze[time], body.depth]) for body in bodies])
        features = np.concatenate([_looks(world)[labels], state], 1)
        features += world.blur * rng.standard_normal(features.shape)
        scores = _scores(labels, 3.0, world, rng)
        if mode == "sgdet":
            size = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
            # Boxes are inaccurate by a fraction of their size, some are missed, and some are false alarms.
            boxes = np.clip(boxes + 0.06 * size * rng.standard_normal(boxes.shape), 0, 1)
            found = rng.random(len(boxes)) >= world.misses
            false = int(rng.poisson(world.false_alarms))
            middle, half = rng.uniform(0.1, 0.9, (false, 2)), rng.uniform(0.03, 0.1, (false, 2))
            nothing = np.clip(np.concatenate([middle - half, middle + half], 1), 0, 1)
            looks = 0.5 * rng.standard_normal((false, world.features))
            guess = _scores(rng.integers(len(VOCABULARY.objects), size=false), 1.0, world, rng)
            # Shuffled, so that the order does not reveal which boxes are false alarms.
            order = rng.permutation(int(found.sum()) + false)
            boxes = np.concatenate([boxes[found], nothing])[order]
            scores = np.concatenate([scores[found], guess])[order]
            features = np.concatenate([features[found], looks])[order]
        result.append(Detected(*(torch.from_numpy(part).float() for part in (boxes, scores, features))))
    return result


def _looks(world: World) -> Array:
    """The mean appearance of each class, the same in every world."""
    shape = (len(VOCABULARY.objects), world.features - _STATE)
    return np.random.default_rng(0).standard_normal(shape)


def _scores(labels: NDArray[np.int_], margin: float, world: World, rng: np.random.Generator) -> Array:
    """Probabilities (N, C) of a detector that confuses classes."""
    logits = world.confusion * rng.standard_normal((len(labels), len(VOCABULARY.objects)))
    logits[np.arange(len(labels)), labels] += margin
    shares = np.exp(logits - logits.max(1, keepdims=True)) if len(labels) else logits
    return np.asarray(shares / shares.sum(1, keepdims=True))
