"""What a metric has gathered, as plain data that a checkpoint can hold, for a pass that goes on within."""

import inspect
from collections.abc import Mapping
from enum import Enum
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from lab.metrics.base import Metric

_ON_DEVICE = "on device"  # marks a tensor that goes back to the run's device, wherever that is by then
_CONSTANT = (
    type, FunctionType, BuiltinFunctionType, MethodType, partial, inspect.Signature, ModuleType, torch.dtype,
    Enum,
)  # fmt: skip
_OF_EVERY_MODULE = frozenset(vars(nn.Module()))


class Unkeepable(TypeError):
    """A metric holds something that a checkpoint can't; the message names it."""


def gathered(metric: Metric) -> dict[str, Any]:
    """The metric's attributes and buffers, or its `state_dict()` where a class without torch has one.

    Functions and the like are left out: they don't change.

    Raises:
        Unkeepable: something else than tensors, numbers, texts, lists, tuples and dicts is among them.
    """
    own = _own_state(metric)
    values = own.state_dict() if own is not None else _attributes(metric)
    return {
        name: _packed(value, f"{type(metric).__name__}.{name}")
        for name, value in values.items()
        if not _constant(value)
    }


def put_back(metric: Metric, state: Mapping[str, Any], device: torch.device) -> None:
    """Let a metric of the same class go on from what was gathered."""
    values = {name: _unpacked(value, device) for name, value in state.items()}
    own = _own_state(metric)
    if own is not None:
        own.load_state_dict(values)
        return
    modules = dict(metric.named_modules()) if isinstance(metric, nn.Module) else {"": metric}
    for path, value in values.items():
        module, _, name = path.rpartition(".")
        setattr(modules[module], name, value)


def _own_state(metric: Any) -> Any:
    """Modules have a `state_dict` from birth, which says nothing of attributes."""
    return metric if not isinstance(metric, nn.Module) and hasattr(metric, "load_state_dict") else None


def _attributes(metric: Metric) -> dict[str, Any]:
    if not isinstance(metric, nn.Module):
        return dict(vars(metric))
    found: dict[str, Any] = {}
    for path, module in metric.named_modules():
        prefix = f"{path}." if path else ""
        own = {name: value for name, value in vars(module).items() if name not in _OF_EVERY_MODULE}
        found |= {f"{prefix}{name}": value for name, value in {**own, **module._buffers}.items()}
    return found


def _constant(value: Any) -> bool:
    """Whether it is, or is made of, nothing but what no batch changes."""
    if isinstance(value, (dict, list, tuple)) and value:
        parts = value.values() if isinstance(value, dict) else value
        return all(_constant(part) for part in parts)
    return isinstance(value, _CONSTANT)


def _packed(value: Any, path: str) -> Any:
    if isinstance(value, Tensor):
        value = value.detach()
        return value if value.device.type == "cpu" else {_ON_DEVICE: value}
    if type(value) in (bool, int, float, str, bytes, type(None), torch.device):
        return value
    if type(value) in (list, tuple):
        return type(value)(_packed(part, f"{path}[{index}]") for index, part in enumerate(value))
    if type(value) is dict:
        return {name: _packed(part, f"{path}[{name!r}]") for name, part in value.items()}
    raise Unkeepable(f"{path} is of type {type(value).__name__}")


def _unpacked(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value
    if isinstance(value, (list, tuple)):
        return type(value)(_unpacked(part, device) for part in value)
    if isinstance(value, dict):
        if value.keys() == {_ON_DEVICE}:
            return value[_ON_DEVICE].to(device)
        return {name: _unpacked(part, device) for name, part in value.items()}
    return value
