"""Objects that YAML cannot write, made of what it can: tensors, arrays, torch's types and devices.

A component asks for one by its annotation. Torch is not imported for it: by the time a component is built,
its own module has done that, and before, only the form of the value is checked.
"""

import sys
import types
import typing
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import PlainValidator
from pydantic_core import PydanticCustomError

# The classes in torch, and the type of the elements they make; None: by the numbers.
_TENSORS = {
    "Tensor": None, "FloatTensor": "float32", "DoubleTensor": "float64", "HalfTensor": "float16",
    "BFloat16Tensor": "bfloat16", "LongTensor": "int64", "IntTensor": "int32", "ShortTensor": "int16",
    "CharTensor": "int8", "ByteTensor": "uint8", "BoolTensor": "bool",
}  # fmt: skip
_DTYPES = (
    "float16", "float32", "float64", "bfloat16", "half", "float", "double", "int8", "int16", "int32", "int64",
    "short", "int", "long", "uint8", "bool", "complex64", "complex128",
)  # fmt: skip
MEANT = "meant"  # the type of these errors
_FORM = "numbers for a tensor (one, or lists of equal lengths)"


def with_meaning(hint: Any) -> Any:
    """The annotation with a validator in the place of each type that YAML cannot write; equal without any."""
    if (make := _maker(hint)) is not None:
        return Annotated[Any, PlainValidator(make)]
    arguments = typing.get_args(hint)
    if not arguments or typing.get_origin(hint) in (typing.Literal, typing.Annotated):
        return hint
    # In a union, one member may be a tensor and another a plain number.
    replaced = tuple(with_meaning(each) for each in arguments)
    if all(new is old for new, old in zip(replaced, arguments, strict=True)):
        return hint
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return typing.Union[replaced]  # noqa: UP007 - `|` is not for a tuple
    try:
        return hint.copy_with(replaced)
    except AttributeError:
        return typing.get_origin(hint)[replaced]


def _maker(hint: object) -> Callable[[Any], Any] | None:
    module, name = getattr(hint, "__module__", None), getattr(hint, "__name__", None)
    if module == "torch" and name in _TENSORS:
        return lambda value: _tensor(value, _TENSORS[str(name)])
    if module == "torch" and name == "dtype":
        return _dtype
    if module == "torch" and name == "device":
        return _device
    numpy = sys.modules.get("numpy")
    if numpy is not None and numpy.ndarray in (hint, typing.get_origin(hint)):
        kind = [each for part in typing.get_args(hint)[1:] for each in typing.get_args(part)]
        return lambda value: _array(value, kind[0] if kind and isinstance(kind[0], type) else None)
    return None


def _tensor(value: object, dtype: str | None) -> object:
    """A tensor of float32, also of whole numbers, for weights are written so; of bools where all are.

    Raises:
        PydanticCustomError: it is something else.
    """
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        return value
    kinds = _numbers(value)
    if dtype is None:
        dtype = "bool" if kinds == {bool} else "float32"
    elif "int" in dtype and float in kinds:
        raise _wrong("whole numbers")
    return value if torch is None else torch.tensor(value, dtype=getattr(torch, dtype))


def _array(value: object, dtype: type | None) -> object:
    """A NumPy array of the annotation's type, else of float64; of bools where all are.

    Raises:
        PydanticCustomError: it is something else.
    """
    numpy = sys.modules["numpy"]
    if isinstance(value, numpy.ndarray):
        return value
    kinds = _numbers(value)
    try:
        chosen = numpy.dtype(dtype) if dtype is not None else None
    except TypeError:  # `floating` and the like name no type of elements
        chosen = None
    chosen = chosen or numpy.dtype(bool if kinds == {bool} else "float64")
    if float in kinds and chosen.kind in "iu":
        raise _wrong("whole numbers")
    return numpy.asarray(value, dtype=chosen)


def _numbers(value: object) -> set[type]:
    """The types of the numbers in nested lists.

    Raises:
        PydanticCustomError: the lists are of several lengths, or hold something else than numbers.
    """

    def shape(part: object) -> tuple[int, ...]:
        if isinstance(part, (list, tuple)):
            shapes = {shape(each) for each in part}
            if len(shapes) > 1:
                raise _wrong(_FORM)
            return len(part), *(shapes.pop() if shapes else ())
        if not isinstance(part, (int, float)) or (isinstance(part, int) and abs(part) >= 2**63):
            raise _wrong(_FORM)
        kinds.add(type(part))
        return ()

    kinds: set[type] = set()
    if isinstance(value, bool) or 0 in shape(value):
        raise _wrong(_FORM)
    if bool in kinds and len(kinds) > 1:
        raise _wrong("numbers or booleans, not both")
    return kinds


def _dtype(value: object) -> object:
    """A type of torch's elements by its name, `float32` or `torch.float32`.

    Raises:
        PydanticCustomError: there is none of this name.
    """
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.dtype):
        return value
    name = value.removeprefix("torch.") if isinstance(value, str) else ""
    if name not in _DTYPES:
        raise _wrong("the name of a type of torch, such as float32")
    return value if torch is None else getattr(torch, name)


def _device(value: object) -> object:
    """A device by its name.

    Raises:
        PydanticCustomError: torch knows none of this name.
    """
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.device):
        return value
    if not isinstance(value, str):
        raise _wrong("the name of a device, such as cpu or cuda:0")
    if torch is None:
        return value
    try:
        return torch.device(value)
    except RuntimeError as error:
        raise _wrong("the name of a device, such as cpu or cuda:0") from error


def _wrong(expected: str) -> PydanticCustomError:
    return PydanticCustomError(MEANT, "{expected}", {"expected": expected})
