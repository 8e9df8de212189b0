"""A small language for conditions such as `net.width % net.heads == 0`: a part of Python.

An expression is parsed by Python's own parser, and each node of the tree has to be one of the few that are
listed here; nothing is compiled or passed to `eval`. Numbers stay small enough to be computed at once.
"""

import ast
import keyword
import math
import operator
import re
from collections.abc import Callable, Iterator
from typing import Any

from lab.config.config_diff import same
from lab.config.problems import Path, dotted

Find = Callable[[Path], Any]  # the value at a dotted path; raises `Absent` where there is none
MAX_LENGTH = 1000  # characters
_MAX_BITS = 4096  # of a whole number
_MAX_DEPTH = 50
_STRING_OR_PATH = re.compile(r"""'[^']*'|"[^"]*"|(?<![\w.])[A-Za-z_]\w*(?:\.\w+)+""")
_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_SIGNS: dict[type[ast.unaryop], Callable[[Any], Any]] = {ast.USub: operator.neg, ast.UAdd: operator.pos}
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "min": min, "max": max, "abs": abs, "len": len, "round": round, "sqrt": math.sqrt, "log2": math.log2,
}  # fmt: skip
ALLOWED = (
    "numbers, texts, True, False, None, [lists], dotted paths, + - * / // % **, == != < <= > >=, in, not in, "
    f"and, or, not, A if B else C, parentheses, {', '.join(FUNCTIONS)}"
)


class ExpressionError(ValueError):
    """An expression can't be read, or can't be computed for some values."""


class Absent(Exception):
    """A point doesn't have what an expression names."""


class Expression:
    """A condition that holds or not, given the values of the paths that it names.

    Args:
        text: as the user wrote it.

    Raises:
        ExpressionError: it is no expression of this language.
    """

    def __init__(self, text: str) -> None:
        if len(text) > MAX_LENGTH:
            raise ExpressionError(f"is longer than {MAX_LENGTH} characters")
        self.text = text
        try:
            self._tree = ast.parse(_plain(text).strip(), mode="eval").body
            self.paths = tuple(dict.fromkeys(_paths(self._tree)))
        except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
            if isinstance(error, ExpressionError):
                raise
            reason = error.msg if isinstance(error, SyntaxError) else "it is nested too deeply"
            raise ExpressionError(f"can't be read: {reason}") from None

    def holds(self, find: Find) -> bool:
        """Return whether the condition is true; what divides by zero, or overflows, isn't.

        Raises:
            Absent: a value that decides is not there.
            ExpressionError: the values are of the wrong kind, or the result is neither true nor false.
        """
        try:
            result = _value(self._tree, find)
        except (ZeroDivisionError, OverflowError):
            return False
        if not isinstance(result, bool):
            example = "'net.width % net.heads == 0'"
            raise ExpressionError(f"is {result!r}, expected true or false, as in {example}")
        return result


def _plain(text: str) -> str:
    """The text with paths as Python can parse them: `a.1.lambda` becomes `a[1]["lambda"]`."""

    def path(match: re.Match[str]) -> str:
        found = match.group()
        if found[0] in "'\"":
            return found
        first, *rest = found.split(".")
        parts = (
            f"[{part}]" if part.isdecimal() else f'["{part}"]' if keyword.iskeyword(part) else f".{part}"
            for part in rest
        )
        return first + "".join(parts)

    return _STRING_OR_PATH.sub(path, text)


def _paths(node: ast.AST, depth: int = 0) -> Iterator[Path]:
    """The paths that a tree names; a node of any other language is refused."""
    if depth > _MAX_DEPTH:
        raise ExpressionError("can't be read: it is nested too deeply")
    path = _path(node)
    if path is not None:
        yield path
        return
    match node:
        case ast.Constant(value=value) if value is None or type(value) in (bool, int, float, str):
            if isinstance(value, int) and value.bit_length() > _MAX_BITS:
                raise ExpressionError("has a number that is too large")
            return
        case ast.BoolOp(values=parts) | ast.List(elts=parts) | ast.Tuple(elts=parts):
            children: list[ast.expr] = list(parts)
        case ast.UnaryOp(op=op, operand=operand) if isinstance(op, ast.Not) or type(op) in _SIGNS:
            children = [operand]
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            children = [left, right]
        case ast.Compare(left=left, ops=ops, comparators=others) if all(map(_is_comparison, ops)):
            children = [left, *others]
        case ast.IfExp(test=test, body=body, orelse=other):
            children = [test, body, other]
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in FUNCTIONS:
            children = list(arguments)
        case ast.Call(func=ast.Name(id=name)):
            raise ExpressionError(f"can't call {name}(...); there are {', '.join(FUNCTIONS)}")
        case _:
            text = ast.unparse(node) if isinstance(node, ast.expr) else type(node).__name__
            raise ExpressionError(f"can't have '{text[:60]}'; a condition is made of {ALLOWED}")
    for child in children:
        yield from _paths(child, depth + 1)


