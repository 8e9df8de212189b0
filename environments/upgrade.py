"""Take the newest versions that the requirements allow, if the tests pass with them: `make upgrade`.

`constraints.txt` is written only then, so that it always names versions that were tested together.
"""

import platform
import subprocess
import sys

from environments import making
from environments.requirements import CONSTRAINTS, ROOT, lines

HEADER = """\
# Versions that were tested together, for both requirements files. Made by `make upgrade`: don't edit.
# torch, torchvision and what torch itself depends on are left to the machine.
"""


def main() -> int:
    """Returns 0, or the exit code of the tests that failed."""
    python = making.make("upgrade", list(lines()))
    found = subprocess.run(
        [python, "-m", "environments.installed"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    changed = sorted(set(found.split()) ^ {line for line in _now() if not line.startswith("#")})
    print(
        f"Python {platform.python_version()}; what changes: {', '.join(changed) or 'nothing'}",
        file=sys.stderr,
    )
    failed = making.tests(python)
    if failed:
        print(
            f"{CONSTRAINTS.name} stays as it was: the tests fail with the newest versions.", file=sys.stderr
        )
        return failed
    CONSTRAINTS.write_text(HEADER + found, encoding="utf-8")
    return 0


def _now() -> list[str]:
    return CONSTRAINTS.read_text(encoding="utf-8").splitlines() if CONSTRAINTS.is_file() else []


if __name__ == "__main__":
    sys.exit(main())
