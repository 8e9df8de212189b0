"""`python -m benchmarks.reference [--inputs N] [WORD]`: a table, and exit code 1 where a figure is apart.

With a word, only the quantities whose name or reference has it.
"""

import argparse
import sys
import warnings
from collections.abc import Iterator

import torch

from benchmarks.reference import classes, losses, masks, networks, numbers, relations
from benchmarks.reference.quantity import Quantity, compare

PARTS = (masks, classes, numbers, losses, networks, relations)


def main() -> int:
    """Compare, and print a line for each quantity as it is done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("word", nargs="?", default="")
    parser.add_argument("--inputs", type=int, default=None, help="at most so many for each quantity")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    rows, apart = [], 0
    for quantity in chosen(options.word):
        found = compare(quantity, options.inputs)
        verdict = "agrees" if found.agrees else f"APART at seed {found.seed}"
        apart += not found.agrees
        rows.append(
            [quantity.name, quantity.reference, str(found.inputs), f"{found.difference:.1e}", verdict]
        )
        print(f"{verdict}: {quantity.name}", file=sys.stderr, flush=True)
    print("| quantity | reference | inputs | largest difference | verdict |\n|---|---|---|---|---|")
    for row in rows:
        print(f"| {' | '.join(row)} |")
    print(f"\n{len(rows)} quantities, {apart} apart.")
    return 1 if apart else 0


def chosen(word: str) -> Iterator[Quantity]:
    """The quantities of all parts that have the word."""
    for part in PARTS:
        yield from (each for each in part.QUANTITIES if word in each.name or word in each.reference)


if __name__ == "__main__":
    sys.exit(main())
