"""Parts of a training with a state of their own, each in another way: what a resumed run must continue."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, IterableDataset

from selftest import faulty_parts
from selftest.faulty_parts import SAMPLES, Forgetful


class Remembering(nn.Module):
    """A squared error that is scaled by what it has seen: a buffer, a bank that grows, a count.

    Args:
        learns: whether it has a parameter, the logarithm of the noise.
    """

    scale: Tensor
    bank: Tensor
    recent: Tensor

    def __init__(self, learns: bool = False) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("bank", torch.zeros(0))
        self.register_buffer("recent", torch.zeros(3), persistent=False)
        self.steps = 0
        self.log_noise = nn.Parameter(torch.zeros(())) if learns else None

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """The loss; only training changes what it remembers."""
        error = (output - target).square().mean()
        loss = error / self.scale * (1 + 0.01 * self.steps) + 0.001 * (self.bank.sum() + self.recent.sum())
        if self.log_noise is not None:
            loss = loss * torch.exp(-self.log_noise) + self.log_noise
        if torch.is_grad_enabled():
            seen = target.abs().mean().detach()
            self.steps += 1
            self.scale = 0.9 * self.scale + 0.1 * (1 + seen)
            self.bank = torch.cat([self.bank, seen[None]])[-5:]
            self.recent = torch.cat([self.recent[1:], seen[None]])
        return loss


class Stream(IterableDataset[tuple[Tensor, Tensor]]):
    """A stream that shuffles itself, with global random numbers or its own generator.

    Args:
        own: whether the generator is its own.
    """

    def __init__(self, own: bool, count: int = SAMPLES) -> None:
        self.x = torch.linspace(-1, 1, count)[:, None]
        self.generator = torch.Generator().manual_seed(5) if own else None

    def __len__(self) -> int:
        return len(self.x)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        if self.generator is None:
            order = np.random.permutation(len(self.x)).tolist()
        else:
            order = torch.randperm(len(self.x), generator=self.generator).tolist()
        for index in order:
            yield self.x[index], 3 * self.x[index] - 1


def points(own: bool) -> tuple[Dataset[object], Dataset[object]]:
    """Training set, a stream, and validation set."""
    return Stream(own), faulty_parts.points()[1]


class Smoothed:
    """The mean absolute error, averaged over the epochs: what it knows outlives `reset`."""

    def __init__(self) -> None:
        self.average: float | None = None
        self.reset()

    def reset(self) -> None:
        """Forget all batches."""
        self._errors: list[Tensor] = []

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Take in one batch."""
        self._errors.append((prediction - target).abs().mean())

    def compute(self) -> Tensor:
        """0-dim."""
        now = float(torch.stack(self._errors).mean())
        self.average = now if self.average is None else 0.5 * self.average + 0.5 * now
        return torch.tensor(self.average)


class TwoModes(torch.optim.Optimizer):
    """Gradient descent whose weights are the average of its steps in eval mode, as of schedule-free ones."""

    def __init__(self, params: Any, lr: float = 0.01) -> None:
        super().__init__(params, {"lr": lr, "training": True, "steps": 0})

    @torch.no_grad()
    def step(self, closure: object = None) -> None:  # type: ignore[override]
        """Descend, in train mode."""
        for group in self.param_groups:
            if not group["training"]:
                raise RuntimeError("TwoModes steps in train mode")
            group["steps"] += 1
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["average"] = parameter.detach().clone()
                parameter.sub_(group["lr"] * parameter.grad)
                state["average"].add_(parameter - state["average"], alpha=1 / (group["steps"] + 1))

    def train(self) -> None:
        """Let the weights be those that are trained."""
        self._switch(True)

    def eval(self) -> None:
        """Let the weights be the average."""
        self._switch(False)

    @torch.no_grad()
    def _switch(self, training: bool) -> None:
        for group in self.param_groups:
            if group["training"] == training:
                continue
            group["training"] = training
            for parameter in group["params"]:
                if "average" in self.state[parameter]:
                    average = self.state[parameter]["average"]
                    now = parameter.detach().clone()
                    parameter.copy_(average)
                    average.copy_(now)


class PartlyFrozen(Forgetful):
    """A network whose first layers, batch norm among them, its author put into eval mode."""

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__(seconds)
        self.net[:2].eval().requires_grad_(False)
        self.calls = 0

    def forward(self, x: Tensor) -> Any:
        """Predict, with a temperature that falls with every batch that was trained."""
        self.calls += self.training
        return super().forward(x) * (1 + 1 / (10 + self.calls))
