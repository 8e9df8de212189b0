"""Real git repositories for tests, on which the settings of whoever runs the tests have no bearing."""

import os
import subprocess
from pathlib import Path

import pytest


def git(folder: Path, *arguments: str, check: bool = True) -> str:
    """Return what plain git prints, which may start programs that the repository's settings name."""
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=folder, check=check, capture_output=True, text=True
    )
    return done.stdout.strip()


def alone(patch: pytest.MonkeyPatch) -> None:
    """Leave out the settings of the machine and of the developer, and repositories around the tests."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        patch.delenv(name)
    patch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    patch.setenv("GIT_CONFIG_SYSTEM", os.devnull)


def repository(folder: Path, **files: str) -> Path:
    """A repository with one commit; `a__py="…"` is a file `a.py`."""
    folder.mkdir(parents=True, exist_ok=True)
    git(folder, "init", "-q", "-b", "trunk")
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    git(folder, "add", ".")
    git(folder, "commit", "-q", "--allow-empty", "-m", "first")
    return folder
