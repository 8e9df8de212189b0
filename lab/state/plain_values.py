"""Values as plain data and back: what `torch.load(weights_only=True)` reads, whatever they were.

A value that is no tensor, number or text becomes a dict with a single key, which names its kind.
"""

import inspect
import random
import re
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Hashable, Mapping
from datetime import date, datetime, timedelta
from enum import Enum
from functools import partial
from pathlib import Path, PurePath
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

ON_DEVICE = "on device"  # marks a tensor that returns to the run's device, wherever that is by then
FUNCTIONS = (
    type, FunctionType, BuiltinFunctionType, MethodType, partial, inspect.Signature, ModuleType, torch.dtype,
    re.Pattern, np.dtype, np.ufunc,
)  # fmt: skip
CONSTANT = (*FUNCTIONS, Enum, PurePath, range, slice, date, timedelta)
_ARRAY = "array of numbers"  # marks an array of NumPy's
_LEFT_OUT = object()
_PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.device, torch.dtype, torch.Size, set)
_AS_THEY_ARE = frozenset([*_PLAIN, Tensor])
_DICTS = (dict, OrderedDict, defaultdict, Counter)
_NUMBERS = "biufc"  # kinds of NumPy's types that are tensors, too
_FACTORIES: Mapping[str, Callable[[], Any]] = {each.__name__: each for each in (int, float, list, dict, set)}


Plain = Any
"""Plain data: tensors, numbers, texts, None, and lists, tuples and dicts of them."""


class Unkeepable(TypeError):
    """A value that a checkpoint can't hold; the message names it."""


def is_constant(value: object) -> bool:
    """Return whether it is, or is made of, nothing but what no step changes."""
    return is_made_of(CONSTANT, value)


def is_made_of(kinds: tuple[type, ...], value: object) -> bool:
    """Return whether it is of these types, or a collection of nothing else."""
    if isinstance(value, (dict, list, tuple)) and value:
        parts = value.values() if isinstance(value, dict) else value
        try:
            return all(is_made_of(kinds, part) for part in parts)
        except RecursionError:  # within itself
            return False
    return isinstance(value, kinds)


def packed(value: object, path: str) -> Plain:
    """The value as plain data.

    Raises:
        Unkeepable: it holds something else than tensors, arrays, numbers, texts, random streams and
            collections of them.
    """
    try:
        return _packed(value, path)
    except RecursionError:
        raise Unkeepable(f"{path} is nested too deep, or within itself") from None


def _packed(value: Any, path: str) -> Plain:
    if isinstance(value, Tensor):
        return _of_tensor(value.detach(), path)
    if type(value) in (bool, int, float, complex, str, bytes, type(None), torch.device):
        return value
    if type(value) in (list, tuple, torch.Size):
        kind = list if type(value) is list else tuple
        return kind(_packed(part, f"{path}[{index}]") for index, part in enumerate(value))
    if type(value) is dict:
        return _of_dict(value, path)
    if type(value) in _PACKERS:
        return {type(value).__name__: _PACKERS[type(value)](value, path)}
    if isinstance(value, PurePath):
        return {"Path": str(value)}
    if isinstance(value, np.generic) and value.dtype.kind in _NUMBERS:
        return {"scalar": torch.from_numpy(np.asarray(value).reshape(1).copy())}
    raise Unkeepable(f"{path} is of type {type(value).__name__}")


