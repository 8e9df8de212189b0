"""Tensors within each kind of container."""

from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from lab.state.nested_tensors import tensors_in

A, B, C = torch.zeros(1), torch.zeros(2), torch.zeros(3)
Pair = namedtuple("Pair", "first second")


@dataclass
class Scene:
    """A batch of somebody's own."""

    boxes: Any
    labels: Any


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (A, [A]),
        ([A, (B, C)], [A, B, C]),
        ({"x": A, "y": {"z": [B]}}, [A, B]),
        (OrderedDict(b=B, a=A), [B, A]),
        (Pair(C, [A]), [C, A]),
        (Scene(boxes=[B, A], labels={"c": C}), [B, A, C]),
        ([Scene(A, None), Scene(None, B)], [A, B]),
        ("text", []),
        (Scene, []),
        ([1, None, {}], []),
    ],
)
def test_tensors_in_their_order(value: Any, expected: list[torch.Tensor]) -> None:
    assert [id(each) for each in tensors_in(value)] == [id(each) for each in expected]
