"""Set means and accumulated gradients of every loss that decomposes: equal to one batch of everything."""

import copy
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from lab.losses import BCEDice, CrossEntropy, WeightedSum
from lab.losses.terms import Loss, ignored_by, measure, set_mean, weights_ahead
from lab.losses.torch_losses import known
from lab.tasks import Task
from lab.train.evaluation import evaluate
from lab.train.gradient_accumulation import Group
from lab.train.runtime import Runtime

Criterion = Callable[[Any, Any], Any]
Sample = Callable[[torch.Generator, int], tuple[Tensor, Tensor]]
CLASSES = 4
WEIGHTS = torch.tensor([0.2, 3.0, 1.0, 7.5])


def numbers(draw: torch.Generator, n: int) -> tuple[Tensor, Tensor]:
    return torch.randn(n, 3, generator=draw), torch.randn(n, 3, generator=draw)


def shares(draw: torch.Generator, n: int) -> tuple[Tensor, Tensor]:
    logits, target = torch.randn(2, n, CLASSES, generator=draw)
    return logits, target.softmax(1)


def labels(draw: torch.Generator, n: int) -> tuple[Tensor, Tensor]:
    target = torch.randint(CLASSES, (n,), generator=draw)
    return torch.randn(n, CLASSES, generator=draw), target.masked_fill(target == 3, -100)


def tokens(draw: torch.Generator, n: int) -> tuple[Tensor, Tensor]:
    """Sequences of which a part is padding: some have nothing but padding."""
    target = torch.randint(CLASSES, (n, 6), generator=draw)
    length = torch.randint(0, 7, (n, 1), generator=draw)
    target = target.masked_fill(torch.arange(6) >= length, 0)
    return torch.randn(n, CLASSES, 6, generator=draw), target


def masks(draw: torch.Generator, n: int) -> tuple[Tensor, Tensor]:
    """Binary masks with unjudged pixels, some of them wholly unjudged."""
    mask = (torch.rand(n, 1, 3, 3, generator=draw) < 0.4).float()
    share = torch.rand(n, 1, 1, 1, generator=draw) * 1.5
    mask[torch.rand(n, 1, 3, 3, generator=draw) < share] = 255
    return torch.randn(n, 1, 3, 3, generator=draw), mask


def class_masks(draw: torch.Generator, n: int) -> tuple[Tensor, Tensor]:
    mask = torch.randint(CLASSES, (n, 3, 3), generator=draw)
    share = torch.rand(n, 1, 1, generator=draw) * 1.5
    mask[torch.rand(n, 3, 3, generator=draw) < share] = 255
    return torch.randn(n, CLASSES, 3, 3, generator=draw), mask


def binary(draw: torch.Generator, n: int) -> tuple[Tensor, Tensor]:
    return torch.randn(n, 3, generator=draw), torch.randint(2, (n, 3), generator=draw).float()


def signs(draw: torch.Generator, n: int) -> tuple[Tensor, Tensor]:
    logits, target = binary(draw, n)
    return logits, 2 * target - 1


def absolute(drawn: tuple[Tensor, Tensor], below: int = 10**6) -> tuple[Tensor, Tensor]:
    return drawn[0], drawn[1].abs() % below


POSITIVE = functools.partial(F.binary_cross_entropy_with_logits, pos_weight=torch.tensor(5.0))
EXACT: dict[str, tuple[Criterion, Sample]] = {
    "mse": (nn.MSELoss(), numbers),
    "l1": (nn.L1Loss(), numbers),
    "huber": (nn.HuberLoss(delta=0.3), numbers),
    "smooth l1": (nn.SmoothL1Loss(beta=0.5), numbers),
    "mse function": (F.mse_loss, numbers),
    "poisson": (nn.PoissonNLLLoss(), lambda draw, n: absolute(numbers(draw, n))),
    "kl batchmean": (nn.KLDivLoss(reduction="batchmean"), shares),
    "bce": (nn.BCEWithLogitsLoss(), binary),
    "bce pos_weight": (nn.BCEWithLogitsLoss(pos_weight=torch.tensor([9.0, 1.0, 0.3])), binary),
    "bce weight": (nn.BCEWithLogitsLoss(weight=torch.tensor([2.0, 0.5, 1.0])), binary),
    "bce function": (POSITIVE, binary),
    "soft margin": (nn.SoftMarginLoss(), signs),
    "multilabel": (nn.MultiLabelSoftMarginLoss(weight=torch.tensor([2.0, 0.5, 1.0])), binary),
    "multi margin": (nn.MultiMarginLoss(weight=WEIGHTS), lambda draw, n: absolute(labels(draw, n), 4)),
    "ce": (nn.CrossEntropyLoss(), labels),
    "ce weight": (nn.CrossEntropyLoss(weight=WEIGHTS), labels),
    "ce weight smoothing": (nn.CrossEntropyLoss(weight=WEIGHTS, label_smoothing=0.2), labels),
    "ce smoothing": (nn.CrossEntropyLoss(label_smoothing=0.1), labels),
    "ce ignore_index": (nn.CrossEntropyLoss(ignore_index=0), tokens),
    "ce ignore_index weight": (nn.CrossEntropyLoss(WEIGHTS, ignore_index=0, label_smoothing=0.1), tokens),
    "ce shares": (nn.CrossEntropyLoss(weight=WEIGHTS), shares),
    "ce function": (functools.partial(F.cross_entropy, ignore_index=0), tokens),
    "nll": (nn.NLLLoss(weight=WEIGHTS), labels),
    "BCEDice": (BCEDice(0.3, 0.7), masks),
    "CrossEntropy": (CrossEntropy(WEIGHTS.tolist(), 0.1), labels),
    "CrossEntropy plain": (CrossEntropy(), labels),
    "CrossEntropy shares": (CrossEntropy(WEIGHTS.tolist()), shares),
    "WeightedSum classes": (WeightedSum({"cross_entropy": 1.0, "focal": 0.5}, WEIGHTS.tolist()), class_masks),
    "WeightedSum binary": (WeightedSum({"bce": 1.0, "focal": 2.0}, [0.2, 3.0]), masks),
}  # fmt: skip