def plainly(value: Any, path: str, wrong: list[str]) -> Plain:
    """The value as `torch.load(weights_only=True)` reads it: NumPy's numbers as Python's, constants left out.

    Args:
        wrong: gets the names of what is left out and may change.
    """
    if isinstance(value, Tensor) or type(value) in _PLAIN:
        return value
    if isinstance(value, np.generic) and value.dtype.kind in "biuf":
        return value.item()
    if type(value) is np.ndarray and value.dtype.kind in _NUMBERS:
        return {_ARRAY: _of_array(value, path)}
    if isinstance(value, dict):
        return _plain_dict(value, path, wrong)
    if type(value) in (list, tuple):
        # A fast path: most values are like this, and it runs at every checkpoint.
        if all(type(item) in _AS_THEY_ARE for item in value):
            return value
        # One entry of a sequence that is left out would shift the others: then none is kept.
        before = len(wrong)
        items = [plainly(item, f"{path}[{index}]", wrong) for index, item in enumerate(value)]
        if any(item is _LEFT_OUT for item in items):
            wrong += [f"{path} holds functions or objects"] if len(wrong) == before else []
            return _LEFT_OUT
        return _rebuilt(value, items)
    if not is_constant(value):
        wrong.append(f"{path} is of type {type(value).__name__}")
    return _LEFT_OUT


def with_arrays(value: Plain) -> Any:
    """Return what `plainly` returned, with NumPy's arrays as they were."""
    if isinstance(value, dict):
        if value.keys() == {_ARRAY}:
            return value[_ARRAY].numpy().copy()
        items = {name: with_arrays(item) for name, item in value.items()}
        return value if all(items[name] is item for name, item in value.items()) else items
    if type(value) in (list, tuple):
        return _rebuilt(value, [with_arrays(item) for item in value])
    return value


def _rebuilt(value: Plain, items: list[Plain]) -> Plain:
    """The sequence itself where no item has changed, else one of its type with these."""
    unchanged = all(one is other for one, other in zip(value, items, strict=True))
    return value if unchanged else type(value)(items)


def _plain_dict(value: dict[Hashable, object], path: str, wrong: list[str]) -> Plain:
    if type(value) in _DICTS and all(type(item) in _AS_THEY_ARE for item in value.values()):
        return value
    items = {
        name: plainly(item, f"{path}.{name}" if path else str(name), wrong) for name, item in value.items()
    }
    kept = {name: item for name, item in items.items() if item is not _LEFT_OUT}
    if len(kept) == len(value) and all(kept[name] is item for name, item in value.items()):
        return value if type(value) in _DICTS else dict(value)
    return kept


def unpacked(value: Plain, device: torch.device | str = "cpu") -> Any:
    """The value that was packed."""
    if isinstance(value, (list, tuple)):
        return type(value)(unpacked(part, device) for part in value)
    if not isinstance(value, dict):
        return value
    # A dict with one key may be the mark of another type.
    if len(value) == 1:
        ((name, content),) = value.items()
        if name == ON_DEVICE and isinstance(content, Tensor):
            return content.to(device)
        if name in _UNPACKERS:
            return _UNPACKERS[name](unpacked(content, device))
    return {name: unpacked(part, device) for name, part in value.items()}


def _of_tensor(value: Tensor, path: str) -> Plain:
    if value.is_nested or value.is_quantized or value.is_meta:
        kind = "nested" if value.is_nested else "quantized" if value.is_quantized else "meta"
        raise Unkeepable(f"{path} is a {kind} tensor")
    return value if value.device.type == "cpu" else {ON_DEVICE: value}


def _of_dict(value: Mapping[Hashable, object], path: str) -> dict[Hashable, Plain]:
    for name in value:
        if type(name) not in (bool, int, float, str, bytes, type(None), tuple):
            raise Unkeepable(f"a key of {path} is of type {type(name).__name__}")
    return {name: _packed(part, f"{path}[{name!r}]") for name, part in value.items()}


def _of_array(value: NDArray[np.generic], path: str) -> Tensor:
    if value.dtype.kind not in _NUMBERS:
        raise Unkeepable(f"{path} is of type ndarray of {value.dtype}")
    content = np.asarray(value, dtype=value.dtype.newbyteorder("="), order="C")
    try:
        return torch.from_numpy(content if content.flags.writeable else content.copy())
    except TypeError:  # such as long double
        raise Unkeepable(f"{path} is of type ndarray of {value.dtype}") from None


