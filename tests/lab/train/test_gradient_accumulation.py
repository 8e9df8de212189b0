"""Batches of one optimizer step: the gradient of all their samples, however they are cut."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lab.losses import BCEDice
from lab.tasks import Classification, Segmentation, StepResult, Task
from lab.train.gradient_accumulation import groups
from lab.train.runtime import Runtime
from util import Trainer


def stepped(
    batches: Sequence[Any], accumulate: int, criterion: Callable[..., Any], model: nn.Module, **options: Any
) -> Tensor:
    """The weights after an epoch of plain gradient descent."""
    trainer = Trainer(
        model,
        torch.optim.SGD(model.parameters(), lr=0.1),
        None,
        criterion,
        callbacks=(),
        accumulate_grad_batches=accumulate,
        **options,
    )
    trainer.train_epoch(list(batches))
    return torch.cat([each.detach().flatten() for each in model.parameters()])


def cut(tensors: Sequence[Tensor], sizes: list[int]) -> list[tuple[Tensor, ...]]:
    return list(zip(*(each.split(sizes) for each in tensors), strict=True))


def line() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(3, 4)


X = torch.randn(7, 3, generator=torch.Generator().manual_seed(1))
Y = torch.tensor([0, 3, 3, -100, 1, 3, 2])
WEIGHTED = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 8.0, 0.5, 0.1]))


class Shifted(Task):
    """A step of its own, whose denominators nobody knows before it."""

    def step(self, model: Callable[..., Any], criterion: Any, batch: Any) -> StepResult:
        return super().step(model, criterion, (batch[0] + 1, batch[1]))


@pytest.mark.parametrize("sizes", [[4, 3], [3, 3, 1], [1] * 7])
@pytest.mark.parametrize(
    ("task", "criterion"),
    [
        (Task(), WEIGHTED),
        (Classification(), WEIGHTED),
        (Shifted(), WEIGHTED),
        (Task(), lambda output, target: nn.functional.cross_entropy(output, target.clamp(min=0))),
        (Shifted(), lambda output, target: nn.functional.cross_entropy(output, target.clamp(min=0))),
    ],
)
def test_any_cut_gives_one_step(sizes: list[int], task: Task, criterion: Any) -> None:
    whole = stepped([(X, Y)], 1, criterion, line(), task=task)
    parts = stepped(cut((X, Y), sizes), len(sizes), criterion, line(), task=task)
    torch.testing.assert_close(parts, whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("clip", [None, 0.01])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_terms_of_several_denominators(clip: float | None, precision: str) -> None:
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(6, 1, 4, 4, generator=draw)
    mask = (torch.rand(6, 1, 4, 4, generator=draw) < 0.5).float()
    mask[2:, :, :3] = 255  # the first two images have most of the pixels, and a third of the Dice

    def conv() -> nn.Module:
        torch.manual_seed(1)
        return nn.Conv2d(1, 1, 3, padding=1)

    def after(sizes: list[int]) -> Tensor:
        runtime = Runtime("cpu", precision)
        options: Any = {"task": Segmentation(), "gradient_clip_norm": clip, "runtime": runtime}
        return stepped(cut((x, mask), sizes), len(sizes), BCEDice(), conv(), **options)

    tolerance = {"rtol": 1e-5, "atol": 1e-6} if precision == "fp32" else {"rtol": 1e-2, "atol": 1e-3}
    torch.testing.assert_close(after([2, 3, 1]), after([6]), **tolerance)


def test_one_batch_a_step_is_the_plain_loss_to_the_bit() -> None:
    ours = stepped(cut((X, Y), [4, 3]), 1, WEIGHTED, line(), task=Task())
    bare = line()
    optimizer = torch.optim.SGD(bare.parameters(), lr=0.1)
    for x, y in cut((X, Y), [4, 3]):
        optimizer.zero_grad()
        WEIGHTED(bare(x), y).backward()
        optimizer.step()
    assert torch.equal(ours, torch.cat([each.detach().flatten() for each in bare.parameters()]))


def test_a_group_of_ignored_targets_has_no_gradient() -> None:
    nothing = torch.full((7,), -100)
    model = line()
    before = torch.cat([each.detach().flatten() for each in model.parameters()])
    parts = [*cut((X, nothing), [4, 3]), (X, Y)]
    after = stepped(parts, 2, WEIGHTED, model, task=Task())
    alone = stepped([(X, Y)], 1, WEIGHTED, line(), task=Task())
    assert not torch.equal(before, after)
    torch.testing.assert_close(after, alone)  # the first group did nothing


def test_mixed_images_weigh_by_their_number() -> None:
    """Mixed targets are shares of the classes: torch divides by the images, not by their classes' weights."""
    task = Classification(mixup=1.0)
    weights = task.weights(WEIGHTED, (torch.rand(5, 1, 2, 2), torch.tensor([1, 1, 1, 2, 3])))
    assert weights == ({"loss": 5}, 5)


def test_groups_end_with_the_iterator() -> None:
    assert list(groups(iter(range(7)), 3)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(groups(iter(range(0)), 3)) == []
