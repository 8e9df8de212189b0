"""`--evaluate` of scene graphs: how many annotated triplets a network finds, beside who only counts them."""

import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch

from lab.config import ConfigError
from lab.data.loaders import create_loader
from lab.data.protocols import names_of
from lab.data.scene_graphs import Frequencies, Mode
from lab.data.splits import Splits
from lab.graphs import Said, Scenes, Vocabulary
from lab.inference.held_out import Split, about, absent, changes, usual_split
from lab.inference.loaded import Loaded, load, missing_parts, parts_of
from lab.metrics.scene_graph import (
    CONSTRAINTS,
    Constraint,
    Dataset,
    FrameGraph,
    Ranked,
    frames_of,
    merged,
    predicate_names,
    rank,
)
from lab.tasks import SceneGraph

WHO = ("network", "frequency")
WORST, BEST = 2, 2
_FACTS = ("objects", "relations", "exclusive", "features", "mode", "dataset")
THRESHOLD, IOU = 0.9, 0.5  # of the constraint `semi`, and of boxes
Told = Callable[[int, int, str], object]
Ranks = dict[Constraint, Ranked]


@dataclass(frozen=True, eq=False)
class Asked:
    """What was found in one mode.

    Args:
        part: the fold or seed whose network was asked, where there are several.
        ranks: by who was asked, `network` or `frequency`, and by constraint.
    """

    mode: Mode
    part: str
    videos: int
    frames: int
    ranks: Mapping[str, Ranks]


@dataclass(frozen=True, eq=False)
class Example:
    """A frame to look at, and where the network's order has its annotated triplets under `with`.

    Args:
        time: of the frame in its video.
    """

    video: str
    time: float
    frame: FrameGraph
    ranked: Ranked

    @property
    def recall(self) -> float:
        """Recall@20."""
        return self.ranked.recall(20)


@dataclass
class GraphEvaluation:
    """What came of it. Plain data, which `lab.report.graphs` writes down.

    Args:
        mode: the one that the run was trained in; it comes first among those that were `asked`.
        objects: the names of the boxes' classes.
        predicates: (group, name), in the order of `Ranked.predicate`.
        worst, best: frames of the run's own mode, by Recall@20 with constraint.
        about: how it was done, for the reader.
    """

    folder: Path
    split: Split
    mode: Mode
    dataset: Dataset
    objects: list[str]
    predicates: list[tuple[str, str]]
    asked: list[Asked] = field(default_factory=list)
    worst: list[Example] = field(default_factory=list)
    best: list[Example] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    about: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def parts(self) -> list[str]:
        """The folds or seeds, in order; empty where the run is a single one."""
        return [part for part in dict.fromkeys(each.part for each in self.asked) if part]

    @property
    def modes(self) -> list[Mode]:
        """Those that were asked, the run's own first."""
        return list(dict.fromkeys(each.mode for each in self.asked))

    def ranks(self, mode: Mode, who: str, constraint: Constraint, part: str | None = None) -> Ranked:
        """The triplets of all parts, or of one."""
        chosen = [each for each in self.asked if each.mode == mode and part in (None, each.part)]
        return merged([each.ranks[who][constraint] for each in chosen])


def evaluate_run(
    folder: Path | str,
    split: Split | None = None,
    *,
    device: str | None = None,
    data: Mapping[str, Any] | None = None,
    told: Told = lambda done, videos, what: None,
) -> GraphEvaluation:
    """Judge a run on videos of its own data: each fold or seed by its own network, where there are several.

    The data is built anew from the run's config, in the mode of the training and then in the others, where it
    can: a network that learnt from true boxes and classes can be asked about a detector's.

    Args:
        split: by default `test` where there is one, else `val`; `val` for folds, whose validation videos are
            those that the fold's network hasn't learnt from.
        device: other than the config says.
        data: where the run's data lies now, by path, such as `{"data.root": "elsewhere"}`.
        told: called with the videos that are done, how many there are, and in which mode they are asked.

    Raises:
        CheckpointError: there are no weights, or they don't fit.
        ConfigError: the config can't be read, or its data or network can't be built.
        ValueError: the run's task is another, there are no such videos, or the names of what they show are
            not those of the training.
    """
    folder, started = Path(folder), time.perf_counter()
    result: GraphEvaluation | None = None
    for path, part in parts_of(folder):
        loaded = load(path, device=device, data=data)
        if not isinstance(loaded.task, SceneGraph):
            found = loaded.config.task.target
            raise ValueError(f"{path}: this is for lab.tasks.SceneGraph, and this run's task is {found}")
        splits = loaded.create_splits()
        split = split or usual_split(splits, part)
        if result is None:
            result = _empty(folder, split, loaded, splits)
        else:
            result.about["weights"] += f"; {part}: {about(loaded)['weights']}"
        _judge(result, loaded, splits, part, told)
    assert result is not None
    result.notes += missing_parts(folder)
    result.seconds = time.perf_counter() - started
    return result


def _empty(folder: Path, split: Split, loaded: Loaded, splits: Splits) -> GraphEvaluation:
    facts = splits.facts
    missing = [name for name in _FACTS if name not in facts]
    if missing:
        raise ValueError(
            f"{folder}: the facts of its data, {loaded.config.data.target}, lack {', '.join(missing)}; "
            "lab.graphs.Vocabulary.facts gives most of them"
        )
    how = {
        **about(loaded),
        "trained in the mode": str(facts["mode"]),
        "boxes match from": f"IoU {IOU:g}",
        "semi constraint": f"probabilities above {THRESHOLD:g}",
        "frequency": "shares of the predicates in the training set, by the classes of subject and object",
    }
    names = predicate_names(facts["dataset"], facts["relations"])
    return GraphEvaluation(
        folder, split, facts["mode"], facts["dataset"], list(facts["objects"]), names, about=how
    )


