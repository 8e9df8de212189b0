"""`--evaluate` of scene graphs: how many annotated triplets a network finds, beside who only counts them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np

from lab.config import ConfigError
from lab.config.dataset_info import SCENE_GRAPH
from lab.config.signatures import signature_of
from lab.data.loaders import create_loader
from lab.data.protocols import names_of
from lab.data.scene_graphs import Frequencies, Mode
from lab.data.splits import Splits
from lab.evaluate.base import Evaluation, Evaluator, Progress
from lab.evaluate.splits import HeldOut
from lab.graphs import SceneGraphBatch, SceneGraphPrediction, Vocabulary
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
from lab.predict.loaded_run import LoadedRun, load
from lab.tasks import SceneGraph

WHO = ("network", "frequency")
WORST, BEST = 2, 2
THRESHOLD, IOU = 0.9, 0.5  # of the constraint `semi`, and of boxes
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
class SceneGraphEvaluation(Evaluation):
    """Where the annotated triplets were found. `lab.report.scene_graph` writes it.

    Args:
        mode: the one that the run was trained in; it comes first among those that were `asked`.
        objects: the names of the boxes' classes.
        predicates: (group, name), in the order of `Ranked.predicate`.
        worst, best: frames of the run's own mode, by Recall@20 with constraint.
    """

    mode: Mode
    dataset: Dataset
    objects: list[str]
    predicates: list[tuple[str, str]]
    asked: list[Asked] = field(default_factory=list)
    worst: list[Example] = field(default_factory=list)
    best: list[Example] = field(default_factory=list)

    @property
    def items(self) -> list[Asked]:
        """What was found in each mode of each part."""
        return self.asked

    @property
    def modes(self) -> list[Mode]:
        """Those that were asked, the run's own first."""
        return list(dict.fromkeys(each.mode for each in self.asked))

    def ranks(self, mode: Mode, who: str, constraint: Constraint, part: str | None = None) -> Ranked:
        """The triplets of all parts, or of one."""
        chosen = [each for each in self.asked if each.mode == mode and part in (None, each.part)]
        return merged([each.ranks[who][constraint] for each in chosen])


class SceneGraphEvaluator(Evaluator[LoadedRun, SceneGraphEvaluation]):
    """How scene graphs are judged: beside the frequencies of the training set, and in every mode.

    The network is asked in the mode of the training and then in the others, where it can: one that learnt
    from true boxes and classes can be asked about a detector's.
    """

    task = SceneGraph
    load = staticmethod(load)

    def begin(self, folder: Path, held_out: HeldOut[LoadedRun]) -> SceneGraphEvaluation:
        """Make a result in the mode of the training."""
        info = held_out.splits.info
        missing = [name for name in SCENE_GRAPH if name not in held_out.splits.facts]
        if missing:
            raise ValueError(
                f"{folder}: the facts of its data, {held_out.loaded.config.data.target}, lack "
                f"{', '.join(missing)}; lab.graphs.Vocabulary.facts gives most of them"
            )
        how = {
            "trained in the mode": str(info.mode),
            "boxes match from": f"IoU {IOU:g}",
            "semi constraint": f"probabilities above {THRESHOLD:g}",
            "frequency": "shares of the predicates in the training set, by the classes of subject and object",
        }
        mode, dataset = cast(Mode, info.mode), cast(Dataset, info.dataset)
        names = predicate_names(dataset, info.relations)
        return SceneGraphEvaluation(
            folder, held_out.split, mode, dataset, list(info.objects), names, about=how
        )

    def judge(
        self, result: SceneGraphEvaluation, held_out: HeldOut[LoadedRun], on_progress: Progress
    ) -> None:
        """Add what one network finds in each mode.

        Raises:
            ValueError: there are no such videos, or the names of what they show are not the training's.
        """
        loaded, splits = held_out.loaded, held_out.splits
        _require_same_names(loaded, splits)
        guesser = Frequencies(splits.train, Vocabulary.from_facts(splits.facts))  # type: ignore[arg-type]
        notes = list(held_out.changes(names_of(held_out.dataset) or (), "videos"))
        _ask(result, held_out, result.mode, guesser, on_progress)
        for mode in get_args(Mode):
            if mode == result.mode:
                continue
            try:
                others = _in_mode(loaded, mode)
            except ValueError as error:
                notes.append(f"{mode} is not asked: {error}")
            else:
                _ask(result, replace(held_out, splits=others), mode, guesser, on_progress)
        result.note(notes)


