"""Commands for a person to copy: each works, as it is printed, in a shell in the current folder.

Every command that the program prints, and every one that it writes into a page or a file, is put together
here: by `main`, `tool` or `install`. `tests/test_commands.py` finds the calls and executes what they return.
"""

import os
import shlex
import shutil
import sys
from pathlib import Path

MAIN = Path(__file__).resolve().parent.parent / "main.py"


def main(*arguments: str | Path) -> str:
    """This program with these arguments, by the Python that runs it; a `Path` is typed as `typed` has it."""
    return " ".join([_python(), *map(_quoted, (MAIN, *arguments))])


def anywhere(command: str) -> str:
    """A command for a file or a page, whose reader may be in any folder."""
    return f"cd {shlex.quote(str(Path.cwd()))} && {command}"


def setting(path: str, value: str) -> str:
    """The option that sets a value, to be added to the command that was given."""
    return f"--set {shlex.quote(f'{path}={value}')}"


def tool(name: str, *arguments: str | Path) -> str:
    """A program that a package has installed, such as `wandb`: of this Python's environment, where it can."""
    beside = Path(sys.executable).parent / name
    found = shutil.which(name)
    if found is not None and Path(found).parent.absolute() == beside.parent:
        first = name
    elif beside.is_file():
        first = _quoted(beside)
    else:
        first = name if found else f"{_python()} -m {name}"
    return " ".join([first, *map(_quoted, arguments)])


def install(*packages: str) -> str:
    """The installation of packages into this Python's environment."""
    return " ".join([_python(), "-m", "pip", "install", *map(shlex.quote, packages)])


def typed(path: Path) -> str:
    """A path as one would type it here: relative below the current folder, else whole; not quoted."""
    whole = os.path.normpath(path.absolute())
    here = os.getcwd()  # noqa: PTH109
    below = whole == here or whole.startswith(here.rstrip(os.sep) + os.sep)
    text = os.path.relpath(whole, here) if below else whole
    return f"./{text}" if text.startswith("-") else text


def _quoted(argument: str | Path) -> str:
    return shlex.quote(typed(argument) if isinstance(argument, Path) else argument)


def _python() -> str:
    """How this Python is called here: by its name where that finds it."""
    if not sys.executable:
        return "python"
    own = Path(sys.executable)
    for name in ("python", own.name):
        found = shutil.which(name)
        if found is not None and Path(found).absolute() == own.parent / name and _same(own, Path(found)):
            return name
    return _quoted(own)


def _same(one: Path, other: Path) -> bool:
    """Whether two names in one folder lead to one program."""
    return one.name == other.name or one.resolve() == other.resolve()
