"""NaN and infinite values in the data, named with the item where they are first read."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from lab.state.nested_tensors import tensors_in

B = TypeVar("B")

_NAMED = 3  # items that are named


def not_finite(tensors: Sequence[Tensor], what: str) -> str:
    """Name the rows of tensors in memory that have such values; empty where there are none.

    Args:
        what: the set that they are from, such as `training`.
    """
    bad: dict[int, str] = {}
    for place, tensor in enumerate(tensors):
        for row in _rows(tensor):
            bad.setdefault(row, _part(place, len(tensors)))
    rows = sorted(bad)
    return _text(rows, [bad[row] for row in rows], what)


def watched(
    batches: Iterator[B], indices: Callable[[int], Sequence[int]], what: str, warn: Callable[[str], None]
) -> Iterator[B]:
    """The batches, which are still on the CPU; the first one with such values is named.

    Args:
        indices: the items of a batch, by the batch's number from 0; none where they aren't known.
    """
    found = False
    for number, batch in enumerate(batches):
        if not found and (bad := _bad(batch)):
            found = True
            items = indices(number)
            rows = sorted({row for rows, _ in bad for row in rows})
            # The items of a stream are unknown, and rows of a custom `collate` need not be items.
            if rows and rows[-1] < len(items):
                parts = [next(part for each, part in bad if row in each) for row in rows]
                warn(_text([items[row] for row in rows], parts, what))
            else:
                warn(f"{what} batch {number + 1} has NaN or infinite values in its {bad[0][1]}")
        yield batch


def _bad(batch: object) -> list[tuple[list[int], str]]:
    """Return (rows, part) of each part of a batch that has such values."""
    parts = batch if isinstance(batch, (list, tuple)) else [batch]
    return [
        (rows, _part(place, len(parts)))
        for place, part in enumerate(parts)
        for tensor in tensors_in(part)
        if (rows := _rows(tensor))
    ]


def _rows(tensor: Tensor) -> list[int]:
    """The rows along the first dimension that have such values.

    The sum shows in one pass, and without memory of its own, that there are none.
    """
    if not tensor.is_floating_point() or tensor.is_sparse or tensor.dim() == 0 or tensor.numel() == 0:
        return []
    if math.isfinite(float(tensor.detach().sum())):
        return []
    rows = tensor.detach().isfinite().flatten(1).all(1) if tensor.dim() > 1 else tensor.detach().isfinite()
    return torch.nonzero(~rows).flatten().tolist()


def _part(place: int, parts: int) -> str:
    return "target" if place == parts - 1 and parts > 1 else "input"


def _text(items: Sequence[int], parts: Sequence[str], what: str) -> str:
    if not items:
        return ""
    named = ", ".join(map(str, items[:_NAMED]))
    more = f" and {len(items) - _NAMED} more" if len(items) > _NAMED else ""
    kind, have = ("item", "has") if len(items) == 1 else ("items", "have")
    where = " and ".join(dict.fromkeys(parts))
    return f"{what} {kind} {named}{more} {have} NaN or infinite values in the {where}"
