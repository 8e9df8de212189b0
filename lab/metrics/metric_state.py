"""The accumulated state of a metric as plain data for a checkpoint within a pass."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from lab.metrics.base import Metric
from lab.state.plain_values import Plain, Unkeepable, is_constant, packed, unpacked

__all__ = ["Unkeepable", "load_metric_state", "metric_state"]

_OF_EVERY_MODULE = frozenset(vars(nn.Module()))


def metric_state(metric: Metric) -> dict[str, Plain]:
    """The metric's attributes and buffers, or its `state_dict()` where a class without torch has one.

    Functions and the like are left out: they don't change.

    Raises:
        Unkeepable: something else than tensors, numbers, texts, lists, tuples and dicts is among them.
    """
    own = _own_state(metric)
    values = own.state_dict() if own is not None else _attributes(metric)
    return {
        name: packed(value, f"{type(metric).__name__}.{name}")
        for name, value in values.items()
        if not is_constant(value)
    }


def load_metric_state(metric: Metric, state: Mapping[str, Plain], device: torch.device) -> None:
    """Restore the state in a metric of the same class."""
    values = {name: unpacked(value, device) for name, value in state.items()}
    own = _own_state(metric)
    if own is not None:
        own.load_state_dict(values)
        return
    # Values are set rather than copied into buffers, whose shape may have changed.
    modules = dict(metric.named_modules()) if isinstance(metric, nn.Module) else {"": metric}
    for path, value in values.items():
        module, _, name = path.rpartition(".")
        setattr(modules[module], name, value)


def _own_state(metric: Any) -> Any:
    """The metric where its class defines its state; that of every module lacks its attributes."""
    return metric if not isinstance(metric, nn.Module) and hasattr(metric, "load_state_dict") else None


def _attributes(metric: Metric) -> dict[str, Plain]:
    if not isinstance(metric, nn.Module):
        return dict(vars(metric))
    found: dict[str, Plain] = {}
    for path, module in metric.named_modules():
        prefix = f"{path}." if path else ""
        own = {name: value for name, value in vars(module).items() if name not in _OF_EVERY_MODULE}
        found |= {f"{prefix}{name}": value for name, value in {**own, **module._buffers}.items()}
    return found
