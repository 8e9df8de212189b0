"""Networks that fail on demand: what a trial of one's own code may do to its process."""

import os
import signal
import time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

from lab.events import EpochEnd, Note, RunEnd, RunStart

SAMPLES = 120
_LEAKED: list[bytes] = []


class Faulty(nn.Module):
    """A small network for one number, of which one fault can be asked.

    Args:
        fault: none, error, nan, oom (of a GPU), memory_error, exit, kill, system_exit, segfault, hang.
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
            case "nan":
                return self.net(x) * float("nan")
            case "oom":
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
            case "memory_error":
                raise MemoryError("planted: no more")
            case "exit" | "kill":
                with open(self._note or os.devnull, "a") as file:  # noqa: PTH123 - a name, and no path
                    file.write(self._line)
                if self._fault == "exit":
                    os._exit(7)
                os.kill(os.getpid(), signal.SIGKILL)
            case "system_exit":
                raise SystemExit(3)
            case "segfault":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "hang":
                time.sleep(600)
        return self.net(x)


class Noisy(Dataset[tuple[Tensor, Tensor]]):
    """Points of a line that are read one by one, each with noise of the global streams: an augmentation."""

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        x = torch.tensor([index / SAMPLES * 2 - 1])
        noise = 0.1 * torch.randn(1) + float(np.random.normal(0.0, 0.1))
        return x + noise, 3 * x - 1


def points(in_memory: bool = False) -> tuple[Dataset[Any], Dataset[Any]]:
    """Training and validation set."""
    x = torch.linspace(-1, 1, SAMPLES)[:, None]
    still = TensorDataset(x, 3 * x - 1)
    return (still if in_memory else Noisy()), TensorDataset(x[::4], 3 * x[::4] - 1)


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


class Lingering:
    """A tracker whose end takes long, as over a slow network.

    Args:
        seconds: that it takes.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def start(self, event: RunStart) -> None:
        """Nothing yet."""

    def epoch(self, event: EpochEnd) -> None:
        """Nothing yet."""

    def image(self, epoch: int, name: str, image: NDArray[np.uint8]) -> None:
        """Nothing yet."""

    def note(self, event: Note) -> None:
        """Nothing yet."""

    def finish(self, event: RunEnd) -> None:
        """Take long."""
        time.sleep(self._seconds)
