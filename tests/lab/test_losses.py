import math

import pytest
import segmentation_models_pytorch as smp
import torch
from torch.nn import functional as F

from lab.losses import BCEDice


def batch(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(count, 1, 7, 5, generator=generator)
    return logits, (torch.rand(count, 1, 7, 5, generator=generator) > 0.6).float()


def test_closed_form() -> None:
    # p = 1/2 everywhere, two of four pixels set: Σpg = 1, Σp = 2, Σg = 2.
    logits, mask = torch.zeros(1, 1, 2, 2), torch.tensor([[[[1.0, 1.0], [0.0, 0.0]]]])
    bce, dice = math.log(2), (2 * 1 + 1) / (2 + 2 + 1)
    assert BCEDice(0.3, 0.7, smooth=1.0)(logits, mask).item() == pytest.approx(0.3 * bce + 0.7 * (1 - dice))


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_perfect_answer_costs_nothing(value: float) -> None:
    mask = torch.full((2, 1, 4, 4), value)
    assert BCEDice()(1000 * (2 * mask - 1), mask).item() == pytest.approx(0, abs=1e-6)


def test_a_confident_wrong_answer_is_finite_and_can_be_learned_from() -> None:
    logits = torch.full((1, 1, 4, 4), -1000.0, requires_grad=True)
    loss = BCEDice()(logits, torch.ones(1, 1, 4, 4))
    loss.backward()
    assert logits.grad is not None
    assert math.isfinite(loss.item()) and loss.item() > 400
    assert torch.isfinite(logits.grad).all() and (logits.grad < 0).all()


def test_dice_term_equals_smp() -> None:
    logits, mask = batch(6)
    # smp adds its smoothing to half of our fraction, and sums over a batch: so it is asked image by image.
    theirs = smp.losses.DiceLoss(mode="binary", smooth=0.5)
    expected = torch.stack([theirs(logits[i : i + 1], mask[i : i + 1]) for i in range(6)]).mean()
    torch.testing.assert_close(BCEDice(alpha=0, beta=1, smooth=1.0)(logits, mask), expected)


def test_weights_mix_the_two_terms() -> None:
    logits, mask = batch(3)
    bce = F.binary_cross_entropy_with_logits(logits, mask)
    dice = BCEDice(alpha=0, beta=1)(logits, mask)
    torch.testing.assert_close(BCEDice(alpha=1, beta=0)(logits, mask), bce)
    torch.testing.assert_close(BCEDice(alpha=0.2, beta=1.5)(logits, mask), 0.2 * bce + 1.5 * dice)


def test_the_mean_over_samples_does_not_depend_on_the_batches() -> None:
    logits, mask = batch(5)
    loss = BCEDice()
    parts = 2 * loss(logits[:2], mask[:2]) + 3 * loss(logits[2:], mask[2:])
    torch.testing.assert_close(loss(logits, mask), parts / 5)


def test_gradient_is_the_numerical_one() -> None:
    logits, mask = (tensor.double() for tensor in batch(2))
    assert torch.autograd.gradcheck(lambda x: BCEDice()(x, mask), logits.requires_grad_(True))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_sums_do_not_overflow(dtype: torch.dtype) -> None:
    # 512² pixels of 1 sum to 262,144, and float16 ends at 65,504.
    loss = BCEDice()(torch.full((1, 1, 512, 512), 20.0, dtype=dtype), torch.ones(1, 1, 512, 512))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alpha": -1.0}, "alpha=-1.0"),
        ({"alpha": 0.0, "beta": 0.0}, "not both 0"),
        ({"smooth": 0.0}, "smooth must be > 0"),
    ],
)
def test_arguments_out_of_range(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BCEDice(**arguments)


def test_shapes_must_match() -> None:
    with pytest.raises(ValueError, match=r"\(2, 1, 4, 4\) and \(2, 4, 4\)"):
        BCEDice()(torch.zeros(2, 1, 4, 4), torch.zeros(2, 4, 4))
