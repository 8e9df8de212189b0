"""An object continues with what another of its kind held, and only what has changed is kept."""

import itertools
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lab.state.held import Held, Unwatched, kept_apart


class Inner:
    def __init__(self) -> None:
        self.count = 0
        self.stream = np.random.default_rng(1)


class Outer:
    """Holds values in every way."""

    def __init__(self) -> None:
        self.name = "outer"
        self.inner = Inner()
        self.parts: list[Any] = [Inner(), len, 3]
        self.table: dict[str, Any] = {"inner": Inner(), "sum": torch.sum}
        self.recent: deque[float] = deque(maxlen=2)
        self.shared = self.recent
        self.weights = torch.zeros(2)
        self.late: Any = None

    def advance(self) -> float:
        for part in (self.inner, self.parts[0], self.table["inner"]):
            part.count += 1
            self.recent.append(part.stream.normal())
        self.parts[2] += 1
        self.weights += 1
        self.late = {"seen": [self.inner.count]}
        self.new = self.weights.sum()
        return sum(self.recent) + float(self.weights.sum()) + self.parts[2]


def moved(one: Held, other: Held, folder: Path) -> list[str]:
    torch.save(one.state(), folder / "a.pt")
    return other.load(torch.load(folder / "a.pt", weights_only=True))


def test_it_continues(tmp_path: Path) -> None:
    first, second = Outer(), Outer()
    one, other = Held(first), Held(second)
    values = [first.advance() for _ in range(3)]
    assert moved(one, other, tmp_path) == []
    assert second.shared is second.recent and second.recent.maxlen == 2
    assert second.late == {"seen": [3]} and second.new == 6
    fresh = Outer()
    assert [fresh.advance() for _ in range(3)] == values
    assert [second.advance() for _ in range(3)] == [first.advance() for _ in range(3)]


def test_only_what_has_changed_is_kept() -> None:
    thing = Outer()
    held = Held(thing)
    assert held.state() == {} and held.changed() == []
    thing.parts[0].count = 5
    assert list(held.state()) == ["parts[0].count"]
    thing.parts[0].count = 0
    assert held.state() == {}


class Bank(nn.Module):
    used: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.register_buffer("kept", torch.zeros(2))
        self.register_buffer("used", torch.zeros(2), persistent=False)
        self.steps = 0


@pytest.mark.parametrize("tensors", [True, False])
def test_of_a_module_what_is_kept_elsewhere_can_be_left_out(tensors: bool) -> None:
    module = Bank()
    held = Held(module, tensors=tensors)
    with torch.no_grad():
        for each in (*module.parameters(), *module.buffers()):
            each.add_(1)
    module.steps = 4
    everything = {"layer.weight", "layer.bias", "kept"} if tensors else set()
    assert set(held.state()) == {"used", "steps"} | everything
    other = Bank()
    assert Held(other, tensors=tensors).load(held.state()) == []
    assert other.used.tolist() == [1, 1] and other.steps == 4
    assert torch.equal(other.layer.weight, module.layer.weight) is tensors


@pytest.mark.parametrize("write", [lambda t: t.add_(1), lambda t: t.data.add_(1), lambda t: t[5:6].fill_(2)])
def test_large_tensors_are_seen_to_change(write: Any) -> None:
    thing = Inner()
    thing.bank = torch.zeros(100, 100)  # type: ignore[attr-defined]
    held = Held(thing)
    assert held.changed() == []
    write(thing.bank)  # type: ignore[attr-defined]
    assert held.changed() == ["bank"]


def test_what_is_too_large_or_no_data_is_named() -> None:
    thing = Inner()
    held = Held(thing, most=1000, closely=False)
    thing.cache = list(range(500))  # type: ignore[attr-defined]
    thing.lines = iter(["a"])  # type: ignore[attr-defined]
    thing.small = 1  # type: ignore[attr-defined]
    assert list(held.state()) == ["small"]
    assert held.unkept == ["cache has 0.0 MB", "lines is of type list_iterator"]


def test_iterators_are_named_from_the_beginning() -> None:
    thing = Inner()
    thing.lines = itertools.count()  # type: ignore[attr-defined]
    held = Held(thing)
    assert held.state() == {} and held.unkept == ["lines is of type count"]


class Log(Unwatched):
    def __init__(self) -> None:
        self.lines: list[str] = []


def test_tools_and_logs_are_no_state() -> None:
    thing = Inner()
    thing.log, thing.file = Log(), None  # type: ignore[attr-defined]
    held = Held(thing)
    thing.log.lines.append("a")  # type: ignore[attr-defined]
    with Path(__file__).open() as file:
        thing.file = file  # type: ignore[attr-defined]
        assert held.state() == {} and held.unkept == []


class Own:
    def __init__(self) -> None:
        self.secret = iter(())
        self.value = 0

    def state_dict(self) -> dict[str, int]:
        return {"value": self.value}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.value = state["value"]


def test_an_object_with_a_state_dict_decides_itself(tmp_path: Path) -> None:
    first, second = {"a": [Own(), len]}, {"a": [Own(), len]}
    one, other = Held(first), Held(second)
    first["a"][0].value = 7  # type: ignore[attr-defined]
    assert moved(one, other, tmp_path) == []
    assert second["a"][0].value == 7 and one.unkept == []  # type: ignore[attr-defined]


def test_what_is_not_there_any_more_is_returned_and_what_does_not_fit_raised() -> None:
    first, second = Outer(), Outer()
    held = Held(first)
    first.advance()
    second.parts = []
    assert Held(second).load(held.state()) == ["parts[0].count", "parts[0].stream", "parts[2]"]
    module, other = Bank(), Bank()
    state = Held(module)
    with torch.no_grad():
        module.layer.weight += 1
    other.layer = nn.Linear(3, 2)
    with pytest.raises(
        ValueError, match=r"layer\.weight: has the shape \(2, 2\) in the checkpoint, \(2, 3\)"
    ):
        Held(other).load(state.state())


def test_kept_apart() -> None:
    thing, own, module = Outer(), Own(), nn.BatchNorm1d(2)
    expected = Outer().advance()
    with kept_apart(thing, own, module):
        thing.advance()
        own.value = 3
        module(torch.randn(4, 2))
    assert own.value == 0 and module.running_mean is not None and module.running_mean.tolist() == [0, 0]
    assert thing.advance() == expected


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM, nn.RNN])
def test_the_weights_that_a_recurrent_layer_lists_stay_its_parameters(kind: Any, tmp_path: Path) -> None:
    first, second = kind(2, 3), kind(2, 3)
    one, other = Held(first, tensors=False), Held(second, tensors=False)
    with torch.no_grad():
        for parameter in first.parameters():
            parameter.add_(1)
    assert one.state() == {} and moved(one, other, tmp_path) == []
    assert all(map(lambda a, b: a is b, second._flat_weights, second.parameters()))


def test_tensors_that_others_hold_too_are_restored_in_place(tmp_path: Path) -> None:
    """A task's list of the network's weights."""

    class Listing:
        def __init__(self, network: nn.Module) -> None:
            self.weights = list(network.parameters())

    networks = [nn.Linear(2, 1), nn.Linear(2, 1)]
    first, second = map(Listing, networks)
    one, other = Held(first), Held(second)
    with torch.no_grad():
        first.weights[0].fill_(7.0)
    moved(one, other, tmp_path)
    assert second.weights[0] is networks[1].weight and networks[1].weight.tolist() == [[7.0, 7.0]]