def drawn(sample: Sample, seed: int, n: int) -> tuple[Tensor, Tensor]:
    return sample(torch.Generator().manual_seed(seed), n)


def plain(criterion: Criterion, output: Tensor, target: Tensor) -> Tensor:
    """The loss as it is called without us: of one batch of everything."""
    loss = criterion(output, target)
    return torch.stack(list(loss.values())).sum() if isinstance(loss, Mapping) else loss


cuts = st.lists(st.integers(1, 5), min_size=1, max_size=8)


@pytest.mark.parametrize("name", EXACT)
@settings(max_examples=15, deadline=None)
@given(sizes=cuts, seed=st.integers(0, 10**6))
def test_the_loss_of_a_set_is_that_of_one_batch(name: str, sizes: list[int], seed: int) -> None:
    criterion, sample = EXACT[name]
    output, target = drawn(sample, seed, sum(sizes))
    exact = copy.deepcopy(criterion).double() if isinstance(criterion, nn.Module) else criterion
    expected = float(plain(exact, output.double(), double(target)))
    batches = list(zip(output.split(sizes), target.split(sizes), strict=True))
    assert set_mean(criterion) == "set"
    if math.isnan(expected) or not any(nonzero(weights_ahead(criterion, target))):
        with pytest.raises(ValueError, match="every target is one that the loss ignores"):
            judged(criterion, batches)
    else:
        assert judged(criterion, batches)["loss"] == pytest.approx(expected, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("name", EXACT)
@settings(max_examples=10, deadline=None)
@given(sizes=cuts, seed=st.integers(0, 10**6))
def test_batches_of_one_step_give_the_gradient_of_one_batch(name: str, sizes: list[int], seed: int) -> None:
    criterion, sample = EXACT[name]
    output, target = drawn(sample, seed, sum(sizes))
    if not any(nonzero(weights_ahead(criterion, target))):
        return
    scale = torch.ones((), requires_grad=True)
    (expected,) = torch.autograd.grad(plain(criterion, output * scale, target), scale)
    batches = list(zip(output.split(sizes), target.split(sizes), strict=True))
    assert accumulated(criterion, batches) == pytest.approx(float(expected), rel=1e-4, abs=1e-5)


def double(target: Tensor) -> Tensor:
    return target.double() if target.is_floating_point() else target


def nonzero(weights: Mapping[str, Any]) -> list[bool]:
    return [float(each) > 0 for each in weights.values()]


def judged(criterion: Criterion, batches: Any) -> dict[str, float]:
    return evaluate(
        nn.Identity(), batches, task=Task(), criterion=criterion, runtime=Runtime("cpu"), metrics={}
    )


def accumulated(criterion: Criterion, batches: list[tuple[Tensor, Tensor]]) -> float:
    task, scale = Task(), nn.Parameter(torch.ones(()))
    group = Group([task.weights(criterion, batch) for batch in batches])
    for batch in batches:
        group.loss(task.step(lambda x: x * scale, criterion, batch)).backward()
    assert scale.grad is not None
    return float(scale.grad)


def test_a_short_batch_of_rare_classes_by_hand() -> None:
    """Σ w·l / Σ w of three samples with losses 1, 2, 4 and weights 1, 1, 10: 43 / 12, not a mean of means."""

    class Given(Loss):
        named = False

        def means(self, output: Tensor, target: Tensor) -> dict[str, Tensor]:
            return {"loss": (output * target).sum() / target.sum()}

        def weights(self, target: Tensor) -> dict[str, Tensor]:
            return {"loss": target.sum()}

    losses, weights = torch.tensor([1.0, 2.0, 4.0]), torch.tensor([1.0, 1.0, 10.0])
    found = judged(Given(), [(losses[:2], weights[:2]), (losses[2:], weights[2:])])
    assert found == {"loss": pytest.approx(43 / 12)}


def test_named_terms_are_logged_each_as_the_mean_of_the_set() -> None:
    criterion, sample = EXACT["WeightedSum classes"]
    output, target = drawn(sample, 3, 12)
    expected = {f"loss_{name}": float(value) for name, value in criterion(output, target).items()}
    found = judged(criterion, list(zip(output.split(5), target.split(5), strict=True)))
    assert found == pytest.approx({"loss": sum(expected.values()), **expected}, rel=1e-6)


def test_an_ignored_batch_counts_nothing_and_has_no_gradient() -> None:
    criterion = nn.CrossEntropyLoss()
    output = torch.randn(4, 3, requires_grad=True)
    target = torch.tensor([1, 2, -100, -100])
    found = judged(criterion, [(output[:2], target[:2]), (output[2:], target[2:])])
    assert found["loss"] == pytest.approx(float(criterion(output, target).detach()), rel=1e-6)
    measure(criterion, output[2:], target[2:]).loss.backward()
    assert output.grad is not None and torch.equal(output.grad, torch.zeros(4, 3))


class Own(nn.CrossEntropyLoss):
    """A subclass may compute anything."""


class Doubled(BCEDice):
    def forward(self, logits: Tensor, mask: Tensor) -> Tensor:
        return 2 * super().forward(logits, mask)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "criterion",
    [
        lambda output, target: (output - target).square().mean(),
        Own(),
        Doubled(),
        nn.MSELoss(reduction="sum"),
        functools.partial(F.mse_loss, weight=torch.ones(3)),
        WeightedSum({"lovasz": 1.0}),
        WeightedSum({"cross_entropy": 1.0, "dice": 1.0}),
        WeightedSum({"focal": {"normalized": True}}),
    ],
)
def test_a_loss_that_does_not_decompose_is_labelled(criterion: Criterion) -> None:
    assert set_mean(criterion) == "batches"


