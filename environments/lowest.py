"""Run the tests with the lowest versions that the requirements allow: `make test-lowest`.

What the requirements don't name themselves comes in the newest version that fits.
"""

import sys

from environments import making
from environments.requirements import lines, lowest


def main() -> int:
    """Returns the exit code of the tests."""
    pins = [lowest(line) for line in lines()]
    python = making.make("lowest", pins)
    print(", ".join(pins), file=sys.stderr)
    return making.tests(python)


if __name__ == "__main__":
    sys.exit(main())
