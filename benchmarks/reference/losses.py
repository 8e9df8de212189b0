"""Losses, in float64 so that only their definitions can differ."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.reference.masks import IGNORE, Rng
from benchmarks.reference.quantity import Pair, Quantity
from lab.losses import BCEDice, CrossEntropy, WeightedSum
from lab.losses.scene_graph import SceneGraphLoss

UNJUDGED = -100


def binary(rng: Rng) -> tuple[Tensor, Tensor]:
    """Logits and a mask of both values, (N, 1, H, W)."""
    shape = int(rng.integers(1, 4)), 1, int(rng.integers(2, 9)), int(rng.integers(2, 9))
    mask = (rng.random(shape) < rng.uniform(0.1, 0.9)).astype(np.float64)
    mask.flat[:2] = 0, 1
    return torch.from_numpy(rng.normal(0, 2, shape)), torch.from_numpy(mask)


def several(rng: Rng) -> tuple[Tensor, Tensor]:
    """Logits (N, K, H, W) and classes (N, H, W), each of which is there."""
    classes = int(rng.integers(2, 6))
    shape = int(rng.integers(1, 4)), int(rng.integers(3, 9)), int(rng.integers(3, 9))
    truth = rng.integers(0, classes, shape)
    truth.flat[:classes] = np.arange(classes)
    return torch.from_numpy(rng.normal(0, 2, (shape[0], classes, *shape[1:]))), torch.from_numpy(truth)


def bce_dice(rng: Rng) -> Pair:
    logits, mask = binary(rng)
    mask[torch.from_numpy(rng.random(mask.shape) < 0.1)] = IGNORE
    alpha, beta, smooth = (float(each) for each in rng.uniform(0.1, 2, 3))
    cross, judged, dice = 0.0, 0, []
    for z, g in zip(logits.numpy(), mask.numpy(), strict=True):
        p, inside = 1 / (1 + np.exp(-z)), g != IGNORE
        cross -= (g * np.log(p) + (1 - g) * np.log(1 - p))[inside].sum()
        judged += int(inside.sum())
        p, g = p[inside], g[inside]
        dice.append((2 * (p * g).sum() + smooth) / (p.sum() + g.sum() + smooth))
    expected = alpha * cross / max(1, judged) + beta * (1 - np.mean(dice))
    return float(BCEDice(alpha, beta, smooth)(logits, mask)), expected


def cross_entropy(weighted: bool) -> Callable[[Rng], Pair]:
    def draw(rng: Rng) -> Pair:
        classes, count = int(rng.integers(2, 6)), int(rng.integers(1, 20))
        logits = torch.from_numpy(rng.normal(0, 2, (count, classes)))
        truth = torch.from_numpy(rng.integers(0, classes, count))
        truth[1:][torch.from_numpy(rng.random(count - 1) < 0.2)] = UNJUDGED
        weights = rng.uniform(0.2, 5, classes).astype(np.float32).tolist() if weighted else None
        smoothing = float(rng.uniform(0, 0.3)) if rng.random() < 0.5 else 0.0
        given = None if weights is None else torch.tensor(weights, dtype=torch.float64)
        theirs = torch.nn.CrossEntropyLoss(weight=given, label_smoothing=smoothing)(logits, truth)
        return float(CrossEntropy(weights, smoothing)(logits, truth)), float(theirs)

    return draw


def term(name: str, logits: Tensor, target: Tensor, **options: float) -> float:
    """One term of `WeightedSum`, over all classes or the foreground of one map."""
    loss = WeightedSum(
        {name: {"weight": 1.0, **options}}, background=0 if target.is_floating_point() else None
    )
    return float(loss(logits, target)[name])


def overlap(name: str, kind: str, draws: Callable[[Rng], tuple[Tensor, Tensor]], **fixed: Any) -> Any:
    """Soft overlap over the whole batch, by MONAI."""

    def draw(rng: Rng) -> Pair:
        from monai import losses as theirs

        logits, target = draws(rng)
        alpha = float(rng.uniform(0.2, 0.8))
        options = {"alpha": alpha, "beta": 1 - alpha} if name == "tversky" else {}
        one_map = target.is_floating_point()
        shape = {"sigmoid": True} if one_map else {"softmax": True, "to_onehot_y": True}
        loss = getattr(theirs, kind)(
            batch=True, smooth_nr=0.0, smooth_dr=1e-12, include_background=True, **shape, **fixed, **options
        )
        expected = loss(logits, target if one_map else target[:, None])
        return term(name, logits, target, **options), float(expected)

    return draw


def focal(rng: Rng) -> Pair:
    from torchvision.ops import sigmoid_focal_loss

    logits, target = binary(rng)
    gamma = float(rng.uniform(0, 4))
    expected = sigmoid_focal_loss(logits, target, alpha=-1, gamma=gamma, reduction="mean")
    return term("focal", logits, target, gamma=gamma), float(expected)


def _lovasz(errors: Any, truth: Any) -> float:
    """The Lovász extension of the Jaccard loss: errors, largest first, times what each adds to the loss."""
    order = np.argsort(-errors, kind="stable")
    total, before, hits, misses = float(truth.sum()), 0.0, 0.0, 0.0
    result = 0.0
    for index in order:
        hits += truth[index]
        misses += 1 - truth[index]
        now = 1 - (total - hits) / (total + misses)
        result += max(errors[index], 0.0) * (now - before)
        before = now
    return result


def lovasz_hinge(rng: Rng) -> Pair:
    logits, target = binary(rng)
    z, g = logits[:1], target[:1]
    errors = (1 - z * (2 * g - 1)).flatten().numpy()
    return term("lovasz", z, g), _lovasz(errors, g.flatten().numpy())


def lovasz_softmax(rng: Rng) -> Pair:
    logits, target = several(rng)
    likely = logits.softmax(1).movedim(1, -1).reshape(-1, logits.shape[1]).numpy()
    truth = target.flatten().numpy()
    each = [
        _lovasz(np.abs((truth == index) - likely[:, index]), (truth == index).astype(float))
        for index in range(logits.shape[1])
    ]
    return term("lovasz", logits, target), np.mean(each)


def left_out(name: str) -> Callable[[Rng], Pair]:
    """Ignored pixels of one image: the loss of the others alone."""

    def draw(rng: Rng) -> Pair:
        logits, target = binary(rng) if rng.random() < 0.5 else several(rng)
        logits, target = logits[:1], target[:1]
        one_map = target.is_floating_point()
        inside = torch.from_numpy(rng.random(target.shape) > 0.3)
        inside.view(-1)[:6] = True
        marked = torch.where(inside, target, torch.full_like(target, IGNORE))
        own = target[inside].reshape((1, 1, 1, -1) if one_map else (1, 1, -1))
        kept = logits.movedim(1, -1)[inside[:, 0] if one_map else inside].T[None, :, None]
        kind = "bce" if one_map and name == "cross_entropy" else name
        return term(kind, logits, marked), term(kind, kept, own)

    return draw


def weighted_pixels(rng: Rng) -> Pair:
    logits, target = several(rng)
    weights = rng.uniform(0.2, 5, logits.shape[1]).astype(np.float32)
    loss = WeightedSum({"cross_entropy": 1.0}, class_weights=weights.tolist(), background=None)
    expected = F.cross_entropy(logits, target, weight=torch.from_numpy(weights).double())
    return float(loss(logits, target)["cross_entropy"]), float(expected)


def scene_graph(rng: Rng) -> Pair:
    boxes, pairs = int(rng.integers(1, 8)), int(rng.integers(1, 9))
    predicted: dict[str, Any] = {
        "objects": torch.from_numpy(rng.normal(size=(boxes, 5))).float(),
        "relations": {
            "attention": torch.from_numpy(rng.normal(size=(pairs, 3))).float(),
            "contact": torch.from_numpy(rng.normal(size=(pairs, 4))).float(),
        },
    }
    several_hold = torch.from_numpy(rng.integers(0, 2, (pairs, 4))).float()
    several_hold[:, 0] = 1
    truth: dict[str, Any] = {
        "objects": torch.from_numpy(rng.integers(0, 5, boxes)),
        "relations": {"attention": torch.from_numpy(rng.integers(0, 3, pairs)), "contact": several_hold},
        "judged": torch.ones(pairs, dtype=torch.bool),
    }
    margin = rng.random() < 0.5
    found = SceneGraphLoss("margin" if margin else "bce").means(predicted, truth)
    logits = predicted["relations"]["contact"]
    if margin:
        marked = [
            [*np.flatnonzero(row).tolist(), *[-1] * int((row == 0).sum())] for row in several_hold.numpy()
        ]
        contact = F.multilabel_margin_loss(logits, torch.tensor(marked))
    else:
        contact = F.binary_cross_entropy_with_logits(logits, several_hold)
    expected = [
        F.cross_entropy(predicted["objects"], truth["objects"]),
        F.cross_entropy(predicted["relations"]["attention"], truth["relations"]["attention"]),
        contact,
    ]
    names = ("objects", "attention", "contact")
    return [float(found[name]) for name in names], [float(each) for each in expected]


QUANTITIES = (
    Quantity("BCEDice, ignored pixels", "NumPy", bce_dice, 1e-9),
    Quantity("CrossEntropy, smoothing, ignored", "torch", cross_entropy(False), 1e-9),
    Quantity("CrossEntropy, class weights", "torch", cross_entropy(True), 1e-9),
    Quantity("WeightedSum dice, one map", "MONAI", overlap("dice", "DiceLoss", binary)),
    Quantity("WeightedSum dice, classes", "MONAI", overlap("dice", "DiceLoss", several)),
    Quantity("WeightedSum jaccard, one map", "MONAI", overlap("jaccard", "DiceLoss", binary, jaccard=True)),
    Quantity("WeightedSum jaccard, classes", "MONAI", overlap("jaccard", "DiceLoss", several, jaccard=True)),
    Quantity("WeightedSum tversky, one map", "MONAI", overlap("tversky", "TverskyLoss", binary)),
    Quantity("WeightedSum tversky, classes", "MONAI", overlap("tversky", "TverskyLoss", several)),
    Quantity("WeightedSum focal, one map", "torchvision", focal),
    Quantity("WeightedSum lovasz, one map", "plain loop", lovasz_hinge),
    Quantity("WeightedSum lovasz, classes", "plain loop", lovasz_softmax),
    Quantity("WeightedSum cross_entropy, class weights", "torch", weighted_pixels),
    *(
        Quantity(f"WeightedSum {name}, pixels that are ignored", "the others alone", left_out(name))
        for name in ("cross_entropy", "dice", "jaccard", "tversky", "focal", "lovasz")
    ),
    Quantity("SceneGraphLoss", "torch", scene_graph),
)