def test_a_loss_that_does_not_decompose_is_the_mean_of_its_batches() -> None:
    output, target = drawn(masks, 1, 5)
    target = target.where(target != 255, 0.0)
    parts = [(output[:3], target[:3]), (output[3:], target[3:])]
    for criterion in (Doubled(), WeightedSum({"dice": 1.0})):
        first, second = (float(plain(criterion, *part)) for part in parts)
        assert judged(criterion, parts)["loss"] == pytest.approx((3 * first + 2 * second) / 5)


def test_what_losses_ignore() -> None:
    assert ignored_by(nn.CrossEntropyLoss()) == (-100,) and ignored_by(nn.NLLLoss(ignore_index=3)) == (3,)
    assert ignored_by(functools.partial(F.cross_entropy, ignore_index=7)) == (7,)
    assert ignored_by(BCEDice()) == (255,) and ignored_by(CrossEntropy()) == (-100,)
    assert ignored_by(nn.BCEWithLogitsLoss()) == () and ignored_by(lambda o, t: o) is None
    summed = known(nn.MSELoss(reduction="sum"))
    assert summed is not None and summed.reduction == "sum" and known(BCEDice()) is None


def test_what_is_known_of_a_loss_follows_its_weight() -> None:
    """The loss is looked up once, and its weight may move to a device, or be another one, afterwards."""
    criterion, target = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 4.0])), torch.tensor([0, 1, 2, 2])
    assert float(weights_ahead(criterion, target)["loss"]) == 11
    criterion.weight = torch.tensor([3.0, 0.5, 1.0])
    assert float(weights_ahead(criterion, target)["loss"]) == 5.5
    assert known(criterion) is known(criterion)


def test_a_criterion_that_cannot_be_hashed_is_one_of_the_users() -> None:
    class Unhashable:
        __hash__ = None  # type: ignore[assignment]

        def __call__(self, output: Tensor, target: Tensor) -> Tensor:
            return (output - target).abs().mean()

    assert known(Unhashable()) is None and set_mean(Unhashable()) == "batches"


@pytest.mark.parametrize("criterion", [nn.MSELoss(reduction="none"), lambda output, target: 1.0])
def test_a_loss_must_be_a_mean(criterion: Criterion) -> None:
    with pytest.raises(ValueError, match="the criterion must return the mean over a batch, a 0-dim tensor"):
        measure(criterion, torch.ones(3), torch.ones(3))


@pytest.mark.parametrize("name", EXACT)
def test_denominators_are_known_ahead(name: str) -> None:
    criterion, sample = EXACT[name]
    output, target = drawn(sample, 5, 6)
    ahead = weights_ahead(criterion, target)
    for term, (_, weight) in measure(criterion, output, target).terms.items():
        assert weight is not None and float(ahead[term]) == float(weight)
