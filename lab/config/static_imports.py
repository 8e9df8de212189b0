"""Definitions that import paths name, read from the sources: a typo is reported without seconds of imports.

Nothing is imported or executed, and of large files only the definitions in question are parsed. What a source
leaves open, as a decorator or a compiled module does, is "not known": then nothing is reported here, and the
check after the import decides.
"""

import ast
import functools
import importlib.util
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

from lab.import_aliases import current

_MOST = 3_000_000  # bytes of sources that one command reads
# Thousands of lines, of which this matters.
_SHORT = {
    ("torch.nn", "Module"): "class Module:\n def __init__(self, *args, **kwargs): ...",
    ("torch.nn.modules.module", "Module"): "class Module:\n def __init__(self, *args, **kwargs): ...",
    ("torch.optim.optimizer", "Optimizer"): "class Optimizer:\n def __init__(self, params, defaults): ...",
}
# Packages whose `__getattr__` gives nothing but the names that they import for type checkers.
_COMPLETE = {"lab.data"}
_read = 0
# What begins at the edge of a line; else strings and comments, in which nothing begins.
_BEGINNING = re.compile(
    r"""^(?!(?:else|elif|except|finally)\b)([^\s)\]}#"'])"""
    r'''|"""[^"\\]*(?:(?:\\.|"(?!""))[^"\\]*)*"""|"[^"\\\n]*(?:\\.[^"\\\n]*)*"|\#[^\n]*'''
    r"""|'''[^'\\]*(?:(?:\\.|'(?!''))[^'\\]*)*'''|'[^'\\\n]*(?:\\.[^'\\\n]*)*'""",
    re.DOTALL | re.MULTILINE,
)
_DEFINITION = re.compile(r"(?:@[^\n]*\n)*(?:class|def|async def) (\w+)")


class Unknown(Exception):
    """The sources leave it open."""


@dataclass
class Source:
    """A module's file and what it binds at its top level."""

    name: str
    file: FilePath
    # name -> definition or its text, (module, name), value
    bound: dict[str, Any] = field(default_factory=dict)
    stars: list[str] = field(default_factory=list)
    open: bool = False  # makes names that no source shows

    @property
    def is_package(self) -> bool:
        return self.file.name == "__init__.py"

    def parts(self) -> set[str]:
        """Modules directly within a package."""
        if not self.is_package:
            return set()
        return {path.name.partition(".")[0] for path in self.file.parent.iterdir()
                if path.suffix in (".py", ".so", ".pyd") or (path / "__init__.py").is_file()}  # fmt: skip


@functools.cache
def source_of(name: str) -> Source:
    """A module's source.

    Raises:
        Unknown: it has none that can be read.
    """
    global _read
    name = current(name)
    file = file_of(name)
    if file is None or file.suffix != ".py":
        raise Unknown
    # Over the whole command: a chain of re-exports must not cost as much as the import.
    _read += file.stat().st_size
    if _read > _MOST:
        raise Unknown
    source = Source(name, file)
    try:
        for text in _statements(file.read_text(encoding="utf-8")):
            if (defined := _DEFINITION.match(text)) is None:
                _bind(source, ast.parse(text).body)
            else:
                source.bound[defined[1]] = text
    except (OSError, SyntaxError, ValueError) as error:
        raise Unknown from error
    source.open = name not in _COMPLETE and (source.open or "__getattr__" in source.bound)
    return source


def _statements(text: str) -> Iterator[str]:
    """A module's statements: each begins at the edge, where else nothing but strings and brackets stand."""
    places = [found.start() for found in _BEGINNING.finditer(text) if found[1]]
    start: int | None = None
    for place, end in zip(places, [*places[1:], len(text)], strict=True):
        start = place if start is None else start
        if text[place] != "@":  # what is decorated goes with it
            yield text[start:end]
            start = None


def file_of(name: str) -> FilePath | None:
    """Find a module's file by its package's folder; Python's finders are asked for the top package alone."""
    # Only the top package, for `find_spec` imports all packages above what it is asked for.
    first, *rest = name.split(".")
    try:
        spec = importlib.util.find_spec(first)
    except (ValueError, ImportError):
        return None
    if spec is None or not spec.has_location or spec.origin is None:
        return None
    file = FilePath(spec.origin)
    for part in rest:
        if file.name != "__init__.py":
            return None
        folder = file.parent
        options = (folder / part / "__init__.py", folder / f"{part}.py", *folder.glob(f"{part}.*.so"))
        found = next((option for option in options if option.is_file()), None)
        if found is None:
            return None
        file = found
    return file