def _in_mode(loaded: LoadedRun, mode: Mode) -> Splits:
    """The run's data in another mode than that of the training.

    Raises:
        ValueError: it has no such mode, or doesn't fit the network.
    """
    if "mode" not in signature_of(loaded.config.data.resolve()).parameters:
        raise ValueError(f"{loaded.config.data.target} takes no mode")
    try:
        config = loaded.config.with_values({"data.mode": mode})
        splits = replace(loaded, config=config).create_splits()
    except ConfigError as error:
        raise ValueError("; ".join(problem.text for problem in error.problems)) from error
    then, now = loaded.info.features, splits.info.features
    if then != now:
        raise ValueError(f"the network learnt from {then} features of a box, and there are {now}")
    return splits


def _ask(
    result: SceneGraphEvaluation,
    held_out: HeldOut[LoadedRun],
    mode: Mode,
    guesser: Frequencies,
    on_progress: Progress,
) -> None:
    """Add where the network and the guesser find the triplets of a set that was made in one mode."""
    loaded, dataset = held_out.loaded, held_out.dataset
    if dataset is None or not len(dataset):
        raise held_out.absent("videos")
    frames: dict[str, list[FrameGraph]] = {who: [] for who in WHO}
    places: list[tuple[str, float]] = []
    videos, done = names_of(dataset) or [str(index) for index in range(len(dataset))], 0
    loader: Any = create_loader(dataset, loaded.config.batch_size, shuffle=False)
    for scenes, truth in loader:
        frames["network"] += frames_of(loaded.predicted(scenes), truth)
        frames["frequency"] += frames_of(loaded.task.predict(_guess(guesser, scenes)), truth)
        times = zip(scenes["video_of_frame"].tolist(), scenes["time"].tolist(), strict=True)
        places += [(videos[done + video], when) for video, when in times]
        done += len(truth["videos"])
        on_progress(done, len(videos), held_out.label(mode))
    ranks = {who: {each: _rank(result.dataset, frames[who], each) for each in CONSTRAINTS} for who in WHO}
    if mode == result.mode:
        _keep(result, frames["network"], places)
    count = len(np.unique(ranks["network"]["with"].frame))
    result.asked.append(Asked(mode, held_out.part, len(videos), count, ranks))


def _rank(dataset: Dataset, frames: Sequence[FrameGraph], constraint: Constraint) -> Ranked:
    return rank(frames, dataset=dataset, constraint=constraint, threshold=THRESHOLD, iou=IOU)


def _keep(
    result: SceneGraphEvaluation, frames: Sequence[FrameGraph], places: Sequence[tuple[str, float]]
) -> None:
    """Put the frames with the highest and lowest recall among those to look at, one a video."""
    found = [
        Example(video, time, frame, _rank(result.dataset, [frame], "with"))
        for frame, (video, time) in zip(frames, places, strict=True)
        if len(frame.true_pairs)
    ]
    found = [example for example in found if len(example.ranked.rank)]
    for kept, count, sign in ((result.worst, WORST, 1), (result.best, BEST, -1)):
        ordered = sorted([*kept, *found], key=lambda each: sign * each.recall)
        first = {example.video: example for example in reversed(ordered)}
        kept[:] = sorted(first.values(), key=lambda each: sign * each.recall)[:count]


def _require_same_names(loaded: LoadedRun, splits: Splits) -> None:
    before, now = loaded.info, splits.info
    named = {"objects": (before.objects, now.objects), "relations": (before.relations, now.relations)}
    for what, (then, found) in named.items():
        if then and then != found:
            raise ValueError(
                f"{loaded.folder}: the {what} of its data are not those of the training any more, and the "
                "network knows them by number; restore the data"
            )


def _guess(guesser: Frequencies, scenes: SceneGraphBatch) -> SceneGraphPrediction:
    """What the frequencies say of scenes, whose boxes' classes are the given ones."""
    logits = scenes["classes"].clamp(min=1e-9).log()
    return SceneGraphPrediction(scenes=scenes, objects=logits, relations=guesser.logits(scenes))
