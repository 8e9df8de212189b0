"""What an object of the user's holds in its attributes, as far as it has changed since it was made.

Attributes are found through objects, modules, lists and dicts. Functions, types and the like are constants;
a file, a lock or a connection is no state. Whatever has a `state_dict` and a `load_state_dict` of its own
decides itself what it keeps.
"""

import itertools
import random
import zlib
from collections import deque
from collections.abc import Iterator, Mapping, MutableMapping, MutableSequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lab.state.plain import Unkeepable, is_constant, packed, unpacked

_OF_EVERY_MODULE = frozenset(vars(nn.Module()))
_LARGE = 4096  # elements of a tensor, beyond which no copy is kept to compare it with
_STREAMS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)
_COLLECTIONS = (dict, list, tuple, set, frozenset, deque)
_MANY = 1000  # items of a collection that are looked at one by one
_KEPT_APART = 2**20  # bytes of a value that a copy is made of
_LEAVES = 20_000  # of one object, at most
# Packages whose objects are tools: their attributes are no state of a training.
_TOOLS = frozenset(
    ["PIL", "cv2", "concurrent", "dask", "h5py", "io", "lmdb", "logging", "matplotlib", "multiprocessing",
     "_io", "netCDF4", "openslide", "optuna", "pandas", "polars", "pyarrow", "pydantic", "queue", "rasterio",
     "scipy", "sklearn", "sqlite3", "subprocess", "tempfile", "threading", "tifffile", "tqdm", "wandb",
     "weakref", "xarray", "zarr"]
)  # fmt: skip


class Unwatched:
    """A base of classes whose attributes are no state: they follow from (seed, epoch, index), or log."""


class Slot(StrEnum):
    """The way from a holder to one of its values."""

    ATTRIBUTE = "attribute"
    ITEM = "item"
    PARAMETER = "parameter"
    BUFFER = "buffer"
    OWN = "own"  # the holder's own state_dict


@dataclass(frozen=True)
class Leaf:
    """A value, and where it is."""

    holder: str  # its path
    slot: Slot
    name: Any
    value: Any

    @property
    def path(self) -> str:
        """Such as `bank.rows[3]`."""
        if self.slot is Slot.OWN:
            return f"{self.holder}.state_dict()".lstrip(".")
        if self.slot is Slot.ITEM and not (isinstance(self.name, str) and self.name.isidentifier()):
            return f"{self.holder}[{self.name!r}]"
        return f"{self.holder}.{self.name}".lstrip(".")


@dataclass(frozen=True)
class Mark:
    """Stands for a large value: that it is still the same object, untouched."""

    identity: int
    version: Any


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
        self._beginning = {leaf.path: self._seen(leaf) for leaf in self._leaves({})}

    def streams(self) -> list[str]:
        """The paths of random streams, which change for certain."""
        return [leaf.path for leaf in self._leaves({}) if isinstance(leaf.value, _STREAMS)]

    def changed(self) -> list[str]:
        """The paths of what isn't as it was when this was made, or decides itself what it keeps."""
        leaves = self._leaves({})
        return [leaf.path for leaf in leaves if leaf.slot is Slot.OWN or not self._as_at_first(leaf)]

    def copied(self) -> dict[str, Any]:
        """The same as `state`, in tensors that later steps don't change."""
        state: dict[str, Any] = _copied(self.state())
        return state

    def copy(self) -> dict[str, Any]:
        """All of it but parameters and what is too large or can't be kept, as `state` has it."""
        found: dict[str, Any] = {}
        for leaf in self._leaves({}):
            with suppress(Unkeepable):
                value = None if leaf.slot is Slot.PARAMETER else packed(_content(leaf), leaf.path)
                if value is not None and _bytes(value) <= self._most:
                    found[leaf.path] = [leaf.holder, leaf.slot.value, leaf.name, _copied(value)]
        return found

    def state(self) -> dict[str, Any]:
        """What has changed, as plain data by path; what can't be kept is named in `unkept` instead."""
        found: dict[str, Any] = {}
        self.unkept = []
        for leaf in self._leaves({}):
            if leaf.slot is not Slot.OWN and self._as_at_first(leaf):
                continue
            try:
                packed(leaf.name, f"a key of {leaf.holder}")
                value = packed(_content(leaf), leaf.path)
            except Unkeepable as error:
                self.unkept.append(str(error))
                continue
            if (size := _bytes(value)) > self._most:
                self.unkept.append(f"{leaf.path} has {size / 2**20:.1f} MB")
                continue
            found[leaf.path] = [leaf.holder, leaf.slot.value, leaf.name, value]
        return found

    def load(self, state: Mapping[str, Any], device: torch.device | str = "cpu") -> list[str]:
        """Restore what `state` returned; returns the paths that the object doesn't have any more.

        Raises:
            ValueError: a value doesn't fit.
        """
        holders: dict[str, Any] = {}
        leaves = {leaf.path: leaf for leaf in self._leaves(holders)}
        lost = []
        for path, (holder, slot, name, value) in state.items():
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
        if leaf.path not in self._beginning or _is_iterator(leaf.value):
            return False
        return _same(self._beginning[leaf.path], self._seen(leaf))

    def _seen(self, leaf: Leaf) -> Any:
        """What tells whether the value is still the same: a copy of a small one, a mark of a large one."""
        value = leaf.value
        if leaf.slot is Slot.OWN:
            return None
        if isinstance(value, Tensor):
            return value.detach().clone() if value.numel() <= _LARGE else self._mark(value)
        if isinstance(value, np.ndarray) and value.size > _LARGE:
            every = 1 if self._closely else value.size // _LARGE
            return Mark(id(value), zlib.crc32(value.ravel()[::every].tobytes()))
        if not self._closely and isinstance(value, _COLLECTIONS) and len(value) > _MANY:
            return Mark(id(value), len(value))
        try:
            plain = packed(value, "")
        except Unkeepable:
            return Mark(id(value), None)
        return Mark(id(value), len(value)) if _bytes(plain) > self._most else _copied(plain)

    def _mark(self, tensor: Tensor) -> Mark:
        """What is written through `.data` has no new version, so that what may be kept is summed up, too."""
        total = None
        if self._closely and not tensor.is_complex():
            total = int(tensor.detach().contiguous().view(torch.uint8).sum(dtype=torch.int64))
        return Mark(id(tensor), (tensor._version, total))

    def _leaves(self, holders: dict[str, Any]) -> Iterator[Leaf]:
        """All values that may change; notes what holds them."""
        seen = _registered(self.root)
        yield from itertools.islice(_walk(self.root, "", holders, seen, self._tensors), _LEAVES)


