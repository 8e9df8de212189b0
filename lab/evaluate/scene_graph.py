"""Evaluation of scene graphs: recall of annotated triplets, beside a baseline of predicate frequencies."""

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
from lab.evaluate.base import Evaluation, Evaluator, HeldOut, Progress
from lab.graphs import SceneGraphPrediction, Vocabulary
from lab.metrics import scene_graph as metrics
from lab.metrics.scene_graph import CONSTRAINTS, Constraint, Dataset, FrameGraph, Ranked
from lab.predict.loaded_run import LoadedRun, load
from lab.tasks import SceneGraph

PREDICTORS = ("network", "frequency")
WORST, BEST = 2, 2
THRESHOLD, IOU = 0.9, 0.5  # of the constraint `semi`, and of boxes


@dataclass(frozen=True, eq=False)
class ModeResult:
    """The triplets found in one mode.

    Args:
        part: the fold or seed of the network, where there are several.
        ranks: by predictor, `network` or `frequency`, and by constraint.
    """

    mode: Mode
    part: str
    videos: int
    frames: int
    ranks: Mapping[str, Mapping[Constraint, Ranked]]


@dataclass(frozen=True, eq=False)
class Example:
    """A frame to display, with the ranks of its annotated triplets under the constraint `with`.

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
    """The ranks of annotated triplets. `lab.report.scene_graph` writes it.

    Args:
        mode: the one that the run was trained in; its results come first.
        objects: the names of the boxes' classes.
        predicates: (group, name), in the order of `Ranked.predicate`.
        worst, best: frames of the run's own mode, by Recall@20 with constraint.
    """

    mode: Mode
    dataset: Dataset
    objects: list[str]
    predicates: list[tuple[str, str]]
    results: list[ModeResult] = field(default_factory=list)
    worst: list[Example] = field(default_factory=list)
    best: list[Example] = field(default_factory=list)

    @property
    def items(self) -> list[ModeResult]:
        """The results of each mode of each part."""
        return self.results

    @property
    def modes(self) -> list[Mode]:
        """The modes that were evaluated, the run's own first."""
        return list(dict.fromkeys(each.mode for each in self.results))

    def ranks(self, mode: Mode, predictor: str, constraint: Constraint, part: str | None = None) -> Ranked:
        """Return the triplets of all parts, or of one."""
        chosen = [each for each in self.results if each.mode == mode and part in (None, each.part)]
        return metrics.merged([each.ranks[predictor][constraint] for each in chosen])


class SceneGraphEvaluator(Evaluator[LoadedRun, SceneGraphEvaluation]):
    """Evaluator of scene graphs: in every mode, beside the predicate frequencies of the training set.

    The network is evaluated in the mode of the training, then in the others where possible: one trained on
    true boxes and classes can be evaluated on a detector's.
    """

    task = SceneGraph
    load = staticmethod(load)

    def begin(self, folder: Path, held_out: HeldOut[LoadedRun]) -> SceneGraphEvaluation:
        """Create a result in the mode of the training."""
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
            "frequency": "predicate frequencies of the training set, by the classes of subject and object",
        }
        mode, dataset = cast(Mode, info.mode), cast(Dataset, info.dataset)
        names = metrics.predicate_names(dataset, info.relations)
        return SceneGraphEvaluation(
            folder, held_out.split, mode, dataset, list(info.objects), names, about=how
        )

    def evaluate_part(
        self, result: SceneGraphEvaluation, held_out: HeldOut[LoadedRun], on_progress: Progress
    ) -> None:
        """Add the triplets that one network finds in each mode.

        Raises:
            ValueError: there are no such videos, or the names of what they show are not the training's.
        """
        loaded, splits = held_out.loaded, held_out.splits
        before, now = loaded.info, splits.info
        held_out.require_same("objects", before.objects or now.objects, now.objects)
        held_out.require_same("relations", before.relations or now.relations, now.relations)
        # The baseline counts in the training set of this fold or seed.
        baseline = Frequencies(splits.train, Vocabulary.from_facts(splits.facts))  # type: ignore[arg-type]
        notes = list(held_out.changes(names_of(held_out.dataset) or (), "videos"))
        _evaluate_mode(result, held_out, result.mode, baseline, on_progress)
        for mode in get_args(Mode):
            if mode == result.mode:
                continue
            # Other modes are optional: the data or the network may not support them.
            try:
                others = _in_mode(loaded, mode)
            except ValueError as error:
                notes.append(f"{mode} is not evaluated: {error}")
            else:
                _evaluate_mode(result, replace(held_out, splits=others), mode, baseline, on_progress)
        result.note(notes)


