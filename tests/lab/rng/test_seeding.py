"""Randomness is a function of its key: equal for equal keys, put back where it was lent."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.rng.keys import derive_seed, sample_rng
from lab.rng.seeding import RngState, seed_all, seeded

keys = st.tuples(*[st.integers(0, 2**40)] * 3)


@pytest.fixture(autouse=True)
def _streams() -> Iterator[None]:
    with seeded(0):
        yield


def draws() -> tuple[Any, ...]:
    """One draw of each kind from each global stream; the normal ones keep half of a pair for later."""
    return (
        random.random(),
        random.gauss(0, 1),
        float(np.random.rand()),
        float(np.random.randn()),
        float(torch.rand(())),
        float(torch.randn(())),
    )


@settings(max_examples=60, deadline=None)
@given(keys, keys)
def test_equal_keys_equal_streams_and_others_differ(a: tuple[int, int, int], b: tuple[int, int, int]) -> None:
    first, again, other = (sample_rng(*key).integers(2**63, size=2).tolist() for key in (a, a, b))
    assert first == again
    assert (first == other) == (a == b)
    assert (derive_seed(*a) == derive_seed(*b)) == (a == b)
    assert 0 <= derive_seed(*a) < 2**63


def test_neighbours_and_permuted_keys_are_unrelated() -> None:
    grid = [(seed, epoch, index) for seed in range(5) for epoch in range(5) for index in range(40)]
    values = [sample_rng(*key).random() for key in grid]
    assert len(set(values)) == len(grid)
    mean, spread = float(np.mean(values)), float(np.std(values))
    assert mean == pytest.approx(0.5, abs=0.04) and spread == pytest.approx(12**-0.5, abs=0.02)
    assert abs(float(np.corrcoef(values[:-1], values[1:])[0, 1])) < 0.1


def test_a_run_on_the_cpu_has_the_streams_of_one_on_any_device() -> None:
    seed_all(3, 1)
    expected = draws()
    seed_all(3, 1, device=torch.device("cpu"))
    assert draws() == expected


def test_seed_all_seeds_every_stream() -> None:
    seed_all(3, 1)
    first = draws()
    seed_all(3, 1)
    assert draws() == first
    seed_all(3, 2)
    assert all(a != b for a, b in zip(draws(), first, strict=True))


def test_seeded_lends_the_streams() -> None:
    seed_all(1)
    np.random.randn()  # leaves the second half of a pair behind
    state = RngState().state_dict()
    expected = draws()
    RngState().load_state_dict(state)
    with seeded(7):
        inside = draws()
    assert draws() == expected
    with seeded(7):
        assert draws() == inside
    with seeded(8):
        assert all(a != b for a, b in zip(draws(), inside, strict=True))


def test_seeded_puts_them_back_after_an_error() -> None:
    seed_all(1)
    expected = draws()
    seed_all(1)
    with pytest.raises(ZeroDivisionError), seeded(7):
        draws()
        _ = 1 / 0
    assert draws() == expected


def test_a_state_of_plain_numbers_as_older_checkpoints_have_it() -> None:
    seed_all(5)
    old = {**RngState().state_dict(), "python": random.getstate()}
    expected = draws()
    seed_all(6)
    RngState().load_state_dict(old)
    assert draws() == expected


@pytest.mark.parametrize("half", [False, True])
def test_state_survives_a_file_of_plain_data(tmp_path: Path, half: bool) -> None:
    seed_all(5)
    if half:
        random.gauss(0, 1)
        np.random.randn()
    torch.save(RngState().state_dict(), tmp_path / "rng.pt")
    expected = draws()
    seed_all(6)
    assert draws() != expected
    RngState().load_state_dict(torch.load(tmp_path / "rng.pt", weights_only=True))
    assert draws() == expected
