"""What a network costs: its size, its arithmetic, and how long an answer takes on this machine."""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lab.inference.loaded import Loaded
from lab.provenance import processor

BATCHES = (1, 32)
WARM_UP = 3  # passes that aren't timed: kernels are chosen and memory is found in them
LEAST, MOST = 5, 100  # passes that are
SECONDS = 2.0  # for each batch size, unless `LEAST` passes take longer


@dataclass(frozen=True)
class Speed:
    """How long the network takes for a batch that is on its device already, in seconds."""

    batch: int
    median: float
    p95: float
    passes: int

    @property
    def throughput(self) -> float:
        """Images a second, by the median."""
        return self.batch / self.median


@dataclass(frozen=True)
class Efficiency:
    """What a network costs.

    Args:
        weight_bytes: of parameters and buffers, as they are in memory.
        checkpoint_bytes: of the file, which also holds the optimizer's state.
        flops: floating-point operations of one image, a multiplication and an addition being two; None where
            no operation of the network could be counted.
        input: shape of that image, (C, H, W).
        device: what was timed, with its name.
    """

    parameters: int
    weight_bytes: int
    checkpoint_bytes: int
    flops: int | None
    input: tuple[int, ...]
    device: str
    speeds: tuple[Speed, ...]


def measure(loaded: Loaded, inputs: Sequence[Tensor], batches: tuple[int, ...] = BATCHES) -> Efficiency:
    """Measure a network on one sample, repeated to batches; takes some seconds.

    A batch that the device has no memory for is left out.

    Args:
        inputs: the image (C, H, W), and what else the network takes, without the axis of a batch.
    """
    state = loaded.model.state_dict().values()
    speeds = []
    for batch in batches:
        try:
            speeds.append(_timed(loaded, batch, _repeated(inputs, batch)))
        except torch.OutOfMemoryError:
            break
    return Efficiency(
        parameters=sum(each.numel() for each in loaded.model.parameters()),
        weight_bytes=sum(each.numel() * each.element_size() for each in state),
        checkpoint_bytes=loaded.weights.stat().st_size,
        flops=_flops(loaded, inputs),
        input=tuple(inputs[0].shape),
        device=f"{_device_name(loaded.runtime.device)}, {loaded.config.precision}",
        speeds=tuple(speeds),
    )


def _repeated(inputs: Sequence[Tensor], batch: int) -> list[Tensor]:
    return [each.expand(batch, *each.shape).contiguous() for each in inputs]


def _timed(loaded: Loaded, size: int, inputs: Sequence[Tensor]) -> Speed:
    """Passes of one batch, each waited for."""
    times: list[float] = []
    with torch.no_grad(), loaded.runtime.autocast():
        batch = loaded.runtime.move(inputs)
        for _ in range(WARM_UP):
            _pass(loaded, batch)
        until = time.perf_counter() + SECONDS
        while len(times) < LEAST or (len(times) < MOST and time.perf_counter() < until):
            times.append(_pass(loaded, batch))
    return Speed(size, statistics.median(times), float(np.percentile(times, 95)), len(times))


def _pass(loaded: Loaded, batch: Sequence[Tensor]) -> float:
    """Seconds of one pass."""
    wait = _waiting(loaded.runtime.device)
    wait()
    started = time.perf_counter()
    loaded.task.infer(loaded.model, *batch)
    wait()
    return time.perf_counter() - started


def _waiting(device: torch.device) -> Callable[[], object]:
    """What returns when the device has nothing left to do."""
    if device.type == "cpu":
        return lambda: None
    return lambda: torch.accelerator.synchronize(device)


def _flops(loaded: Loaded, inputs: Sequence[Tensor]) -> int | None:
    """Matrix products, convolutions and attention, as torch counts them; the rest is small beside them."""
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with torch.no_grad(), loaded.runtime.autocast(), _no_fast_path(), counter:
        loaded.task.infer(loaded.model, *loaded.runtime.move(_repeated(inputs, 1)))
    return counter.get_total_flops() or None


@contextmanager
def _no_fast_path() -> Iterator[None]:
    """Without torch's fused transformer layers, whose operations can't be counted."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{device}, {torch.cuda.get_device_name(device)}"
    if device.type == "cpu":
        threads = torch.get_num_threads()
        return f"cpu, {processor() or 'unknown'}, {threads} thread{'' if threads == 1 else 's'}"
    return str(device)
