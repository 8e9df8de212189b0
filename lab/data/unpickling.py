"""Pickles of strangers: containers, numbers, strings and numpy arrays are read, anything else is refused.

A pickle is a program that may import and call whatever it names. Here it can name a few things only, and even
of numpy's it gets stand-ins that check what they are told: numpy's own trust a pickle with their memory.
"""

import math
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np

LARGEST = 2**32  # bytes; the largest of the published files has a tenth of it

_DAMAGED = (
    pickle.UnpicklingError, EOFError, ValueError, TypeError, LookupError, AttributeError, ImportError,
    ArithmeticError, MemoryError, RecursionError, SystemError,
)  # fmt: skip
"""What the standard library was seen to raise, or may, where a file's bytes make no sense."""

_KINDS = re.compile(r"[<>=|]?(?:b1|[iu][1248]|f[248]|[SU][1-9]\d{0,5})")
"""Truth values, integers, floats and strings: no objects, and nothing made of several parts."""


class _Refused(pickle.UnpicklingError):
    """The pickle asks for something that isn't plain data."""


def load_plain(path: str | Path, largest: int = LARGEST) -> Any:
    """What a pickle of protocol 0 to 5 holds: dict, list, tuple, set, str, bytes, numbers, None and arrays.

    Nothing that the file names is imported or called. Arrays and numpy's scalars are of truth values,
    integers, floats or strings. (A file made to exhaust memory or stack may still end the process.)

    Args:
        largest: more bytes than this are not even read.
    Raises:
        ValueError: with the path; the file can't be read, is too large, no pickle, cut short, or holds
            anything else, which is then named.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > largest:
            raise ValueError(f"{path}: {size} bytes, more than the {largest} that are read of a pickle")
        with path.open("rb") as file:
            return _Unpickler(file, encoding="latin1").load()
    except _Refused as error:
        raise ValueError(
            f"{path}: holds {error}, and only containers, numbers, strings and numpy arrays are read: "
            "convert the file where you trust it"
        ) from error
    except OSError as error:
        raise ValueError(f"{path}: can't be read: {error.strerror or error}") from error
    except _DAMAGED as error:
        if str(error).startswith(f"{path}: "):
            raise
        raise ValueError(f"{path}: not a readable pickle ({error or type(error).__name__})") from error


class _Dtype:
    """The type of an array's numbers, of which a pickle tells the byte order afterwards."""

    def __init__(self, kind: Any) -> None:
        kind = kind.decode("latin1") if isinstance(kind, bytes) else kind
        if type(kind) is not str or not _KINDS.fullmatch(kind):
            raise _Refused(f"numpy.dtype of {kind[:40] if type(kind) is str else type(kind).__name__!r}")
        self.kind = kind

    def __setstate__(self, state: Any) -> None:
        if type(state) is not tuple or len(state) < 2 or state[1] not in ("<", ">", "=", "|"):
            raise ValueError("a type of numbers with an unknown byte order")
        if any(part is not None for part in state[2:5]):  # a part of it, its names or its fields
            raise _Refused("numpy.dtype with fields")
        self.kind = state[1] + self.kind.lstrip("<>=|")


class _Array(np.ndarray[Any, Any]):
    """An array that is empty until the pickle tells its state."""

    def __setstate__(self, state: Any) -> None:
        if type(state) is not tuple or len(state) != 5:
            raise ValueError("an array without its state")
        _, shape, kind, fortran, data = state
        # Any: numpy's own annotation of it says less than it takes.
        complete: Any = (1, shape, *_checked(data, kind, shape))
        super().__setstate__((*complete[:3], bool(fortran), complete[3]))


def _checked(data: Any, kind: Any, shape: Any) -> tuple[np.dtype[Any], bytes]:
    """An array's type and bytes, which are as many as its shape needs."""
    raw = data.encode("latin1") if isinstance(data, str) else data  # Python 2 had no bytes
    if not isinstance(kind, _Dtype) or not isinstance(raw, (bytes, bytearray)):
        raise ValueError("an array without its bytes, or without a type of numbers")
    if type(shape) is not tuple or len(shape) > 32:
        raise ValueError("an array of an impossible shape")
    if not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError("an array of an impossible shape")
    if math.prod(shape) * np.dtype(kind.kind).itemsize != len(raw):
        raise ValueError("an array whose shape and bytes don't agree")
    return np.dtype(kind.kind), bytes(raw)


class _Unpickler(pickle.Unpickler):
    """Hands out stand-ins as bound methods: a pickle can set attributes of what it gets, but not of these."""

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in for what a pickle names.

        Raises:
            _Refused: there is none.
        """
        # numpy.core became numpy._core, and Python 2 had another name for its builtins.
        place = {"__builtin__": "builtins"}.get(module, module.replace("numpy._core", "numpy.core"))
        known = {
            "builtins.set": set,
            "builtins.frozenset": frozenset,
            "builtins.bytes": self._bytes,
            "_codecs.encode": self._encode,
            "numpy.ndarray": None,  # only ever handed to _reconstruct
            "numpy.dtype": self._dtype,
            "numpy.core.multiarray._reconstruct": self._reconstruct,
            "numpy.core.multiarray.scalar": self._scalar,
            "numpy.core.numeric._frombuffer": self._frombuffer,
        }
        try:
            return known[f"{place}.{name}"]
        except KeyError:
            raise _Refused(f"{module}.{name}") from None

    def persistent_load(self, pid: Any) -> Any:
        raise _Refused("a reference to something outside of it")

    def _bytes(self, *arguments: Any) -> bytes:
        if arguments:
            raise _Refused("builtins.bytes with arguments")
        return b""

    def _encode(self, text: Any, encoding: Any = "latin1") -> bytes:
        """What protocols before 3 write bytes as."""
        if type(text) is not str or encoding != "latin1":
            raise _Refused("_codecs.encode to something else than latin1")
        return text.encode("latin1")

    def _dtype(self, kind: Any, *_: Any) -> _Dtype:
        return _Dtype(kind)

    def _reconstruct(self, *_: Any) -> _Array:
        return np.empty(0, np.int8).view(_Array)

    def _scalar(self, kind: Any, data: Any = b"") -> Any:
        return np.frombuffer(_checked(data, kind, ())[1], kind.kind)[0]

    def _frombuffer(self, data: Any, kind: Any, shape: Any, order: Any) -> np.ndarray[Any, Any]:
        true, raw = _checked(data, kind, shape)
        return np.frombuffer(bytearray(raw), true).reshape(shape, order="F" if order == "F" else "C")
