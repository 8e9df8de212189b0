from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.data.splits import Cut, Parts
from lab.data.stratified_split import shuffled, stratified

LABELS = ["cat"] * 40 + ["dog"] * 20 + ["emu"] * 10
NAMES = [f"{label}/{index}.png" for index, label in enumerate(LABELS)]


def named(parts: Parts, names: list[str] = NAMES) -> list[set[str]]:
    return [{names[index] for index in part} for part in parts]


def test_every_set_has_its_share_of_each_class() -> None:
    parts = stratified(LABELS, NAMES, Cut(0.2, 0.1))
    counts = [Counter(LABELS[index] for index in part) for part in parts]
    assert counts == [
        {"cat": 28, "dog": 14, "emu": 7},
        {"cat": 8, "dog": 4, "emu": 2},
        {"cat": 4, "dog": 2, "emu": 1},
    ]
    assert sorted(np.concatenate(parts)) == list(range(70))


@given(st.permutations(range(70)), st.integers(0, 5))
def test_the_order_of_the_files_is_of_no_matter(order: list[int], seed: int) -> None:
    labels, names = [LABELS[index] for index in order], [NAMES[index] for index in order]
    cut = Cut(0.2, 0.1, seed)
    assert named(stratified(labels, names, cut), names) == named(stratified(LABELS, NAMES, cut))


def test_the_seed_decides() -> None:
    one, same, other = (named(stratified(LABELS, NAMES, Cut(seed=seed))) for seed in (1, 1, 2))
    assert one == same != other


@pytest.mark.parametrize("cut", [Cut(0.2, 0.1), Cut(folds=5, fold=2)])
def test_a_further_file_moves_few_others(cut: Cut) -> None:
    before = named(stratified(LABELS, NAMES, cut))
    names = [*NAMES, "dog/new.png"]
    after = named(stratified([*LABELS, "dog"], names, cut), names)
    assert sum(len(old - new) for old, new in zip(before, after, strict=True)) <= 2


def test_shuffled_places_a_further_name_among_the_others() -> None:
    order = [NAMES[index] for index in shuffled(NAMES, 3)]
    more = [*NAMES[:10], "x", *NAMES[10:]]
    longer = [more[index] for index in shuffled(more, 3)]
    assert [name for name in longer if name != "x"] == order != NAMES


@pytest.mark.parametrize("test_share", [0.0, 0.2])
def test_folds_hold_every_image_out_once_and_are_equal(test_share: float) -> None:
    labels = ["a"] * 11 + ["b"] * 11 + ["c"] * 11
    names = [f"{index}" for index in range(33)]
    found = [stratified(labels, names, Cut(test_share=test_share, folds=3, fold=fold)) for fold in range(3)]
    test = set(found[0].test.tolist())
    assert all(set(parts.test.tolist()) == test for parts in found)
    assert len(test) == (6 if test_share else 0)
    held = [index for parts in found for index in parts.val]
    assert sorted([*held, *test]) == list(range(33))
    assert {len(parts.val) for parts in found} == {(33 - len(test)) // 3}
    for parts in found:
        assert sorted(np.concatenate(parts)) == list(range(33))
        sizes = Counter(labels[index] for index in parts.val)
        assert max(sizes.values()) - min(sizes.values()) <= 1


@pytest.mark.parametrize(
    ("cut", "message"),
    [
        (Cut(0.5, 0.4), r"class 'b': 2 items are too few.*; class 'c': 1 items are too few"),
        (Cut(-0.1), "val_share must be in"),
        (Cut(folds=1), "folds must be at least 2"),
        (Cut(folds=3, fold=3), "fold from 0 to folds - 1"),
        (Cut(folds=3), "class 'b': folds=3, but it has 2 images; class 'c': folds=3, but it has 1 images"),
        (Cut(folds=2, test_share=0.5), "class 'b': folds=2, but it has 1 images beside the test set"),
        (Cut(folds=2, test_share=1.0), r"test_share must be in \[0, 1\)"),
    ],
)
def test_cuts_that_cannot_be_made(cut: Cut, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        stratified(["a"] * 9 + ["b"] * 2 + ["c"], [str(index) for index in range(12)], cut)


def test_a_share_of_0_validates_on_no_class() -> None:
    labels = ["a"] * 8 + ["b"] * 4
    parts = stratified(labels, [str(index) for index in range(12)], Cut(0.0, 0.25, 1))
    assert (len(parts.val), Counter(labels[index] for index in parts.test)) == (0, {"a": 2, "b": 1})
    assert sorted([*parts.train, *parts.test]) == list(range(12))
