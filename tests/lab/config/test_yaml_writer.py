"""What is written is read back equal, by us and by other readers."""

import math
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lab.config.config_diff import same
from lab.config.yaml_reader import Reader
from lab.config.yaml_writer import to_text

TRICKY = ["1e-3", "010", "yes", "null", "~", "", " ", "a: b", "- a", "#", "'", '"', "<<", "=", "0x1f"]
TRICKY += ["2026-01-31", "1:30", ".inf", "a\nb", "a\n\n b\n", "\ttab", "\x85", "\u2028", "\ufeff", "😀"]
TRICKY += ["!x", "&a", "*a", "%", "@", "`", "true", "long " * 60]
texts = st.sampled_from(TRICKY) | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts
keys = texts | st.integers() | st.booleans()
plain = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=20,
)


def equal(a: Any, b: Any) -> bool:
    """Equal in value, type, and the order of keys."""
    if isinstance(a, dict) and isinstance(b, dict):
        return list(map(repr, a)) == list(map(repr, b)) and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(equal, a, b))
    return type(a) is type(b) and same(a, b)


@settings(max_examples=300, deadline=None)
@example({"a": math.inf, "b": -math.inf, "c": math.nan, "d": 1e-05, "e": 1e16})
@example({text: text for text in TRICKY})
@given(st.dictionaries(keys, plain, max_size=5))
def test_any_plain_data_is_read_back_equal(data: dict[Any, Any]) -> None:
    reader = Reader("f.yaml")
    value = reader.read(to_text(data))
    assert reader.problems == []
    assert equal(value, data)


@pytest.mark.parametrize(
    "value", [1e-5, 1e16, -2.5e-8, 0.1, math.inf, -math.inf, 3, "yes", "1e-3", "10:30", "on"]
)
def test_readers_of_yaml_1_1_agree(value: Any) -> None:
    assert yaml.safe_load(to_text({"key": value})) == {"key": value}


def test_shared_values_are_written_in_full() -> None:
    shared = [1, 2]
    assert to_text({"a": shared, "b": shared}) == "a: [1, 2]\nb: [1, 2]\n"


def test_order_is_kept_and_lines_are_readable() -> None:
    data = {"z": 1, "a": [{"target": "x.Y", "p": 0.5}], "é": "ü"}
    assert to_text(data) == "z: 1\na:\n- target: x.Y\n  p: 0.5\né: ü\n"