def _is_comparison(op: ast.cmpop) -> bool:
    return type(op) in _COMPARISONS or isinstance(op, (ast.Eq, ast.NotEq, ast.In, ast.NotIn))


def _path(node: ast.AST) -> Path | None:
    """`net.width` or `data.transforms[1]["p"]` as a path; None for anything else."""
    match node:
        case ast.Name(id=name):
            return (name,)
        case ast.Attribute(value=inner, attr=name):
            above = _path(inner)
            return None if above is None else (*above, name)
        case ast.Subscript(value=inner, slice=ast.Constant(value=int() | str() as part)):
            above = _path(inner)
            return None if above is None else (*above, part)
        case _:
            return None


def _value(node: ast.expr, find: Find) -> Any:
    path = _path(node)
    if path is not None:
        return find(path)
    match node:
        case ast.Constant(value=value):
            return value
        case ast.List(elts=parts) | ast.Tuple(elts=parts):
            return [_value(part, find) for part in parts]
        case ast.BoolOp(op=op, values=parts):
            stop = isinstance(op, ast.Or)  # the value that decides
            return stop if any(_truth(part, find) is stop for part in parts) else not stop
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return not _truth(operand, find)
        case ast.UnaryOp(op=sign, operand=operand):
            return _SIGNS[type(sign)](_number(operand, find))
        case ast.BinOp(left=left, op=op, right=right):
            return _computed(op, _number(left, find), _number(right, find))
        case ast.IfExp(test=test, body=body, orelse=other):
            return _value(body if _truth(test, find) else other, find)
        case ast.Compare(left=left, ops=ops, comparators=others):
            values = [_value(part, find) for part in (left, *others)]
            return all(_compared(op, a, b) for op, a, b in zip(ops, values, values[1:], strict=False))
        case ast.Call(func=ast.Name(id=name), args=arguments):
            return _called(name, [_value(argument, find) for argument in arguments])
    raise AssertionError(f"{node!r} was let in")


def _truth(node: ast.expr, find: Find) -> bool:
    value = _value(node, find)
    if not isinstance(value, bool):
        expected = "expected true or false beside and, or, not, if"
        raise ExpressionError(f"'{ast.unparse(node)}' is {value!r}, {expected}")
    return value


def _number(node: ast.expr, find: Find) -> object:
    value = _value(node, find)
    if not isinstance(value, (int, float)):
        raise ExpressionError(f"'{ast.unparse(node)}' is {value!r}, expected a number to compute with")
    return value


def _computed(op: ast.operator, left: Any, right: Any) -> Any:
    """Arithmetic on two numbers; one that would take long, or gigabytes, overflows."""
    # Before computing: 10 ** 10 ** 10 would take all memory.
    if isinstance(op, ast.Pow):
        if left == 0 and right < 0:
            raise ZeroDivisionError
        whole = isinstance(left, int) and isinstance(right, int)
        if whole and abs(left) > 1 and right * abs(left).bit_length() > _MAX_BITS:
            raise OverflowError
    result = _ARITHMETIC[type(op)](left, right)
    if isinstance(result, complex):
        raise OverflowError  # a root of a negative number
    if isinstance(result, int) and result.bit_length() > _MAX_BITS:
        raise OverflowError
    return result


def _compared(op: ast.cmpop, left: object, right: object) -> bool:
    if isinstance(op, (ast.Eq, ast.NotEq)):
        return same(left, right) == isinstance(op, ast.Eq)
    if isinstance(op, (ast.In, ast.NotIn)):
        return _within(left, right) == isinstance(op, ast.In)
    texts = isinstance(left, str) and isinstance(right, str)
    if not texts and not all(isinstance(value, (int, float)) for value in (left, right)):
        raise ExpressionError(f"can't compare {left!r} and {right!r} by size")
    return _COMPARISONS[type(op)](left, right)


def _within(item: object, whole: object) -> bool:
    if isinstance(whole, str) and isinstance(item, str):
        return item in whole
    if isinstance(whole, (list, tuple)):
        return any(same(item, each) for each in whole)
    raise ExpressionError(f"can't look for {item!r} in {whole!r}, expected a list or a text")


def _called(name: str, arguments: list[object]) -> object:
    try:
        return FUNCTIONS[name](*arguments)
    except TypeError as error:
        raise ExpressionError(f"{name}(...): {error}") from None
    except ValueError:  # the logarithm or root of what has none
        if name in ("min", "max"):
            raise ExpressionError(f"{name}(...) needs at least one value") from None
        raise OverflowError from None


def written(path: Path) -> str:
    """A path as a person writes it."""
    return dotted(tuple(f"'{part}'" if "." in str(part) else part for part in path))


__all__ = ["Absent", "Expression", "ExpressionError", "written"]