def _of_random(value: random.Random, path: str) -> Plain:
    version, internal, gauss = value.getstate()
    return version, torch.tensor(internal), gauss


def _of_stream(value: object) -> Plain:
    """The state of a NumPy bit generator, whose integers may have 128 bits."""

    def plain(part: object) -> Plain:
        if isinstance(part, Mapping):
            return {name: plain(each) for name, each in part.items()}
        if isinstance(part, np.ndarray):
            return {"array": [int(each) for each in part], "dtype": part.dtype.name}
        return str(part) if isinstance(part, int) and not isinstance(part, bool) else part

    return plain(value)


def _stream_of(value: Plain) -> Any:
    if isinstance(value, Mapping) and value.keys() == {"array", "dtype"}:
        return np.array(value["array"], dtype=value["dtype"])
    if isinstance(value, Mapping):
        return {name: _stream_of(each) for name, each in value.items()}
    return int(value) if isinstance(value, str) and value.isdigit() else value


def _generator(state: Plain) -> np.random.Generator:
    bits = getattr(np.random, state["bit_generator"])()
    bits.state = _stream_of(state)
    return np.random.Generator(bits)


def _random_state(state: Plain) -> np.random.RandomState:
    made = np.random.RandomState()
    made.set_state(_stream_of(state))
    return made


def _random(state: Plain) -> random.Random:
    made = random.Random()
    made.setstate((state[0], tuple(state[1].tolist()), state[2]))
    return made


def _torch_generator(state: Plain) -> torch.Generator:
    made = torch.Generator(state["device"])
    made.set_state(state["state"].cpu())
    return made


def _of_factory(value: defaultdict[Hashable, object], path: str) -> Plain:
    name = getattr(value.default_factory, "__name__", None)
    if value.default_factory is not None and _FACTORIES.get(str(name)) is not value.default_factory:
        raise Unkeepable(f"{path} is a defaultdict with a custom default_factory")
    return {"factory": name, "items": _of_dict(value, path)}


_PACKERS: Mapping[type, Callable[[Any, str], Plain]] = {
    np.ndarray: _of_array,
    range: lambda value, path: [value.start, value.stop, value.step],
    slice: lambda value, path: [_packed(each, path) for each in (value.start, value.stop, value.step)],
    date: lambda value, path: value.isoformat(),
    datetime: lambda value, path: value.isoformat(),
    timedelta: lambda value, path: [value.days, value.seconds, value.microseconds],
    set: lambda value, path: [_packed(each, path) for each in value],
    frozenset: lambda value, path: [_packed(each, path) for each in value],
    deque: lambda value, path: {"items": [_packed(each, path) for each in value], "maxlen": value.maxlen},
    OrderedDict: _of_dict,
    Counter: _of_dict,
    defaultdict: _of_factory,
    random.Random: _of_random,
    torch.Generator: lambda value, path: {"device": str(value.device), "state": value.get_state()},
    np.random.Generator: lambda value, path: _of_stream(value.bit_generator.state),
    np.random.RandomState: lambda value, path: _of_stream(value.get_state(legacy=False)),
}
_UNPACKERS: Mapping[str, Callable[[Any], Any]] = {
    "ndarray": lambda tensor: tensor.numpy().copy(),
    "range": lambda ends: range(*ends),
    "slice": lambda ends: slice(*ends),
    "date": date.fromisoformat,
    "datetime": datetime.fromisoformat,
    "timedelta": lambda parts: timedelta(*parts),
    "Path": Path,
    "scalar": lambda tensor: tensor.numpy()[0],
    "set": set,
    "frozenset": frozenset,
    "deque": lambda state: deque(state["items"], state["maxlen"]),
    "OrderedDict": OrderedDict,
    "Counter": Counter,
    "defaultdict": lambda state: defaultdict(_FACTORIES.get(str(state["factory"])), state["items"]),
    "Random": _random,
    "Generator": lambda state: _torch_generator(state) if "device" in state else _generator(state),
    "RandomState": _random_state,
}
