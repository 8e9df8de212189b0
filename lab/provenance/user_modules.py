"""The modules that a process has imported and that belong to no installed package: those of the user."""

import functools
import hashlib
import importlib.util
import os
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from lab.config.component_spec import is_import_path
from lab.config.config_diff import flatten
from lab.config.import_target import current, is_installed, is_of_python
from lab.config.module_locations import PROJECT

_FOLDERS, _FILES = ("lab", "selftest"), ("main.py", "util.py")
_OURS = (*(f"{PROJECT / name}{os.sep}" for name in _FOLDERS), *(str(PROJECT / name) for name in _FILES))


@dataclass(frozen=True)
class Module:
    """A module and its file.

    Args:
        file: its real path.
        named: whether the config names it, or something in it.
    """

    name: str
    file: Path
    named: bool = False

    @property
    def of_the_tool(self) -> bool:
        return str(self.file).startswith(_OURS)


def import_paths(config: Mapping[str, object]) -> Iterator[str]:
    """Return whatever in a config's plain data is written as an import path, at any depth."""
    return (value for value in flatten(config).values() if isinstance(value, str) and is_import_path(value))


def imported(paths: Collection[str]) -> list[Module]:
    """Return the imported modules of the user, each file once, and first those that import paths name."""
    named = {name for path in paths if (name := _module_of(path))}
    found: dict[Path, Module] = {}
    judged: dict[str, bool] = {}
    for name, module in sorted(sys.modules.copy().items(), key=lambda item: item[0] not in named):
        file = _file_of(module)
        if file is None or is_of_python(file) or current(name) != name:
            continue
        if file.startswith(_OURS):
            found[Path(file)] = Module(name, Path(file), name in named)
            continue
        top = name.partition(".")[0]
        # The parts of an installed package are installed, wherever they lie.
        if top not in judged:
            of_top = _file_of(sys.modules.get(top))
            judged[top] = of_top is not None and is_installed(of_top)
        if judged[top] or is_installed(file):
            continue
        real = Path(os.path.realpath(file))
        if not _came_with_pip(real, name):
            found.setdefault(real, Module(name, real, name in named))
    return list(found.values())


def installed(paths: Collection[str]) -> list[str]:
    """Return the installed packages that import paths name; the tool is none."""
    tops = {path.partition(".")[0] for path in paths}
    files = {top: _file_of(sys.modules.get(top)) for top in sorted(tops - sys.stdlib_module_names)}
    return [top for top, file in files.items() if file is not None and is_installed(file)]


def named_places(paths: Collection[str]) -> list[Module]:
    """Return the user's top modules that import paths name, found without importing anything."""
    found = []
    for top in sorted({path.partition(".")[0] for path in paths}):
        try:
            spec = importlib.util.find_spec(top)
        except (ValueError, ImportError):
            continue
        places = [spec.origin] if spec and spec.has_location else spec and spec.submodule_search_locations
        for place in filter(None, places or ()):
            module = Module(top, Path(os.path.realpath(place)), True)
            if not (is_installed(place) or module.of_the_tool):
                found.append(module)
    return found


def source_of(module: Module) -> tuple[bytes, str] | None:
    """Return a module's source as it is in the file, and as text; None where there is none."""
    if module.file.suffix not in (".py", ".pyw"):
        return None
    try:
        content = module.file.read_bytes()
    except OSError:  # within an archive, or gone
        return _from_loader(sys.modules.get(module.name))
    try:
        return content, importlib.util.decode_source(content)
    except (SyntaxError, UnicodeDecodeError):
        return content, content.decode(errors="replace")


def is_edited(module: Module, since: float) -> bool:
    """Return whether a module's file may be another than the one that was imported.

    That is so where it was written after a time at which it may have been imported, or where the compiled
    copy that Python has made at the import is of another file.
    """
    try:
        now = module.file.stat()
        if now.st_mtime > since or module.file.suffix != ".py" or sys.dont_write_bytecode:
            return now.st_mtime > since
        compiled = Path(importlib.util.cache_from_source(str(module.file)))
        with compiled.open("rb") as file:
            head = file.read(16)
    except OSError:
        return False
    if not os.access(compiled.parent, os.W_OK):  # it may be of long ago
        return False
    flags, modified, size = (int.from_bytes(head[at : at + 4], "little") for at in (4, 8, 12))
    return flags == 0 and (modified, size) != (int(now.st_mtime) & 0xFFFFFFFF, now.st_size & 0xFFFFFFFF)


def digest() -> str:
    """Return a number that stands for the tool's own files, where no commit does."""
    whole = hashlib.sha256()
    packages = (file for name in _FOLDERS for file in (PROJECT / name).rglob("*.py"))
    for file in sorted([*packages, *(PROJECT / name for name in _FILES)]):
        content = file.read_bytes() if file.is_file() else b""
        whole.update(file.relative_to(PROJECT).as_posix().encode() + b"\0")
        whole.update(hashlib.sha256(content).digest())
    return whole.hexdigest()


def _from_loader(module: ModuleType | None) -> tuple[bytes, str] | None:
    loader = getattr(getattr(module, "__spec__", None), "loader", None)
    try:
        text = loader.get_source(module.__name__)  # type: ignore[union-attr]
    except Exception:  # noqa: BLE001 - a loader of the user's own
        return None
    return (text.encode(), text) if isinstance(text, str) else None


def _module_of(path: str) -> str:
    """Return the imported module that an import path leads into; empty where there is none."""
    parts = current(path).split(".")
    names = (".".join(parts[:end]) for end in range(len(parts), 0, -1))
    return next((name for name in names if name in sys.modules), "")


def _file_of(module: object) -> str | None:
    """Return a module's file; what stands for modules in `sys.modules` may answer anything when asked."""
    file = vars(module).get("__file__") if isinstance(module, ModuleType) else None
    return file if isinstance(file, str) and file.startswith(os.sep) else None


def _came_with_pip(file: Path, name: str) -> bool:
    """Return whether a package was put where it lies by `pip install --target`."""
    top = name.partition(".")[0]
    depth = name.count(".") + (file.name == "__init__.py")
    return depth < len(file.parents) and top in _put_by_pip(file.parents[depth])


@functools.lru_cache(maxsize=100)
def _put_by_pip(folder: Path) -> frozenset[str]:
    """Return the top modules that packages claim beside their `*.dist-info`."""
    names = set()
    for record in folder.glob("*.dist-info/RECORD"):
        try:
            lines = record.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        names |= {line.partition(",")[0].partition("/")[0].partition(".")[0] for line in lines}
    return frozenset(names)
