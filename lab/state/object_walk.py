"""The values that an object holds in its attributes, found through objects, modules, lists and dicts."""

from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from types import MemberDescriptorType
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor, nn

from lab.state.plain_values import CONSTANT, FUNCTIONS, Unkeepable, is_made_of, packed

COLLECTIONS = (dict, list, tuple, set, frozenset, deque)
MANY = 1000  # items of a collection, with those of the ones in it, that are looked at one by one
SIMPLE = frozenset([bool, int, float, str, bytes, type(None)])
_DEEPEST = 100  # objects within each other that are looked into
_OF_EVERY_MODULE = frozenset(vars(nn.Module()))
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


class Leaf(NamedTuple):
    """A value, and where it is.

    Args:
        holder: its path.
        fixed: whether the holder is a tuple, in which no other value can stand.
    """

    holder: str
    slot: Slot
    name: Any
    value: Any
    fixed: bool = False

    @property
    def path(self) -> str:
        """Such as `bank.rows[3]`."""
        if self.slot is Slot.OWN:
            return f"{self.holder}.state_dict()".lstrip(".")
        if self.slot is Slot.ITEM and not (isinstance(self.name, str) and self.name.isidentifier()):
            return f"{self.holder}[{self.name!r}]"
        return f"{self.holder}.{self.name}".lstrip(".")


@dataclass(frozen=True)
class _Below:
    """An object to look into.

    Args:
        items: whether those of a collection are looked at, beside its attributes.
    """

    value: Any
    path: str
    tensors: bool = True
    items: bool = True


class Walk:
    """All values below an object that may change, each once.

    Args:
        root: of a module whose parameters and persistent buffers are kept elsewhere, the others.
        tensors: whether those of such a module are among them.

    Attributes:
        holders: what holds the values that were found so far, by path.
    """

    def __init__(self, root: object, tensors: bool = True) -> None:
        self.holders: dict[str, Any] = {}
        self._root = _Below(root, "", tensors)
        # Tensors that a module has registered are found as such, not again by an attribute.
        registered = [*root.parameters(), *root.buffers()] if isinstance(root, nn.Module) else ()
        self._seen = {id(tensor) for tensor in registered}

    def __iter__(self) -> Iterator[Leaf]:
        # Depth first with a stack of generators: recursion would limit the depth and be slower.
        stack = [self._within(self._root)]
        while stack:
            found = next(stack[-1], None)
            if found is None:
                stack.pop()
            elif isinstance(found, Leaf):
                yield found
            elif len(stack) < _DEEPEST:
                stack.append(self._within(found))

    def _within(self, below: _Below) -> Iterator[Leaf | _Below]:
        value, path = below.value, below.path
        if id(value) in self._seen:
            return
        self._seen.add(id(value))
        self.holders[path] = value
        if has_own_state(value):
            yield Leaf(path, Slot.OWN, None, value)
        elif isinstance(value, nn.Module):
            yield from self._of_module(value, path, below.tensors)
        else:
            if isinstance(value, (dict, list, tuple)) and below.items:
                for name, part in items_of(value):
                    yield from self._part(Leaf(path, Slot.ITEM, name, part, isinstance(value, tuple)))
            parts = (Leaf(path, Slot.ATTRIBUTE, name, part) for name, part in _attributes(value))
            found = [each for part in parts for each in self._part(part)]
            # Collections last: they may have many values, and the number of leaves is limited.
            yield from sorted(found, key=_is_collection)

    def _of_module(self, module: nn.Module, path: str, tensors: bool) -> Iterator[Leaf | _Below]:
        for name, part in list(vars(module).items()):
            if name not in _OF_EVERY_MODULE:
                leaf = Leaf(path, Slot.ATTRIBUTE, name, part)
                if type(part) in SIMPLE:
                    yield leaf
                else:
                    yield from self._part(leaf)
        for name, buffer in module._buffers.items():
            if buffer is not None and (tensors or name in module._non_persistent_buffers_set):
                yield Leaf(path, Slot.BUFFER, name, buffer)
        for name, parameter in module._parameters.items():
            if parameter is not None and tensors:
                yield Leaf(path, Slot.PARAMETER, name, parameter)
        for name, below in module._modules.items():
            if below is not None:
                yield _Below(below, f"{path}.{name}".lstrip("."), tensors)

    def _part(self, leaf: Leaf) -> Iterator[Leaf | _Below]:
        """A value as a leaf where it is plain data, or what is below it."""
        value = leaf.value
        if type(value) in SIMPLE:  # most are
            yield leaf
            return
        if isinstance(value, Unwatched) or type(value).__module__.partition(".")[0] in _TOOLS:
            return
        # A second reference, as recurrent layers have.
        if isinstance(value, Tensor) and id(value) in self._seen:
            return
        if isinstance(value, (dict, list, tuple)):
            yield from self._of_collection(leaf)
        elif isinstance(value, nn.Module) or has_own_state(value):
            yield _Below(value, leaf.path)
        elif (
            isinstance(value, (*CONSTANT, Tensor, np.ndarray, *COLLECTIONS))
            or is_iterator(value)
            or is_plain(value)
        ):
            yield leaf
        elif _attributes(value):
            yield _Below(value, leaf.path)

    def _of_collection(self, leaf: Leaf) -> Iterator[Leaf | _Below]:
        value = leaf.value
        if (
            type(value) in (list, tuple)
            and len(value) <= MANY
            and all(type(each) in SIMPLE for each in value)
        ):
            yield leaf
            return
        # A long collection is one value: a look at each item would take as long as an epoch.
        parts = [part for _, part in items_of(value)] if length(value) <= MANY else []
        if length(value) > MANY or not parts:
            yield leaf
            if type(value) not in COLLECTIONS and _attributes(value):
                yield _Below(value, leaf.path, items=False)
        elif not is_made_of(FUNCTIONS, value):
            shared = any(isinstance(part, Tensor) and id(part) in self._seen for part in parts)
            if not shared and is_few(value) and is_plain(untitled(value)):
                yield leaf
            else:
                yield _Below(value, leaf.path)


