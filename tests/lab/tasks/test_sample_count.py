from collections import namedtuple
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from lab.tasks.sample_count import size_of

Pair = namedtuple("Pair", "left right")


@dataclass
class Boxes:
    corners: torch.Tensor
    note: str = ""


class Graphs:
    """A class of the user's that has a length."""

    def __len__(self) -> int:
        return 6


five, three = torch.zeros(5, 2), torch.zeros(3)


@pytest.mark.parametrize(
    ("target", "inputs", "expected"),
    [
        (five, [], 5),
        (five, [three], 5),  # nodes of graphs may be fewer or more than graphs
        ({"a": five, "b": torch.zeros(5)}, [], 5),
        ({"a": {"b": [five]}, "c": "text"}, [], 5),
        (Pair(five, torch.zeros(5, 1, 1)), [], 5),
        (Boxes(five, "note"), [], 5),
        ([five, five, five], [torch.zeros(5, 1)], 5),  # a tensor for each of three targets
        ([three, three, three, three, three], [torch.zeros(5, 1)], 5),  # one for each of five samples
        ([{"boxes": five}, {"boxes": three}], [torch.zeros(2, 3, 8, 8)], 2),
        ([{"boxes": five}, {"boxes": three}], [[torch.zeros(3, 8, 8)] * 2], 2),
        ([0, 1, 1], [], 3),
        (["a", "b"], [], 2),
        (Graphs(), [], 6),
    ],
)
def test_found_in_any_nested_target(target: Any, inputs: list[Any], expected: int) -> None:
    assert size_of(target, inputs) == expected


@pytest.mark.parametrize(
    ("target", "inputs"),
    [
        ({"a": five, "b": three}, [five]),
        (Pair(five, three), []),
        ([five, three], []),
        ([five, five, five], []),  # five samples or three
        (torch.tensor(1.0), [five]),
        ({"a": torch.tensor(1.0)}, [five]),
        ({}, [five]),
        (3, [five]),
    ],
)
def test_asked_for_where_it_is_not_told(target: Any, inputs: list[Any]) -> None:
    with pytest.raises(ValueError, match=r"the batch size can't be found: .*set StepResult\.size"):
        size_of(target, inputs)
