"""The only module that depends on hardware: device, precision, memory layout, compilation, step."""

import dataclasses
import functools
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from lab.config import ConfigError, Problem, RunConfig
from lab.config.held_modules import modules_in, parameters_in
from lab.config.problems import did_you_mean
from lab.state.remarks import Remarks
from lab.store.error_text import text_of

T = TypeVar("T")
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
# Torch raises plain RuntimeErrors with these texts for cuBLAS, the CPU, and memory outside of its allocator.
_TORCH_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "cublas_status_alloc_failed")


class Runtime:
    """The device and the numerics of the network.

    Args:
        device: `auto` (cuda, then mps, then cpu), or a torch device.
        precision: `fp32`, `bf16` or `fp16`; the weights stay float32, the forward pass is autocast, and fp16
            has a gradient scaler.
        compile: torch.compile, with its default backend or the named one.
        channels_last: lay 4-D tensors out as NHWC, which convolutions are faster on.
        deterministic: warn of kernels whose result varies, and pick the ones whose doesn't.
        threads: CPU threads that compute, in the whole process; None leaves them as they are.

    Raises:
        ConfigError: the device is not there.
    """

    def __init__(
        self,
        device: torch.device | str = "auto",
        precision: str = "fp32",
        *,
        compile: bool | str = False,
        channels_last: bool = False,
        deterministic: bool = False,
        threads: int | None = None,
    ) -> None:
        self.device = _resolve(device)
        self.channels_last = channels_last
        self._compile = _require_backend(compile)
        self._dtype = _DTYPES.get(precision)
        self._network: torch.dtype | None = None
        self.remarks = Remarks()
        self._no_autocast = nullcontext()
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=precision == "fp16")
        if deterministic != torch.are_deterministic_algorithms_enabled():  # the call alone imports a compiler
            torch.use_deterministic_algorithms(deterministic, warn_only=True)
        if threads is not None:
            torch.set_num_threads(threads)
        # cuBLAS reads it at its first call; a value that the user has set stays.
        if deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

    @classmethod
    def from_config(cls, config: RunConfig) -> "Runtime":
        """Create the runtime that a config specifies."""
        return cls(
            config.device,
            config.precision,
            compile=config.compile,
            channels_last=config.channels_last,
            deterministic=config.deterministic,
            threads=config.threads,
        )

    def place(self, part: T) -> T:
        """Move a module to the device, in the chosen memory layout; before an optimizer is made.

        Of any other object, the modules and parameters that it holds move, and of a function, such as a loss,
        the tensors that are bound to it.
        """
        if isinstance(part, functools.partial):
            moved = {name: self.move(value) for name, value in part.keywords.items()}
            return cast(T, functools.partial(part.func, *part.args, **moved))
        for module in modules_in(part):
            module.to(self.device)
            if self.channels_last:
                module.to(memory_format=torch.channels_last)
        for parameter in parameters_in(part).values():
            parameter.data = parameter.data.to(self.device)
        return part

    def place_network(self, model: nn.Module) -> nn.Module:
        """Move the network; batches of float64 are then converted to its type, or float32 to float64."""
        floating = (each.dtype for each in model.parameters() if each.is_floating_point())
        self._network = next(floating, None)
        return self.place(model)

    def forward(self, model: nn.Module) -> nn.Module:
        """Return the module to call in place of the model: itself, or compiled. Both share the weights."""
        if not self._compile:
            return model
        if isinstance(self._compile, str):
            return cast(nn.Module, torch.compile(model, backend=self._compile))
        return cast(nn.Module, torch.compile(model))

    def move(self, batch: Any) -> Any:
        """Move a batch to the device: a tensor, or nested sequences, mappings and dataclasses of them."""
        if isinstance(batch, Tensor):
            batch = self._converted(batch)
            if self.channels_last and batch.dim() == 4:
                return batch.to(self.device, non_blocking=True, memory_format=torch.channels_last)
            return batch if batch.device == self.device else batch.to(self.device, non_blocking=True)
        if isinstance(batch, Mapping):
            return {key: self.move(value) for key, value in batch.items()}
        if isinstance(batch, (list, tuple)):
            moved = [self.move(value) for value in batch]
            return type(batch)(*moved) if isinstance(batch, tuple) and hasattr(batch, "_fields") else moved
        if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
            fields = {
                field.name: self.move(getattr(batch, field.name)) for field in dataclasses.fields(batch)
            }
            changed = {name: each for name, each in fields.items() if each is not getattr(batch, name)}
            return dataclasses.replace(batch, **changed) if changed else batch
        return batch

    def _converted(self, tensor: Tensor) -> Tensor:
        """Convert to the network's type where one is float64: torch doesn't mix it with float32."""
        own = self._network
        if own is None or tensor.dtype == own or {tensor.dtype, own} != {torch.float32, torch.float64}:
            return tensor
        kind, needed = (str(each).removeprefix("torch.") for each in (tensor.dtype, own))
        self.remarks.add(f"the data has {kind} tensors and the network computes in {needed}: converted")
        return tensor.to(own)

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context of every forward pass."""
        if self._dtype is None:
            return self._no_autocast
        return torch.autocast(self.device.type, dtype=self._dtype)

    def backward(self, loss: Tensor) -> None:
        """Add the loss's gradients, scaled where the precision needs it."""
        if self.scaler.is_enabled():
            loss = self.scaler.scale(loss)
        loss.backward()

    def step(
        self, optimizer: Optimizer, clip_norm: float | None = None, measure: bool = False
    ) -> Tensor | None:
        """Step and clear the gradients; return their norm before clipping, if clipped or `measure`."""
        norm: Tensor | None = None
        if clip_norm is not None or measure:
            # The norm and its limit are of the gradients themselves, not of the scaled ones.
            if self.scaler.is_enabled():
                self.scaler.unscale_(optimizer)
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            limit = float("inf") if clip_norm is None else clip_norm
            norm = nn.utils.clip_grad_norm_(parameters, limit)
        if self.scaler.is_enabled():
            self.scaler.step(optimizer)
            self.scaler.update()
        else:
            optimizer.step()
        clear_gradients(optimizer)
        return norm


