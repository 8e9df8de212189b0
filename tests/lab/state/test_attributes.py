"""An object continues with what another of its kind held, and only what has changed is kept."""

import itertools
from collections import deque
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lab.state import plain_values
from lab.state.attributes import Held, Unwatched, kept_apart


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
    assert held.unkept == ["cache has 0.0 MB, fine for a cache", "lines is of type list_iterator"]


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


class Stage(Enum):
    EASY = 1
    HARD = 2


class Best(NamedTuple):
    epoch: int
    value: float


class Places:
    """Has places for its attributes, and one of another class."""

    __slots__ = ("__hidden", "count", "stream", "unset")

    def __init__(self) -> None:
        self.count, self.stream, self.__hidden = 0, torch.Generator().manual_seed(3), [1]

    def advance(self) -> None:
        self.count += 1
        self.__hidden.append(int(torch.randint(100, (), generator=self.stream)))

    def shown(self) -> tuple[int, list[int], int]:
        return self.count, self.__hidden, int(torch.randint(100, (), generator=self.stream))


class Chosen:
    """Values for which others are set."""

    def __init__(self) -> None:
        self.stage, self.best, self.file = Stage.EASY, Best(0, 1.0), Path("a.bin")
        self.left, self.part, self.since = range(3), slice(0, 2), datetime(2020, 1, 1)
        self.waited, self.files = timedelta(0), [Path("a"), Path("b")]

    def advance(self) -> None:
        self.stage, self.best, self.file = Stage.HARD, Best(4, 0.5), Path("b.bin")
        self.left, self.part, self.since = range(1, 9, 2), slice(1, None), datetime(2021, 5, 6, 7)
        self.waited = timedelta(days=2, seconds=3)
        self.files.pop()


def test_places_of_a_class_are_attributes(tmp_path: Path) -> None:
    first, second = {"inner": Places()}, {"inner": Places()}
    one, other = Held(first), Held(second)
    first["inner"].advance()
    assert moved(one, other, tmp_path) == [] and one.unkept == []
    values = second["inner"].shown()
    assert values == first["inner"].shown() and values[0] == 1 and len(values[1]) == 2


def test_values_for_which_others_are_set(tmp_path: Path) -> None:
    first, second = Chosen(), Chosen()
    one, other = Held(first), Held(second)
    assert one.state() == {}
    first.advance()
    assert moved(one, other, tmp_path) == [] and one.unkept == []
    assert vars(second) == vars(first) and type(second.best) is Best and second.stage is Stage.HARD


def test_what_cannot_be_made_again_is_named() -> None:
    """A kind that wasn't there at first, another function, and a value in a tuple beside objects."""

    class Late:
        def __init__(self) -> None:
            self.stage: Any = None
            self.best: Any = None
            self.function: Any = len
            self.made: Any = None
            self.bound = partial(sum, start=1)
            self.pair: Any = (1, Inner())

    thing = Late()
    held, inner = Held(thing), thing.pair[1]
    thing.made, thing.bound = max, partial(sum, start=1)
    assert held.changed() == []
    thing.stage, thing.best, thing.function, thing.pair = Stage.HARD, Best(1, 2.0), max, (2, inner)
    inner.count = 3
    assert list(held.state()) == ["pair[1].count"]
    assert held.unkept == [
        "stage is of type Stage",
        "best is of type Best",
        "function is of type builtin_function_or_method",
        "pair[0] is in a tuple with objects",
    ]


def within_itself() -> list[Any]:
    rows: list[Any] = [1]
    rows.append(rows)
    return rows


def chained(count: int) -> Inner:
    first = last = Inner()
    for _ in range(count):
        last.next = last = Inner()  # type: ignore[attr-defined]
    return first


def nested(count: int) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for _ in range(count):
        table = {"below": table}
    return table


@pytest.mark.parametrize("value", [within_itself(), [len, within_itself()], chained(3000), nested(3000)])
def test_what_lies_deep_or_within_itself(value: Any) -> None:
    thing = Inner()
    thing.value = value  # type: ignore[attr-defined]
    held = Held(thing)
    assert held.changed() == [] and held.state() == {}
    thing.count = 1
    assert list(held.state()) == ["count"]
    with kept_apart(thing):
        thing.count = 2
    assert thing.count == 1


