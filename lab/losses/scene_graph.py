"""The loss of scene graphs: what the boxes are, and what holds between them, each by name."""

import math
from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor
from torch.nn import functional as F

from lab.graphs import UNKNOWN
from lab.losses.terms import Loss
from lab.losses.torch_losses import Weight
from lab.store.definitions import FIRST

Graphs = Mapping[str, Any]
"""A `SceneGraphPrediction` or a `SceneGraphTarget`, or as much of it as is needed."""
MultiLabel = Literal["bce", "margin"]
_OF_THE_SET = 2  # the definition by which the parts of a set are those of one batch of everything


class SceneGraphLoss(Loss):
    """A weighted sum over the boxes' classes and the groups of relations; the run logs each of them.

    The target decides: an exclusive group, class indices (P,), costs the cross-entropy, averaged over the
    annotated pairs; a group of which several can hold, (P, K) of 0 and 1, costs the loss of `multi_label`,
    averaged over the annotated pairs too:

    | `multi_label` | of a pair with logits x, of which the relations Y hold |
    |---|---|
    | `bce` | binary cross-entropy, the mean over the K relations |
    | `margin` | Σ max(0, 1 − (xⱼ − xᵢ)) / K over j in Y and i not in Y |

    The margin loss is STTran's (Cong et al. 2021, arXiv:2107.12309) and torch's MultiLabelMarginLoss, taken
    of logits here. It puts the relations of a pair in order; how high their sigmoids are means little, so
    that `bce` is the one to judge by the constraint `semi`. What has nothing annotated costs 0; over a set,
    each is the mean over all that is annotated in it.

    Args:
        multi_label: the loss of groups of which several relations can hold.
        objects: the weight of the boxes' classes, ≥ 0.
        attention, spatial, contact: those of groups; one that isn't named weighs 1.
        weights: of groups of other names.

    Raises:
        ValueError: a weight is negative, all are 0, or `multi_label` is unknown; in `forward`, a group of
            `weights` is not in the data, or logits and target don't fit.
    """

    definition_reason = (
        "each part is averaged over all that is annotated in the set, and was averaged over batches"
    )
    """The difference to version 1."""

    def __init__(
        self,
        multi_label: MultiLabel = "bce",
        objects: float = 1.0,
        attention: float | None = None,
        spatial: float | None = None,
        contact: float | None = None,
        **weights: float,
    ) -> None:
        super().__init__()
        if multi_label not in ("bce", "margin"):
            raise ValueError(f"multi_label must be 'bce' or 'margin', found {multi_label!r}")
        self.multi_label = multi_label
        named = {"attention": attention, "spatial": spatial, "contact": contact, **weights}
        groups = {name: weight for name, weight in named.items() if weight is not None}
        self._factors = {"objects": objects, **groups}
        for name, weight in self._factors.items():
            if not 0 <= weight < math.inf:
                raise ValueError(f"{name}: a weight must be >= 0 and finite, found {weight}")
        if not any(self._factors.values()):
            raise ValueError("at least one weight must be above 0")
        self._groups = tuple(groups)

    @property
    def definition(self) -> int:
        """2: version 1 was the mean of batches, however much was annotated in each."""
        return _OF_THE_SET if self._by_terms else FIRST

    def means(self, output: Graphs, truth: Graphs) -> dict[str, Tensor]:
        """Each weighted loss by name, 0-dim float32, of a `SceneGraphPrediction` and a `SceneGraphTarget`."""
        relations = output["relations"]
        strange = [name for name in self._groups if name not in relations]
        if strange:
            raise ValueError(f"weights: {strange[0]!r} is not one of the relations: {', '.join(relations)}")
        losses = {"objects": _cross_entropy(output["objects"], truth["objects"])}
        for group, logits in relations.items():
            target = truth["relations"][group]
            _require_fit(group, logits, target)
            if target.dim() == 1:
                losses[group] = _cross_entropy(logits, target)
            else:
                losses[group] = self._of_several(logits.float(), target.float(), truth["judged"])
        return {name: self._factors.get(name, 1.0) * loss for name, loss in losses.items()}

    def weights(self, truth: Graphs) -> dict[str, Weight]:
        """The annotated boxes, and for each group of relations the annotated pairs."""
        found: dict[str, Weight] = {"objects": (truth["objects"] != UNKNOWN).sum()}
        for group, target in truth["relations"].items():
            found[group] = (target != UNKNOWN).sum() if target.dim() == 1 else truth["judged"].sum()
        return found

    def extra_repr(self) -> str:
        return f"multi_label={self.multi_label}, weights={self._factors}"

    def _of_several(self, logits: Tensor, target: Tensor, judged: Tensor) -> Tensor:
        """The mean over the judged pairs, of (P, K) each."""
        if self.multi_label == "bce":
            each = F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(1)
        else:
            # Entry (i, j) is how much relation j comes within the margin of relation i: (P, K, K).
            short = (1 - logits[:, :, None] + logits[:, None, :]).clamp(min=0)
            each = (short * target[:, :, None] * (1 - target[:, None, :])).sum((1, 2)) / logits.shape[1]
        return (each * judged).sum() / judged.sum().clamp(min=1)


def _cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """The mean over what is annotated; 0, with its graph, where nothing is."""
    loss = F.cross_entropy(logits.float(), target, ignore_index=UNKNOWN, reduction="sum")
    return loss / (target != UNKNOWN).sum().clamp(min=1)


def _require_fit(group: str, logits: Tensor, target: Tensor) -> None:
    if target.shape != logits.shape[: target.dim()] or (target.dim() == 1) == target.is_floating_point():
        raise ValueError(
            f"{group}: the network returns {tuple(logits.shape)} and the target is {tuple(target.shape)} of "
            f"{target.dtype}; expected logits (P, K), and whole numbers (P,) or floats (P, K)"
        )
