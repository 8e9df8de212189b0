"""The tensor in what a network returns, which may be a mapping or a tuple with more in it."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from lab.losses.targets import Unfit
from lab.losses.terms import Output

Network = Callable[..., Any]
"""A network, or a function in its place."""
NAMES = ("logits", "out")
"""The tensor's name in transformers and timm, and in torchvision's networks for segmentation."""


def tensor_of(output: Output) -> tuple[Tensor, tuple[str, ...]]:
    """The output itself, its only tensor, or the one called `logits` or `out`; and the names of the others.

    Raises:
        Unfit: which one is meant can't be decided.
    """
    if isinstance(output, Tensor):
        return output, ()
    parts = dict(_parts(output))
    tensors = [name for name, part in parts.items() if isinstance(part, Tensor)]
    # A well-known name decides; without one, a single entry is meant.
    called = [name for name in NAMES if name in tensors]
    chosen = called if len(called) == 1 else tensors if len(parts) == 1 else []
    if len(chosen) != 1:
        shapes = {name: tuple(part.shape) for name, part in parts.items() if isinstance(part, Tensor)}
        listed = ", ".join(f"{name}: {shapes.get(name, type(part).__name__)}" for name, part in parts.items())
        raise Unfit(
            f"the network returns a {type(output).__name__} ({listed or 'no tensors'}), and the task expects "
            "one tensor. Of a mapping or a named tuple 'logits' or 'out' is taken, if it has one of them; "
            "else wrap the network in a module that returns the tensor, or write a task whose step unpacks "
            "it (docs/tasks.md)"
        )
    rest = tuple(str(name) for name, part in parts.items() if name != chosen[0] and part is not None)
    tensor: Tensor = parts[chosen[0]]
    return tensor, rest


class OneTensor(nn.Module):
    """A network that returns the one tensor in what another returns."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: Any) -> Tensor:
        """Call the network and return its one tensor."""
        return tensor_of(self.network(*inputs))[0]


def _parts(output: Output) -> Iterator[tuple[Any, Any]]:
    if isinstance(output, Mapping):
        yield from output.items()
    elif isinstance(output, tuple) and hasattr(output, "_fields"):
        yield from zip(output._fields, output, strict=True)
    elif isinstance(output, (list, tuple)):
        yield from enumerate(output)
    elif dataclasses.is_dataclass(output):
        yield from ((field.name, getattr(output, field.name)) for field in dataclasses.fields(output))
