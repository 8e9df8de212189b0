import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.data.splits import Splits, split_counts, split_indices


def test_a_plain_pair_becomes_splits() -> None:
    train, val = [1, 2], [3]
    assert Splits(*(train, val)) == (train, val, None, {})  # type: ignore[arg-type]


@given(
    total=st.integers(2, 500), val=st.floats(0.01, 0.5), test=st.floats(0, 0.4), seed=st.integers(0, 2**40)
)
def test_the_cut_loses_and_repeats_nothing(total: int, val: float, test: float, seed: int) -> None:
    try:
        counts = split_counts(total, val, test)
    except ValueError:
        assert total < 12  # only a handful of items can be too few for such shares
        return
    parts = split_indices(total, val, test, seed)
    assert tuple(len(part) for part in parts) == counts
    assert sorted(np.concatenate(parts)) == list(range(total))
    assert counts[0] >= 1 and counts[1] >= 1 and (counts[2] >= 1) == (test > 0)


def test_the_seed_decides() -> None:
    one, same, other = (split_indices(100, 0.2, 0.1, seed) for seed in (1, 1, 2))
    assert all((a == b).all() for a, b in zip(one, same, strict=True))
    assert any((a != b).any() for a, b in zip(one, other, strict=True))
    assert [len(part) for part in one] == [70, 20, 10]


@pytest.mark.parametrize(
    ("total", "val", "test", "message"),
    [
        (10, 0.0, 0.0, "val_share must be in"),
        (10, 1.0, 0.0, "val_share must be in"),
        (10, 0.5, -0.1, "test_share in"),
        (10, 0.6, 0.4, "sum below 1"),
        (1, 0.2, 0.0, "1 items are too few"),
        (2, 0.2, 0.2, "2 items are too few"),
    ],
)
def test_shares_that_leave_nothing(total: int, val: float, test: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        split_indices(total, val, test, 0)
