"""Commands for a person to copy: each works, as it is printed, in a shell in the current folder.

Every command that the program prints, and every one that it writes into a page or a file, is put together
here. `tests/test_commands.py` finds the calls and executes what they return.
"""

import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from lab.store import paths

MAIN = Path(__file__).resolve().parents[2] / "main.py"
EXAMPLE = MAIN.parent / "configs" / "run.yaml"
_RECORDED = ["python", "main.py"]  # how a record begins, which is read on other machines as well


def main(*arguments: str | Path) -> str:
    """This program with these arguments, by the Python that runs it; a `Path` is typed as `typed` has it."""
    return " ".join([_python(), *map(_quoted, (MAIN, *arguments))])


def recorded(arguments: Sequence[str]) -> list[str]:
    """A command as a record keeps it."""
    return [*_RECORDED, *arguments]


def again(command: Sequence[str]) -> str:
    """A recorded command as it works here."""
    words = list(command)
    return main(*words[2:]) if words[:2] == _RECORDED else shlex.join(words)


def anywhere(command: str) -> str:
    """A command for a file or a page, whose reader may be in any folder."""
    return f"cd {shlex.quote(str(paths.start()))} && {command}"


def setting(path: str, value: str) -> str:
    """The option that sets a value, to be added to the command that was given."""
    return f"--set {shlex.quote(f'{path}={value}')}"


def tool(name: str, *arguments: str | Path) -> str:
    """A program that a package has installed, such as `wandb`: of this Python's environment, where it can."""
    # Beside this Python first: on the path, another environment's program may come earlier.
    beside = Path(sys.executable).parent / name
    found = shutil.which(name)
    if found is not None and Path(found).parent == beside.parent:
        first = name
    elif beside.is_file():
        first = _quoted(beside)
    else:
        first = name if found else f"{_python()} -m {name}"
    return " ".join([first, *map(_quoted, arguments)])


def copy_of_database(source: Path, copy: Path) -> str:
    """A copy of an SQLite database that may be in use, its log included; it restores a copy as well."""
    code = (
        "import sqlite3, sys; a, b = sys.argv[1:]; "
        "sqlite3.connect(f'file:{a}?mode=ro', uri=True).backup(sqlite3.connect(b))"
    )
    return " ".join([_python(), "-c", shlex.quote(code), _quoted(source), _quoted(copy)])


def tunnel(port: int) -> str:
    """The way through SSH to a server of this machine; MACHINE is its name."""
    return f"ssh -L {port}:127.0.0.1:{port} MACHINE"


def install(*packages: str) -> str:
    """The installation of packages into this Python's environment."""
    return " ".join([_python(), "-m", "pip", "install", *map(shlex.quote, packages)])


def typed(path: Path) -> str:
    """A path as one would type it here: relative below the current folder, else whole; not quoted."""
    text = paths.shown(path)
    return f"./{text}" if text.startswith("-") else text


def _quoted(argument: str | Path) -> str:
    return shlex.quote(typed(argument) if isinstance(argument, Path) else argument)


def _python() -> str:
    """Return how this Python is called here: by its name where that finds it."""
    if not sys.executable:
        return "python"
    # By its short name where a shell finds this Python by it, as in an activated environment.
    own = Path(sys.executable)
    for name in ("python", own.name):
        found = shutil.which(name)
        if found is not None and Path(found).parent == own.parent and _same(own, Path(found)):
            return name
    return _quoted(own)


def _same(one: Path, other: Path) -> bool:
    """Return whether two names in one folder lead to one program."""
    return one.name == other.name or one.resolve() == other.resolve()
