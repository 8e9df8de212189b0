"""Points of a space: all of them, random ones, and when two are the same."""

import itertools
import random
from typing import Any

import pytest
from pydantic import TypeAdapter

from lab.config.search_points import draw, every, key
from lab.config.search_space import Parameter, Space

FINITE: dict[str, Any] = {
    "batch_size": {"choices": [8, 16, 32]},
    "net.width": {"type": "int", "low": 4, "high": 16, "step": 4},
    "optimizer.lr": {"type": "float", "low": 0.1, "high": 0.3, "step": 0.1},
}
CONDITIONAL: dict[str, Any] = {
    "optimizer": {"choices": [{"target": "torch.optim.SGD"}, {"target": "torch.optim.AdamW"}]},
    "optimizer.momentum": {"choices": [0.0, 0.5, 0.9], "when": {"optimizer.target": "torch.optim.SGD"}},
    "epochs": {"type": "int", "low": 1, "high": 2},
}
SGD, ADAM = ({"target": f"torch.optim.{name}"} for name in ("SGD", "AdamW"))


def space(parameters: dict[str, Any]) -> Space:
    return Space(TypeAdapter(dict[str, Parameter]).validate_python(parameters))


def test_every_point_of_a_finite_space() -> None:
    found = [tuple(point.values()) for point in every(space(FINITE))]
    assert found == list(itertools.product([8, 16, 32], [4, 8, 12, 16], [0.1, 0.2, 0.3]))
    fixed = [tuple(point.values()) for point in every(space(FINITE), {"net.width": 8, "batch_size": 16})]
    assert fixed == [(16, 8, lr) for lr in (0.1, 0.2, 0.3)]


def test_every_point_where_there_are_conditions() -> None:
    found = list(every(space(CONDITIONAL)))
    assert len(found) == space(CONDITIONAL).size() == 3 * 2 + 2
    assert found.count({"optimizer": ADAM, "epochs": 2}) == 1
    assert all(("optimizer.momentum" in point) == (point["optimizer"] == SGD) for point in found)


@pytest.mark.parametrize("parameters", [FINITE, CONDITIONAL])
def test_random_points_are_all_of_them_in_the_end(parameters: dict[str, Any]) -> None:
    own = space(parameters)
    rng = random.Random(0)
    drawn = {key(own, own.to_params(draw(own, rng))) for _ in range(600)}
    assert drawn == {key(own, own.to_params(point)) for point in every(own)}


def test_random_numbers_lie_within_their_bounds_and_keep_what_is_fixed() -> None:
    own = space(
        {
            "optimizer.lr": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True},
            "net.width": {"type": "int", "low": 1, "high": 1000, "log": True},
            "ema.decay": {"type": "float", "low": -1.0, "high": 1.0},
        }
    )
    rng = random.Random(0)
    points = [draw(own, rng) for _ in range(2000)]
    assert all(own.to_params(point) for point in points), "each is one of the space's"
    below = sum(point["optimizer.lr"] < 10**-2.5 for point in points) / 2000
    narrow = sum(point["net.width"] < 32 for point in points) / 2000
    assert below == pytest.approx(0.5, abs=0.04) and narrow == pytest.approx(0.55, abs=0.05)
    assert draw(own, rng, {"net.width": 7})["net.width"] == 7


def test_two_trials_at_the_same_point() -> None:
    own = space(FINITE)
    one = {"batch_size": 8, "net.width": 4, "optimizer.lr": 0.3}
    assert key(own, one) == key(own, {**one, "optimizer.lr": 0.1 + 0.2}), "three tenths in two ways"
    assert key(own, one) != key(own, {**one, "optimizer.lr": 0.2})
    assert key(own, one) != key(own, {"batch_size": 8}), "another program's"


def test_what_is_not_active_makes_no_difference() -> None:
    own = space(CONDITIONAL)
    one = {"optimizer": "AdamW", "epochs": 1}
    assert key(own, one) == key(own, {**one, "optimizer.momentum": 0.9})
    sgd = {"optimizer": "SGD", "epochs": 1}
    assert key(own, {**sgd, "optimizer.momentum": 0.5}) != key(own, {**sgd, "optimizer.momentum": 0.9})


def test_choices_that_python_takes_for_equal_are_told_apart() -> None:
    own = space({"net.norm": {"choices": [True, 1, 1.5, None]}})
    labels = own.parameters["net.norm"].labels  # type: ignore[union-attr]
    assert len({key(own, {"net.norm": label}) for label in labels}) == 4
