"""The attributes of a user's object, as far as they have changed since it was made.

Attributes are found through objects, modules, lists and dicts. Functions, types and the like are constants;
a file, a lock or a connection is no state. Whatever has a `state_dict` and a `load_state_dict` of its own
decides itself what it keeps.
"""

import itertools
import random
import zlib
from collections.abc import Iterator, Mapping, MutableMapping, MutableSequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from functools import partial
from types import MemberDescriptorType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lab.state.object_walk import (
    COLLECTIONS,
    MANY,
    SIMPLE,
    Leaf,
    Slot,
    Unwatched,
    Walk,
    has_own_state,
    is_iterator,
    length,
    untitled,
)
from lab.state.plain_values import CONSTANT, FUNCTIONS, Plain, Unkeepable, packed, unpacked

__all__ = ["Held", "Unwatched", "has_own_state", "kept_apart"]

_STREAMS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)
_STATE_OF: Mapping[type, tuple[str, str]] = {  # methods that return and that set it
    torch.Generator: ("get_state", "set_state"),
    np.random.RandomState: ("get_state", "set_state"),
    random.Random: ("getstate", "setstate"),
}
_IN_PLACE = (Tensor, dict, list, set, *_STREAMS)
_LARGE = 4096  # elements of a tensor, beyond which no copy is kept to compare it with
_KEPT_APART = 2**20  # bytes of a value that a copy is made of
_LEAVES = 20_000  # of one object, at most


@dataclass(frozen=True)
class Constant:
    """Stands for a value that no step changes, but for which another may be set."""

    value: object

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Constant):
            return False
        one, two = (v.func if isinstance(v, partial) else v for v in (self.value, other.value))
        if isinstance(one, FUNCTIONS) and isinstance(two, FUNCTIONS):  # those made again are the same
            return getattr(one, "__qualname__", one) == getattr(two, "__qualname__", two)
        return type(one) is type(two) and bool(one == two)

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True)
class Mark:
    """Stands for a large value: that it is still the same object, untouched."""

    identity: int
    version: object


