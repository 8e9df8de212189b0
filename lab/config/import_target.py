"""Import of what an import path names, with an error message for all that can go wrong on the way."""

import functools
import gc
import importlib
import inspect
import os
import pkgutil
import sysconfig
import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path as FilePath
from types import ModuleType

from lab import import_aliases
from lab.config.import_policy import admit, admit_found, bad_target, missing_module
from lab.config.problems import ConfigError, nearest
from lab.config.signatures import Target
from lab.store.error_text import kind_and_text

current, notes_on_moved = import_aliases.current, import_aliases.notes
_PYTHON, _PACKAGES = (
    tuple({os.path.realpath(sysconfig.get_path(name)) + os.sep for name in names})
    for names in (("stdlib", "platstdlib"), ("purelib", "platlib"))
)
_PIPS, _DEBIANS = f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}"


def resolve(name: str) -> Target:
    """Import what a dotted path names, where a config may: the user's own module beside `main.py` included.

    Raises:
        ConfigError: it may not be named, can't be imported, or is no class or function.
    """
    name = current(name)
    admit(name)
    first, *rest = name.split(".")
    value: object = _import(first)
    if value is None:
        raise missing_module(first)
    where = first
    # Each step is checked by its place of definition: a good name may lead into another package.
    for part in rest:
        value = _part(value, part, where)
        where = f"{where}.{part}"
        if isinstance(value, ModuleType) or callable(value):
            admit_found(value, where)
    if not callable(value):
        raise bad_target(f"'{name}' is a {type(value).__name__}; a class or a function is expected")
    return typing.cast(Target, value)


@functools.lru_cache(maxsize=4096)
def is_installed(file: str | None) -> bool:
    """Return whether a source file belongs to Python or an installed package; code without a file does.

    A link among the packages that leads elsewhere, as to a package under development, makes it no package.
    """
    if not file or file.startswith("<"):
        return True
    real = os.path.realpath(file)
    return is_of_python(real) or _is_packaged(real)


def is_of_python(file: str) -> bool:
    """Return whether a file is one of Python's own library, by its path as it is written."""
    return file.startswith(_PYTHON) and not _is_packaged(file)


def _is_packaged(file: str) -> bool:
    return _PIPS in file or _DEBIANS in file or file.startswith(_PACKAGES)


def is_users(file: str) -> bool:
    """Return whether a source file is the user's: neither of Python or a package, nor of this project."""
    lab = FilePath(__file__).resolve().parent.parent
    own = {lab, *(lab.parent / name for name in ("selftest", "main.py", "util.py"))}
    path = FilePath(file).resolve()
    return not is_installed(file) and own.isdisjoint((path, *path.parents))


def blame(error: BaseException) -> str:
    """` (mine.py:12)`: the user's innermost line in the traceback, or nothing where there is none."""
    place = ""
    trace = error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if is_users(file):
            place = f" ({FilePath(file).name}:{trace.tb_lineno})"
        trace = trace.tb_next
    return place


def _part(value: object, part: str, where: str) -> object:
    """An attribute, or a module of a package that is not imported yet."""
    try:
        return getattr(value, part)
    except AttributeError:
        pass
    except Exception as error:  # a package that imports its parts when they are asked for
        raise _failed(f"{where}.{part}", error) from error
    # A package that imports its parts when they are asked for lists them in `__all__` alone.
    known = [name for name in (*dir(value), *getattr(value, "__all__", ())) if not name.startswith("_")]
    if isinstance(value, ModuleType) and hasattr(value, "__path__"):
        module = _import(f"{where}.{part}")
        if module is not None:
            return module
        known += [found.name for found in pkgutil.iter_modules(value.__path__)]
    raise bad_target(f"'{where}' has no '{part}'{nearest(part, known)}")


def _import(name: str) -> ModuleType | None:
    """The module, or None where there is none of this name."""
    try:
        with uncollected():
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name == name:
            return None
        raise _failed(name, error) from error
    except (Exception, SystemExit) as error:  # a user's module may raise anything
        raise _failed(name, error) from error


@contextmanager
def uncollected() -> Iterator[None]:
    """Pause the collector: what an import makes stays, and looking through it is a sixth of torch's time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _failed(name: str, error: BaseException) -> ConfigError:
    place = "" if isinstance(error, SyntaxError) else blame(error)  # it names its line itself
    return bad_target(f"importing '{name}' failed: {kind_and_text(error)}{place}")


def is_library(target: Callable[..., object]) -> bool:
    """Return whether a class or function belongs to Python or an installed package, and not to the user."""
    module = inspect.getmodule(target)
    return module is None or is_installed(getattr(module, "__file__", None))
