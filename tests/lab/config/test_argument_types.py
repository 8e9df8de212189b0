"""Values against annotations: what means what it says passes, what would be bent is refused."""

import enum
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from typing_extensions import TypedDict

from lab.config.argument_types import annotations, coerced

OK = "passes"
DTYPE = "the name of a type of torch, such as float32"
DEVICE = "the name of a device, such as cpu or cuda:0"
NUMBERS = "numbers for a tensor (one, or lists of equal lengths)"


class Point(TypedDict):
    """A mapping of a known shape."""

    a: int
    b: int


@dataclass
class Size:
    """A mapping that a signature wants as an object."""

    wide: int
    high: int = 2


def function(hint: Any, default: Any = ...) -> Callable[..., Any]:
    """A function whose argument `x` has this annotation."""

    def target(x: Any = default) -> Any:
        return x

    target.__annotations__ = {"x": hint}
    return target


def said(hint: Any, value: Any, default: Any = ...) -> str:
    problems = list(annotations(function(hint, default))["x"].check("x", value))
    return "; ".join(f"{p}" for p in problems) or OK


@pytest.mark.parametrize(
    ("hint", "value", "expected"),
    [
        (float, 0.5, OK),
        (float, 2, OK),
        (float, float("inf"), OK),
        (float, "0.5", "x: found '0.5' (text), expected a number"),
        (float, True, "x: found true, expected a number"),
        (float, None, "x: found nothing (null), expected a number"),
        (int, 3, OK),
        (int, 3.0, "x: found 3.0 (number), expected a whole number"),
        (int, True, "x: found true, expected a whole number"),
        (int, "3", "x: found '3' (text), expected a whole number"),
        (bool, False, OK),
        (bool, 0, "x: found 0 (whole number), expected true or false"),
        (bool, "yes", "x: found 'yes' (text), expected true or false"),
        (str, "a", OK),
        (str, 3, "x: found 3 (whole number), expected text"),
        (int | None, None, OK),
        (int | None, "a", "x: found 'a' (text), expected a whole number"),
        (Literal["mean", "sum"], "mean", OK),
        (Literal["mean", "sum"], "men", "x: found 'men' (text), expected 'mean' or 'sum'"),
        (tuple[float, float], [0.9, 0.99], OK),
        (tuple[float, float], [0.9, "a"], "x.1: found 'a' (text), expected a number"),
        (tuple[float, float], 0.9, "x: found 0.9 (number), expected a list"),
        (tuple[float, float], [0.9], "x: found [0.9] (list), expected a longer list"),
        (list[tuple[int, int]], [[1, 2], [3]], "x.1: found [3] (list), expected a longer list"),
        (Point, {"a": 1}, "x: found {'a': 1} (mapping), expected one with 'b'"),
        (tuple[float, float], [1, 2, 3], "x: found [1, 2, 3] (list), expected a list of at most 2"),
        (tuple[float, float] | float, [1, 2], OK),
        (tuple[float, float] | float, "a", "x: found 'a' (text), expected a list or a number"),
        (list[int], [1, 2], OK),
        (list[int], [1, "2"], "x.1: found '2' (text), expected a whole number"),
        (Sequence[float], [1, 0.5], OK),
        (dict[str, int], {"a": 1}, OK),
        (Mapping[str, int], {"a": "b"}, "x.a: found 'b' (text), expected a whole number"),
        (Path, "a/b", OK),
        (Size, {"wide": 3}, OK),
        (Size, {"wide": "a"}, "x.wide: found 'a' (text), expected a whole number"),
        (str | Path | None, "a/b", OK),
        (float | torch.Tensor, 0.1, OK),
        (float | torch.Tensor, "a", "x: found 'a' (text), expected a number"),
        (torch.Tensor, [1.0], OK),
        (torch.Tensor, 3, OK),
        (torch.Tensor | None, [[1, 2], [3, 4.5]], OK),
        (typing.Optional[torch.Tensor], [True, False], OK),  # noqa: UP045
        ("torch.Tensor | None", [1, 2], OK),
        (torch.Tensor, "a", f"x: found 'a' (text), expected {NUMBERS}"),
        (torch.Tensor, [[1], [2, 3]], f"x: found [[1], [2, 3]] (list), expected {NUMBERS}"),
        (torch.Tensor, [], f"x: found [] (list), expected {NUMBERS}"),
        (torch.Tensor, [1, None], f"x: found [1, None] (list), expected {NUMBERS}"),
        (torch.Tensor, [1, True], "x: found [1, True] (list), expected numbers or booleans, not both"),
        (torch.Tensor, {"a": 1}, f"x: found {{'a': 1}} (mapping), expected {NUMBERS}"),
        (torch.LongTensor, [1.5], "x: found [1.5] (list), expected whole numbers"),
        (list[torch.Tensor], [[1.0], [2.0, 3.0]], OK),
        (list[torch.Tensor], [[1.0], "b"], f"x.1: found 'b' (text), expected {NUMBERS}"),
        (dict[str, torch.Tensor], {"a": [1]}, OK),
        (np.ndarray, [1, 2], OK),
        (NDArray[np.int64], [1.5], "x: found [1.5] (list), expected whole numbers"),
        (torch.dtype, "float16", OK),
        (
            torch.dtype,
            "float17",
            f"x: found 'float17' (text), expected {DTYPE}",
        ),
        (torch.device, "cpu", OK),
        (
            torch.device | None,
            "gpu7",
            f"x: found 'gpu7' (text), expected {DEVICE}",
        ),
        (torch.Tensor | None, None, OK),
        (Any, {"a": [1]}, OK),
    ],
)
def test_check(hint: Any, value: Any, expected: str) -> None:
    assert said(hint, value) == expected