@contextmanager
def kept_apart(*roots: Any) -> Iterator[None]:
    """Restore what objects hold after something that must not count as training."""
    held = [Held(root, most=_KEPT_APART, closely=False) for root in roots]
    before = [each.copy() for each in held]
    try:
        yield
    finally:
        for each, state in zip(held, before, strict=True):
            each.load({path: state[path] for path in each.changed() if path in state})


def has_own_state(value: Any) -> bool:
    """Return whether its class, which is no module, has a `state_dict` and a `load_state_dict`."""
    if isinstance(value, (nn.Module, type)):
        return False
    kind = type(value)
    return callable(getattr(kind, "state_dict", None)) and callable(getattr(kind, "load_state_dict", None))


def _walk(value: Any, path: str, holders: dict[str, Any], seen: set[int], tensors: bool) -> Iterator[Leaf]:
    """The leaves below an object."""
    if id(value) in seen:
        return
    seen.add(id(value))
    holders[path] = value
    if has_own_state(value):
        yield Leaf(path, Slot.OWN, None, value)
    elif isinstance(value, nn.Module):
        yield from _of_module(value, path, holders, seen, tensors)
    elif isinstance(value, Mapping):
        for name, part in list(value.items()):
            yield from _part(Leaf(path, Slot.ITEM, name, part), holders, seen)
    elif isinstance(value, (list, tuple)):
        for index, part in enumerate(value):
            yield from _part(Leaf(path, Slot.ITEM, index, part), holders, seen)
    else:
        for name, part in list(getattr(value, "__dict__", {}).items()):
            yield from _part(Leaf(path, Slot.ATTRIBUTE, name, part), holders, seen)


def _of_module(
    module: nn.Module, path: str, holders: dict[str, Any], seen: set[int], tensors: bool
) -> Iterator[Leaf]:
    for name, part in list(vars(module).items()):
        if name not in _OF_EVERY_MODULE:
            yield from _part(Leaf(path, Slot.ATTRIBUTE, name, part), holders, seen)
    for name, buffer in module._buffers.items():
        if buffer is not None and (tensors or name in module._non_persistent_buffers_set):
            yield Leaf(path, Slot.BUFFER, name, buffer)
    for name, parameter in module._parameters.items():
        if parameter is not None and tensors:
            yield Leaf(path, Slot.PARAMETER, name, parameter)
    for name, below in module._modules.items():
        if below is not None:
            yield from _walk(below, f"{path}.{name}".lstrip("."), holders, seen, tensors)


