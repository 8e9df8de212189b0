"""Groups of several sizes into sets of given sizes, as nearly as whole groups allow.

Both are subset-sum problems. They are solved exactly within the bounds below; beyond them by heuristics,
which are exact in most cases. By `GroupRule.GREEDY` the heuristics alone decide.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lab.config.group_split_rule import GroupRule, current

_MOST_STATES = 30_000_000  # bytes of a table of reachable sums
_MOST_STEPS = 100_000  # of the search for folds


def chosen(
    sizes: Sequence[int], wanted: Sequence[int], keep: int, rng: np.random.Generator
) -> list[list[int]]:
    """Disjoint, non-empty sets of groups whose sums of sizes are nearest to those that are wanted.

    The sum of the absolute differences is minimal among all choices that leave `keep` groups in no set. The
    generator decides among equally good ones.

    Args:
        sizes: of the groups, each at least 1, in the order in which the greedy choice considers them.
        wanted: the sums, one or two.
    Returns:
        The indices of the groups of each set.
    """
    # The greedy choice is exact in most cases, and needs no table.
    best = _greedy(sizes, wanted, keep)
    if current() is GroupRule.GREEDY or _distance(sizes, best, wanted) == 0:
        return best
    exact = _exact(sizes, wanted, keep, rng)
    if exact is None and len(wanted) > 1:  # one set after another needs a smaller table
        first = chosen(sizes, wanted[:1], keep + len(wanted) - 1, rng)[0]
        left = [index for index in range(len(sizes)) if index not in set(first)]
        rest = chosen([sizes[index] for index in left], wanted[1:], keep, rng)
        exact = [first, *([left[index] for index in own] for own in rest)]
    if exact is not None and _distance(sizes, exact, wanted) < _distance(sizes, best, wanted):
        return exact
    return best


def dealt(sizes: Sequence[int], folds: int) -> list[list[int]]:
    """Folds of groups that are as equal as can be: the sum of their squared sizes is minimal.

    Args:
        sizes: of the groups; there are at least as many as folds.
    Returns:
        The indices of the groups of each fold.
    """
    order = sorted(range(len(sizes)), key=lambda index: -sizes[index])
    best = _largest_first(sizes, order, folds)
    low, larger = divmod(sum(sizes), folds)
    least = larger * (low + 1) ** 2 + (folds - larger) * low**2
    if current() is GroupRule.GREEDY or _squares(sizes, best) == least:
        return best
    search = _FoldSearch([sizes[index] for index in order], folds, _squares(sizes, best), least)
    search.run(0)
    if search.best is None:
        return best
    found: list[list[int]] = [[] for _ in range(folds)]
    for index, fold in zip(order, search.best, strict=True):
        found[fold].append(index)
    return found


def _greedy(sizes: Sequence[int], wanted: Sequence[int], keep: int) -> list[list[int]]:
    """Take each group that brings a set's sum nearer to the one that is wanted."""
    left = list(range(len(sizes)))
    sets = []
    for number, aim in enumerate(wanted):
        after = keep + len(wanted) - number - 1
        taken: list[int] = []
        count = 0
        for index in list(left):
            if len(left) > after and abs(count + sizes[index] - aim) < abs(count - aim):
                taken.append(index)
                count += sizes[index]
                left.remove(index)
        if not taken:  # all are too large: the smallest
            taken.append(min(left, key=lambda index: sizes[index]))
            left.remove(taken[0])
        sets.append(taken)
    return sets


def _distance(sizes: Sequence[int], sets: Sequence[Sequence[int]], wanted: Sequence[int]) -> int:
    return sum(abs(sum(sizes[index] for index in own) - aim) for own, aim in zip(sets, wanted, strict=True))


