"""Processes that read: they end with the run, and quietly."""

import contextlib
import multiprocessing
import os
import signal

import numpy as np
import pytest
import torch
from torch import Tensor

from lab.config.sections import LoaderConfig
from lab.data.loaders import SampleLoader, create_loader
from lab.data.protocols import SampledDataset


class Given(SampledDataset):
    """Draws from the generator that it is given."""

    def __len__(self) -> int:
        return 7

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        raise AssertionError("sample() is there")

    def sample(self, index: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        return torch.tensor(index), torch.tensor(rng.random(3))


@pytest.mark.parametrize("killed", [1, 2])
def test_a_killed_worker_does_not_keep_the_run_from_ending(killed: int) -> None:
    loader = create_loader(Given(), 2, shuffle=True, config=LoaderConfig.model_validate({"workers": 2}))
    assert isinstance(loader, SampleLoader)
    loader.start(1)
    for child in multiprocessing.active_children()[:killed]:
        assert child.pid is not None
        with contextlib.suppress(RuntimeError):  # torch raises it at once, wherever the program is
            os.kill(child.pid, signal.SIGKILL)
            child.join(10)
    loader.stop()
    assert multiprocessing.active_children() == []


def test_a_worker_ends_quietly_at_sigterm() -> None:
    loader = create_loader(Given(), 2, shuffle=True, config=LoaderConfig.model_validate({"workers": 1}))
    assert isinstance(loader, SampleLoader)
    loader.start(1)
    next(iter(loader))  # it is up
    (child,) = multiprocessing.active_children()
    child.terminate()
    child.join(10)
    assert child.exitcode == 0
    loader.stop()
