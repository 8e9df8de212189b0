"""Pickles of strangers: containers, numbers, strings and numpy arrays are read, anything else is refused.

A pickle is a program that may import and call whatever it names. Here it can name a few things only, and even
of numpy's it gets stand-ins that check their arguments: numpy's own trust a pickle with their memory.
"""

import math
import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

LARGEST = 2**32  # bytes; the largest of the published files has a tenth of it

_DAMAGED = (
    pickle.UnpicklingError, EOFError, ValueError, TypeError, LookupError, AttributeError, ImportError,
    ArithmeticError, MemoryError, RecursionError, SystemError,
)  # fmt: skip
"""Exceptions that the standard library raises, or may raise, where a file's bytes make no sense."""

_KINDS = re.compile(r"[<>=|]?(?:b1|[iu][1248]|f[248]|[SU][1-9]\d{0,5})")
"""Truth values, integers, floats and strings: no objects, and nothing made of several parts."""


_LEAVES = frozenset({type(None), bool, int, float, complex, str, bytes, bytearray})
_CONTAINERS = frozenset({dict, list, tuple, set, frozenset})
_SMALL = 64  # parts of a container that is looked at again rather than remembered
_LAST_LETTER = 0x10FFFF  # of Unicode


class _Refused(pickle.UnpicklingError):
    """The pickle asks for something that isn't plain data."""


def load_plain(path: str | Path, largest: int = LARGEST) -> object:
    """Return the content of a pickle of protocol 0 to 5: containers, strings, bytes, numbers and arrays.

    Nothing that the file names is imported or called, nothing of it outlasts the call but what is returned,
    and that is made of dict, list, tuple, set, str, bytes, numbers, None and arrays alone. Arrays and numpy's
    scalars are of truth values, integers, floats or strings. (A file made to exhaust memory or stack may
    still end the process.)

    Args:
        largest: more bytes than this are not even read.
    Raises:
        ValueError: with the path; the file can't be read, is too large, no pickle, cut short, or holds
            anything else, which is then named.
    """
    path = Path(path)
    try:
        if (size := path.stat().st_size) <= largest:
            with path.open("rb") as file:
                content = _Unpickler(file, encoding="latin1").load()
            _check(content)
            return content
    except _Refused as error:
        raise ValueError(
            f"{path}: holds {error}, and only containers, numbers, strings and numpy arrays are read: "
            "convert the file where you trust it"
        ) from error
    except OSError as error:
        raise ValueError(f"{path}: can't be read: {error.strerror or error}") from error
    except _DAMAGED as error:
        raise ValueError(f"{path}: not a readable pickle ({error or type(error).__name__})") from error
    raise ValueError(f"{path}: {size} bytes, more than the {largest} that are read of a pickle")


def _check(content: object) -> None:
    """Walk all that was read once, however deep it is and though it may hold itself.

    Raises:
        _Refused: a part of it is no plain data; with its type and place.
    """
    # A stack of its own instead of recursion, whose depth the file would choose. Small flat containers, most
    # of all, are not remembered: that would take more memory than to look at them again.
    seen: set[int] = set()
    trail: list[tuple[object, Iterator[tuple[object, object]]]] = [(None, iter(((None, content),)))]
    while trail:
        for step, part in trail[-1][1]:
            kind = type(part)
            if kind in _LEAVES:
                continue
            if kind not in _CONTAINERS:
                if not isinstance(part, (np.ndarray, np.generic)) or part.dtype.kind not in "biufcSU":
                    # The first two steps lead to the whole content, which has no name.
                    raise _Refused(_strange(part, [*(step for step, _ in trail), step][2:]))
            elif id(part) not in seen and not _flat(part):
                seen.add(id(part))
                trail.append((step, _inside(part)))
                break
        else:
            trail.pop()


def _flat(container: Any) -> bool:
    """Return whether it is small and holds no other: remembering all of those would take much memory."""
    if len(container) > _SMALL or not _LEAVES.issuperset(map(type, container)):
        return False
    return type(container) is not dict or _LEAVES.issuperset(map(type, container.values()))


def _inside(container: Any) -> Iterator[tuple[object, object]]:
    """The parts with their index or key, None for the keys themselves and for what has neither."""
    if type(container) is dict:
        yield from ((None, key) for key in container)
        yield from container.items()
    elif type(container) in (list, tuple):
        yield from enumerate(container)
    else:
        yield from ((None, part) for part in container)


def _strange(part: object, steps: list[object]) -> str:
    """Describe a refused part and its place; keys and steps that could be long are shortened."""
    known = part.name if isinstance(part, _Named) else None
    what = known or (f"the type {part.__name__}" if isinstance(part, type) else type(part).__name__)
    shown = [_shown(step) for step in steps[:8]] + ["…"] * (len(steps) > 8)
    return f"{what} at {''.join(shown)}" if shown else what


def _shown(step: object) -> str:
    if type(step) is str:
        return f"[{step[:40]!r}]"
    return f"[{step}]" if type(step) is int and step.bit_length() < 64 else "[…]"


class _Named:
    """A stand-in: it has no attribute that a file could set, and another is made wherever a file names it."""

    __slots__ = ()
    name = ""


