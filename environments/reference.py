"""Compare every figure with that of other libraries: `make reference`.

Arguments go to `benchmarks.reference`.
"""

import sys

from environments import making


def main() -> int:
    """Returns 0 where all agree."""
    python = making.make("reference", ["-r", "requirements-reference.txt"])
    return making.run(python, "benchmarks.reference", *sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
