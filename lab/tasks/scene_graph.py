"""Boxes of videos, and what holds between them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from lab.figures.scene_graph import drawn_frame, examples_figure
from lab.losses.targets import Unfit
from lab.losses.terms import Output, Target
from lab.metrics.scene_graph import Dataset, frames_of, predicate_names, rank
from lab.tasks.base import Samples, Task

_K = 20  # in pictures, how many triplets of a frame count


class SceneGraph(Task):
    """A batch is a `SceneGraphBatch` and a `SceneGraphTarget`, with any number of frames, boxes, pairs.

    The network returns a `SceneGraphPrediction` (`lab.graphs`). The prediction is the same with probabilities
    for logits: the softmax of the boxes' classes and of exclusive groups of relations, the sigmoid of the
    others. A box whose class is given for sure (one-hot, as in predcls) keeps it. The loss is the mean over
    the batch's pairs and boxes, and weighs as many samples as there are videos.

    Args:
        exclusive: groups of which exactly one relation holds.
        dataset: whose way of making triplets pictures have, `action_genome` or `easg`.
        objects, relations: names by index, for pictures.
    """

    pictured = 4

    def __init__(
        self,
        exclusive: tuple[str, ...] = ("attention",),
        dataset: Dataset = "action_genome",
        objects: tuple[str, ...] = (),
        relations: dict[str, list[str]] | None = None,
    ) -> None:
        self.exclusive = tuple(exclusive)
        self.dataset: Dataset = dataset
        self.objects, self.relations = tuple(objects), dict(relations or {})

    def fit(self, output: Output, target: Target) -> Target:
        """Raise `Unfit` where `exclusive` contradicts the annotation."""
        found = [group for group, each in target["relations"].items() if each.dim() == 1]
        if set(found) != set(self.exclusive):
            raise Unfit(
                f"the data's exclusive relations are [{', '.join(found)}]: set task.exclusive to them, "
                f"found [{', '.join(self.exclusive)}]"
            )
        return target

    def size(self, inputs: Sequence[Any], target: Target) -> int:
        """The videos of the batch."""
        return len(target["videos"])

    def predict(self, output: Output) -> dict[str, Any]:
        """Probabilities: of the boxes' classes (B, C), and of the relations (P, K) by group."""
        given = output["scenes"]["classes"]
        sure = (given == 1).any(1, keepdim=True)
        objects = output["objects"].float().softmax(1)
        relations = {
            group: logits.float().softmax(1) if group in self.exclusive else logits.float().sigmoid()
            for group, logits in output["relations"].items()
        }
        return {**output, "objects": torch.where(sure, given.float(), objects), "relations": relations}

    def draw(self, samples: Samples, path: Path, title: str) -> bool:
        """The middle frame of each video: its boxes, and which annotated triplets are found."""
        scenes: Any = samples.inputs[0]
        truth: Any = samples.targets
        predicted: Any = samples.predictions
        frames = list(frames_of(predicted, truth))
        relations = {
            group: self.relations.get(group) or [f"{group} {n}" for n in range(each.shape[1])]
            for group, each in predicted["relations"].items()
        }
        predicates = [name for _, name in predicate_names(self.dataset, relations)]
        objects = self.objects or [f"class {n}" for n in range(predicted["objects"].shape[1])]
        videos = scenes["video_of_frame"].tolist()
        shown = []
        # One figure a video, of the frame in its middle.
        for video in dict.fromkeys(videos):
            own = [place for place, other in enumerate(videos) if other == video]
            frame = frames[own[len(own) // 2]]
            ranked = rank([frame], dataset=self.dataset)
            title_of = f"video {video}, frame {len(own) // 2}"
            shown.append(drawn_frame(frame, ranked, self.dataset, objects, predicates, title_of))
        if shown:
            examples_figure(shown, path, k=_K, title=title)
        return bool(shown)
