"""Stand-ins for components with the signatures that their sources show, so that checks take no imports."""

import ast
import functools
import inspect
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from lab.config.import_policy import admit
from lab.config.problems import ConfigError, Problem, nearest
from lab.config.signatures import Target, keyword_parameters
from lab.config.static_imports import Source, Unknown, bound, file_of, public, reached, source_of
from lab.import_aliases import current

# Decorators that leave signatures as they are.
_KEPT = {"final", "runtime_checkable", "experimental_class", "deprecated_class"}
_METACLASSES_KEEP = {"abc", "albumentations"}  # as does what classes are made by there
_PLAIN: Mapping[str, Any] = {
    "int": int, "float": float, "str": str, "bool": bool, "None": type(None), "Any": Any, "object": object,
    "list": list, "dict": dict, "tuple": tuple, "List": list, "Dict": dict, "Tuple": tuple,
    "Optional": typing.Optional, "Union": typing.Union, "Literal": typing.Literal,
    "Sequence": typing.Sequence, "Mapping": typing.Mapping,
}  # fmt: skip
_TYPING = {"typing", "typing_extensions", "collections.abc", "builtins"}


def look(path: str) -> Target | None:
    """A stand-in for what a path names, with its name, signature and the annotations that can be read.

    None where the sources leave it open; it is a class where the real thing is one.

    Raises:
        ConfigError: nothing of this name is there, or a config may not name it.
    """
    path = current(path)
    admit(path)
    try:
        return _stand_in(path)
    except (Unknown, RecursionError, SyntaxError):
        return None


@functools.cache
def _stand_in(path: str) -> Callable[..., object] | None:
    first, *rest = path.split(".")
    where = first
    while len(rest) > 1 and (file := file_of(f"{where}.{rest[0]}")) is not None and file.suffix == ".py":
        where = f"{where}.{rest.pop(0)}"  # a module's file; what the packages above it hold needn't be read
    source = source_of(where)
    for index, part in enumerate(rest):
        found = bound(source, part, set())
        if isinstance(found, Source):
            source, where = found, f"{where}.{part}"
            continue
        if found is None:
            hint = nearest(part, {n for n in (*public(source, set()), *source.parts()) if n[:1] != "_"})
            raise ConfigError([Problem(("target",), f"'{where}' has no '{part}'{hint}")])
        if index < len(rest) - 1:
            raise Unknown
        return _made(*found)
    raise Unknown


def _made(source: Source, node: object) -> Target:
    """A stand-in for a definition.

    Raises:
        Unknown: its signature isn't known.
    """
    if isinstance(node, ast.FunctionDef):
        # A decorator may change the signature.
        if node.decorator_list:
            raise Unknown
        function: Callable[..., object] = _with_signature(lambda: None, node.name, source, node.args, skip=0)
        return function
    if not isinstance(node, ast.ClassDef):
        raise Unknown
    home, init = _constructor(source, node, 0)
    if init is not None and init.decorator_list:
        raise Unknown
    arguments = ast.arguments([], [], None, [], [], None, []) if init is None else init.args
    made_by = _with_signature(lambda self: None, node.name, home, arguments, skip=0 if init is None else 1)
    if home.name.partition(".")[0] in _METACLASSES_KEEP:  # which check the arguments themselves
        made_by.__annotations__ = {}
    made: type[object] = type(node.name, (), {"__init__": made_by, "__signature__": made_by.__signature__})
    return made


def _constructor(source: Source, node: ast.ClassDef, depth: int) -> tuple[Source, ast.FunctionDef | None]:
    """The `__init__` of a class, its own or that of the class it derives from, and the module it is in."""
    decorated = any(_name(decorator) not in _KEPT for decorator in node.decorator_list)
    if depth > 20 or decorated or (node.keywords and source.name.partition(".")[0] not in _METACLASSES_KEEP):
        raise Unknown
    own = {each.name: each for each in node.body if isinstance(each, ast.FunctionDef)}
    hidden = [each for part in node.body if isinstance(part, ast.If | ast.Try) for each in ast.walk(part)]
    if {"__new__", "__init__"} & {
        "__new__" if "__new__" in own else "",
        *(getattr(h, "name", "") for h in hidden),
    }:
        raise Unknown
    bases = [base for base in node.bases if _name(base) not in ("Generic", "ABC", "Protocol", "object")]
    parents = [_parent(source, base) for base in bases if isinstance(base, ast.Name | ast.Attribute)]
    inherited = [_constructor(*parent, depth + 1) for parent in parents]
    found = [each for each in inherited if each[1] is not None]
    if len(parents) != len(bases) or len(found) > 1:  # of several, Python's order decides
        raise Unknown
    return (source, own["__init__"]) if "__init__" in own else found[0] if found else (source, None)


def _parent(source: Source, base: ast.expr) -> tuple[Source, ast.ClassDef]:
    found = reached(source, base)
    if isinstance(found, Source) or not isinstance(found[1], ast.ClassDef):
        raise Unknown
    return found