def _exact(
    sizes: Sequence[int], wanted: Sequence[int], keep: int, rng: np.random.Generator
) -> list[list[int]] | None:
    """A nearest choice by a table of all reachable sums; None: the table would be too large.

    A cell of the table is (groups taken, sum of each set). Sums beyond a wanted one by more than the largest
    group are never nearest.
    """
    most = len(sizes) - keep
    limits = [min(sum(sizes), aim + max(sizes)) for aim in wanted]
    counted = keep > 1  # else it is enough that the sums leave something over
    shape = (most + 1 if counted else 1, *(limit + 1 for limit in limits))
    if (len(sizes) + 1) * np.prod(shape, dtype=np.float64) > _MOST_STATES:
        return None
    # A move adds a group to one of the sets; leaving it out is no move.
    moves = [
        [
            (int(counted), *(size if at == number else 0 for at in range(len(wanted))))
            for number in range(len(wanted))
        ]
        for size in sizes
    ]
    # Reachability is computed backwards, so that the walk below never runs into a dead end.
    tables = np.zeros((len(sizes) + 1, *shape), bool)  # what groups i, i + 1, … can reach
    tables[-1][(0,) * len(shape)] = True
    for index in reversed(range(len(sizes))):
        tables[index] = tables[index + 1]
        for move in moves[index]:
            _add_shifted(tables[index], tables[index + 1], move)
    # Candidates: no set is empty, and something is left over where it has to be.
    cells = np.argwhere(tables[0])
    sums = cells[:, 1:]
    cells = cells[(sums > 0).all(1) & (sums.sum(1) < sum(sizes) if keep else True)]
    if not len(cells):
        return None
    distances = np.abs(cells[:, 1:] - np.asarray(wanted)).sum(1)
    nearest = cells[distances == distances.min()]
    left = tuple(int(part) for part in nearest[rng.integers(len(nearest))])
    # Walk from the chosen cell through the groups. At each group the generator chooses among the options from
    # which the rest of the way is possible, so that equally good choices are equally open.
    sets: list[list[int]] = [[] for _ in wanted]
    for index in range(len(sizes)):
        options = [(number, _minus(left, move)) for number, move in enumerate(moves[index])]
        options.append((-1, left))
        for option in rng.permutation(len(options)):
            number, rest = options[option]
            if min(rest) >= 0 and tables[index + 1][rest]:
                left = rest
                if number >= 0:
                    sets[number].append(index)
                break
    return sets


def _add_shifted(table: NDArray[np.bool_], before: NDArray[np.bool_], move: Sequence[int]) -> None:
    """Mark what one more group reaches from the cells of `before`."""
    if all(step < length for step, length in zip(move, table.shape, strict=True)):
        to = tuple(slice(step, None) for step in move)
        origin = tuple(slice(0, length - step) for step, length in zip(move, table.shape, strict=True))
        table[to] |= before[origin]


def _minus(cell: tuple[int, ...], move: Sequence[int]) -> tuple[int, ...]:
    return tuple(part - step for part, step in zip(cell, move, strict=True))


def _largest_first(sizes: Sequence[int], order: Sequence[int], folds: int) -> list[list[int]]:
    """The largest group first, each to the fold that has the fewest items so far."""
    found: list[list[int]] = [[] for _ in range(folds)]
    sums = [0] * folds
    for index in order:
        fold = min(range(folds), key=lambda fold: (sums[fold], len(found[fold])))
        found[fold].append(index)
        sums[fold] += sizes[index]
    return found


def _squares(sizes: Sequence[int], folds: Sequence[Sequence[int]]) -> int:
    return sum(sum(sizes[index] for index in fold) ** 2 for fold in folds)


class _FoldSearch:
    """Depth-first search for folds with a smaller sum of squares, up to a number of steps.

    Args:
        sizes: in falling order.
        bound: the sum of squares to fall below.
        least: the smallest one that can be.
    """

    def __init__(self, sizes: Sequence[int], folds: int, bound: int, least: int) -> None:
        self.best: list[int] | None = None
        self._sizes, self._bound, self._least = list(sizes), bound, least
        self._left = [sum(sizes[index:]) for index in range(len(sizes) + 1)]
        self._sums, self._where = [0] * folds, [0] * len(sizes)
        self._steps = 0

    def run(self, index: int) -> None:
        """Place the groups from `index` on."""
        self._steps += 1
        if index == len(self._sizes):
            squares = sum(count**2 for count in self._sums)
            if squares < self._bound:
                self._bound, self.best = squares, list(self._where)
            return
        tried = set()
        # The emptiest fold first: good solutions come early, and their bound cuts off the rest.
        for fold in sorted(range(len(self._sums)), key=lambda fold: self._sums[fold]):
            if self._bound == self._least or self._steps > _MOST_STEPS:
                return
            if self._sums[fold] in tried:  # folds of one size are interchangeable
                continue
            tried.add(self._sums[fold])
            self._sums[fold] += self._sizes[index]
            self._where[index] = fold
            if self._can_win(self._left[index + 1]):
                self.run(index + 1)
            self._sums[fold] -= self._sizes[index]

    def _can_win(self, left: int) -> bool:
        """Return whether the rest, could it be cut at will, would give a smaller sum of squares."""
        level, sums = left, sorted(self._sums)
        for count, own in enumerate(sums, 1):  # fill the smallest folds up to one level
            level += own
            if count == len(sums) or level <= sums[count] * count:
                low, larger = divmod(level, count)
                filled = larger * (low + 1) ** 2 + (count - larger) * low**2
                return filled + sum(other**2 for other in sums[count:]) < self._bound
        raise AssertionError("a fold is always filled")
