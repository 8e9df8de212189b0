"""Boxes of videos, and what holds between them."""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from lab.tasks.base import Criterion, StepResult, Task


class SceneGraph(Task):
    """A batch is `lab.graphs.Scenes` and `lab.graphs.Truth`, of as many frames, boxes and pairs as there are.

    The network returns `lab.graphs.Said`. The prediction is the same with probabilities for logits: the
    softmax of the boxes' classes and of exclusive groups of relations, the sigmoid of the others. A box whose
    class is given for sure (one-hot, as in predcls) keeps it. The loss is the mean over the batch's pairs and
    boxes, and weighs as many samples as there are videos.

    Args:
        exclusive: groups of which exactly one relation holds.
    """

    def __init__(self, exclusive: tuple[str, ...] = ("attention",)) -> None:
        self.exclusive = tuple(exclusive)

    def step(self, model: Callable[..., Any], criterion: Criterion, batch: Any) -> StepResult:
        """As for every task; a batch has as many samples as videos.

        Raises:
            ValueError: `exclusive` contradicts the annotation.
        """
        _, truth = batch
        _require_kinds(truth["relations"], self.exclusive)
        return super().step(model, criterion, batch)._replace(size=len(truth["videos"]))

    def predict(self, output: Any) -> dict[str, Any]:
        """Probabilities: of the boxes' classes (B, C), and of the relations (P, K) by group."""
        given = output["scenes"]["classes"]
        sure = (given == 1).any(1, keepdim=True)
        objects = output["objects"].float().softmax(1)
        relations = {
            group: logits.float().softmax(1) if group in self.exclusive else logits.float().sigmoid()
            for group, logits in output["relations"].items()
        }
        return {**output, "objects": torch.where(sure, given.float(), objects), "relations": relations}


def _require_kinds(relations: Mapping[str, torch.Tensor], exclusive: tuple[str, ...]) -> None:
    found = [group for group, target in relations.items() if target.dim() == 1]
    if set(found) != set(exclusive):
        raise ValueError(
            f"the data's exclusive relations are [{', '.join(found)}]: set task.exclusive to them, "
            f"found [{', '.join(exclusive)}]"
        )
