from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.data.splits import Cut, Splits, split_counts, split_indices


def test_a_plain_pair_becomes_splits() -> None:
    train, val = [1, 2], [3]
    splits: tuple[Any, ...] = Splits(*(train, val))  # type: ignore[arg-type]
    assert splits == (train, val, None, {})


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
        (10, -0.1, 0.0, "val_share must be in"),
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


@pytest.mark.parametrize("test", [0.0, 0.25])
@pytest.mark.parametrize("groups", [None, [*"aabbccddeeffgghhiijj"]])
def test_a_share_of_0_validates_on_nothing(test: float, groups: list[str] | None) -> None:
    parts = Cut(0.0, test, 3).parts(20, groups)
    tested = round(20 * test) if groups is None else len(parts.test)
    assert (len(parts.train), len(parts.val), len(parts.test)) == (20 - tested, 0, tested)
    assert tested in ({0} if not test else {4, 5, 6})
    assert sorted(np.concatenate(parts)) == list(range(20))


def test_names_need_no_val_with_a_share_of_0() -> None:
    parts = Cut(0.0).parts(3, named=["train", "test", "train"])
    assert [list(part) for part in parts] == [[0, 2], [], [1]]


# --- groups, folds and names ------------------------------------------------------------------------------

GROUPS = st.lists(st.sampled_from("abcdefgh"), min_size=3, max_size=60)


def sides(parts: tuple[np.ndarray, ...], groups: list[str]) -> list[set[str]]:
    return [{groups[index] for index in part} for part in parts]


@given(
    groups=GROUPS, seed=st.integers(0, 99), val=st.floats(0.05, 0.5), test=st.sampled_from([0.0, 0.2, 0.4])
)
def test_a_group_is_on_one_side(groups: list[str], seed: int, val: float, test: float) -> None:
    cut = Cut(val, test, seed)
    needed = 3 if test else 2
    if len(set(groups)) < needed:
        with pytest.raises(ValueError, match=rf"can't be cut into {needed} sets: a group stays whole"):
            cut.parts(len(groups), groups)
        return
    parts = cut.parts(len(groups), groups)
    train, held, last = sides(parts, groups)
    assert sorted(np.concatenate(parts)) == list(range(len(groups)))
    assert not train & held and not train & last and not held & last
    assert train and held and bool(last) == bool(test)


@pytest.mark.parametrize("seed", range(5))
def test_shares_of_groups_are_met_as_nearly_as_groups_allow(seed: int) -> None:
    groups = [f"p{index // 5}" for index in range(200)]
    parts = Cut(0.2, 0.1, seed).parts(200, groups)
    assert [len(part) for part in parts] == [140, 40, 20]
    uneven = ["large"] * 80 + ["small"] * 20
    assert [len(part) for part in Cut(0.2, 0.0, seed).parts(100, uneven)] == [80, 20, 0]


def test_groups_are_cut_by_their_names_and_not_by_the_order_of_the_files() -> None:
    groups = [f"p{index % 10}" for index in range(60)]
    order = np.random.default_rng(0).permutation(60)
    for cut in (Cut(0.3, 0.1, 4), Cut(folds=4, fold=1, test_share=0.2, seed=4)):
        shuffled = [groups[index] for index in order]
        assert sides(cut.parts(60, groups), groups) == sides(cut.parts(60, shuffled), shuffled)


@given(
    total=st.integers(4, 80),
    folds=st.integers(2, 9),
    seed=st.integers(0, 99),
    test=st.sampled_from([0.0, 0.25]),
    grouped=st.booleans(),
)
def test_every_item_is_held_out_once(total: int, folds: int, seed: int, test: float, grouped: bool) -> None:
    groups = [f"g{index % 7}" for index in range(total)] if grouped else None
    try:
        cuts = [Cut(0.2, test, seed, folds, fold).parts(total, groups) for fold in range(folds)]
    except ValueError as error:
        left = len(set(groups)) if groups else total
        assert "leaves one out at a time" in str(error) and folds > left - (total if test else 0)
        return
    assert all(np.array_equal(cut.test, cuts[0].test) for cut in cuts)  # set aside before, for all of them
    assert len(cuts[0].test) > 0 if test else len(cuts[0].test) == 0
    assert sorted(np.concatenate([cuts[0].test, *(cut.val for cut in cuts)])) == list(range(total))
    for cut in cuts:
        assert sorted(np.concatenate(cut)) == list(range(total)) and len(cut.train) and len(cut.val)
        if groups:
            train, held, last = sides(cut, groups)
            assert not train & held and not train & last and not held & last
    if not groups:
        sizes = [len(cut.val) for cut in cuts]
        assert max(sizes) - min(sizes) <= 1


def test_folds_of_groups_have_about_as_many_images() -> None:
    groups = [f"g{k}" for k, count in enumerate((30, 20, 10, 10, 10, 10, 5, 5)) for _ in range(count)]
    sizes = [len(Cut(folds=3, fold=fold).parts(100, groups).val) for fold in range(3)]
    assert sorted(sizes) == [30, 35, 35]


def test_leave_one_out_is_a_fold_for_each() -> None:
    held = [Cut(folds=6, fold=fold).parts(6).val.tolist() for fold in range(6)]
    assert sorted(held) == [[k] for k in range(6)]
    with pytest.raises(
        ValueError, match=r"folds=7, but there are 6 images: folds=6 leaves one out at a time"
    ):
        Cut(folds=7).parts(6)
    with pytest.raises(ValueError, match=r"folds=3, but there are 2 groups: folds=2 leaves one out"):
        Cut(folds=3).parts(6, list("aaabbb"))
    with pytest.raises(ValueError, match=r"folds=6, but there are 5 images beside the test set: folds=5"):
        Cut(test_share=0.2, folds=6).parts(6)


NAMED = ["train", "val", "test", "train", "val", "train"]


def test_names_decide_whatever_the_shares_are() -> None:
    parts = Cut(0.9, 0.05, 3).parts(6, named=NAMED)
    assert [part.tolist() for part in parts] == [[0, 3, 5], [1, 4], [2]]
    held = [Cut(folds=5, fold=fold).parts(6, named=NAMED) for fold in range(5)]
    assert sorted(cut.val.tolist() for cut in held) == [[0], [1], [3], [4], [5]]
    assert all(cut.test.tolist() == [2] for cut in held)


@pytest.mark.parametrize(
    ("cut", "groups", "named", "message"),
    [
        (Cut(), None, ["train"] * 3, "nothing is in 'val'"),
        (Cut(), None, ["val", "test", "test"], "nothing is in 'train'"),
        (Cut(), list("aab"), ["train", "val", "val"], "puts groups on more than one side: a"),
        (Cut(folds=2), list("aab"), ["train", "test", "val"], "on more than one side: a"),
        (Cut(folds=1), None, None, "folds must be at least 2"),
        (Cut(folds=2, fold=2), None, None, "fold from 0 to folds - 1, found folds=2, fold=2"),
        (Cut(folds=2, fold=-1), None, None, "found folds=2, fold=-1"),
        (Cut(folds=2, test_share=1.0), None, None, "test_share must be in"),
        (Cut(val_share=1.0), list("aab"), None, "val_share must be in"),
    ],
)
def test_cuts_that_cannot_be_made(
    cut: Cut, groups: list[str] | None, named: list[str] | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        cut.parts(3, groups, named)


def test_folds_may_mix_train_and_val_of_a_group_but_not_test() -> None:
    parts = Cut(folds=2).parts(4, list("aabc"), ["train", "val", "train", "test"])
    assert parts.test.tolist() == [3] and sorted(map(len, parts)) == [1, 1, 2]