def _judge(result: GraphEvaluation, loaded: Loaded, splits: Splits, part: str, told: Told) -> None:
    """Add what one network finds in each mode."""
    _require_same_names(loaded, splits)
    guesser = Frequencies(splits.train, Vocabulary.from_facts(splits.facts))  # type: ignore[arg-type]
    names = names_of(getattr(splits, result.split)) or ()
    notes = list(changes(loaded, splits, result.split, names, part, "videos"))
    result.asked.append(_Asking(loaded, splits, result, guesser, part).ask(result.mode, told))
    for mode in get_args(Mode):
        if mode == result.mode:
            continue
        try:
            others = _in_mode(loaded, mode)
        except ValueError as error:
            notes.append(f"{mode} is not asked: {error}")
        else:
            result.asked.append(_Asking(loaded, others, result, guesser, part).ask(mode, told))
    result.notes += [note for note in notes if note not in result.notes]


def _in_mode(loaded: Loaded, mode: Mode) -> Splits:
    """The run's data in another mode than that of the training.

    Raises:
        ValueError: it has no such mode, or doesn't fit the network.
    """
    if "mode" not in inspect.signature(loaded.config.data.resolve()).parameters:
        raise ValueError(f"{loaded.config.data.target} takes no mode")
    try:
        config = loaded.config.with_values({"data.mode": mode})
        splits = replace(loaded, config=config).create_splits()
    except ConfigError as error:
        raise ValueError("; ".join(problem.message for problem in error.problems)) from error
    then, now = loaded.facts.get("features"), splits.facts["features"]
    if then != now:
        raise ValueError(f"the network learnt from {then} features of a box, and there are {now}")
    return splits


class _Asking:
    """One network and the guesser, asked about the videos of one set in one mode."""

    def __init__(
        self, loaded: Loaded, splits: Splits, result: GraphEvaluation, guesser: Frequencies, part: str
    ) -> None:
        self._loaded, self._result, self._guesser, self._part = loaded, result, guesser, part
        self._set: Any = getattr(splits, result.split)
        if self._set is None or not len(self._set):
            raise absent(loaded, result.split, "videos")

    def ask(self, mode: Mode, told: Told) -> Asked:
        """Where each finds the annotated triplets."""
        frames: dict[str, list[FrameGraph]] = {who: [] for who in WHO}
        places: list[tuple[str, float]] = []
        videos = names_of(self._set) or [str(index) for index in range(len(self._set))]
        label, done = " ".join(word for word in (self._part, mode) if word), 0
        task, runtime, size = self._loaded.task, self._loaded.runtime, self._loaded.config.batch_size
        loader: Any = create_loader(self._set, size, shuffle=False)
        for scenes, truth in loader:
            with torch.no_grad(), runtime.autocast():
                said = task.predict(task.infer(self._loaded.model, runtime.move(scenes)))
            frames["network"] += frames_of(said, truth)
            frames["frequency"] += frames_of(task.predict(_guess(self._guesser, scenes)), truth)
            times = zip(scenes["video_of_frame"].tolist(), scenes["time"].tolist(), strict=True)
            places += [(videos[done + video], when) for video, when in times]
            done += len(truth["videos"])
            told(done, len(videos), label)
        ranks = {who: {each: self._rank(frames[who], each) for each in CONSTRAINTS} for who in WHO}
        if mode == self._result.mode:
            self._keep(frames["network"], places)
        return Asked(mode, self._part, len(videos), len(np.unique(ranks["network"]["with"].frame)), ranks)

    def _rank(self, frames: Sequence[FrameGraph], constraint: Constraint) -> Ranked:
        return rank(frames, dataset=self._result.dataset, constraint=constraint, threshold=THRESHOLD, iou=IOU)

    def _keep(self, frames: Sequence[FrameGraph], places: Sequence[tuple[str, float]]) -> None:
        """Put the frames that are told best and worst among those to look at, one a video."""
        found = [
            Example(video, time, frame, self._rank([frame], "with"))
            for frame, (video, time) in zip(frames, places, strict=True)
            if len(frame.true_pairs)
        ]
        found = [example for example in found if len(example.ranked.rank)]
        for kept, count, sign in ((self._result.worst, WORST, 1), (self._result.best, BEST, -1)):
            ordered = sorted([*kept, *found], key=lambda each: sign * each.recall)
            first = {example.video: example for example in reversed(ordered)}
            kept[:] = sorted(first.values(), key=lambda each: sign * each.recall)[:count]


def _require_same_names(loaded: Loaded, splits: Splits) -> None:
    for what in ("objects", "relations"):
        then, now = loaded.facts.get(what), splits.facts.get(what)
        if then is not None and then != now:
            raise ValueError(
                f"{loaded.folder}: the {what} of its data are not those of the training any more, and the "
                "network knows them by number; restore the data"
            )


def _guess(guesser: Frequencies, scenes: Scenes) -> Said:
    """What the frequencies say of scenes, whose boxes' classes are the given ones."""
    logits = scenes["classes"].clamp(min=1e-9).log()
    return Said(scenes=scenes, objects=logits, relations=guesser.logits(scenes))
