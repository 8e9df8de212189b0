"""Which optimizers run as one kernel over all parameters."""

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lab.config.spec import Spec

if TYPE_CHECKING:
    from torch import Tensor

FUSED_DEVICES = {"cpu", "cuda", "mps"}


def fused_arguments(spec: Spec, parameters: "Sequence[Tensor]") -> dict[str, Any]:
    """`{"fused": True}` where the optimizer has it, torch supports it, and the config doesn't choose."""
    chosen = spec.arguments
    target = spec.resolve()
    if {"fused", "foreach", "capturable", "differentiable"} & set(chosen):
        return {}
    if not target.__module__.startswith("torch.optim") or "fused" not in inspect.signature(target).parameters:
        return {}
    supported = all(p.is_floating_point() and p.device.type in FUSED_DEVICES for p in parameters)
    return {"fused": True} if supported else {}