def clear_gradients(optimizer: Optimizer) -> None:
    """Set all gradients to None, as `Optimizer.zero_grad` does; one that is not torch's is called."""
    if getattr(optimizer.zero_grad, "__func__", None) is not Optimizer.zero_grad:
        optimizer.zero_grad(set_to_none=True)
        return
    # Without torch's record for the profiler, which takes as long as a small layer.
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = None


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether memory ran out: the GPU's or the machine's."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(
        word in text_of(error).lower() for word in _TORCH_OUT_OF_MEMORY
    )


def averaged(model: nn.Module, decay: float) -> AveragedModel:
    """Return a copy that follows weights and buffers: average = decay * average + (1 - decay) * weights."""
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)


def _resolve(device: torch.device | str) -> torch.device:
    if device == "auto":
        found = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        return _resolve(found)
    result = torch.device(device)
    if result.type not in ("cuda", "mps"):
        return result
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if result.type == "cuda" and (result.index or 0) >= count:
        there = f"cuda:0 to cuda:{count - 1}" if count else "none"
        raise _no_device(f"found '{device}', and the available CUDA devices are: {there}")
    if result.type == "mps" and not torch.backends.mps.is_available():
        raise _no_device("found 'mps', which is not available on this machine")
    return torch.device(result.type, result.index or 0)


def _require_backend(compile: bool | str) -> bool | str:
    if isinstance(compile, str) and compile not in torch.compiler.list_backends(exclude_tags=()):
        hint = did_you_mean(compile, torch.compiler.list_backends())
        message = f"found '{compile}', and torch.compile has no such backend{hint}"
        raise ConfigError([Problem(("compile",), message)])
    return compile


def _no_device(message: str) -> ConfigError:
    return ConfigError([Problem(("device",), f"{message}; auto uses an available device")])