def _bind(source: Source, body: list[ast.stmt]) -> None:
    """Note what the statements bind, whatever way the program takes."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            source.open = source.open or node.name == "__getattr__"
            source.bound[node.name] = node
        elif isinstance(node, ast.Import):
            for alias in node.names:
                whole = alias.name if alias.asname else alias.name.partition(".")[0]
                source.bound[alias.asname or whole] = (whole, None)
        elif isinstance(node, ast.ImportFrom):
            module = _absolute(source, node)
            for alias in node.names:
                if alias.name == "*":
                    source.stars.append(module)
                else:
                    source.bound[alias.asname or alias.name] = (module, alias.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            source.open = source.open or _is_dynamic(node)
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                for name in ast.walk(target):
                    if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store):
                        source.bound[name.id] = (
                            node.value if isinstance(target, ast.Name) else ast.Constant(0)
                        )
        elif isinstance(node, ast.Expr | ast.For | ast.While | ast.Delete | ast.AugAssign):
            source.open = source.open or _is_dynamic(node)
        if isinstance(node, ast.If | ast.Try | ast.With | ast.For | ast.While):
            if isinstance(node, ast.For):
                source.bound |= {
                    n.id: ast.Constant(0) for n in ast.walk(node.target) if isinstance(n, ast.Name)
                }
            for part in ("body", "orelse", "finalbody"):
                _bind(source, getattr(node, part, []))
            for handler in getattr(node, "handlers", []):
                _bind(source, handler.body)


def _is_dynamic(node: ast.AST) -> bool:
    """Return whether a statement may bind names that it doesn't show."""
    names = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
    return bool(names & {"globals", "locals", "vars", "setattr", "exec", "eval", "sys"})


def _absolute(source: Source, node: ast.ImportFrom) -> str:
    if not node.level:
        return str(node.module)
    parts = source.name.split(".")
    parts = parts[: len(parts) - node.level + (1 if source.is_package else 0)]
    return ".".join([*parts, *([node.module] if node.module else [])])


Found = tuple[Source, Any]


def bound(source: Source, name: str, seen: set[tuple[str, str]]) -> "Source | Found | None":
    """Return what a module binds to a name: a module, or a definition and its module; None for nothing.

    Raises:
        Unknown: it is left open.
    """
    if (source.name, name) in seen:
        raise Unknown
    seen.add((source.name, name))
    found = _SHORT.get((source.name, name)) or source.bound.get(name)
    if isinstance(found, str):
        found = source.bound[name] = ast.parse(found).body[0]
    if isinstance(found, tuple):
        module, attribute = found
        parts_of_torch = module == "torch" and file_of(f"torch.{attribute}") is not None
        if attribute is None or parts_of_torch or (module, attribute) == (source.name, name):
            return source_of(module if attribute is None else f"{module}.{attribute}")
        imported = bound(source_of(module), attribute, seen)
        if imported is None:
            raise Unknown
        return imported
    if isinstance(found, ast.Name) and found.id != name:
        return bound(source, found.id, seen)
    if found is not None:
        return source, found
    if name in source.parts():
        return source_of(f"{source.name}.{name}")
    for module in source.stars:
        star = source_of(module)
        if _gives(star, name, set()):
            return bound(star, name, seen)
    if source.open:
        raise Unknown
    return None


def _gives(source: Source, name: str, seen: set[str]) -> bool:
    """Return whether `import *` takes a name from a module; stops where it is found."""
    if source.name in seen or name.startswith("_"):
        return False
    seen.add(source.name)
    if isinstance(listed := source.bound.get("__all__"), ast.List | ast.Tuple):
        return any(isinstance(each, ast.Constant) and each.value == name for each in listed.elts)
    return name in source.bound or any(_gives(source_of(module), name, seen) for module in source.stars)


def public(source: Source, seen: set[str]) -> set[str]:
    """The names that `import *` takes.

    Raises:
        Unknown: they are left open.
    """
    if source.name in seen:
        return set()
    seen.add(source.name)
    names = {name for name in source.bound if not name.startswith("_")}
    for module in source.stars:
        names |= public(source_of(module), seen)
    listed = source.bound.get("__all__")
    if listed is None:
        return names
    try:
        return set(ast.literal_eval(listed))
    except (ValueError, TypeError):
        return names


def reached(source: Source, node: ast.expr) -> "Source | Found":
    """Resolve an expression such as `nn.Module`."""
    if isinstance(node, ast.Attribute):
        inner = reached(source, node.value)
        found = bound(inner, node.attr, set()) if isinstance(inner, Source) else None
    else:
        found = bound(source, node.id, set()) if isinstance(node, ast.Name) else None
    if found is None:
        raise Unknown
    return found