class Held:
    """The changing attributes of one object.

    Args:
        root: the object. Of a module whose parameters and persistent buffers are kept elsewhere, the others.
        tensors: whether those of such a module are kept here.
        most: bytes of one value; what is larger is named, not kept.
        closely: whether a large value is read to see that it has changed, and not only looked at.
    """

    def __init__(self, root: Any, *, tensors: bool = True, most: int = 2**28, closely: bool = True) -> None:
        self.root, self._tensors, self._most, self._closely = root, tensors, most, closely
        self.unkept: list[str] = []
        leaves = list(self._leaves())
        self._beginning = {leaf.path: self._seen(leaf) for leaf in leaves}
        self._kinds = {leaf.path: type(leaf.value) for leaf in leaves}

    def streams(self) -> list[str]:
        """The paths of random streams, which change for certain."""
        return [leaf.path for leaf in self._leaves() if isinstance(leaf.value, _STREAMS)]

    def changed(self) -> list[str]:
        """The paths of what isn't as it was when this was made, or decides itself what it keeps."""
        leaves = self._leaves()
        return [leaf.path for leaf in leaves if leaf.slot is Slot.OWN or not self._as_at_first(leaf)]

    def copied(self) -> dict[str, Plain]:
        """Return the state in tensors that later steps don't change."""
        state: dict[str, Plain] = _copied(self.state())
        return state

    def copy(self) -> dict[str, object]:
        """All of it but parameters and what is too large or can't be kept, as `state` has it."""
        found: dict[str, object] = {}
        for leaf in self._leaves():
            with suppress(Unkeepable):
                if leaf.slot is not Slot.PARAMETER:
                    found[leaf.path] = [leaf.holder, leaf.slot.value, leaf.name, _copied(self._kept(leaf))]
        return found

    def state(self) -> dict[str, Plain]:
        """Return what has changed, as plain data by path; what can't be kept is named in `unkept` instead."""
        found: dict[str, Any] = {}
        self.unkept = []
        for leaf in self._leaves():
            # What is as at construction will be so again: only differences are kept.
            if leaf.slot is not Slot.OWN and self._as_at_first(leaf):
                continue
            try:
                found[leaf.path] = [leaf.holder, leaf.slot.value, leaf.name, self._kept(leaf)]
            except Unkeepable as error:
                self.unkept.append(str(error))
        return found

    def _kept(self, leaf: Leaf) -> object:
        """The value as plain data.

        Raises:
            Unkeepable: it can't be kept.
        """
        packed(leaf.name, f"a key of {leaf.holder}")
        content, kind = _content(leaf), type(leaf.value)
        if (size := _bytes(content)) > self._most:
            raise Unkeepable(f"{leaf.path} has {size / 2**20:.1f} MB, fine for a cache")
        if content is not leaf.value and leaf.slot is not Slot.OWN and kind is not self._kinds.get(leaf.path):
            raise Unkeepable(f"{leaf.path} is of type {kind.__name__}")
        if leaf.fixed and not isinstance(leaf.value, _IN_PLACE):
            raise Unkeepable(f"{leaf.path} is in a tuple with objects")
        return packed(content, leaf.path)

    def load(self, state: Mapping[str, Plain], device: torch.device | str = "cpu") -> list[str]:
        """Restore what `state` returned; returns the paths that the object doesn't have any more.

        Raises:
            ValueError: a value doesn't fit.
        """
        walk = Walk(self.root, self._tensors)
        leaves, holders = {leaf.path: leaf for leaf in itertools.islice(walk, _LEAVES)}, walk.holders
        lost = []
        for path, (holder, slot, name, value) in state.items():
            # Attributes and items of dicts may be new; an item of a list needs its place.
            there = path in leaves or slot == Slot.ATTRIBUTE or isinstance(holders.get(holder), dict)
            if holder not in holders or not there:
                lost.append(path)
                continue
            known = leaves.get(path)
            now = None if known is None else known.value
            try:
                _put(holders[holder], Slot(slot), name, now, unpacked(value, device))
            except (RuntimeError, TypeError, KeyError, AttributeError) as error:
                raise ValueError(f"{path}: {' '.join(str(error).split())}") from error
        return lost

    def _as_at_first(self, leaf: Leaf) -> bool:
        path, value = leaf.path, leaf.value
        first = self._beginning.get(path)
        if type(value) in SIMPLE and type(first) is type(value) and first is not None and first == value:
            # A fast path: most values are like this, and it runs at every checkpoint.
            return True
        if is_iterator(value):
            return False
        if isinstance(value, FUNCTIONS) and first is None:
            return True  # made when it is first needed
        # Beyond the limit of leaves, later values were not recorded.
        if path not in self._beginning:
            return len(self._kinds) >= _LEAVES
        return _same(first, self._seen(leaf))

    def _seen(self, leaf: Leaf) -> object:
        """Return what to compare the value by: a copy of a small one, a mark of a large one."""
        value = leaf.value
        if leaf.slot is Slot.OWN:
            return None
        if type(value) in (bool, int, float, type(None)):
            return value
        if isinstance(value, CONSTANT):
            return Constant(value)
        if isinstance(value, Tensor):
            small = value.numel() <= _LARGE and _is_ordinary(value)
            return value.detach().clone() if small else self._mark(value)
        if isinstance(value, np.ndarray) and value.size > _LARGE:
            # A file mapped for reading can't change here, and reading all of it would be slow.
            if isinstance(value, np.memmap) and not value.flags.writeable:
                return Mark(id(value), None)
            every = 1 if self._closely else value.size // _LARGE
            sample = value.ravel() if self._closely else value.flat[::every]
            return Mark(id(value), zlib.crc32(sample.tobytes()))
        if not self._closely and isinstance(value, COLLECTIONS) and length(value) > MANY:
            return Mark(id(value), length(value))
        if _bytes(value) > self._most:
            return Mark(id(value), length(value) if isinstance(value, COLLECTIONS) else None)
        try:
            return _copied(packed(untitled(value), ""))
        except Unkeepable:
            return Mark(id(value), None)

    def _mark(self, tensor: Tensor) -> Mark:
        """Return a version and, as writing through `.data` makes no new one, a sum of what may be kept."""
        total = None
        if self._closely and _is_ordinary(tensor):
            total = int(_bits(tensor).sum(dtype=torch.int64))
        return Mark(id(tensor), (tensor._version, total))

    def _leaves(self) -> Iterator[Leaf]:
        """All values that may change."""
        return itertools.islice(Walk(self.root, self._tensors), _LEAVES)


@contextmanager
def kept_apart(*roots: object) -> Iterator[None]:
    """Restore what objects hold after something that must not count as training."""
    # Two looks: one to know what changes, one for the values to restore.
    held = [Held(root, most=_KEPT_APART, closely=False) for root in roots]
    before = [each.copy() for each in held]
    try:
        yield
    finally:
        for each, state in zip(held, before, strict=True):
            each.load({path: state[path] for path in each.changed() if path in state})


def _content(leaf: Leaf) -> Any:
    if leaf.slot is not Slot.OWN:
        return leaf.value.name if isinstance(leaf.value, Enum) else untitled(leaf.value)
    state = leaf.value.state_dict()
    return dict(state) if isinstance(state, Mapping) else state