def test_null_is_fine_where_it_is_the_default() -> None:
    assert said(float, None, default=None) == OK
    assert said(float, "a", default=None) == "x: found 'a' (text), expected a number"


def test_what_has_no_readable_annotation_stays_unchecked() -> None:
    def strange(a: "NoSuchName", b: int) -> None:  # type: ignore[name-defined] # noqa: F821
        """Its hints can't be resolved."""

    class Odd:
        def __init__(self, a: int, **rest: int) -> None: ...

    assert set(annotations(strange)) == {"b"}
    assert dict(annotations(len)) == {}
    assert set(annotations(Odd)) == {"a"}


@pytest.mark.parametrize(
    ("hint", "value", "expected"),
    [
        (tuple[float, float], [0.9, 0.99], (0.9, 0.99)),
        (tuple[int, ...] | int, [1, 2], (1, 2)),
        (list[tuple[int, int]], [[1, 2], [3, 4]], [(1, 2), (3, 4)]),
        (set[int], [1, 2], {1, 2}),
        (list[int], [1, 2], [1, 2]),
        (Any, [1, 2], [1, 2]),
        (Path, "a/b", Path("a/b")),
        (Size, {"wide": 1}, Size(1, 2)),
        (Point, {"a": 1, "b": 2}, {"a": 1, "b": 2}),
        (dict[str, int], {"a": 1}, {"a": 1}),
        (str | Path, "a/b", "a/b"),
        (str, "a", "a"),
        (float, 3, 3),
        (tuple[float, float], "wrong", "wrong"),
    ],
)
def test_coerced(hint: Any, value: Any, expected: Any) -> None:
    result = coerced(function(hint), {"x": value, "other": [1]})
    assert result == {"x": expected, "other": [1]}
    assert type(result["x"]) is type(expected)


class Mode(enum.Enum):
    """One of several words."""

    FAST = "fast"


@pytest.mark.parametrize(
    ("hint", "value", "expected"),
    [
        (torch.Tensor, [1.0, 2.0, 3.0], torch.tensor([1.0, 2.0, 3.0])),
        (torch.Tensor | None, [1, 2, 3], torch.tensor([1.0, 2.0, 3.0])),
        ("torch.Tensor | None", 3, torch.tensor(3.0)),
        (torch.Tensor, [[1, 2], [3, 4.5]], torch.tensor([[1.0, 2.0], [3.0, 4.5]])),
        (torch.Tensor, [True, False], torch.tensor([True, False])),
        (torch.LongTensor, [1, 2], torch.tensor([1, 2])),
        (torch.DoubleTensor, [1], torch.tensor([1.0], dtype=torch.float64)),
    ],
)
def test_numbers_become_the_tensor_that_is_asked_for(hint: Any, value: Any, expected: torch.Tensor) -> None:
    found = coerced(function(hint), {"x": value})["x"]
    assert found.dtype == expected.dtype
    assert torch.equal(found, expected)


def test_what_else_yaml_cannot_write() -> None:
    def made(hint: Any, value: Any) -> Any:
        return coerced(function(hint), {"x": value})["x"]

    assert made(float | torch.Tensor, 0.5) == 0.5  # a number is fine: it stays one
    assert isinstance(made(float | torch.Tensor, 0.5), float)
    assert made(list[float] | torch.Tensor, [0.5]) == [0.5]
    assert made(torch.dtype, "torch.bfloat16") is torch.bfloat16
    assert made(torch.device, "cpu") == torch.device("cpu")
    assert made(NDArray[np.int64], [1, 2]).dtype == np.int64
    assert made(np.ndarray, [1, 2]).dtype == np.float64
    assert made(Mode, "fast") is Mode.FAST
    assert made(complex, "1+2j") == 1 + 2j
    assert [each.tolist() for each in made(tuple[torch.Tensor, ...], [[1], [2, 3]])] == [[1.0], [2.0, 3.0]]
    assert made(dict[str, torch.Tensor], {"a": [1]})["a"].tolist() == [1.0]
    tensor = torch.ones(2)
    assert made(torch.Tensor, tensor) is tensor


def test_a_librarys_own_optional_tensors() -> None:
    for target, argument in [
        (torch.nn.CrossEntropyLoss, "weight"), (torch.nn.BCEWithLogitsLoss, "pos_weight"),
        (torch.nn.functional.cross_entropy, "weight"), (torch.nn.NLLLoss, "weight"),
    ]:  # fmt: skip
        assert coerced(target, {argument: [1, 2]})[argument].tolist() == [1.0, 2.0]


def test_objects_in_a_list_become_a_tuple_as_they_are() -> None:
    layer = torch.nn.ReLU()
    result = coerced(function(tuple[torch.nn.Module, ...]), {"x": [layer]})["x"]
    assert isinstance(result, tuple)
    assert result[0] is layer


def test_real_signatures() -> None:
    adam = annotations(torch.optim.AdamW)
    assert list(adam["betas"].check("betas", [0.9, 0.99])) == []
    assert [str(p) for p in adam["lr"].check("lr", "1e-3x")] == [
        "lr: found '1e-3x' (text), expected a number"
    ]
    assert typing.get_origin(adam["betas"].hint) is tuple
