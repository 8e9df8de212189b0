"""The losses of smp as terms of a sum; those of overlap over the classes that count."""

import inspect
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from lab.config.mask_values import Background, counted_classes
from lab.config.problems import did_you_mean

CROSS_ENTROPY = ("cross_entropy", "bce")
OVERLAPS = ("dice", "jaccard", "tversky")
_SMP = ("dice", "jaccard", "focal", "tversky", "lovasz")
_OURS = {"mode", "classes", "from_logits", "ignore_index", "class_weights", "reduction", "per_image"}


class OverlapLoss:
    """An overlap loss of smp that is the mean over the classes that count.

    Args:
        kind: smp's class.
        binary: the logits are one map, which becomes that of two classes.
    """

    def __init__(
        self,
        kind: Callable[..., nn.Module],
        options: Mapping[str, object],
        background: Background,
        binary: bool,
    ) -> None:
        self._loss = kind("multiclass", **options)
        self._background, self._binary = background, binary
        self._counted: dict[tuple[int, torch.device], Tensor] = {}

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        # smp's classes are two maps: a single logit becomes that of the foreground beside zeros.
        if self._binary:
            logits, target = torch.cat([torch.zeros_like(logits), logits], dim=1), target[:, 0].long()
        classes = logits.shape[1]
        key = classes, logits.device
        if key not in self._counted:  # once, for it waits for a device
            counted = counted_classes(classes, self._background, one_map=self._binary)
            self._counted[key] = torch.tensor(counted, device=logits.device)
        self._loss.classes = self._counted[key]
        loss: Tensor = self._loss(logits, target)
        return loss


def smp_loss(name: str) -> Callable[..., nn.Module]:
    """The class of a term."""
    import segmentation_models_pytorch as smp  # seconds to import, and only these losses need it

    loss: Callable[..., nn.Module] = getattr(smp.losses, f"{name.capitalize()}Loss")
    return loss


def require_terms(weights: Mapping[str, float], options: Mapping[str, Mapping[str, object]]) -> None:
    """Refuse terms that there aren't, weights out of range, and arguments that a term doesn't take.

    Raises:
        ValueError: with the term's name.
    """
    known = [*CROSS_ENTROPY, *_SMP]
    for name, weight in weights.items():
        if name not in known:
            raise ValueError(f"terms: unknown loss {name!r}{did_you_mean(name, known)}")
        if not weight >= 0:
            raise ValueError(f"terms.{name}: a weight must be >= 0, found {weight}")
        taken = set() if name in CROSS_ENTROPY else set(inspect.signature(smp_loss(name)).parameters) - _OURS
        if unknown := sorted(set(options[name]) - taken):
            hint = did_you_mean(unknown[0], {"weight", *taken})
            raise ValueError(f"terms.{name} takes no {unknown[0]!r}{hint}")
    if not any(weights.values()):
        raise ValueError("terms: at least one loss needs a weight above 0")
