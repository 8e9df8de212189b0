"""Optimizers with two modes: weights to train with, and weights to use."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lab import checkpoint
from tests.lab.state.test_modes import DATA, Kept, X, batches, trained
from util import Trainer


class ScheduleFree(Optimizer):
    """Schedule-free SGD (Defazio et al. 2024), y to train with and x to use; its mode is in the groups."""

    def __init__(self, params: Any, lr: float = 0.1, beta: float = 0.9) -> None:
        super().__init__(params, {"lr": lr, "beta": beta, "k": 0, "training": False})

    def mode(self, group: dict[str, Any]) -> bool:
        return bool(group["training"])

    def set_mode(self, group: dict[str, Any], training: bool) -> None:
        group["training"] = training

    def train(self) -> None:
        self._switch(True, lambda beta: 1 - beta)

    def eval(self) -> None:
        self._switch(False, lambda beta: 1 - 1 / beta)

    @torch.no_grad()
    def _switch(self, training: bool, weight: Callable[[float], float]) -> None:
        for group in self.param_groups:
            if self.mode(group) != training:
                for p in group["params"]:
                    if "z" in self.state[p]:
                        p.lerp_(self.state[p]["z"], weight(group["beta"]))
                self.set_mode(group, training)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            if not self.mode(group):
                raise RuntimeError("the optimizer is not in train mode")
            share = 1 / (group["k"] + 1)
            for p in group["params"]:
                z = self.state[p].setdefault("z", p.clone())
                p.lerp_(z, share)
                p.add_(p.grad, alpha=group["lr"] * (group["beta"] * (1 - share) - 1))
                z.sub_(p.grad, alpha=group["lr"])
            group["k"] += 1


class Forgetting(ScheduleFree):
    """Its mode is an attribute, which no checkpoint holds."""

    def __init__(self, params: Any, begins: bool = False, **options: Any) -> None:
        super().__init__(params, **options)
        self.now = begins

    def mode(self, group: dict[str, Any]) -> bool:
        return self.now

    def set_mode(self, group: dict[str, Any], training: bool) -> None:
        self.now = training if group is self.param_groups[-1] else self.now


def linear() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(3, 1)


def averages(epochs: int) -> list[Any]:
    """x of the paper after each epoch: (weight, bias)."""
    model = linear()
    x = [p.detach().double().numpy().copy() for p in model.parameters()]
    z, after, k = [each.copy() for each in x], [], 0
    for _ in range(epochs):
        for inputs, target in batches():
            a, b = inputs.double().numpy(), target.double().numpy()
            y = [0.1 * zi + 0.9 * xi for zi, xi in zip(z, x, strict=True)]
            error = 2 * (a @ y[0].T + y[1] - b) / len(a)
            k += 1
            z = [z[0] - 0.1 * error.T @ a, z[1] - 0.1 * error.sum(0)]
            x = [(1 - 1 / k) * xi + zi / k for xi, zi in zip(x, z, strict=True)]
        after.append([each.copy() for each in x])
    return after


def test_between_epochs_the_weights_are_those_to_be_used() -> None:
    model = linear()
    listener = trained(model, 3, optimizer=ScheduleFree(model.parameters()), every_n_steps=2)
    for epoch, (weight, bias) in enumerate(averages(3), 1):
        state = listener.states[str(epoch)]
        assert np.allclose(state["model"]["weight"], weight, atol=1e-5)
        assert np.allclose(state["model"]["bias"], bias, atol=1e-5)
        predicted = X.numpy() @ weight.T + bias
        loss = float(((predicted - DATA.tensors[1].numpy()) ** 2).mean())
        assert listener.trainer.course.history[epoch - 1]["val_loss"] == pytest.approx(loss, rel=1e-3)
    assert not torch.equal(listener.states["3.2"]["model"]["weight"], listener.states["3"]["model"]["weight"])
    assert np.allclose(model.weight.detach(), averages(3)[-1][0], atol=1e-5)


@pytest.mark.parametrize(
    "kind",
    [ScheduleFree, Forgetting, lambda parameters: Forgetting(parameters, begins=True)],
    ids=["in groups", "attribute", "attribute, begins in train mode"],
)
@pytest.mark.parametrize("place", ["1", "1.2", "2.2"])
def test_resumed_to_the_bit(kind: Callable[[Any], Optimizer], place: str) -> None:
    whole = linear()
    record = trained(whole, 3, optimizer=kind(whole.parameters()), every_n_steps=2)
    other = linear()
    again = Kept()
    again.trainer = Trainer(
        other,
        kind(other.parameters()),
        None,
        nn.functional.mse_loss,
        seed=1,
        callbacks=[again],
        every_n_steps=2,
    )
    checkpoint.restore(again.trainer.parts(), record.states[place])
    again.trainer.train(batches(), batches(), 3)
    assert torch.equal(other.weight, whole.weight)
    for name, state in again.states.items():
        for weight, expected in zip(
            state["model"].values(), record.states[name]["model"].values(), strict=True
        ):
            assert torch.equal(weight, expected), name


def test_others_have_no_mode_in_the_checkpoint() -> None:
    assert "modes" not in trained(linear(), 1).states["1"]


def test_the_mode_is_right_after_an_error() -> None:
    class Failing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.calls = nn.Linear(3, 1), 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            if self.calls == 3:
                raise KeyError("a mistake")
            result: Tensor = self.layer(x)
            return result

    model = Failing()
    optimizer = ScheduleFree(model.parameters())
    with suppress(KeyError):
        trained(model, 1, optimizer=optimizer)
    assert not optimizer.mode(optimizer.param_groups[0]) and not model.layer.training
