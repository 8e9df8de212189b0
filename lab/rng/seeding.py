"""Randomness that comes from (seed, epoch, sample) and never from how often something was called."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lab.rng.keys import derive_seed

T = TypeVar("T")
_NumPyStream: TypeAlias = dict[str, Any] | tuple[str, NDArray[np.uint32], int, int, float]
_Streams: TypeAlias = tuple[tuple[object, ...], _NumPyStream, Tensor]  # Python, NumPy, torch


def seed_all(*numbers: int, device: torch.device | None = None) -> None:
    """Seed Python, NumPy and torch from the mixed numbers.

    Args:
        device: where torch draws numbers, besides the CPU; by default all devices. Seeding accelerators that
            are not initialized records stack traces, which costs more than all the rest.
    """
    value = derive_seed(*numbers)
    random.seed(value)
    np.random.seed(value % 2**32)
    if device is not None and device.type == "cpu":
        torch.default_generator.manual_seed(value)
    else:
        torch.manual_seed(value)


@contextmanager
def seeded(*numbers: int) -> Iterator[None]:
    """Seed the CPU's global streams within a context, and restore them after it.

    For datasets that draw from the global streams. The accelerators' streams are left alone: setting them
    costs a synchronisation, and a sample is made on the CPU.
    """
    saved = _streams()
    seed_all(*numbers, device=torch.device("cpu"))
    try:
        yield
    finally:
        _set(saved)


class OwnStreams:
    """Separate global random streams for a part of the work: others draw neither more nor less for it."""

    def __init__(self, *numbers: int) -> None:
        with seeded(*numbers):
            self._streams = _streams()

    def iterate(self, begin: Callable[[], Iterator[T]]) -> Iterator[T]:
        """Yield from an iterator that draws from these streams."""
        with self._swapped():
            items = begin()
        # Not `yield from`: the consumer runs at every yield, and must have the global streams by then.
        while True:
            with self._swapped():
                try:
                    item = next(items)
                except StopIteration:
                    return
            yield item

    @contextmanager
    def _swapped(self) -> Iterator[None]:
        others = _streams()
        _set(self._streams)
        try:
            yield
        finally:
            self._streams = _streams()
            _set(others)


def _streams() -> _Streams:
    return random.getstate(), np.random.get_state(), torch.get_rng_state()


def _set(streams: _Streams) -> None:
    random.setstate(streams[0])
    np.random.set_state(streams[1])
    torch.set_rng_state(streams[2])


class RngState:
    """The global random streams, in a form that a checkpoint can hold."""

    def state_dict(self) -> dict[str, Any]:
        """Return plain numbers and tensors only, so that it loads with `weights_only=True`."""
        name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
        version, internal, gauss = random.getstate()
        state = {
            # A tensor: to pickle 625 numbers one by one is a third of the time that a small checkpoint takes.
            "python": (version, torch.from_numpy(np.array(internal, dtype=np.int64)), gauss),
            "numpy": (str(name), torch.from_numpy(np.asarray(keys).astype(np.int64)), int(position)),
            "numpy_gauss": (int(has_gauss), float(cached)),
            "torch": torch.get_rng_state(),
        }
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            state["cuda"] = torch.cuda.get_rng_state_all()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the streams; a checkpoint from a machine with other GPUs restores the CPU's only."""
        version, internal, gauss = state["python"]
        numbers = internal.tolist() if isinstance(internal, Tensor) else internal  # plain ones in old files
        random.setstate((version, tuple(numbers), gauss))
        name, keys, position = state["numpy"]
        np.random.set_state((name, keys.numpy().astype(np.uint32), position, *state["numpy_gauss"]))
        torch.set_rng_state(state["torch"].cpu())
        cuda = state.get("cuda", [])
        if torch.cuda.is_available() and len(cuda) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all([stream.cpu() for stream in cuda])