def _part(leaf: Leaf, holders: dict[str, Any], seen: set[int]) -> Iterator[Leaf]:
    """A value as a leaf where it is plain data, or what is below it."""
    value = leaf.value
    if is_constant(value) or isinstance(value, Unwatched) or _is_tool(value):
        return
    if isinstance(value, Tensor) and id(value) in seen:  # a second reference, as recurrent layers have
        return
    if isinstance(value, (dict, list, tuple)) and 0 < len(value) <= _MANY:
        parts = value.values() if isinstance(value, dict) else value
        if _is_plain(value) and not any(isinstance(e, Tensor) and id(e) in seen for e in parts):
            yield leaf
        else:
            yield from _walk(value, leaf.path, holders, seen, True)
    elif isinstance(value, nn.Module) or has_own_state(value):
        yield from _walk(value, leaf.path, holders, seen, True)
    elif _is_plain_kind(value) or _is_iterator(value):
        yield leaf
    elif hasattr(value, "__dict__"):
        yield from _walk(value, leaf.path, holders, seen, True)


def _registered(root: Any) -> set[int]:
    """The identities of a module's parameters and buffers."""
    tensors = itertools.chain(root.parameters(), root.buffers()) if isinstance(root, nn.Module) else ()
    return {id(tensor) for tensor in tensors}


def _is_tool(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] in _TOOLS


def _is_plain(value: Any) -> bool:
    try:
        packed(value, "")
    except Unkeepable:
        return False
    return True


def _is_plain_kind(value: Any) -> bool:
    """Return whether it is plain data by its type, or a collection too large to look at."""
    return isinstance(value, (Tensor, np.ndarray, *_COLLECTIONS)) or _is_plain(value)


def _is_iterator(value: Any) -> bool:
    return callable(getattr(type(value), "__next__", None))


def _content(leaf: Leaf) -> Any:
    if leaf.slot is not Slot.OWN:
        return leaf.value
    state = leaf.value.state_dict()
    return dict(state) if isinstance(state, Mapping) else state


def _put(holder: Any, slot: Slot, name: Any, now: Any, value: Any) -> None:
    """Set a value, in place where others may share it."""
    if slot is Slot.OWN:
        holder.load_state_dict(value)
    elif now is not None and _in_place(now, value):
        return
    elif slot is Slot.BUFFER:
        holder._buffers[name] = value
    elif slot is Slot.ITEM:
        holder[name] = value
    elif slot is Slot.PARAMETER:
        raise RuntimeError(f"has the shape {tuple(value.shape)} in the checkpoint, {tuple(now.shape)} here")
    elif isinstance(holder, nn.Module):
        setattr(holder, name, value)
    else:
        vars(holder)[name] = value


def _in_place(now: Any, value: Any) -> bool:
    """Let the present object be as the restored one; False where it can't."""
    if type(now) is torch.Generator and type(value) is torch.Generator:
        now.set_state(value.get_state())
    elif type(now) is np.random.Generator and type(value) is np.random.Generator:
        if now.bit_generator.state["bit_generator"] != value.bit_generator.state["bit_generator"]:
            return False
        now.bit_generator.state = value.bit_generator.state
    elif type(now) is np.random.RandomState and type(value) is np.random.RandomState:
        now.set_state(value.get_state())
    elif type(now) is random.Random and type(value) is random.Random:
        now.setstate(value.getstate())
    elif isinstance(now, Tensor) and isinstance(value, Tensor):
        if now.shape != value.shape or now.dtype != value.dtype:
            return False
        with torch.no_grad():
            now.copy_(value)
    elif isinstance(now, MutableMapping) and type(now) is type(value):
        now.clear()
        now.update(value)
    elif isinstance(now, MutableSequence) and type(now) is type(value):
        if len(now) == len(value):
            value = [old if _copied_into(old, new) else new for old, new in zip(now, value, strict=True)]
        now.clear()
        now.extend(value)
    elif isinstance(now, set) and isinstance(value, set):
        now.clear()
        now.update(value)
    else:
        return False
    return True


def _copied_into(now: Any, value: Any) -> bool:
    """Return whether both are tensors, and the present one now has the other's values."""
    return isinstance(now, Tensor) and isinstance(value, Tensor) and _in_place(now, value)


def _copied(value: Any) -> Any:
    """A copy that later steps don't change; plain data alone."""
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, (list, tuple)):
        return type(value)(_copied(part) for part in value)
    return {name: _copied(part) for name, part in value.items()} if isinstance(value, dict) else value


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        if one.shape != other.shape or one.dtype != other.dtype or one.device != other.device:
            return False
        return bool(torch.equal(one, other)) or bool(
            one.is_floating_point() and torch.equal(one.isnan(), other.isnan())
            and torch.equal(one.nan_to_num(), other.nan_to_num())
        )  # fmt: skip
    if isinstance(one, (list, tuple)) and type(one) is type(other):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(_same(one[name], other[name]) for name in one)
    return type(one) is type(other) and bool(one == other or (one != one and other != other))


def _bytes(value: Any) -> int:
    """About how much plain data takes."""
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, (list, tuple)):
        return sum(map(_bytes, value)) + 8
    if isinstance(value, dict):
        return sum(map(_bytes, value.values())) + 8
    return len(value) if isinstance(value, (str, bytes)) else 8
