"""Losses that torch does not ship. Each is a module that takes the network's raw output and the target."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from numbers import Real

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lab.config.mask_values import IGNORE_INDEX, UNLABELLED, Auto, Background
from lab.losses.smp_losses import CROSS_ENTROPY, OVERLAPS, OverlapLoss, require_terms, smp_loss
from lab.losses.terms import Loss
from lab.losses.torch_losses import Weight, class_denominator
from lab.store.definitions import FIRST


class BCEDice(Loss):
    """α · BCE + β · (1 − soft Dice), for binary masks.

    BCE judges each pixel alone and has smooth gradients; Dice judges the overlap, so that a small object
    counts as much as the background around it. With p = sigmoid(logit), g the mask and s = `smooth`, for each
    image

        Dice = (2 · Σ p·g + s) / (Σ p + Σ g + s),        loss = α · mean BCE(p, g) + β · (1 − mean Dice)

    (Dice as a loss: Milletari et al., "V-Net", 2016, arXiv:1606.04797, here with plain sums in the
    denominator; its sum with BCE: Isensee et al., "nnU-Net", 2021.) The sums run over one image, not over the
    batch: the loss of a set then does not depend on how it is cut into batches. `smooth` defines the case in
    which both are empty (Dice 1, loss 0) and keeps the gradient finite. Pixels of the mask that are 255
    (`IGNORE_INDEX`) are in none of the sums: BCE is the mean over the other pixels, and Dice that over the
    images that have any; where there is no other pixel the loss is 0.

    Args:
        alpha: weight of the cross entropy, ≥ 0.
        beta: weight of the Dice term, ≥ 0.
        smooth: s above, > 0, in pixels.
    Raises:
        ValueError: a weight is negative, both are zero, or `smooth` is not positive; in `forward`, the shapes
            of logits and mask differ.
    """

    named = False
    ignored = (IGNORE_INDEX,)

    def __init__(self, alpha: float = 0.5, beta: float = 0.5, smooth: float = 1.0) -> None:
        super().__init__()
        if alpha < 0 or beta < 0 or alpha + beta == 0:
            raise ValueError(f"alpha and beta must be >= 0 and not both 0, found alpha={alpha}, beta={beta}")
        if smooth <= 0:
            raise ValueError(f"smooth must be > 0, found {smooth}")
        self.alpha = alpha
        self.beta = beta
        self.smooth = smooth

    def means(self, logits: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Logits and float mask, both (N, 1, H, W), mask in [0, 1] or 255; each term is 0-dim and float32, or
        float64."""
        if logits.shape != mask.shape:
            found = f"found {tuple(logits.shape)} and {tuple(mask.shape)}"
            raise ValueError(f"logits and mask must have the same shape, {found}")
        # Sums over a whole image overflow float16 and lose digits in bfloat16.
        dtype = torch.promote_types(logits.dtype, torch.float32)
        logits, mask = logits.to(dtype), mask.to(dtype)
        # No shortcut for masks without ignored pixels: looking for one would wait for the device.
        judged = mask != IGNORE_INDEX
        mask = mask * judged
        bce = F.binary_cross_entropy_with_logits(logits, mask, weight=judged.to(dtype))
        # If no pixel is ignored, this is a division by 1 and changes no bit.
        bce = bce / (judged.sum().clamp(min=1).to(dtype) / mask.numel())
        # Soft Dice of each image; an image without a judged pixel has Dice 1 and is not counted below.
        probability = (torch.sigmoid(logits) * judged).flatten(1)
        truth = mask.flatten(1)
        overlap = (probability * truth).sum(1)
        dice = (2 * overlap + self.smooth) / (probability.sum(1) + truth.sum(1) + self.smooth)
        there = judged.flatten(1).any(1)  # the others' Dice is 1
        dice_loss = (1 - dice.mean()) / (there.sum().clamp(min=1) / len(mask))  # / 1 likewise
        return {"bce": self.alpha * bce, "dice": self.beta * dice_loss}

    def weights(self, mask: Tensor) -> dict[str, Weight]:
        """The judged pixels, and the images that have any."""
        judged = mask != IGNORE_INDEX
        return {"bce": judged.sum(), "dice": judged.flatten(1).any(1).sum()}

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}, beta={self.beta}, smooth={self.smooth}"