class _Dtype(_Named):
    """The type of an array's numbers, whose byte order a pickle states afterwards."""

    __slots__ = ("kind",)
    name = "numpy.dtype"

    def __init__(self, kind: object) -> None:
        kind = kind.decode("latin1") if isinstance(kind, bytes) else kind
        if type(kind) is not str or not _KINDS.fullmatch(kind):
            raise _Refused(f"numpy.dtype of {kind[:40] if type(kind) is str else type(kind).__name__!r}")
        self.kind = kind

    def __setstate__(self, state: object) -> None:
        if type(state) is not tuple or len(state) < 2 or state[1] not in ("<", ">", "=", "|"):
            raise ValueError("a type of numbers with an unknown byte order")
        if any(part is not None for part in state[2:5]):  # a part of it, its names or its fields
            raise _Refused("numpy.dtype with fields")
        self.kind = state[1] + self.kind.lstrip("<>=|")


class _Array(np.ndarray[tuple[int, ...], np.dtype[np.generic]]):
    """An array that is empty until the pickle sets its state."""

    __slots__ = ()

    def __reduce__(self) -> str | tuple[object, ...]:
        """Reduce it like a usual array, which a copy or another process then gets."""
        return self.view(np.ndarray).__reduce__()

    def __setstate__(self, state: object) -> None:
        if type(state) is not tuple or len(state) != 5:
            raise ValueError("an array without its state")
        _, shape, kind, fortran, data = state
        # Any: numpy's own annotation allows less than the method accepts.
        complete: Any = (1, shape, *_checked(data, kind, shape))
        super().__setstate__((*complete[:3], bool(fortran), complete[3]))


def _checked(data: object, kind: object, shape: object) -> tuple[np.dtype[np.generic], bytes]:
    """An array's type and bytes, which are as many as its shape needs."""
    raw = data.encode("latin1") if isinstance(data, str) else data  # Python 2 had no bytes
    if not isinstance(kind, _Dtype) or not isinstance(raw, (bytes, bytearray)):
        raise ValueError("an array without its bytes, or without a type of numbers")
    if type(shape) is not tuple or len(shape) > 32:
        raise ValueError("an array of an impossible shape")
    if not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError("an array of an impossible shape")
    # Numpy trusts these numbers, and would read beyond the end of the bytes.
    if math.prod(shape) * np.dtype(kind.kind).itemsize != len(raw):
        raise ValueError("an array whose shape and bytes don't agree")
    true = np.dtype(kind.kind)
    if true.kind == "U" and np.frombuffer(raw, f"{true.str[0]}u4").max(initial=0) > _LAST_LETTER:
        raise ValueError("an array of strings with a letter that Unicode doesn't have")
    return true, bytes(raw)


class _Ndarray(_Named):
    """Only ever handed to _reconstruct."""

    __slots__ = ()
    name = "numpy.ndarray"


class _MakeDtype(_Named):
    __slots__ = ()
    name = "numpy.dtype"

    def __call__(self, kind: object, *_: object) -> _Dtype:
        return _Dtype(kind)


class _MakeBytes(_Named):
    __slots__ = ()
    name = "builtins.bytes"

    def __call__(self, *arguments: object) -> bytes:
        if arguments:
            raise _Refused("builtins.bytes with arguments")
        return b""


class _Encode(_Named):
    """The function by which protocols before 3 write bytes."""

    __slots__ = ()
    name = "_codecs.encode"

    def __call__(self, text: object, encoding: object = "latin1") -> bytes:
        if type(text) is not str or encoding != "latin1":
            raise _Refused("_codecs.encode to something else than latin1")
        return text.encode("latin1")


class _Reconstruct(_Named):
    __slots__ = ()
    name = "numpy.core.multiarray._reconstruct"

    def __call__(self, *_: object) -> _Array:
        return np.empty(0, np.int8).view(_Array)


class _Scalar(_Named):
    __slots__ = ()
    name = "numpy.core.multiarray.scalar"

    def __call__(self, kind: object, data: object = b"") -> object:
        true, raw = _checked(data, kind, ())
        return np.frombuffer(raw, true)[0]


class _FromBuffer(_Named):
    __slots__ = ()
    name = "numpy.core.numeric._frombuffer"

    def __call__(self, data: object, kind: object, shape: Any, order: object) -> NDArray[np.generic]:
        true, raw = _checked(data, kind, shape)
        return np.frombuffer(bytearray(raw), true).reshape(shape, order="F" if order == "F" else "C")


_STAND_INS = {
    made.name: made
    for made in (_Ndarray, _MakeDtype, _MakeBytes, _Encode, _Reconstruct, _Scalar, _FromBuffer)
}


class _Unpickler(pickle.Unpickler):
    """Hands out stand-ins, and of Python's own types two that a file can't change."""

    def find_class(self, module: str, name: str) -> object:
        """The stand-in for what a pickle names.

        Raises:
            _Refused: there is none.
        """
        # numpy.core became numpy._core, and Python 2 had another name for its builtins.
        place = {"__builtin__": "builtins"}.get(module, module.replace("numpy._core", "numpy.core"))
        wanted = f"{place}.{name}"
        if wanted in ("builtins.set", "builtins.frozenset"):
            return set if name == "set" else frozenset
        if wanted not in _STAND_INS:
            raise _Refused(f"{module}.{name}")
        return _STAND_INS[wanted]()

    def persistent_load(self, pid: object) -> object:
        raise _Refused("a reference to something outside of it")
