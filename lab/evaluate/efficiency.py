"""Efficiency of a network: its size, its operations, and its inference time on this machine."""

import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lab.evaluate.operation_counts import count_operations
from lab.predict.loaded_run import LoadedRun
from lab.provenance.machine import processor

BATCHES = (1, 32)
WARM_UP = 3  # passes that aren't timed: they select kernels and allocate memory
LEAST, MOST = 5, 100  # timed passes
SECONDS = 2.0  # for each batch size, unless `LEAST` passes take longer


@dataclass(frozen=True)
class Speed:
    """Inference time of a batch that is already on the device, in seconds."""

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
    """Size, operations and speed of a network.

    Args:
        weight_bytes: of parameters and buffers, as they are in memory: tied weights count once, and buffers
            that no checkpoint holds count too.
        checkpoint_bytes: of the file, which also holds the optimizer's state.
        flops: floating-point operations of one image in matrix products, convolutions, attention and
            recurrent layers, a multiplication and an addition being two; None where there are none, or where
            an operation has no formula.
        input: shape of that image, (C, H, W).
        device: the device that was timed, with its name.
        uncounted: the operations without a formula, such as `aten::_fft_r2c`.
    """

    parameters: int
    weight_bytes: int
    checkpoint_bytes: int
    flops: int | None
    input: tuple[int, ...]
    device: str
    speeds: tuple[Speed, ...]
    uncounted: tuple[str, ...] = ()


def measure(loaded: LoadedRun, inputs: Sequence[Tensor], batches: tuple[int, ...] = BATCHES) -> Efficiency:
    """Measure a network on one sample, repeated to batches; takes some seconds.

    A batch that the device has no memory for is left out.

    Args:
        inputs: the image (C, H, W), and what else the network takes, without the axis of a batch.
    """
    speeds = []
    for batch in batches:
        try:
            speeds.append(_timed(loaded, batch, _repeated(inputs, batch)))
        except torch.OutOfMemoryError:  # larger batches won't fit either
            break
    alone = loaded.runtime.move(_repeated(inputs, 1))
    with loaded.runtime.autocast():
        flops, uncounted = count_operations(lambda: loaded.task.infer(loaded.model, *alone))
    return Efficiency(
        parameters=sum(each.numel() for each in loaded.model.parameters()),
        weight_bytes=addressed((*loaded.model.parameters(), *loaded.model.buffers())),
        checkpoint_bytes=loaded.weights.stat().st_size,
        flops=None if uncounted else flops or None,
        input=tuple(inputs[0].shape),
        device=f"{_device_name(loaded.runtime.device)}, {loaded.config.precision}",
        speeds=tuple(speeds),
        uncounted=uncounted,
    )


def _repeated(inputs: Sequence[Tensor], batch: int) -> list[Tensor]:
    return [each.expand(batch, *each.shape).contiguous() for each in inputs]


def _timed(loaded: LoadedRun, size: int, inputs: Sequence[Tensor]) -> Speed:
    """Time passes of one batch, synchronized after each."""
    times: list[float] = []
    with torch.no_grad(), loaded.runtime.autocast():
        batch = loaded.runtime.move(inputs)
        for _ in range(WARM_UP):
            _pass(loaded, batch)
        until = time.perf_counter() + SECONDS
        while len(times) < LEAST or (len(times) < MOST and time.perf_counter() < until):
            times.append(_pass(loaded, batch))
    return Speed(size, statistics.median(times), float(np.percentile(times, 95)), len(times))


def _pass(loaded: LoadedRun, batch: Sequence[Tensor]) -> float:
    """Return the seconds of one pass."""
    _wait(loaded.runtime.device)
    started = time.perf_counter()
    loaded.task.infer(loaded.model, *batch)
    _wait(loaded.runtime.device)
    return time.perf_counter() - started


def _wait(device: torch.device) -> None:
    """Wait until the device is idle."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def addressed(tensors: Iterable[Tensor]) -> int:
    """Return the bytes of memory of the tensors; shared ones count once."""
    # Views may overlap: merge the address ranges within each storage.
    spans: dict[int, list[tuple[int, int]]] = {}
    for tensor in (part for each in tensors for part in _strided(each) if part.numel()):
        last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
        start = int(tensor.storage_offset()) * tensor.element_size()
        storage = spans.setdefault(tensor.untyped_storage().data_ptr(), [])
        storage.append((start, start + (int(last) + 1) * tensor.element_size()))
    total = 0
    for storage in spans.values():
        covered = 0
        for start, end in sorted(storage):
            total += max(0, end - max(start, covered))
            covered = max(covered, end)
    return total


def _strided(tensor: Tensor) -> tuple[Tensor, ...]:
    """Return the parts of a sparse tensor that hold memory."""
    if tensor.layout == torch.sparse_coo:
        return tensor._indices(), tensor._values()
    if tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        return tensor.crow_indices(), tensor.col_indices(), tensor.values()
    if tensor.layout in (torch.sparse_csc, torch.sparse_bsc):
        return tensor.ccol_indices(), tensor.row_indices(), tensor.values()
    return (tensor,)


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{device}, {torch.cuda.get_device_name(device)}"
    if device.type == "cpu":
        threads = torch.get_num_threads()
        return f"cpu, {processor() or 'unknown'}, {threads} thread{'' if threads == 1 else 's'}"
    return str(device)
