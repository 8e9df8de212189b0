"""Networks that fail on demand: what a trial of one's own code may do to its process."""

import os
import signal
import time
from typing import Any

import torch
from torch import Tensor, nn


class Faulty(nn.Module):
    """A small network for one number, of which one fault can be asked.

    Args:
        fault: none, error, nan, oom (of a GPU), memory_error, exit, system_exit, segfault, hang.
        width: of its hidden layer.
        seconds: that each batch takes.
    """

    def __init__(self, fault: str = "none", width: int = 8, seconds: float = 0.0) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(1, width), nn.Tanh(), nn.Linear(width, 1))
        self._fault, self._seconds = fault, seconds

    def forward(self, x: Tensor) -> Any:
        """Predict, or fail."""
        time.sleep(self._seconds)
        match self._fault:
            case "error":
                raise TypeError("planted: unsupported operand")
            case "nan":
                return self.net(x) * float("nan")
            case "oom":
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
            case "memory_error":
                raise MemoryError("planted: no more")
            case "exit":
                os._exit(7)
            case "system_exit":
                raise SystemExit(3)
            case "segfault":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "hang":
                time.sleep(600)
        return self.net(x)