def _name(node: ast.expr) -> str:
    """The last word of `a.b`, `a.b[c]` or `a.b(c)`."""
    while isinstance(node, ast.Call | ast.Subscript):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _with_signature(function: Any, name: str, source: Source, arguments: ast.arguments, skip: int) -> Any:
    """Give a stand-in its signature, and the annotations that can be read."""
    parameters = list(_parameters(arguments))[skip:]
    named = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
    annotated = [(source, each.arg, each.annotation) for each in named if each.annotation is not None]
    if arguments.kwarg is not None and (found := _unpacked(source, arguments.kwarg.annotation)) is not None:
        keys = {name: (home, hint, required) for home, name, hint, required in _keys(*found, 0)}
        parameters[-1:] = keyword_parameters((name, required) for name, (_, _, required) in keys.items())
        annotated += [(home, name, hint) for name, (home, hint, _) in keys.items()]
    hints: dict[str, Any] = {}
    for home, name_of, annotation in annotated:
        try:
            hints[name_of] = _type(home, annotation, 0)
        except (Unknown, TypeError, ValueError, SyntaxError):
            continue
    function.__name__, function.__annotations__ = name, hints
    function.__signature__ = inspect.Signature(parameters)
    return function


def _unpacked(source: Source, node: ast.expr | None) -> tuple[Source, ast.ClassDef] | None:
    """The TypedDict that `Unpack[Arguments]` names; None for any other annotation.

    Raises:
        Unknown: it can't be found.
    """
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        node = ast.parse(node.value, mode="eval").body
    if not isinstance(node, ast.Subscript):
        return None
    bound = source.bound.get(_name(node.value))
    word = bound[1] if isinstance(bound, tuple) and bound[1] else _name(node.value)
    return _parent(source, node.slice) if word == "Unpack" else None


def _keys(source: Source, node: ast.ClassDef, depth: int) -> Iterator[tuple[Source, str, ast.expr, bool]]:
    """The keys of a TypedDict: the module they are in, name, annotation, and whether each is required."""
    if depth > 20 or node.decorator_list:
        raise Unknown
    for base in node.bases:
        if _name(base) not in ("TypedDict", "Generic"):
            yield from _keys(*_parent(source, base), depth + 1)
    stated = [word.value for word in node.keywords if word.arg == "total"]
    total = all(isinstance(value, ast.Constant) and value.value is True for value in stated)
    for each in node.body:
        if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
            kind, hint = _name(each.annotation), each.annotation
            if kind in ("Required", "NotRequired") and isinstance(hint, ast.Subscript):
                hint = hint.slice
            yield source, each.target.id, hint, kind == "Required" or (total and kind != "NotRequired")


def _parameters(arguments: ast.arguments) -> Iterator[inspect.Parameter]:
    kinds = inspect.Parameter
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults: list[Any] = [None] * (len(positional) - len(arguments.defaults)) + list(arguments.defaults)
    for index, (argument, default) in enumerate(zip(positional, defaults, strict=True)):
        kind = kinds.POSITIONAL_ONLY if index < len(arguments.posonlyargs) else kinds.POSITIONAL_OR_KEYWORD
        yield kinds(argument.arg, kind, default=_default(default))
    if arguments.vararg:
        yield kinds(arguments.vararg.arg, kinds.VAR_POSITIONAL)
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        yield kinds(argument.arg, kinds.KEYWORD_ONLY, default=_default(default))
    if arguments.kwarg:
        yield kinds(arguments.kwarg.arg, kinds.VAR_KEYWORD)


def _default(node: ast.expr | None) -> object:
    """None where that is the default; for any other it only matters that there is one."""
    if node is None:
        return inspect.Parameter.empty
    return None if isinstance(node, ast.Constant) and node.value is None else ...


def _type(source: Source, node: ast.expr, depth: int) -> Any:
    """The type that an annotation names, made of plain ones; a class of the sources is a stand-in.

    Raises:
        Unknown: it is of another kind.
    """
    if depth > 8:
        raise Unknown
    if isinstance(node, ast.Constant):
        if isinstance(node.value, str):
            return _type(source, ast.parse(node.value, mode="eval").body, depth + 1)
        return type(None) if node.value is None else node.value
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _type(source, node.left, depth + 1) | _type(source, node.right, depth + 1)
    if isinstance(node, ast.Subscript):
        inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        outer = _type(source, node.value, depth + 1)
        if outer is typing.Literal:
            return typing.Literal[tuple(ast.literal_eval(each) for each in inner)]
        return outer[tuple(_type(source, each, depth + 1) for each in inner)]
    return _named_type(source, node, depth)


def _named_type(source: Source, node: ast.expr, depth: int) -> Any:
    if not isinstance(node, ast.Name | ast.Attribute):
        raise Unknown
    name, bound = _name(node), source.bound.get(_name(node))
    if bound == ("torch", "Tensor"):
        return _object_of("torch", "Tensor")
    if isinstance(bound, tuple) and bound[0] in _TYPING and bound[1] in _PLAIN:
        return _PLAIN[bound[1]]
    if isinstance(node, ast.Name) and bound is None and name in _PLAIN:
        return _PLAIN[name]
    found = reached(source, node)
    if isinstance(found, Source):
        raise Unknown
    home, what = found
    if isinstance(what, ast.ClassDef):
        _constructor(home, what, 0)  # a plain class of the sources, whose objects no config can write down
        return _object_of(home.name, what.name)
    if isinstance(what, ast.expr):
        return _type(home, what, depth + 1)
    raise Unknown


@functools.cache
def _object_of(module: str, name: str) -> type:
    return type(name, (), {"__module__": module})
