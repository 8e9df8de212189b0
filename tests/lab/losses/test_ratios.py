import math

import pytest
import torch

from lab.losses.terms import Ratios, numbers, total


def test_sums_are_kept_over_reads_and_checkpoints() -> None:
    first = Ratios()
    first.add("a", torch.tensor(2.0), 3)
    first.add("a", torch.tensor(5.0), torch.tensor(1))
    assert first.read() == {"a": pytest.approx(11 / 4)}
    second = Ratios()
    second.load_state_dict(first.state_dict())
    second.add("a", torch.tensor(0.5, dtype=torch.bfloat16), torch.tensor(0.25))
    assert second.read() == {"a": 0.5}
    assert second.means() == {"a": pytest.approx(11.125 / 4.25)}


def test_what_weighs_nothing_counts_nothing() -> None:
    ratios = Ratios()
    ratios.add("a", torch.tensor(7.0), 0)
    ratios.add("b", torch.tensor(7.0), 2)
    found = ratios.read()
    assert math.isnan(found["a"]) and found["b"] == 7 and total(found) == 7
    assert math.isnan(total({"a": math.nan})) and math.isnan(total({}))


def test_float64_and_large_counts_keep_their_digits() -> None:
    assert numbers([torch.tensor(1 / 3, dtype=torch.float64)]).tolist() == [1 / 3]
    assert numbers([torch.tensor(2**53 - 1), 1]).tolist() == [2**53 - 1, 1]
