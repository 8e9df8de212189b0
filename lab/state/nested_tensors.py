"""Tensors in batches, which may be nested."""

import dataclasses
from collections.abc import Iterator, Mapping

from torch import Tensor


def tensors_in(value: object) -> Iterator[Tensor]:
    """The tensors in nested sequences, mappings and dataclasses, in order."""
    return (leaf for _, leaf in leaves_in(value) if isinstance(leaf, Tensor))


def leaves_in(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    """All values in them, each with the keys and fields that lead to it, as `boxes: labels: `."""
    if isinstance(value, Tensor):  # most are
        yield path, value
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from leaves_in(part, f"{path}{key}: ")
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from leaves_in(part, path)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from leaves_in(getattr(value, field.name), f"{path}{field.name}: ")
    else:
        yield path, value
