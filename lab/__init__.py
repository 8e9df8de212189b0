"""Everything around the training loop: config, data, tasks, metrics, trackers, checkpoints, reports."""

import os
import sys

if sys.version_info < (3, 11, 1):  # forkservers of 3.11.0 listen on a socket that is open to every user
    found = ".".join(map(str, sys.version_info[:3]))
    print(f"This needs Python 3.11.1 or later; {sys.executable} is {found}.", file=sys.stderr)
    raise SystemExit(2)

from lab import import_aliases
from lab.errors import Infeasible

__all__ = ["Infeasible"]

import_aliases.install()

# albumentations asks a package registry for news when it is imported, which costs seconds without a network.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
