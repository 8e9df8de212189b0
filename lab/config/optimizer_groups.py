"""The optimizer of a run: groups for the network's parameters, and further ones for those of the loss."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lab.config.build_components import build
from lab.config.component_spec import Look, Spec
from lab.config.import_target import uncollected
from lab.config.problems import ConfigError, Problem
from lab.config.validation import validate

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

KEY = "criterion_optimizer"
FUSED_DEVICES = {"cpu", "cuda", "mps"}
_SHARED = (
    "the loss's parameters are in the optimizer of the network; name only options that are other for them"
)


def option_problems(
    optimizer: Spec, options: Mapping[str, object], look: Look | None = None
) -> list[Problem]:
    """List which options of the loss's group the optimizer doesn't take, with their paths in the run."""
    if not options:
        return []
    if "target" in options:
        return [Problem((KEY, "target"), _SHARED)]
    together = validate(Spec, {"target": optimizer.target, **optimizer.arguments, **options})
    found = together.check("params", look=look)
    return [each.below((KEY,)) for each in found if each.path and each.path[0] in options]


def build_optimizer(
    spec: Spec, network: "Sequence[Tensor]", loss: "Mapping[str, Tensor]", options: Mapping[str, object]
) -> "Optimizer":
    """Build the optimizer, fused where torch has that for the parameters' device.

    The groups of the loss are those of a second optimizer, made by the same config but for the options: so
    the optimizer itself checks them, and a function that makes several groups makes them here as well.

    Args:
        network: the parameters of the network, at least one.
        loss: those of the loss, by name.

    Raises:
        ConfigError: an optimizer can't be built, it takes no second group, or there are options for nothing.
    """
    if options and not loss:
        message = "the loss has no parameters to train; remove it, or take a loss that has some"
        raise ConfigError([Problem((KEY,), message)])
    fused = fused_arguments(spec, [*network, *loss.values()])
    with uncollected():  # the first optimizer of a process imports torch's compiler, a thousand modules
        optimizer: Optimizer = build(spec, ("optimizer",), list(network), **fused)
    if not loss:
        return optimizer
    names = ", ".join(loss)
    try:
        # A second optimizer is made only for its groups: it checks the options by itself.
        further: Optimizer = build(spec, (KEY,), list(loss.values()), **{**fused, **options})
        for group in further.param_groups:
            optimizer.add_param_group(group)
    except ConfigError as error:
        problems = [replace(p, message=f"{p.text} (for {names})", hint="") for p in error.problems]
        raise ConfigError(problems) from error
    except AttributeError as error:
        message = f"{spec.target} takes no further parameters ({error}), and the loss has some: {names}"
        message = f"{message}; take another optimizer, or freeze them with requires_grad_(False)"
        raise ConfigError([Problem(("optimizer",), message)]) from error
    return optimizer


def require_own_rate(optimizer: "Optimizer", scheduler: str, options: Mapping[str, Any]) -> None:
    """Refuse a learning rate for the loss's group that a new scheduler has replaced by one of its own.

    Raises:
        ConfigError: it has.
    """
    if "lr" not in options:
        return
    group = optimizer.param_groups[-1]
    rate = float(group.get("initial_lr", options["lr"]))  # what every scheduler of torch's begins with
    if rate != float(options["lr"]):
        message = f"has no effect: {scheduler} begins with a learning rate of its own for each group, here"
        hint = "remove it; a list of two in the scheduler's argument is one for the network, one for the loss"
        raise ConfigError([Problem((KEY, "lr"), f"{message} {rate:g}; {hint}")])


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
