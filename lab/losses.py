"""Losses that torch does not ship. Each is a module that takes the network's raw output and the target."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class BCEDice(nn.Module):
    """α · BCE + β · (1 − soft Dice), for binary masks.

    BCE judges each pixel alone and has smooth gradients; Dice judges the overlap, so that a small object
    counts as much as the background around it. With p = sigmoid(logit), g the mask and s = `smooth`, for each
    image

        Dice = (2 · Σ p·g + s) / (Σ p + Σ g + s),        loss = α · mean BCE(p, g) + β · (1 − mean Dice)

    (Dice as a loss: Milletari et al., "V-Net", 2016, arXiv:1606.04797, here with plain sums in the
    denominator; its sum with BCE: Isensee et al., "nnU-Net", 2021.) The sums run over one image, not over the
    batch: the loss of a set then does not depend on how it is cut into batches. `smooth` defines the case in
    which both are empty (Dice 1, loss 0) and keeps the gradient finite.

    Args:
        alpha: weight of the cross entropy, ≥ 0.
        beta: weight of the Dice term, ≥ 0.
        smooth: s above, > 0, in pixels.
    Raises:
        ValueError: a weight is negative, both are zero, or `smooth` is not positive; in `forward`, the shapes
            of logits and mask differ.
    """

    def __init__(self, alpha: float = 0.5, beta: float = 0.5, smooth: float = 1.0) -> None:
        super().__init__()
        if alpha < 0 or beta < 0 or alpha + beta == 0:
            raise ValueError(f"alpha and beta must be >= 0 and not both 0, found alpha={alpha}, beta={beta}")
        if smooth <= 0:
            raise ValueError(f"smooth must be > 0, found {smooth}")
        self.alpha = alpha
        self.beta = beta
        self.smooth = smooth

    def forward(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Logits and float mask, both (N, 1, H, W), mask in [0, 1]; the loss is 0-dim, at least float32."""
        if logits.shape != mask.shape:
            raise ValueError(
                "logits and mask must have the same shape, "
                f"found {tuple(logits.shape)} and {tuple(mask.shape)}"
            )
        # Sums over a whole image overflow float16 and lose digits in bfloat16.
        dtype = torch.promote_types(logits.dtype, torch.float32)
        logits, mask = logits.to(dtype), mask.to(dtype)
        bce = F.binary_cross_entropy_with_logits(logits, mask)
        probability = torch.sigmoid(logits).flatten(1)
        truth = mask.flatten(1)
        overlap = (probability * truth).sum(1)
        dice = (2 * overlap + self.smooth) / (probability.sum(1) + truth.sum(1) + self.smooth)
        return self.alpha * bce + self.beta * (1 - dice.mean())

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}, beta={self.beta}, smooth={self.smooth}"
