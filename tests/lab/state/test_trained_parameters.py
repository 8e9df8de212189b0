"""Parameters that a loss depends on, and that nobody trains, are named at the first step."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lab.state.trained_parameters import TrainedParameters

X, Y = torch.ones(4, 2), torch.zeros(4, 1)


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3, 2))

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        return (output - target).square().mean() * self.scale.mean()


class Slotted:
    __slots__ = ("module",)

    def __init__(self) -> None:
        self.module = Scaled()

    def __call__(self, output: Tensor, target: Tensor) -> Any:
        return self.module(output, target)


class Wrapped:
    """Holds an object that holds a module, and a parameter that is seen."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.seen = inner, nn.Parameter(torch.ones(()))

    def __call__(self, output: Tensor, target: Tensor) -> Any:
        return self.inner(output, target) * self.seen


class Plain:
    def __init__(self) -> None:
        self.module = Scaled()

    def __call__(self, output: Tensor, target: Tensor) -> Any:
        return self.module(output, target)


class Hidden(nn.Linear):
    """A network with a weight in a list, which `parameters()` doesn't have."""

    def __init__(self) -> None:
        super().__init__(2, 1)
        self.more = [nn.Parameter(torch.ones(5)), nn.Parameter(torch.ones(5))]

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.more[0].mean() * self.more[1].mean()


def noted(criterion: Any, network: nn.Module | None = None) -> list[str]:
    network = network or nn.Linear(2, 1)
    reach = TrainedParameters(network, torch.optim.SGD(network.parameters(), 0.1), criterion, None, {})
    reach._optimizer.add_param_group({"params": list(reach.loss.values())}) if reach.loss else None
    loss = criterion(network(X), Y)
    loss.backward()
    return [note.message for note in reach.notes(loss) if note.level == "warning"]


@pytest.mark.parametrize(
    ("criterion", "network", "shown"),
    [
        (Slotted(), None, "a parameter of shape (3, 2)"),
        (Wrapped(Plain()), None, "a parameter of shape (3, 2)"),
        (lambda output, target: Slotted()(output, target), None, "a parameter of shape (3, 2)"),
        (nn.MSELoss(), Hidden(), "a parameter of shape (5,) and 1 more"),
    ],
)
def test_parameters_that_nothing_trains(criterion: Any, network: nn.Module | None, shown: str) -> None:
    [note] = noted(criterion, network)
    assert note.startswith(f"the loss depends on {shown} that is not trained")


def test_what_is_trained_or_frozen_is_not_named() -> None:
    frozen = Slotted()
    frozen.module.requires_grad_(False)
    network = nn.Linear(2, 1)

    def shared(output: Tensor, target: Tensor) -> Tensor:
        return (output - target).square().mean() + network.weight.square().sum()

    inputs = X.clone().requires_grad_()
    for criterion in (Scaled(), frozen, nn.MSELoss(), lambda o, t: (o - t + inputs.sum()).square().mean()):
        assert noted(criterion) == []
    assert noted(shared, network) == []