def _in_mode(loaded: LoadedRun, mode: Mode) -> Splits:
    """Return the run's data in another mode than that of the training.

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
        raise ValueError(f"the network was trained on {then} features per box, and the data has {now}")
    return splits


def _evaluate_mode(
    result: SceneGraphEvaluation,
    held_out: HeldOut[LoadedRun],
    mode: Mode,
    baseline: Frequencies,
    on_progress: Progress,
) -> None:
    """Add the ranks of a set's triplets by the network and the baseline, in one mode."""
    loaded, dataset = held_out.loaded, held_out.dataset
    if dataset is None or not len(dataset):
        raise held_out.absent("videos")
    frames: dict[str, list[FrameGraph]] = {predictor: [] for predictor in PREDICTORS}
    places: list[tuple[str, float]] = []
    videos, done = names_of(dataset) or [str(index) for index in range(len(dataset))], 0
    loader: Any = create_loader(dataset, loaded.config.batch_size, shuffle=False)
    for scenes, truth in loader:
        frames["network"] += metrics.frames_of(loaded.predicted(scenes), truth)
        # The baseline predicts the relations by frequency, and the boxes' classes are the given ones.
        given = scenes["classes"].clamp(min=1e-9).log()
        guess = SceneGraphPrediction(scenes=scenes, objects=given, relations=baseline.logits(scenes))
        frames["frequency"] += metrics.frames_of(loaded.task.predict(guess), truth)
        times = zip(scenes["video_of_frame"].tolist(), scenes["time"].tolist(), strict=True)
        places += [(videos[done + video], when) for video, when in times]
        done += len(truth["videos"])
        on_progress(done, len(videos), held_out.label(mode))
    ranks = {
        predictor: {each: _rank(result.dataset, frames[predictor], each) for each in CONSTRAINTS}
        for predictor in PREDICTORS
    }
    if mode == result.mode:
        _keep(result, frames["network"], places)
    count = len(np.unique(ranks["network"]["with"].frame))
    result.results.append(ModeResult(mode, held_out.part, len(videos), count, ranks))


def _rank(dataset: Dataset, frames: Sequence[FrameGraph], constraint: Constraint) -> Ranked:
    return metrics.rank(frames, dataset=dataset, constraint=constraint, threshold=THRESHOLD, iou=IOU)


def _keep(
    result: SceneGraphEvaluation, frames: Sequence[FrameGraph], places: Sequence[tuple[str, float]]
) -> None:
    """Keep the frames with the highest and lowest recall, one per video."""
    found = [
        Example(video, time, frame, _rank(result.dataset, [frame], "with"))
        for frame, (video, time) in zip(frames, places, strict=True)
        if len(frame.true_pairs)
    ]
    found = [example for example in found if len(example.ranked.rank)]
    for kept, count, sign in ((result.worst, WORST, 1), (result.best, BEST, -1)):
        ordered = sorted([*kept, *found], key=lambda each: sign * each.recall)
        # One example per video: neighbouring frames look alike.
        first = {example.video: example for example in reversed(ordered)}
        kept[:] = sorted(first.values(), key=lambda each: sign * each.recall)[:count]
