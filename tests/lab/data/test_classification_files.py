from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lab.data.classification_files import LabelledFile, LabelledReading, divide
from lab.data.segmentation_sets import Sample
from lab.data.splits import Cut


def files(*named: tuple[str, str | None, str | None]) -> list[LabelledFile]:
    """Of (class, group, split) each."""
    return [
        LabelledFile(Sample(f"{k}.png", group, split=split), Path(f"{k}.png"), label)
        for k, (label, group, split) in enumerate(named)
    ]


PLAIN = files(*[("a", None, None)] * 10, *[("b", None, None)] * 5)
NAMED = files(*[("a", None, "train"), ("b", None, "val"), ("a", None, "test"), ("b", None, "train")] * 3)
TEST = files(*[("a", None, "train"), ("b", None, "train"), ("a", None, "test"), ("b", None, "test")] * 5)
GROUPS = files(*[(label, f"g{k}", None) for k in range(10) for label in "ab"])


def sizes(chosen: list[LabelledFile], cut: Cut) -> tuple[int, ...]:
    parts = divide(chosen, cut)
    assert sorted(np.concatenate(parts)) == list(range(len(chosen)))
    return tuple(map(len, parts))


@pytest.mark.parametrize(
    ("chosen", "cut", "expected"),
    [
        (PLAIN, Cut(0.2), (12, 3, 0)),
        (PLAIN, Cut(0.2, 0.2), (9, 3, 3)),
        (PLAIN, Cut(folds=5, fold=1), (12, 3, 0)),
        (NAMED, Cut(), (6, 3, 3)),
        (NAMED, Cut(folds=3), (6, 3, 3)),  # of nine that are no test images
        (TEST, Cut(0.2), (8, 2, 10)),
        (TEST, Cut(folds=5), (8, 2, 10)),
        (GROUPS, Cut(0.2, 0.1), (14, 4, 2)),
        (GROUPS, Cut(folds=5), (16, 4, 0)),
    ],
)
def test_how_many_go_where(chosen: list[LabelledFile], cut: Cut, expected: tuple[int, ...]) -> None:
    assert sizes(chosen, cut) == expected


def test_what_is_named_stays_where_it_is_named() -> None:
    parts = divide(NAMED, Cut())
    for side, indices in zip(("train", "val", "test"), parts, strict=True):
        assert {NAMED[index].sample.split for index in indices} == {side}
    assert {TEST[index].sample.split for index in divide(TEST, Cut(0.2)).test} == {"test"}


def test_folds_have_each_class_alike_whatever_was_validated_on() -> None:
    for fold in range(3):
        held = [NAMED[index].label for index in divide(NAMED, Cut(folds=3, fold=fold)).val]
        assert sorted(held) == ["a", "b", "b"]


def test_groups_stay_whole() -> None:
    parts = divide(GROUPS, Cut(0.2, 0.1))
    owners = [{GROUPS[index].sample.group for index in part} for part in parts]
    assert [len(own) for own in owners] == [7, 2, 1] and len(set.union(*owners)) == 10


def test_groups_that_are_torn_are_named() -> None:
    torn = files(("a", "x", "train"), ("b", "y", "train"), ("a", "z", "train"), ("b", "y", "test"))
    with pytest.raises(ValueError, match=r"both in the test set and outside of it: y$"):
        divide(torn, Cut())
    with pytest.raises(ValueError, match="groups on more than one side: y"):
        divide([*torn, *files(("a", "v", "val"))], Cut())


@pytest.mark.parametrize("chosen", [NAMED, TEST])
def test_a_share_that_would_not_be_used_is_refused(chosen: list[LabelledFile]) -> None:
    with pytest.raises(ValueError, match="test_share has no effect"):
        divide(chosen, Cut(test_share=0.1))


@pytest.mark.parametrize(
    ("given", "sides"), [({"size": 32}, [32, 32]), ({"size": [2, 3]}, [2, 3]), ({"size": None}, None)]
)
def test_sizes(given: dict[str, Any], sides: list[int] | None) -> None:
    assert LabelledReading(**given).sides == sides
