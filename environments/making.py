"""Virtual environments beside the project's own, made anew each time."""

import os
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

from environments.requirements import ROOT


def make(name: str, requirements: Sequence[str]) -> Path:
    """Make `.venv-NAME` with these requirements and nothing older in it; returns its Python.

    Raises:
        subprocess.CalledProcessError: they can't be installed together.
    """
    folder = ROOT / f".venv-{name}"
    venv.EnvBuilder(clear=True, with_pip=True).create(folder)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", *requirements], cwd=ROOT, check=True)
    return python


def run(python: Path, *arguments: str) -> int:
    """Run a module of the project; its output goes to the screen."""
    return subprocess.run([python, "-m", *arguments], cwd=ROOT, check=False).returncode


def tests(python: Path) -> int:
    """Run the fast tests; returns pytest's exit code. `ARGS` of the environment are its arguments."""
    arguments = os.environ.get("ARGS", "").split()
    print(f"The tests, with {python.relative_to(ROOT)}", file=sys.stderr)
    return run(python, "pytest", "-n", "auto", *arguments)
