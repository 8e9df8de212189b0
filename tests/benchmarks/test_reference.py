"""The comparison itself, and a few inputs of each quantity whose reference is installed."""

import math

import numpy as np
import pytest

from benchmarks.reference import __main__ as command
from benchmarks.reference.quantity import Quantity, apart, compare


@pytest.mark.parametrize(
    ("found", "expected", "difference"),
    [
        (1.0, 1.0, 0.0),
        ([0.25, math.nan], [0.5, math.nan], 0.25),
        (2e9, 1e9, 1.0),
        ([math.inf, 1], [math.inf, 1], 0.0),
        (math.nan, 1.0, math.inf),
        (1.0, math.nan, math.inf),
        (math.inf, 1.0, math.inf),
        ([1.0], [1.0, 1.0], math.inf),
        ([], [], 0.0),
    ],
)
def test_how_far_two_are_apart(found: object, expected: object, difference: float) -> None:
    assert apart(found, expected) == difference  # type: ignore[arg-type]


def test_the_worst_input_is_named_and_undefined_ones_are_left_out() -> None:
    def draw(rng: np.random.Generator) -> tuple[float, float] | None:
        value = float(rng.random())
        return None if value < 0.3 else (value, 0.0)

    values = [float(np.random.default_rng(seed).random()) for seed in range(20)]
    found = compare(Quantity("a number", "0", draw, tolerance=0.5), 20)
    assert (found.difference, found.seed) == (max(values), values.index(max(values)))
    assert found.inputs == sum(value >= 0.3 for value in values) and not found.agrees
    assert compare(Quantity("a number", "0", draw, tolerance=1.0), 20).agrees
    assert not compare(Quantity("nothing", "0", lambda rng: None), 20).agrees


QUANTITIES = list(command.chosen(""))


@pytest.mark.parametrize("quantity", QUANTITIES, ids=lambda each: f"{each.name}, by {each.reference}")
def test_a_few_inputs_agree(quantity: Quantity) -> None:
    try:
        found = compare(quantity, 4)
    except ModuleNotFoundError as error:
        pytest.skip(f"{error.name} is only in the environment of `make reference`")
    assert found.agrees, (found.difference, found.seed)


def test_quantities_have_names_of_their_own() -> None:
    names = [each.name for each in QUANTITIES]
    assert len(names) >= 60 and len(set(names)) == len(names)
