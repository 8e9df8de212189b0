"""The seeded cut of a set in which every part gets its fraction of every class."""

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np

from lab.data.splits import Cut, Parts, require_range, split_counts


def shuffled(names: Sequence[str], seed: int) -> list[int]:
    """The indices of the names in an order that the seed and each name decide, and not the names' own order.

    A further name takes its place among the others and moves none of them.
    """
    return sorted(range(len(names)), key=lambda index: (_drawn(names[index], seed), names[index]))


def stratified(labels: Sequence[str], names: Sequence[str], cut: Cut) -> Parts:
    """Cut `range(len(labels))` class by class: by fractions, or into folds beside the test set.

    The set of an item depends on names and seed (see `shuffled`), not on the order of the files, and an
    additional file changes the set of few others.

    Raises:
        ValueError: an argument is out of its range, or classes have too few items: with each of them.
    """
    cut.require_folds()
    members: dict[str, list[int]] = {}
    for index, label in enumerate(labels):
        members.setdefault(label, []).append(index)
    sets: tuple[list[int], list[int], list[int]] = ([], [], [])
    problems = []
    for number, label in enumerate(sorted(members)):
        own = members[label]
        order = [own[index] for index in shuffled([names[index] for index in own], cut.seed)]
        try:
            found = _by_shares(order, cut) if cut.folds is None else _folded(order, cut, number)
        except ValueError as error:
            problems.append(f"class {label!r}: {error}")
            continue
        for indices, chosen in zip(sets, found, strict=True):
            indices += chosen
    if problems:
        raise ValueError("; ".join(problems))
    return Parts(*(np.sort(np.asarray(indices, np.intp)) for indices in sets))


def _by_shares(order: Sequence[int], cut: Cut) -> tuple[Iterable[int], ...]:
    _, val, test = split_counts(len(order), cut.val_share, cut.test_share)
    return order[val + test :], order[test : test + val], order[:test]


def _folded(order: Sequence[int], cut: Cut, first: int) -> tuple[Iterable[int], ...]:
    """The test items, then folds over the rest; where they aren't equal, the larger ones begin with `first`.

    Else the first fold would get the remainder of every class.
    """
    assert cut.folds is not None
    require_range(0, 1, closed=False, test_share=cut.test_share)
    test = max(1, round(len(order) * cut.test_share)) if cut.test_share else 0
    rest = order[test:]
    if len(rest) < cut.folds:
        after = " beside the test set" if test else ""
        raise ValueError(f"folds={cut.folds}, but it has {len(rest)} images{after}")
    fewest, larger = divmod(len(rest), cut.folds)
    sizes = [fewest + ((fold - first) % cut.folds < larger) for fold in range(cut.folds)]
    start = sum(sizes[: cut.fold])
    end = start + sizes[cut.fold]
    return [*rest[:start], *rest[end:]], rest[start:end], order[:test]


def _drawn(name: str, seed: int) -> bytes:
    return hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()
