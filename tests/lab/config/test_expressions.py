"""Conditions: what they compute, checked against Python's own eval, and what they refuse."""

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.config.expressions import Absent, Expression, ExpressionError
from lab.config.problems import Path

VALUES: dict[Path, Any] = {
    ("net", "width"): 12,
    ("net", "heads"): 5,
    ("net", "residual"): True,
    ("optimizer", "target"): "torch.optim.SGD",
    ("optimizer", "lr"): 1e-3,
    ("data", "transforms", 1, "p"): 0.5,
    ("net", "lambda"): 2,
    ("net", "sizes"): [16, 32],
    ("net", "norm"): None,
    ("zero",): 0,
}


def find(path: Path) -> Any:
    if path not in VALUES:
        raise Absent(path)
    return VALUES[path]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("net.width % net.heads == 0", False),
        ("net.width % 4 == 0 and net.heads in [3, 5]", True),
        ("0 < net.heads < net.width <= 12", True),
        ("'SGD' in optimizer.target", True),
        ("optimizer.target == 'torch.optim.AdamW' or optimizer.lr <= 1e-3", True),
        ("data.transforms.1.p < 1", True),
        ("data.transforms[1].p < 1", True),
        ("net.lambda ** 3 == 8", True),
        ("len(net.sizes) == 2 and 32 in net.sizes", True),
        ("max(net.width, net.heads) - min(net.width, 3) == 9", True),
        ("abs(-net.heads) == 5 and round(2.6) == 3 and sqrt(16) == 4 and log2(8) == 3", True),
        ("net.norm == None", True),
        ("not net.residual", False),
        ("net.residual + net.residual >= 2", True),
        ("net.residual == 1", False),  # as in YAML
        ("(net.width == 12) if net.residual else False", True),
        ("'net.width' == 'net.width'", True),  # a text is none of the paths
        ("1 / zero > 0", False),
        ("net.width % zero == 0", False),
        ("2 ** 10 ** 10 > 0", False),
        ("9.0 ** 9 ** 9 > 0", False),
        ("(-8) ** 0.5 > 0", False),
        ("log2(zero) < 1", False),
        ("'b' > 'a'", True),
        ("net.sizes == [16, 32]", True),
        ("net.width == 12 or nothing.here > 1", True),  # what decides is there
    ],
)
def test_a_condition_holds_or_not(text: str, expected: bool) -> None:
    assert Expression(text).holds(find) is expected


@pytest.mark.parametrize(
    "text", ["nothing.here > 1", "net.width == 13 or nothing.here > 1", "net.__class__ == 1"]
)
def test_a_value_that_decides_and_is_not_there(text: str) -> None:
    with pytest.raises(Absent):
        Expression(text).holds(find)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("net.width +", "can't be read: invalid syntax"),
        ("net.width = 3", "can't be read"),
        ("__import__('os').system('true')", "can't have"),
        ("open('x') == 1", r"can't call open\(...\); there are min, max"),
        ("(lambda: 1)() == 1", "can't have"),
        ("[x for x in [1]] == [1]", "can't have"),
        ("f'{net.width}' == '12'", "can't have"),
        ("net.width.bit_length() == 4", "can't have"),
        ("net[width] == 1", "can't have"),
        ("min(*net.sizes) == 1", "can't have"),
        ("max(net.sizes, key=len) == 1", "can't call"),
        ("{1: 2} == 1", "can't have"),
        ("(y := 3) == 3", "can't have"),
        ("net.width @ 2 == 1", "can't have"),
        ("net.norm is None", "can't have"),
        ("b'x' == 'x'", "can't have"),
        ("1j == 1", "can't have"),
        ("... == 1", "can't have"),
        ("yield", "can't"),
        ("9" * 1001, "longer than 1000"),
        ("(" * 300 + "1" + ")" * 300, "nested"),
        ("not " * 200 + "True", "nested"),
        ("-" * 900 + "1 < 2", "nested"),
        ("net.width", "is 12, expected true or false"),
        ("net.width and True", "is 12, expected true or false beside and"),
        ("net.width < optimizer.target", "can't compare 12 and 'torch.optim.SGD' by size"),
        ("net.norm < 1", "can't compare None and 1"),
        ("'a' * 10 == 'a'", "expected a number to compute with"),
        ("net.sizes * 1000 == 1", "expected a number to compute with"),
        ("optimizer.target % 2 == 0", "expected a number to compute with"),
        ("3 in net.width", "can't look for 3 in 12"),
        ("len(3) == 1", "len"),
        ("abs('x') == 1", "abs"),
        ("min() == 1", "min"),
    ],
)
def test_what_is_no_condition_is_refused(text: str, message: str) -> None:
    with pytest.raises(ExpressionError, match=message):
        Expression(text).holds(find)


@pytest.mark.parametrize(
    "text",
    [
        "9 ** 9 ** 9 ** 9 > 0",
        "2 ** 4000 * 2 ** 4000 > 0",
        "(10 ** 1000) ** (10 ** 3) > 1",
        "2 ** -(10 ** 9) >= 0",
    ],
)
def test_nothing_takes_long(text: str) -> None:
    started = time.perf_counter()
    Expression(text).holds(find)
    assert time.perf_counter() - started < 0.1


_numbers = st.integers(-9, 9) | st.sampled_from([0.5, 2.0])
_terms = st.recursive(
    st.sampled_from(["a.b", "c"]) | _numbers.map(lambda n: f"({n})"),
    lambda inner: st.tuples(inner, st.sampled_from(["+", "-", "*", "/", "//", "%"]), inner).map(
        lambda parts: f"({' '.join(parts)})"
    ),
    max_leaves=6,
)
_conditions = st.recursive(
    st.tuples(_terms, st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), _terms).map(" ".join),
    lambda inner: (
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda p: f"({' '.join(p)})")
        | inner.map(lambda text: f"(not {text})")
    ),
    max_leaves=4,
)


@given(_conditions, _numbers, _numbers)
def test_it_is_what_python_computes(text: str, b: float, c: float) -> None:
    try:
        expected = eval(text.replace("a.b", f"({b})").replace("c", f"({c})"))
    except ZeroDivisionError:
        expected = False
    assert Expression(text).holds({("a", "b"): b, ("c",): c}.__getitem__) is expected