def _is_collection(found: Leaf | _Below) -> bool:
    return isinstance(found, _Below) and isinstance(found.value, COLLECTIONS)


def has_own_state(value: object) -> bool:
    """Return whether its class, which is no module, has a `state_dict` and a `load_state_dict`."""
    if isinstance(value, (nn.Module, type)):
        return False
    kind = type(value)
    return callable(getattr(kind, "state_dict", None)) and callable(getattr(kind, "load_state_dict", None))


def items_of(value: Any) -> list[tuple[Any, object]]:
    """The items of a dict, list or tuple as they lie in it, whatever a subclass makes of them."""
    if isinstance(value, dict):
        return list(dict.items(value))
    return list(enumerate((list if isinstance(value, list) else tuple).__iter__(value)))


def length(value: Any) -> int:
    """The number of those items."""
    kind = next(kind for kind in COLLECTIONS if isinstance(value, kind))
    return int(kind.__len__(value))


def untitled(value: Any) -> Any:
    """A named tuple as a tuple."""
    return tuple(value) if isinstance(value, tuple) and hasattr(type(value), "_make") else value


def is_iterator(value: object) -> bool:
    """Return whether it stands somewhere in what it reads."""
    return callable(getattr(type(value), "__next__", None))


def is_plain(value: object) -> bool:
    """Return whether it is made of plain data alone."""
    try:
        packed(value, "")
    except Unkeepable:
        return False
    return True


def is_few(value: object) -> bool:
    """Return whether a collection has few items, with those of the collections in it."""
    waiting, count = [value], 0
    while waiting and count <= MANY:
        each = waiting.pop()
        if isinstance(each, (dict, list, tuple)):
            count += length(each)
            waiting += [part for _, part in items_of(each)] if count <= MANY else []
    return count <= MANY


def _attributes(value: object) -> list[tuple[str, object]]:
    """Return the attributes of an instance, those of `__slots__` included."""
    found = dict(_dict_of(value))
    for kind in type(value).__mro__:
        if "__slots__" in vars(kind):
            for name, place in list(vars(kind).items()):
                if isinstance(place, MemberDescriptorType):
                    with suppress(AttributeError):  # nothing is there yet
                        found.setdefault(name, place.__get__(value, kind))
    return list(found.items())


def _dict_of(value: object) -> dict[str, object]:
    try:
        found = object.__getattribute__(value, "__dict__")
    except Exception:  # noqa: BLE001 - it has none, or a property of the user's own
        return {}
    return found if type(found) is dict else {}