def _is_ordinary(tensor: Tensor) -> bool:
    """Return whether its numbers lie one after the other, here."""
    other = tensor.is_nested or tensor.is_quantized or tensor.is_meta
    return not other and tensor.layout is torch.strided


def _bits(tensor: Tensor) -> Tensor:
    values = tensor.detach()
    if values.is_complex():
        values = torch.view_as_real(values.resolve_conj())
    return values.resolve_neg().contiguous().reshape(-1).view(torch.uint8)


def _put(holder: Any, slot: Slot, name: Any, now: Any, value: Any) -> None:
    """Set a value, in place where others may share it."""
    if slot is Slot.OWN:
        holder.load_state_dict(value)
        return
    if isinstance(now, Enum):
        value = type(now)[value]
    elif isinstance(now, tuple) and hasattr(type(now), "_make") and len(value) == len(now):
        value = type(now)._make(value)  # type: ignore[attr-defined]
    # In place first: an alias of the object elsewhere must see the restored value too.
    if now is not None and _in_place(now, value):
        return
    if slot is Slot.BUFFER:
        holder._buffers[name] = value
    elif slot is Slot.ITEM:
        holder[name] = value
    elif slot is Slot.PARAMETER:
        raise RuntimeError(f"has the shape {tuple(value.shape)} in the checkpoint, {tuple(now.shape)} here")
    elif isinstance(holder, nn.Module):
        setattr(holder, name, value)
    elif hasattr(holder, "__dict__") and not isinstance(
        getattr(type(holder), name, None), MemberDescriptorType
    ):
        vars(holder)[name] = value
    else:
        object.__setattr__(holder, name, value)


def _in_place(now: object, value: object) -> bool:
    """Let the present object be as the restored one; False where it can't."""
    if type(now) is type(value) and (names := _STATE_OF.get(type(now))):
        getattr(now, names[1])(getattr(value, names[0])())
    elif type(now) is np.random.Generator and type(value) is np.random.Generator:
        if now.bit_generator.state["bit_generator"] != value.bit_generator.state["bit_generator"]:
            return False
        now.bit_generator.state = value.bit_generator.state
    elif isinstance(now, Tensor) and isinstance(value, Tensor):
        if now.shape != value.shape or now.dtype != value.dtype:
            return False
        if not (_is_ordinary(now) and _is_ordinary(value)):
            return False
        with torch.no_grad():
            now.copy_(value)
    elif isinstance(now, MutableMapping) and type(now) is type(value):
        now.clear()
        now.update(value)
    elif isinstance(now, MutableSequence) and type(now) is type(value):
        if len(now) == len(value):
            # Keep the tensors themselves where they fit: others may refer to them.
            value = [
                old if isinstance(old, Tensor) and _in_place(old, new) else new
                for old, new in zip(now, value, strict=True)
            ]
        now.clear()
        now.extend(value)
    elif isinstance(now, set) and isinstance(value, set):
        now.clear()
        now.update(value)
    else:
        return False
    return True


def _copied(value: Plain) -> Plain:
    """A copy that later steps don't change; plain data alone."""
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, (list, tuple)):
        return type(value)(_copied(part) for part in value)
    return {name: _copied(part) for name, part in value.items()} if isinstance(value, dict) else value


def _same(one: object, other: object) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        if one is other:
            return True
        if one.shape != other.shape or one.dtype != other.dtype or one.device != other.device:
            return False
        ordinary = _is_ordinary(one) and _is_ordinary(other)
        return ordinary and bool(torch.equal(_bits(one), _bits(other)))
    if isinstance(one, (list, tuple)) and type(one) is type(other):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(_same(one[name], other[name]) for name in one)
    # NaN equals itself here: it hasn't changed.
    return type(one) is type(other) and bool(one == other or (one != one and other != other))


def _bytes(value: object) -> int:
    """About how much a value takes; what lies within itself counts once."""
    waiting, seen, total = [value], set[int](), 0
    while waiting:
        each = waiting.pop()
        if isinstance(each, COLLECTIONS):
            total += 8
            if id(each) not in seen:
                seen.add(id(each))
                waiting += dict.values(each) if isinstance(each, dict) else each
        elif isinstance(each, Tensor):
            total += _bytes_of(each)
        else:
            total += each.nbytes if isinstance(each, np.ndarray) else _length(each)
    return total


def _length(value: object) -> int:
    return len(value) if isinstance(value, (str, bytes)) else 8


def _bytes_of(tensor: Tensor) -> int:
    if tensor.layout is torch.sparse_coo:
        return _bytes_of(tensor._values()) + _bytes_of(tensor._indices())
    if tensor.layout is torch.strided or tensor.is_nested:
        return tensor.numel() * tensor.element_size()
    return 2 * _bytes_of(tensor.values())
