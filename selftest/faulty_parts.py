"""Networks that fail on demand: what a trial of custom code may do to its process."""

import os
import signal
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

from lab.events import RunEnd
from lab.trackers.base import Tracker

SAMPLES = 120
_LEAKED: list[bytes] = []


class Faulty(nn.Module):
    """A small network for one number, of which one fault can be asked.

    Args:
        fault: none, error, oom (of a GPU), memory_error, exit, kill, system_exit, segfault.
        width: of its hidden layer.
        seconds: that each batch takes.
        ballast: megabytes that are taken and never given back.
        note: a file to write a line into before the process is ended.
    """

    def __init__(
        self, fault: str = "none", width: int = 8, seconds: float = 0.0, ballast: int = 0, note: str = ""
    ) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(1, width), nn.Tanh(), nn.Linear(width, 1))
        self._fault, self._seconds, self._ballast, self._note = fault, seconds, ballast, note
        self._line = f"{fault} {width}\n"

    def forward(self, x: Tensor) -> Any:
        """Predict, or fail."""
        time.sleep(self._seconds)
        if self._fault != "none" and self._ballast:
            _LEAKED.append(b"x" * (self._ballast * 2**20))
        match self._fault:
            case "error":
                raise TypeError("planted: unsupported operand")
            case "oom":
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
            case "memory_error":
                raise MemoryError("planted: no more")
            case "exit" | "kill":
                with open(self._note or os.devnull, "a", encoding="utf-8") as file:  # noqa: PTH123 - a name, and no path
                    file.write(self._line)
                if self._fault == "exit":
                    os._exit(7)
                os.kill(os.getpid(), signal.SIGKILL)
            case "system_exit":
                raise SystemExit(3)
            case "segfault":
                os.kill(os.getpid(), signal.SIGSEGV)
        return self.net(x)


class Noisy(Dataset[tuple[Tensor, Tensor]]):
    """Points of a line that are read one by one, each with noise of the global streams: an augmentation."""

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        x = torch.tensor([index / SAMPLES * 2 - 1])
        noise = 0.1 * torch.randn(1) + float(np.random.normal(0.0, 0.1))
        return x + noise, 3 * x - 1


def points(in_memory: bool = False) -> tuple[Dataset[object], Dataset[object]]:
    """Training and validation set."""
    x = torch.linspace(-1, 1, SAMPLES)[:, None]
    still = TensorDataset(x, 3 * x - 1)
    return (still if in_memory else Noisy()), TensorDataset(x[::4], 3 * x[::4] - 1)


def guarded(**kept: Any) -> tuple[Dataset[object], Dataset[object]]:
    """The sets of `points`, from a source that asks for passwords, keys and more."""
    return points(in_memory=True)


class Head(nn.Identity):
    """A part of a network that was got with a key."""

    def __init__(self, size: int, api_key: str) -> None:
        super().__init__(size, api_key)


class Telling(nn.Module):
    """A network that prints what it shouldn't.

    Args:
        file: of lines; it prints the first, warns of the second, and breaks with the others.
        breaks: whether it does.
    """

    def __init__(self, file: str, breaks: bool = False, head: Any = None) -> None:
        super().__init__()
        self.net = nn.Linear(1, 1)
        self._lines, self._breaks = Path(file).read_text(encoding="utf-8").splitlines(), breaks

    def forward(self, x: Tensor) -> Any:
        """Predict, and print the secrets."""
        print(self._lines[0], flush=True)
        warnings.warn(self._lines[1], stacklevel=1)
        if self._breaks:
            raise RuntimeError("\n".join(self._lines[2:]))
        return self.net(x)


class Forgetful(nn.Module):
    """A network with dropout, and with statistics of its batches.

    Args:
        seconds: that each batch takes.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(1, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 1)
        )
        self._seconds = seconds

    def forward(self, x: Tensor) -> Any:
        """Predict slowly."""
        time.sleep(self._seconds)
        return self.net(x)


class Lingering(Tracker):
    """A tracker whose end takes long, as over a slow network.

    Args:
        seconds: that it takes.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def finish(self, event: RunEnd) -> None:
        """Take long."""
        time.sleep(self._seconds)


class Souring(nn.Module):
    """Gets better by a known curve, until in the second step of its second epoch something isn't finite.

    Its output (N, 2) is what `FirstColumn` takes the loss of, and what `Level` measures. Each step of
    training is written down as a line, `quality step`.

    Args:
        quality: how good it is; the larger the better.
        place: none, loss, gradient, metric.
        value: nan, inf, -inf.
        batches: of an epoch.
        sign: 1 where a smaller level is better, -1 where a larger is.
        note: the file of steps.
    """

    def __init__(
        self, quality: int, place: str, value: str, batches: int = 4, sign: int = 1, note: str = "steps.txt"
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self._quality, self._place, self._value = quality, place, float(value)
        self._batches, self._sign, self._note, self._steps = batches, sign, note, 0

    def forward(self, x: Tensor) -> Any:
        """Predict by the curve, or not."""
        if self.training:
            self._steps += 1
            with open(self._note, "a", encoding="utf-8") as file:  # noqa: PTH123 - a name, and no path
                file.write(f"{self._quality} {self._steps}\n")
        epoch = (self._steps - 1) // self._batches + 1
        level = torch.full((len(x),), 1 / (self._quality * epoch))
        loss, measured = self.weight * level, self._sign * level
        if self.training and self._steps >= self._batches + 2:
            if self._place == "loss":
                loss = loss + self._value
            elif self._place == "gradient":
                loss.register_hook(lambda gradient: gradient * self._value)
        if not self.training and epoch > 1 and self._place == "metric":
            measured = torch.full_like(measured, self._value)
        return torch.stack([loss, measured], dim=1)


class FirstColumn(nn.Module):
    """The mean of the first column is the loss."""

    def forward(self, output: Tensor, target: Tensor) -> Any:
        """0-dim."""
        return output[:, 0].mean()


class Level:
    """The mean of the second column is the figure."""

    def reset(self) -> None:
        """Forget all batches."""
        self._values: list[Tensor] = []

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Take in one batch."""
        self._values.append(prediction[:, 1])

    def compute(self) -> Tensor:
        """0-dim."""
        return torch.cat(self._values).mean()
