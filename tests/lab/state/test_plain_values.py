"""Values are the same again after plain data and a file that is read with weights_only."""

import random
from collections import Counter, OrderedDict, defaultdict, deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lab.state.plain_values import Unkeepable, packed, unpacked


def through_a_file(value: Any, folder: Path) -> Any:
    torch.save({"value": packed(value, "it")}, folder / "a.pt")
    return unpacked(torch.load(folder / "a.pt", weights_only=True)["value"])


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        2**70,
        -0.5,
        1j,
        "text",
        b"bytes",
        (1, [2.5, {"a": (3,)}]),
        {3: "x", (1, 2): "y"},
        {1, 2, 3},
        frozenset({4}),
        deque([1, 2], maxlen=2),
        OrderedDict(b=1, a=2),
        Counter("aab"),
        defaultdict(list, {"a": [1]}),
        torch.Size([2, 3]),
    ],
)
def test_plain_values(tmp_path: Path, value: Any) -> None:
    found = through_a_file(value, tmp_path)
    assert found == value
    assert type(found) is type(value) or isinstance(value, torch.Size)
    assert getattr(found, "maxlen", None) == getattr(value, "maxlen", None)


@pytest.mark.parametrize("kind", ["float64", "int8", "bool", "complex64", "uint16"])
def test_arrays_and_their_numbers(tmp_path: Path, kind: str) -> None:
    array = np.arange(6).reshape(2, 3).T.astype(kind)
    found = through_a_file([array, array[1, 1]], tmp_path)
    assert np.array_equal(found[0], array) and found[0].dtype == array.dtype
    assert found[1] == array[1, 1] and type(found[1]) is type(array[1, 1])


@pytest.mark.parametrize(
    ("make", "draw"),
    [
        (lambda: torch.Generator().manual_seed(3), lambda it: torch.randn(5, generator=it).tolist()),
        (lambda: np.random.default_rng(3), lambda it: it.normal(size=5).tolist()),
        (lambda: np.random.Generator(np.random.MT19937(3)), lambda it: it.normal(size=5).tolist()),
        (lambda: np.random.Generator(np.random.SFC64(3)), lambda it: it.integers(9, size=5).tolist()),
        (lambda: np.random.Generator(np.random.Philox(3)), lambda it: it.integers(9, size=5).tolist()),
        (lambda: np.random.RandomState(3), lambda it: it.normal(size=5).tolist()),
        (lambda: random.Random(3), lambda it: [it.gauss(0, 1) for _ in range(5)]),
    ],
)
def test_random_streams_continue(tmp_path: Path, make: Any, draw: Any) -> None:
    stream = make()
    draw(stream)
    copy = through_a_file(stream, tmp_path)
    assert draw(copy) == draw(stream)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (object(), "it is of type object"),
        ([1, {"a": iter(())}], r"it\[1\]\['a'\] is of type tuple_iterator"),
        (np.array(["a"]), "it is of type ndarray of <U1"),
        (defaultdict(lambda: 3), "it is a defaultdict with a custom"),
        ({object: 1}, "a key of it is of type type"),
    ],
)
def test_what_is_no_plain_data_is_named(value: Any, message: str) -> None:
    with pytest.raises(Unkeepable, match=message):
        packed(value, "it")