class CrossEntropy(Loss):
    """Cross entropy of classes; the figures are those of `torch.nn.CrossEntropyLoss`.

    With logits z of C classes, the truth y in shares of the classes and weights w,

        loss = − Σ_n Σ_c w_c · y'_nc · log softmax(z_n)_c / Z,      y' = (1 − s) · y + s / C

    for a label smoothing s (Szegedy et al., 2016, arXiv:1512.00567). Z is the number of images, or where the
    truth is a class index each, Σ_n w_(y_n): a frequent class then doesn't hide a rare one. Over a set, both
    sums are those of the whole set. Index -100 (`UNLABELLED`) is in neither sum; a batch of nothing else
    costs 0, where torch's loss is NaN.

    Args:
        class_weights: one finite weight > 0 a class; `auto` in YAML: n / (C · n_c) of the training images.
        label_smoothing: s above, in [0, 1).
    Raises:
        ValueError: an argument is no number or out of its range; in `forward`, there is not one weight a
            class.
    """

    named = False
    ignored = (UNLABELLED,)
    definition_reason = "the class weights are summed over the set, and were averaged over batches"
    class_weights: Tensor | None

    def __init__(self, class_weights: Sequence[float] | None = None, label_smoothing: float = 0.0) -> None:
        super().__init__()
        if not _is_number(label_smoothing) or not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing must be a number in [0, 1), found {label_smoothing!r}")
        self.register_buffer("class_weights", _weights(class_weights), persistent=False)
        self.label_smoothing = label_smoothing

    def means(self, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Logits (N, C) and class indices (N,) or shares (N, C); the loss is 0-dim, at least float32."""
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        weights = self.class_weights
        if weights is not None and len(weights) != logits.shape[1]:
            raise ValueError(
                f"class_weights are {len(weights)}, but the network has {logits.shape[1]} outputs"
            )
        weights = torch.ones_like(logits[0]) if weights is None else weights.to(logits.dtype)
        loss = partial(F.cross_entropy, logits, weight=weights, label_smoothing=self.label_smoothing)
        # Class shares: torch divides by the number of images.
        if target.is_floating_point():
            return {"loss": loss(target.to(logits.dtype))}
        total = loss(target, ignore_index=UNLABELLED, reduction="sum")
        by = class_denominator(target, weights, UNLABELLED)
        return {"loss": total / by.clamp(min=torch.finfo(by.dtype).tiny)}  # 0 / 0 is NaN, its gradient too

    def weights(self, target: Tensor) -> dict[str, Weight]:
        """The images, or where each has a class index the weights of their classes."""
        if target.is_floating_point():
            return {"loss": target.numel() // target.shape[1]}
        return {"loss": class_denominator(target, self.class_weights, UNLABELLED)}

    @property
    def definition(self) -> int:
        """2 with weights: they were averaged over batches, and are summed over the set."""
        return FIRST if self.class_weights is None else _OF_THE_SET

    def extra_repr(self) -> str:
        weights = None if self.class_weights is None else self.class_weights.tolist()
        return f"class_weights={weights}, label_smoothing={self.label_smoothing}"


class WeightedSum(Loss):
    """A weighted sum of losses by name, for binary masks and for classes; the run logs each of them.

    | name | loss | source |
    |---|---|---|
    | `cross_entropy`, `bce` | cross entropy of the pixels | |
    | `dice`, `jaccard` | 1 − soft Dice, 1 − soft Jaccard | Milletari 2016, arXiv:1606.04797 |
    | `tversky` | Dice with `alpha` for false alarms, `beta` for misses | Salehi 2017, arXiv:1706.05721 |
    | `focal` | cross entropy, easy pixels damped by `gamma` | Lin 2017, arXiv:1708.02002 |
    | `lovasz` | Lovász hinge (binary), Lovász softmax (classes) | Berman 2018, arXiv:1705.08790 |

    All but the cross entropy are those of segmentation-models-pytorch, with its habits: Dice, Jaccard and
    Tversky sum over the whole batch, not over an image, and a class that no mask of the batch has costs
    nothing, so that a false alarm in a batch of empty masks goes unpunished unless another term punishes it;
    focal asks of each class alone whether a pixel has it (sigmoids, also where there are several classes).
    Over a set, cross entropy and focal are means over its pixels, whatever the batches. The others, and a
    focal that is `normalized`, are means of batches: each batch's, weighted by its images that have a judged
    pixel, so that they depend on the batch size.

    Dice, Jaccard and Tversky are means over the classes but the background, where there is one, as the
    metrics are; of a binary mask without one over both classes. The other terms judge all classes.

    The target decides: a float mask (N, 1, H, W) of 0 and 1 is binary, whole numbers (N, H, W) are classes.
    255 (`lab.config.mask_values.IGNORE_INDEX`) is left out of every term; a batch of nothing else costs 0.

    Args:
        terms: weight ≥ 0 by name, such as `{dice: 1.0, focal: 0.5}`; in the place of a weight a mapping of
            `weight` and arguments of smp's class: `{tversky: {weight: 1.0, alpha: 0.3, beta: 0.7}}`.
        class_weights: one weight > 0 a class, in their order; only their ratios count. The cross entropy
            weighs pixels by them, the others the classes' losses. Binary: two of them, for the cross entropy
            and focal; an overlap term judges the foreground alone there. Lovász has none.
        background: the index of the class that overlap terms leave out; None: they are over all classes. By
            default as for `lab.metrics.Dice`.

    Raises:
        ValueError: there is no such term, a weight is out of range, all are 0, or an argument is unknown; in
            `forward`, shapes, kind of target and number of weights don't fit one another.
    """

    ignored = (IGNORE_INDEX,)
    class_weights: Tensor | None

    def __init__(
        self,
        terms: Mapping[str, float | dict[str, float | bool]],
        class_weights: Sequence[float] | None = None,
        background: Background = Auto.AUTO,
    ) -> None:
        super().__init__()
        self.background = background
        self._of_foreground = background == Auto.AUTO or background == 0  # where there is one map
        self._one_map: bool | None = None  # known by the first batch
        self._factors: dict[str, float] = {}
        self._options: dict[str, dict[str, float | bool]] = {}
        for name, given in terms.items():
            options = dict(given) if isinstance(given, Mapping) else {"weight": given}
            self._factors[name] = float(options.pop("weight", 1.0))
            self._options[name] = options
        require_terms(self._factors, self._options)
        weights = _weights(class_weights)
        if class_weights is not None:
            if "lovasz" in self._factors:
                raise ValueError("class_weights are not supported by 'lovasz': remove one of them")
            if "alpha" in self._options.get("focal", {}):
                raise ValueError(
                    "class_weights and terms.focal.alpha set the same weights: remove one of them"
                )
        self.register_buffer("class_weights", weights, persistent=False)
        self.batchwise = tuple(name for name in self._factors if self._is_batchwise(name))
        self._shares = None if class_weights is None else list(class_weights)
        # Both kinds are built now, so that a wrong argument is an error of the config and not of a batch.
        self._binary = {name: self._term(name, binary=True) for name in self._factors}
        self._classes = {name: self._term(name, binary=False) for name in self._factors}

    def means(self, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Logits (N, 1, H, W) and a float mask, or (N, K, H, W) and classes (N, H, W) as whole numbers.

        Returns:
            each weighted loss by name, 0-dim, at least float32.
        """
        self._one_map = binary = target.is_floating_point()
        self._require_shapes(logits, target, binary)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        target = target.to(logits.dtype) if binary else target.long()
        nothing = ~(target != IGNORE_INDEX).any()
        losses = {}
        for name, term in (self._binary if binary else self._classes).items():
            # A mean over no pixel is NaN; its gradient is not, for no logit is in it.
            loss = term(logits, target).sum()
            losses[name] = self._factors[name] * torch.where(nothing, torch.zeros_like(loss), loss)
        return losses

    def weights(self, target: Tensor) -> dict[str, Weight]:
        """The judged pixels, weighted as the cross entropy weighs them; of batchwise terms the images."""
        judged = target != IGNORE_INDEX
        images, pixels = judged.flatten(1).any(1).sum(), judged.sum()
        found: dict[str, Weight] = {
            **dict.fromkeys(self._factors, pixels),
            **dict.fromkeys(self.batchwise, images),
        }
        if self.class_weights is not None:
            found |= dict.fromkeys(found.keys() & CROSS_ENTROPY, self._pixel_weights(target).sum())
        return found

    def extra_repr(self) -> str:
        return f"terms={self._factors}, class_weights={self._shares}"

    def _is_batchwise(self, name: str) -> bool:
        return name not in (*CROSS_ENTROPY, "focal") or bool(self._options[name].get("normalized"))

    @property
    def part_definitions(self) -> dict[str, int] | None:
        """The definitions of the terms; None: the first batch decides.

        Version 1 of an overlap term was over all classes of several, background included; that of a weighted
        cross entropy was a mean of batches.
        """
        # With background 0, one map and several mean different classes: only a batch shows which it is.
        overlaps = any(name in self._factors for name in OVERLAPS)
        if overlaps and self.background == 0 and self._one_map is None:
            return None
        changed = isinstance(self.background, int) and not (self.background == 0 and self._one_map)
        changed = changed or (self.background is None and self._one_map is True)
        found = dict.fromkeys(self._factors, FIRST)
        found |= {name: _BY_CLASSES for name in OVERLAPS if name in found and changed}
        weighted = self._shares is not None
        return found | {name: _OF_THE_SET for name in CROSS_ENTROPY if name in found and weighted}

    @property
    def definition(self) -> int | None:
        """The newest of its terms'; None: the first batch decides."""
        parts = self.part_definitions
        return None if parts is None else max(parts.values())

    @property
    def definition_reason(self) -> str:
        """The difference to version 1."""
        changed = {name for name, version in (self.part_definitions or {}).items() if version != FIRST}
        reasons = {
            OVERLAPS: "overlap terms leave out the class that is called background, and no other",
            CROSS_ENTROPY: "cross entropy weights are summed over the set, not averaged over batches",
        }
        return "; ".join(reason for names, reason in reasons.items() if changed.intersection(names))

    def _term(self, name: str, binary: bool) -> Callable[[Tensor, Tensor], Tensor]:
        if name in CROSS_ENTROPY:
            return self._cross_entropy
        options: dict[str, object] = {"ignore_index": IGNORE_INDEX, **self._options[name]}
        scale = 1.0
        if name in OVERLAPS and not (binary and self._of_foreground):
            return OverlapLoss(
                smp_loss(name), {**options, "class_weights": self._shares}, self.background, binary
            )
        if self._shares is not None and not binary:
            options["class_weights"] = self._shares
        elif self._shares is not None and name == "focal":  # twice, so that equal weights change nothing
            background, foreground, *_ = self._shares
            options["alpha"], scale = foreground / (background + foreground), 2.0
        loss: nn.Module = smp_loss(name)("binary" if binary else "multiclass", **options)
        # Lovász mixes the logits' type with float32.
        if name == "lovasz":
            return lambda logits, target: loss(logits.float(), target.float() if binary else target)
        return loss if scale == 1.0 else lambda logits, target: scale * loss(logits, target)

    def _cross_entropy(self, logits: Tensor, target: Tensor) -> Tensor:
        """The mean over judged pixels, weighted by their classes (as `torch.nn.CrossEntropyLoss` does)."""
        if not target.is_floating_point():
            each = F.cross_entropy(logits, target, ignore_index=IGNORE_INDEX, reduction="none")
        else:
            each = F.binary_cross_entropy_with_logits(
                logits, target * (target != IGNORE_INDEX), reduction="none"
            )
        weights = self._pixel_weights(target).to(each.dtype)
        # A batch of ignored pixels: 0 / 0 would make its gradient NaN.
        tiny = torch.finfo(each.dtype).tiny
        return (each * weights).sum() / weights.sum().clamp(min=tiny)

    def _pixel_weights(self, target: Tensor) -> Tensor:
        """Return the class weight of each pixel, 1 where classes have none, and 0 where it is ignored."""
        judged = target != IGNORE_INDEX
        if self.class_weights is None:
            return judged.float()
        classes = (target * judged).round().long() if target.is_floating_point() else target.long() * judged
        weights = self.class_weights.to(target.device)
        return judged * weights[classes.clamp(0, len(weights) - 1)]

    def _require_shapes(self, logits: Tensor, target: Tensor, binary: bool) -> None:
        found = f"found logits {tuple(logits.shape)} and a target {tuple(target.shape)} of {target.dtype}"
        if binary and (logits.shape != target.shape or logits.dim() != 4 or logits.shape[1] != 1):
            raise ValueError(f"a float mask is binary: it and the logits must be (N, 1, H, W); {found}")
        if not binary and (
            logits.dim() != 4 or logits.shape[1] < 2 or logits.shape[:1] + logits.shape[2:] != target.shape
        ):
            raise ValueError(f"classes must be (N, H, W) and the logits (N, classes, H, W); {found}")
        if self._shares is None:
            return
        classes = 2 if binary else logits.shape[1]
        if len(self._shares) != classes:
            raise ValueError(f"class_weights are {len(self._shares)}, but there are {classes} classes")
        weighted = any(name in (*CROSS_ENTROPY, "focal") for name in self._factors)
        if binary and self._of_foreground and not weighted:
            raise ValueError(
                "class_weights have no effect: overlap terms use only the foreground of a binary mask"
            )


_BY_CLASSES = 2  # the definition by which overlap terms leave out what is called background
_OF_THE_SET = 2  # that by which weights are summed over the set


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _weights(given: Sequence[float] | None) -> Tensor | None:
    """One weight a class as float32, in which they have to be finite and above 0 too.

    Raises:
        ValueError: `given` is no such sequence.
    """
    if given is None:
        return None
    numbers = not isinstance(given, str) and len(given) >= 2 and all(map(_is_number, given))
    weights = torch.tensor(list(given), dtype=torch.float32) if numbers else torch.zeros(1)
    if not (weights.isfinite() & (weights > 0)).all():
        raise ValueError(
            f"class_weights must be one finite weight > 0 for each class; "
            f"found {given if isinstance(given, str) else list(given)!r}"
        )
    return weights
