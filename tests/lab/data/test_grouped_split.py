from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.config.group_split_rule import GroupRule, applied
from lab.data.grouped_split import chosen, dealt
from lab.data.splits import Cut

SIZES = st.lists(st.integers(1, 40), min_size=3, max_size=7)


def nearest(sizes: list[int], wanted: list[int], keep: int) -> int:
    """The smallest distance by trying every assignment of groups to sets."""
    best = 10**9
    for places in product(range(len(wanted) + 1), repeat=len(sizes)):
        sums = [sum(size for size, place in zip(sizes, places, strict=True) if place == k) for k in (1, 2)]
        if all(sums[: len(wanted)]) and places.count(0) >= keep:
            best = min(best, sum(abs(a - b) for a, b in zip(sums, wanted, strict=False)))
    return best


def distance(sizes: list[int], sets: list[list[int]], wanted: list[int]) -> int:
    return sum(abs(sum(sizes[k] for k in own) - aim) for own, aim in zip(sets, wanted, strict=True))


@settings(max_examples=60)
@given(sizes=SIZES, shares=st.lists(st.floats(0.05, 0.45), min_size=1, max_size=2), seed=st.integers(0, 9))
def test_no_assignment_of_whole_groups_is_nearer(sizes: list[int], shares: list[float], seed: int) -> None:
    wanted = [round(sum(sizes) * share) for share in shares]
    for keep in {1, len(sizes) - len(wanted)}:
        sets = chosen(sizes, wanted, keep, np.random.default_rng(seed))
        taken = [index for own in sets for index in own]
        assert len(taken) == len(set(taken)) <= len(sizes) - keep and all(sets)
        assert distance(sizes, sets, wanted) == nearest(sizes, wanted, keep)
        assert sets == chosen(sizes, wanted, keep, np.random.default_rng(seed))


@settings(max_examples=60)
@given(sizes=SIZES, folds=st.integers(2, 3))
def test_no_folds_of_whole_groups_are_more_equal(sizes: list[int], folds: int) -> None:
    found = dealt(sizes, folds)
    assert sorted(index for fold in found for index in fold) == list(range(len(sizes))) and all(found)
    least = min(
        sum(
            sum(size for size, place in zip(sizes, places, strict=True) if place == fold) ** 2
            for fold in range(folds)
        )
        for places in product(range(folds), repeat=len(sizes))
    )
    assert sum(sum(sizes[index] for index in fold) ** 2 for fold in found) == least


@pytest.mark.parametrize(
    ("sizes", "share", "expected"),
    [
        ([7, 12, 10, 46], 0.33, 22),  # 25 wanted; 7 + 12 + 10 = 29 and 46 are further off
        ([46, 46, 46, 1, 1], 0.33, 46),
        ([100, 3, 3, 3, 3], 0.1, 12),
        ([9, 9, 9, 5, 5, 5, 5], 0.42, 20),  # 19.7 wanted: four of five, where a nine would spoil it
    ],
)
def test_counts_that_whole_groups_allow(sizes: list[int], share: float, expected: int) -> None:
    groups = [f"g{number}" for number, size in enumerate(sizes) for _ in range(size)]
    assert {len(Cut(share, seed=seed).parts(len(groups), groups).val) for seed in range(20)} == {expected}


def test_both_shares_are_met_together() -> None:
    groups = [f"g{number}" for number, size in enumerate([4, 3, 1, 12]) for _ in range(size)]
    for seed in range(20):  # a test set of 3 + 1 would leave no validation set of 3
        parts = Cut(0.15, 0.2, seed).parts(20, groups)
        assert [len(part) for part in parts] == [13, 3, 4]


def test_the_seed_decides_among_equally_good_cuts() -> None:
    groups = [f"g{index // 5}" for index in range(50)]
    held = {tuple(Cut(0.2, seed=seed).parts(50, groups).val.tolist()) for seed in range(20)}
    assert len(held) > 10 and all(len(val) == 10 for val in held)
    near = [f"g{number}" for number, size in enumerate([8, 12, 30]) for _ in range(size)]
    assert {len(Cut(0.2, seed=seed).parts(50, near).val) for seed in range(20)} == {8, 12}


def test_thousands_of_groups_are_cut_at_once() -> None:
    sizes = np.random.default_rng(0).integers(1, 60, 5000).tolist()
    wanted = [round(sum(sizes) * share) for share in (0.1, 0.2)]
    assert distance(sizes, chosen(sizes, wanted, 1, np.random.default_rng(0)), wanted) == 0
    assert len(dealt(sizes, 10)) == 10


def test_two_large_tables_become_one_after_another() -> None:
    sizes = [997, 1009, 1013, 1019, 1021, 1031, 1033, 1039, 1049, 1051, 1061, 1063, 20011, 30011]
    wanted = [4000, 9000]
    sets = chosen(sizes, wanted, 1, np.random.default_rng(3))
    assert distance(sizes, sets, wanted) < 700 and not set(sets[0]) & set(sets[1])


def greedily(units: list[list[int]], wanted: int, keep: int) -> list[int]:
    """The items of the units that commit 9de05b7 took, which it removed from the list."""
    items: list[int] = []
    for unit in list(units):
        nearer = abs(len(items) + len(unit) - wanted) < abs(len(items) - wanted)
        if nearer and len(units) > keep:
            items += unit
            units.remove(unit)
    if not items:
        units.remove(smallest := min(units, key=len))
        items += smallest
    return sorted(items)


@settings(max_examples=100)
@given(
    sizes=st.lists(st.integers(1, 12), min_size=4, max_size=9),
    test=st.sampled_from([0.0, 0.1, 0.3]),
    val=st.sampled_from([0.15, 0.33, 0.6]),
    folds=st.sampled_from([None, 2, 3]),
    seed=st.integers(0, 9),
)
def test_the_greedy_rule_cuts_as_9de05b7_did(
    sizes: list[int], test: float, val: float, folds: int | None, seed: int
) -> None:
    names = [f"g{number}" for number, size in enumerate(sizes) for _ in range(size)]
    order = np.random.default_rng(seed).permutation(len(sizes))
    units = [[index for index, name in enumerate(names) if name == f"g{group}"] for group in order]
    held = greedily(units, round(len(names) * test), 2 if folds is None else 1) if test else []
    if folds is None:
        expected = [greedily(units, round(len(names) * val), 1)]
    elif len(units) < folds:
        return
    else:
        dealt: list[list[int]] = [[] for _ in range(folds)]
        counts = [0] * folds
        for unit in sorted(units, key=lambda unit: -len(unit)):
            place = min(range(folds), key=lambda fold: (len(dealt[fold]), counts[fold]))
            dealt[place] += unit
            counts[place] += 1
        expected = [sorted(fold) for fold in dealt]
    with applied(GroupRule.GREEDY):
        for fold, items in enumerate(expected):
            parts = Cut(val, test, seed, folds, fold).parts(len(names), names)
            assert (parts.val.tolist(), parts.test.tolist()) == (items, held)


def test_the_greedy_rule_is_for_its_context_alone() -> None:
    names = [f"g{number}" for number, size in enumerate([3, 3, 2, 2, 2]) for _ in range(size)]
    with applied(GroupRule.GREEDY):
        assert len(Cut(folds=2).parts(12, names).val) == 7
    assert len(Cut(folds=2).parts(12, names).val) == 6