@pytest.mark.parametrize("closely", [True, False])
@pytest.mark.parametrize(
    "made",
    [
        lambda size: torch.eye(size).to_sparse(),
        lambda size: torch.eye(size).to_sparse_csr(),
        lambda size: torch.ones(size, dtype=torch.complex64),
        lambda size: torch.ones(size).to(torch.float8_e4m3fn),
        lambda size: torch.ones(size, dtype=torch.bool),
        lambda size: torch.empty(size, device="meta"),
        lambda size: torch.tensor(1.0),
    ],
)
def test_tensors_of_every_layout(made: Any, closely: bool, tmp_path: Path) -> None:
    for size in (3, 100, 5000):
        first, second = Inner(), Inner()
        first.tensor, second.tensor = made(size), made(size)  # type: ignore[attr-defined]
        one, other = Held(first, closely=closely), Held(second, closely=closely)
        assert one.changed() == [] and one.state() == {}
        first.tensor = made(size + 1) if size == 3 else first.tensor  # type: ignore[attr-defined]
        moved(one, other, tmp_path)
        if size == 3 and not first.tensor.is_meta:  # type: ignore[attr-defined]
            values = [each.tensor.to_dense().to(torch.complex64) for each in (first, second)]  # type: ignore[attr-defined]
            assert torch.equal(*values)


@pytest.mark.parametrize("kind", [">f4", "<f8", ">i2", "u2", "f2", "?", "c8", "longdouble", "M8[D]", "U3"])
def test_arrays_of_every_kind(kind: str, tmp_path: Path) -> None:
    first, second = Inner(), Inner()
    first.rows, second.rows = np.zeros(3, "f8").astype(kind), np.zeros(3, "f8").astype(kind)  # type: ignore[attr-defined]
    second.rows.flags.writeable = False  # type: ignore[attr-defined]
    one, other = Held(first), Held(second)
    assert one.state() == {} and other.state() == {}
    first.rows = np.ones((2, 2), "f8").astype(kind)[::-1]  # type: ignore[attr-defined]
    moved(one, other, tmp_path)
    kept = kind not in ("longdouble", "M8[D]", "U3")
    assert np.array_equal(first.rows, second.rows) is kept and bool(one.unkept) is not kept  # type: ignore[attr-defined]


def test_a_collection_of_ones_own_has_attributes_and_is_not_asked(tmp_path: Path) -> None:
    class Rows(list[int]):
        stream = np.random.default_rng(0)

        def __init__(self, count: int) -> None:
            super().__init__(range(count))
            self.stream = np.random.default_rng(1)

    class Store(Mapping[int, Any]):
        """Reads a file for each item."""

        def __init__(self) -> None:
            self.asked = 0

        def __getitem__(self, name: int) -> Any:
            raise AssertionError

        def __iter__(self) -> Any:
            raise AssertionError

        def __len__(self) -> int:
            raise AssertionError

    for count in (3, 2000):
        first, second = [{"rows": Rows(count), "store": Store()} for _ in range(2)]
        one, other = Held(first), Held(second)
        drawn = first["rows"].stream.normal()  # type: ignore[union-attr]
        first["store"].asked = 4  # type: ignore[union-attr]
        assert moved(one, other, tmp_path) == [] and second["store"].asked == 4  # type: ignore[union-attr]
        assert second["rows"].stream.normal() == first["rows"].stream.normal() != drawn  # type: ignore[union-attr]


def test_large_collections_are_not_copied_to_be_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    class Annotated:
        def __init__(self) -> None:
            self.count = 0
            self.cache: dict[int, Any] = {}
            self.table = {"images": [{"id": each, "file": "a.png"} for each in range(5000)], "info": "x"}

    thing = Annotated()
    held = Held(thing, most=2**20, closely=False)
    thing.cache = {each: np.zeros((64, 64)) for each in range(100)}
    thing.count = 1
    large: list[int] = []
    of_dict = plain_values._of_dict
    monkeypatch.setattr(
        plain_values, "_of_dict", lambda value, path: [large.append(len(value)), of_dict(value, path)][1]
    )
    assert list(held.state()) == ["count"] and held.unkept == ["cache has 3.1 MB, fine for a cache"]
    assert large == [100]  # the cache; of the table nothing
    array = thing.cache[0]
    assert np.shares_memory(plain_values.packed(array, "")["ndarray"].numpy(), array)


def test_of_too_many_values_the_first_ones_are_compared() -> None:
    """A cache that grows before them moves no later value into what is compared."""

    class Record:
        def __init__(self) -> None:
            for name in range(30):
                setattr(self, f"a{name}", 0)

    class Records:
        def __init__(self) -> None:
            self.count, self.kept, self.records = 0, dict[int, Any](), [Record() for _ in range(900)]

    thing = Records()
    held = Held(thing)
    thing.records[0].a0 = 5
    thing.kept.update({1: Record(), 2: Record()})
    thing.count = 1
    assert list(held.state()) == ["count", "records[0].a0"]
